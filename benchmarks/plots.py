"""The plots: how the time of a step and its memory grow with H, T and B, beside PyTorch's."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from .report import BASE, SWEEPS, Runs, median
from .workloads import Training

FOLDER = Path(__file__).parent / "plots"
LABELS = {"minigrad": "minigrad", "torch": "PyTorch"}
SIZES = {"H": "H, hidden units", "T": "T, steps", "B": "B, sequences in a batch"}
STYLE = {
    "font.size": 13, "lines.linewidth": 2.5, "lines.markersize": 7,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False,
    "svg.hashsalt": "minigrad", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
}  # fmt: skip


def draw(runs: Runs, folder: Path = FOLDER) -> list[Path]:
    """One file for time against each size, and one for memory against T; where they are."""
    folder.mkdir(exist_ok=True)
    paths = []
    for figure, letter in [("seconds", "H"), ("seconds", "T"), ("seconds", "B"), ("MB", "T")]:
        paths.append(folder / f"{'time' if figure == 'seconds' else 'memory'}-{letter}.svg")
        with mpl.rc_context(STYLE):
            curves(runs, SWEEPS[letter], figure, letter).savefig(paths[-1], metadata={"Date": None})
    return paths


def curves(runs: Runs, works: Sequence[Training], figure: str, letter: str) -> Figure:
    """A figure's median over the size that changes, and a band from the least to the most of any process."""
    drawing = Figure(figsize=(6, 4.2), layout="constrained")
    axes = drawing.subplots()
    scale, unit = (1e3, "milliseconds a step") if figure == "seconds" else (1, "megabytes added")
    for name, label in LABELS.items():
        sides = {getattr(work, letter): runs[work.name][name] for work in works if name in runs.get(work.name, {})}
        if sides:
            (line,) = axes.plot(
                list(sides), [median(side, figure) * scale for side in sides.values()], "o-", label=label
            )
            extremes = [[most(run[figure] * scale for run in side) for side in sides.values()] for most in (min, max)]
            axes.fill_between(list(sides), *extremes, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel=SIZES[letter], ylabel=unit)
    axes.set_xticks([getattr(work, letter) for work in works], [f"{getattr(work, letter):,}" for work in works])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    fixed = ", ".join(f"{name} {getattr(BASE, name)}" for name in "HTB" if name != letter)
    axes.set_title(f"LSTM, one layer, {fixed}, float32", fontsize=13)
    axes.legend()
    return drawing
