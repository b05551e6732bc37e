"""Every workload against PyTorch or the lecture's script: the table and the plots, with the figures they rest on.

Without --quick, they are also kept: the table in benchmarks/README.md, the figures in benchmarks/results, the plots in
benchmarks/plots.
"""

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minigrad.backend import DeviceError, backend_for

from .report import ROWS, SWEEPS, Runs, keep, table
from .turns import installed, machine, take_turns
from .workloads import Workload

HERE = Path(__file__).parent

Results = dict[str, Any]  # "conditions": a line, "runs": Runs


def measure(works: Iterable[Workload], rounds: int) -> Runs:
    """All figures of some workloads, each once; of PyTorch only where it is installed."""
    runs: Runs = {}
    for work in works:
        if work.name not in runs:
            contestants = [name for name in work.contestants if name != "torch" or installed(name)]
            runs[work.name] = take_turns(
                "benchmarks.measure", contestants, rounds, work.name, one_thread=work.one_thread
            )
    return runs


def has(device: str) -> bool:
    """Whether a device is there."""
    try:
        backend_for(device)
    except DeviceError:
        return False
    return True


def conditions(runs: Runs) -> str:
    """What the figures were measured on, and what else went on meanwhile."""
    others = [run["others"] for sides in runs.values() for side in sides.values() for run in side]
    busy = f"other programs kept {statistics.median(others):.1f} cores busy, at most {max(others):.1f}"
    return f"Measured on {machine('as many threads as each library chooses, for the small networks one')}; {busy}."


def written(results: dict[str, Results]) -> str:
    """The table, and below it what it was measured on; figures of different devices may come from two machines."""
    runs = {name: sides for result in results.values() for name, sides in result["runs"].items()}
    return "\n\n".join([table(ROWS, runs), *(result["conditions"] for result in results.values())])


def main() -> None:
    """Measure what the command line asks for, print the table, keep it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, without what is slow; keep nothing")
    if parser.parse_args().quick:
        rows = [row for row in ROWS if not row.slow]
        runs = measure((work for row in rows for work in row.works), rounds=2)
        print(f"{table(rows, runs)}\n\n{conditions(runs)}")
        return
    from . import plots

    results = {}
    for device in ("cpu", "cuda"):
        path = HERE / "results" / f"{device}.json"
        if has(device):
            works = [work for row in ROWS for work in row.works if work.device == device]
            runs = measure(works, rounds=7)
            if device == "cpu":
                runs = measure((work for works in SWEEPS.values() for work in works), rounds=3) | runs
                plots.draw(runs)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"conditions": conditions(runs), "runs": runs}, indent=1) + "\n")
        if path.exists():  # from this run, or kept from a machine that had the device
            results[device] = json.loads(path.read_text())
    keep("make bench", written(results), HERE)
    print(written(results))


if __name__ == "__main__":
    main()
