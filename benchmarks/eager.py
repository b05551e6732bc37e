"""Microseconds per op on arrays so small that only the engine counts, against PyTorch.

    python -m benchmarks.eager

A chain of 300 times multiply, add, tanh on 4x4 float32 arrays, the graph recorded: forward alone, and forward with
backward. Both libraries on one thread, in fresh processes that take turns: the processor time of the fastest pass in
each process, and the median of these. The ratio is the median over the turns too, each process against its neighbour,
so that a machine that changes its pace changes both.
"""

import json
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

from .turns import installed, machine, ratio, spread, take_turns

STEPS, OPS = 300, 900
ROUNDS = 15  # processes for each library
PASSES = 50  # within a process, of which the fastest counts: the others were disturbed

Forward = Callable[[], Any]
arrays = [np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i in range(3)]


def minigrad_chain() -> tuple[Forward, Any]:
    """The chain in minigrad, and the gradient that flows into it."""
    import minigrad as mg

    x, w, b = (mg.tensor(array, requires_grad=True) for array in arrays)

    def forward() -> Any:
        h = x
        for _ in range(STEPS):
            h = mg.tanh(h * w + b)
        return h

    return forward, np.ones((4, 4), np.float32)


def torch_chain() -> tuple[Forward, Any]:
    """The chain in PyTorch, and the gradient that flows into it."""
    import torch

    torch.set_num_threads(1)
    x, w, b = (torch.tensor(array, requires_grad=True) for array in arrays)

    def forward() -> Any:
        h = x
        for _ in range(STEPS):
            h = torch.tanh(h * w + b)
        return h

    return forward, torch.ones(4, 4)


CHAINS = {"minigrad": minigrad_chain, "torch": torch_chain}


def measured(chain: str) -> dict[str, float]:
    """Microseconds of processor time per op, in this process."""
    forward, gradient = CHAINS[chain]()
    passes = {"forward": forward, "both": lambda: forward().backward(gradient)}
    figures = {}
    for name, one_pass in passes.items():
        one_pass()
        seconds = timeit.repeat(one_pass, timer=time.process_time, number=1, repeat=PASSES)
        figures[name] = min(seconds) / OPS * 1e6
    return figures


def main() -> None:
    """Measure in turns and print the table."""
    chains = [name for name in CHAINS if name == "minigrad" or installed(name)]
    runs = take_turns("benchmarks.eager", chains, ROUNDS)
    print(machine())
    print(f"microseconds of processor time per op, median (least to most) of {ROUNDS} processes")
    for name in chains:
        forward, both = (spread(runs[name], figure) for figure in ("forward", "both"))
        print(f"  {name:<10}forward {forward}   forward and backward {both}")
    if "torch" not in chains:
        print("PyTorch is not installed, so there is no ratio: pip install 'minigrad[bench]'")
        return
    forward, both = (ratio(runs["minigrad"], runs["torch"], figure) for figure in ("forward", "both"))
    print(f"  minigrad takes {forward} of PyTorch's time forward, {both} forward and backward")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measured(sys.argv[1])))
    else:
        main()
