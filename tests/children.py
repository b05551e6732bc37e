"""Processes that tests start, and kill: a server that has imported what they need forks each of them."""

import multiprocessing

CHILDREN = multiprocessing.get_context("forkserver")  # which has no threads, so that it may fork
CHILDREN.set_forkserver_preload(["demos.char_lm", "hypothesis.extra.numpy", "pytest"])
