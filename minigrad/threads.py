"""Work on a batch, shared among threads.

NumPy lets go of the interpreter's lock while it computes, so several threads can work on a batch at once: as many as
BLAS would take (`OPENBLAS_NUM_THREADS`, `threadpoolctl`). BLAS takes one in each meanwhile.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

PARTS = 8  # of a batch at most, however many threads there are: what is added up part by part has the same bits then
WORTH = 2**19  # bytes that a part works through, at least: far more than it takes to wake a thread

_sharing = threading.Lock()  # how many threads BLAS takes is one number for the whole process


def shared(xp: Any, N: int, size: int, work: Callable[[slice], Result]) -> list[Result]:
    """What `work` gives for each part of N items, in their order; on the CPU several are worked on at once.

    Who calls while others share, or within `work`, works alone.

    Args:
        xp: the backend's module.
        N: how many items there are.
        size: how many bytes each has to be worked through.
        work: called with the items of a part.

    >>> shared(np, 4, WORTH, lambda part: part.stop - part.start)
    [1, 1, 1, 1]
    """
    count = max(1, min(N, PARTS, N * size // WORTH)) if xp is np else 1
    parts = [slice(N * i // count, N * (i + 1) // count) for i in range(count)]
    if count == 1 or not _sharing.acquire(blocking=False):
        return [work(part) for part in parts]
    blas, before = _blas(), [library.num_threads for library in _blas()]
    try:
        _limit(blas, [1] * len(blas))
        return _at_once(parts, work, max(before, default=1))
    finally:
        _limit(blas, before)
        _sharing.release()


def _at_once(parts: list[slice], work: Callable[[slice], Result], threads: int) -> list[Result]:
    """What `work` gives for each part: this thread and others take one after another."""
    todo, results = iter(enumerate(parts)), dict[int, Result]()

    def some() -> None:
        for i, part in todo:
            results[i] = work(part)

    others = [_pool(threads).submit(copy_context().run, some) for _ in range(min(threads, len(parts)) - 1)]
    try:
        some()
    finally:
        for other in others:
            other.result()
    return [results[i] for i in range(len(parts))]


def _limit(blas: list[Any], threads: list[int]) -> None:
    for library, count in zip(blas, threads, strict=True):
        if library.num_threads != count:
            library.set_num_threads(count)


@cache
def _blas() -> list[Any]:
    """The libraries of matrix products in this process."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="minigrad")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has none of its parent's threads
