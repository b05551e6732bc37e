"""One contestant of one workload, measured in this process; prints figures as JSON.

python -m benchmarks.measure torch "LSTM 2x128, T 50, B 50"
"""

import argparse
import json
import os
import statistics
import time

import psutil
from threadpoolctl import threadpool_info

from .memory import peak
from .report import WORKLOADS
from .turns import Figures
from .workloads import Step, Workload, tiny

WARM_UP, LEAST, MOST = 0.5, 1.5, 8.0  # seconds
STEPS = 5  # are enough after LEAST; after MOST any number is


def measured(work: Workload, contestant: str) -> Figures:
    """What a process has to say.

    Returns:
        "seconds": for a unit of the work, the median over the steps; "least": the least of these; "MB": memory added;
        "cores" that this process kept busy, and "others" that all other processes did; the "threads" of each library.
    """
    tiny(work).build(contestant)()  # what libraries load late, they load here
    before = peak(reset=True)
    step = work.build(contestant)
    timed(step, WARM_UP, WARM_UP)
    psutil.cpu_percent()  # since here
    busy, start = processor_time(), time.perf_counter()
    seconds = timed(step, LEAST, MOST)
    cores = (processor_time() - busy) / (time.perf_counter() - start)
    return {
        "seconds": statistics.median(seconds) / work.units,
        "least": min(seconds) / work.units,
        "steps": len(seconds),
        "MB": (peak() - before) / 2**20,
        "cores": cores,
        "others": max(psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1) - cores, 0.0),
        **{f"threads of {pool['internal_api']}": pool["num_threads"] for pool in threadpool_info()},
    }


def timed(step: Step, least: float, most: float) -> list[float]:
    """Seconds of each of some steps, one or more."""
    seconds: list[float] = []
    start = now = time.perf_counter()
    while not seconds or now - start < least or (now - start < most and len(seconds) < STEPS):
        before = now
        step()
        now = time.perf_counter()
        seconds.append(now - before)
    return seconds


def processor_time() -> float:
    """Seconds of this process and of the ones that it started and that are over."""
    return sum(os.times()[:4])


def main() -> None:
    """Print the figures that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=__doc__)
    parser.add_argument("contestant", help="minigrad, torch or lecture")
    parser.add_argument("work", choices=WORKLOADS, metavar="WORK", help="; ".join(WORKLOADS))
    args = parser.parse_args()
    print(json.dumps(measured(WORKLOADS[args.work], args.contestant)))


if __name__ == "__main__":
    main()
