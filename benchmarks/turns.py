"""Contestants measured in turns, each time in a fresh process, so that none profits from the other's moments."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Figures = dict[str, float]


def take_turns(module: str, contestants: Sequence[str], rounds: int) -> dict[str, list[Figures]]:
    """Run `python -m module contestant` on one thread, A B A B ...; what each prints is a JSON object of figures."""
    measured: dict[str, list[Figures]] = {name: [] for name in contestants}
    for i in range(rounds):
        for name in contestants:
            show_progress(f"round {i + 1} of {rounds}: {name}")
            process = subprocess.run(
                [sys.executable, "-m", module, name],
                env=os.environ | ONE_THREAD,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            measured[name].append(json.loads(process.stdout))
    show_progress("")
    return measured


def show_progress(text: str) -> None:
    """One line that overwrites the last, where someone is watching."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures], figure: str) -> str:
    """The median, over the turns, of our figure as a part of theirs, and in brackets the quartiles."""
    ratios = [a[figure] / b[figure] for a, b in zip(ours, theirs, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def spread(runs: Sequence[Figures], figure: str) -> str:
    """A figure's median and, in brackets, its extremes."""
    values = [run[figure] for run in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def machine() -> str:
    """What the figures were measured on, in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "torch") if installed(name)]
    return ", ".join([
        f"{os.cpu_count()} cores of {models[0] if models else platform.processor() or platform.machine()}",
        f"{platform.system()}, Python {platform.python_version()}",
        *versions,
        "one thread",
    ])  # fmt: skip
