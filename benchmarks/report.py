"""The table: a row for each claim, which workloads it rests on, and how their figures read."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from .images import Captioning, Layer
from .turns import Figures, ratio
from .workloads import Chain, Import, Product, Sampling, Training, Workload

Runs = dict[str, dict[str, list[Figures]]]  # by workload and contestant
Shown = Callable[[float], str]

HEAD = ("work", "minigrad", "PyTorch", "ratio (quartiles)", "goal (least)")


def keep(command: str, content: str, folder: Path = Path(__file__).parent) -> None:
    """Put what a command found between its two marks in README.md."""
    begin, end = f"<!-- the table of `{command}`: begin -->", f"<!-- the table of `{command}`: end -->"
    readme = folder / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(begin)
    readme.write_text(f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def milliseconds(seconds: float) -> str:
    """As in "1.23 ms"."""
    return f"{rounded(seconds * 1e3)} ms"


def microseconds(seconds: float) -> str:
    """As in "7.89 µs"."""
    return f"{rounded(seconds * 1e6)} µs"


def a_second(seconds: float) -> str:
    """As in "12,345 a second"."""
    return f"{1 / seconds:,.0f} a second"


def megabytes(count: float) -> str:
    """As in "12.3 MB"."""
    return f"{rounded(count)} MB"


def rounded(number: float) -> str:
    """Three digits, and all those before the point."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


class Claim(Protocol):
    """A row of the table."""

    title: str
    goal: str
    slow: bool  # left out of the quick table

    @property
    def works(self) -> Sequence[Workload]:
        """What has to be measured for it."""

    def cells(self, runs: Runs) -> tuple[str, str, str]:
        """Ours, the peer's and the ratio, where all of `works` were measured for us."""


@dataclass(frozen=True)
class Beside:
    """A workload beside a peer's: the ratio is the peer's figure over ours, 1.00 where both are the same."""

    title: str
    work: Workload
    goal: str
    shown: Shown = milliseconds
    figure: str = "seconds"
    slow: bool = False

    @property
    def works(self) -> Sequence[Workload]:
        """The one."""
        return [self.work]

    def cells(self, runs: Runs) -> tuple[str, str, str]:
        """Medians over the processes; no peer, no ratio."""
        sides = runs[self.work.name]
        shown = {name: self.shown(median(side, self.figure)) for name, side in sides.items()}
        ours = shown.pop("minigrad")
        for peer, theirs in shown.items():
            between = ratio(sides[peer], sides["minigrad"], self.figure)
            return ours, theirs if peer == "torch" else f"{theirs} ({peer})", between
        return ours, "", ""


@dataclass(frozen=True)
class Share:
    """The part of the machine's peak that the matrix products of a training step reach."""

    title: str
    work: Training
    peak: Product
    goal: str
    slow: bool = True

    @property
    def works(self) -> Sequence[Workload]:
        """The step, and what the peak is measured by."""
        return [self.work, self.peak]

    def cells(self, runs: Runs) -> tuple[str, str, str]:
        """By the best that any process reached: nothing slows a peak but the neighbours."""
        peak = max(self.peak.flop() / run["least"] for run in runs[self.peak.name]["minigrad"])
        sides = runs[self.work.name]
        ours, theirs = (
            f"{self.work.flop() / median(sides[name], 'seconds') / peak:.0%}" if name in sides else ""
            for name in ("minigrad", "torch")
        )
        return ours, theirs, f"of {peak / 1e9:,.0f} GFLOP/s"


@dataclass(frozen=True)
class Growth:
    """How a figure grows from one size to the next."""

    title: str
    works: Sequence[Training]
    goal: str
    shown: Shown = milliseconds
    figure: str = "seconds"
    slow: bool = True

    def cells(self, runs: Runs) -> tuple[str, str, str]:
        """The figures, and each of ours over the one before."""
        ours, theirs = (
            [median(runs[work.name][name], self.figure) for work in self.works if name in runs[work.name]]
            for name in ("minigrad", "torch")
        )
        factors = ", ".join(f"x {after / before:.1f}" for before, after in pairwise(ours))
        return ", ".join(map(self.shown, ours)), ", ".join(map(self.shown, theirs)), factors


def median(runs: Sequence[Figures], figure: str) -> float:
    """Over the processes."""
    return statistics.median(run[figure] for run in runs)


RNN = Training("RNN", L=1, H=100, T=25, B=1, lecture=True)
LSTM_128 = Training("LSTM", L=2, H=128, T=50, B=50)
LSTM_256 = Training("LSTM", L=2, H=256, T=50, B=64)
LSTM_512 = Training("LSTM", L=2, H=512, T=100, B=64)
LONGER = [Training("LSTM", L=1, H=64, T=T, B=4) for T in (100, 1_000, 10_000)]
LAYERS = [
    Layer("conv2d", C=3, F=32, S=64, stride=2),
    Layer("conv2d", C=32, F=64, S=32),
    Layer("conv2d", C=32, F=64, S=32, stride=2),
    Layer("conv_transpose2d", C=64, F=32, S=16, stride=2),
    Layer("max_pool2d", C=32, S=32, stride=2),
    Layer("batch_norm", C=32, S=32),
]

ROWS: list[Claim] = [
    Beside("min-char-rnn, RNN 1x100, T 25, B 1, float64", replace(RNN, dtype="float64"), "3 (2)"),
    Beside("the same, float32", RNN, "2 (1.3)"),
    Beside("LSTM 1x100, T 25, B 1", replace(RNN, cell="LSTM"), "1.5 (1.2)"),
    Beside("LSTM 2x128, T 50, B 50", LSTM_128, "1.4 (1.0)"),
    Beside("LSTM 2x256, T 50, B 64", LSTM_256, "1.3 (1.0)"),
    Beside("GRU 2x256, T 50, B 64", replace(LSTM_256, cell="GRU"), "1.3 (1.0)"),
    Beside("LSTM 2x512, T 100, B 64", LSTM_512, "1.3 (1.0)", slow=True),
    Share("its matrix products, of the sgemm peak", LSTM_512, Product(2048), "80% (65%)"),
    Beside("4x4 chain, an op", Chain(), "1.5 (1.2)", microseconds),
    Beside("RNN 1x100, T 25, B 1, op by op", replace(RNN, cell="unrolled"), "1.5 (1.2)"),
    Beside("sampling, LSTM 2x256, one stream, characters", Sampling(L=2, H=256, units=200), "2 (1.3)", a_second),
    Beside("memory of LSTM 2x128, T 50, B 50", LSTM_128, "1.0", megabytes, figure="MB"),
    Growth("LSTM 1x64, B 4: time of T 100, 1,000, 10,000", LONGER, "x 10, x 10"),
    Growth("the same: memory", LONGER, "x 10, x 10", megabytes, figure="MB"),
    Beside("captioner, soft attention, 64x64, T 16, B 64", Captioning(), "1.0 (0.7)"),
    *(Beside(f"{layer.name}, N {layer.N}", layer, "1.0 (0.5)") for layer in LAYERS),
    Beside("`import minigrad, nn`", Import(), "250 ms"),
    Beside("GPU, LSTM 2x512, T 100, B 64", replace(LSTM_512, device="cuda"), "1.0 (0.5)", slow=True),
    Beside("GPU, LSTM 2x512, T 100, B 256", replace(LSTM_512, B=256, device="cuda"), "1.0 (0.5)", slow=True),
]

BASE = Training("LSTM", L=1, H=128, T=50, B=32)
SWEEPS = {  # for the plots: one size changes
    "H": [replace(BASE, H=H) for H in (16, 32, 64, 128, 256, 512)],
    "T": [replace(BASE, T=T) for T in (1, 5, 20, 50, 200, 1_000)],
    "B": [replace(BASE, B=B) for B in (1, 4, 16, 32, 128, 512)],
}

WORKLOADS = {work.name: work for works in ([w for row in ROWS for w in row.works], *SWEEPS.values()) for work in works}


def table(rows: Sequence[Claim], runs: Runs) -> str:
    """In Markdown; a row whose workloads have no figures of ours says so."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for row in rows:
        measured = all("minigrad" in runs.get(work.name, {}) for work in row.works)
        cells = row.cells(runs) if measured else ("unmeasured", "unmeasured", "")
        lines.append((row.title, *cells, row.goal))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
