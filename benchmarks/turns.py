"""Contestants measured in turns, each time in a fresh process, so that none profits from the other's moments."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
QUIET = 0.2  # cores that others may keep busy in a turn that counts

Figures = dict[str, float]


def take_turns(
    module: str, contestants: Sequence[str], rounds: int, *arguments: str, one_thread: bool = True
) -> dict[str, list[Figures]]:
    """Run `python -m module contestant *arguments`, A B A B ...; what each prints is a JSON object of figures.

    On one thread, or on as many as the libraries choose, whatever the environment says. A turn that other programs
    disturbed is taken again, up to twice as many turns in all; the least disturbed ones count.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    if one_thread:
        environment |= ONE_THREAD

    def figures(name: str) -> Figures:
        show_progress(", ".join([f"turn {len(turns) + 1}: {name}", *arguments]))
        command = [sys.executable, "-m", module, name, *arguments]
        return json.loads(
            subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        )

    turns: list[list[Figures]] = []
    while sum(disturbance(turn) < QUIET for turn in turns) < rounds and len(turns) < 2 * rounds:
        turns.append([figures(name) for name in contestants])
    show_progress("")
    counted = sorted(turns, key=disturbance)[:rounds]
    return {name: [turn[i] for turn in counted] for i, name in enumerate(contestants)}


def disturbance(turn: Sequence[Figures]) -> float:
    """The most cores that other programs kept busy, as far as the figures say."""
    return max(figures.get("others", 0.0) for figures in turn)


def show_progress(text: str) -> None:
    """One line that overwrites the last, where someone is watching."""
    if sys.stderr.isatty():
        print(f"\r{text:<79}\r", end="", file=sys.stderr, flush=True)


def ratio(above: Sequence[Figures], below: Sequence[Figures], figure: str) -> str:
    """The median, over the turns, of one contestant's figure over another's, and in brackets the quartiles."""
    ratios = [a[figure] / b[figure] for a, b in zip(above, below, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def spread(runs: Sequence[Figures], figure: str) -> str:
    """A figure's median and, in brackets, its extremes."""
    values = [run[figure] for run in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def machine(threads: str = "one thread") -> str:
    """What the figures were measured on, in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "torch") if installed(name)]
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return ", ".join([
        f"{os.cpu_count()} cores of {models[0] if models else platform.processor() or platform.machine()}",
        *gpus(),
        f"{platform.system()}, Python {platform.python_version()}",
        *versions,
        f"NumPy's BLAS {blas['name']} {blas['version']}",
        threads,
    ])  # fmt: skip


def gpus() -> list[str]:
    """The names of NVIDIA's devices and the version of their driver."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
