"""What the debugging modes cost: a step under each, over a step without; the table goes into benchmarks/README.md.

    python -m benchmarks.modes

Steps of one process take turns, so that what the machine does meanwhile meets all of them; processor time counts.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import minigrad as mg

from .report import keep
from .turns import machine
from .workloads import Chain, Training, Workload

ROUNDS = 30
MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "plain": nullcontext, "guard": mg.guard, "detect_anomaly": mg.detect_anomaly,
}  # fmt: skip
WORKS: list[Workload] = [
    Chain(),
    Training("unrolled", 1, 100, 25, 1, lecture=True),
    Training("LSTM", 1, 100, 25, 1, lecture=True),
    Training("LSTM", 2, 128, 50, 50),
]


def costs(work: Workload) -> dict[str, float]:
    """The median time of a step in each mode, over the plain one of the same turn."""
    step = work.build("minigrad")
    turns: list[dict[str, float]] = []
    for _ in range(ROUNDS + 2):
        turn = {}
        for name, mode in MODES.items():
            start = time.process_time()
            with mode():
                step()
            turn[name] = time.process_time() - start
        turns.append(turn)
    return {name: statistics.median(turn[name] / turn["plain"] for turn in turns[2:]) for name in MODES}


def main() -> None:
    """Print the table and keep it."""
    lines = ["| a step of | guard | detect_anomaly |", "|---|---|---|"]
    for work in WORKS:
        found = costs(work)
        lines.append(f"| {work.name} | {found['guard']:.2f}x | {found['detect_anomaly']:.2f}x |")
    table = "\n".join([*lines, "", f"Measured on {machine()}."])
    print(table)
    keep("python -m benchmarks.modes", table)


if __name__ == "__main__":
    main()
