"""The table says what the figures say; the plots and the README take them up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks import plots, report
from benchmarks.report import ROWS, SWEEPS, Beside, Growth, Share, table
from benchmarks.turns import Figures, ratio
from benchmarks.workloads import Chain, Product, Sampling, Training

WORK = Training("LSTM", 1, 2, 3, 4)


def runs(**figures: float) -> list[Figures]:
    """Three processes that agree."""
    return [{**figures}] * 3


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_a_ratio_is_the_median_over_the_turns_not_of_the_medians() -> None:
    ours = [{"seconds": value} for value in (1.0, 2.0, 4.0)]
    theirs = [{"seconds": value} for value in (3.0, 4.0, 4.0)]
    assert ratio(theirs, ours, "seconds") == "2.00 (1.50 to 2.50)"


@pytest.mark.parametrize(
    ("row", "sides", "expected"),
    [
        (
            Beside("a", WORK, "1.4 (1.0)"),
            {"minigrad": runs(seconds=0.002), "torch": runs(seconds=0.003)},
            ["a", "2 ms", "3 ms", "1.50 (1.50 to 1.50)", "1.4 (1.0)"],
        ),
        (
            Beside("b", WORK, "3 (2)"),
            {"minigrad": runs(seconds=1.5), "lecture": runs(seconds=0.75)},
            ["b", "1,500 ms", "750 ms (lecture)", "0.50 (0.50 to 0.50)", "3 (2)"],
        ),
        (
            Beside("c", WORK, "1.0", report.megabytes, figure="MB"),
            {"minigrad": runs(MB=20.0, seconds=1.0), "torch": runs(MB=25.0, seconds=1.0)},
            ["c", "20 MB", "25 MB", "1.25 (1.25 to 1.25)", "1.0"],
        ),
        (Beside("d", WORK, "250 ms"), {"minigrad": runs(seconds=0.1)}, ["d", "100 ms", "", "", "250 ms"]),
        (
            Beside("e", Chain(), "1.5", report.microseconds),
            {"minigrad": runs(seconds=1e-6)},
            ["e", "1 µs", "", "", "1.5"],
        ),
        (
            Beside("f", Sampling(1, 2, 3), "2", report.a_second),
            {"minigrad": runs(seconds=1e-4)},
            ["f", "10,000 a second", "", "", "2"],
        ),
    ],
)  # fmt: skip
def test_a_row(row: Beside, sides: dict[str, list[Figures]], expected: list[str]) -> None:
    head, _, line = cells(table([row], {row.work.name: sides}))
    assert head == list(report.HEAD)
    assert line == expected


def test_a_share_of_the_peak_is_of_the_best_product() -> None:
    peak = Product(100)
    speed = 4 * WORK.flop()  # a second
    figures = {
        WORK.name: {"minigrad": runs(seconds=0.5), "torch": runs(seconds=1.0)},
        peak.name: {"minigrad": [{"least": peak.flop() / speed}, {"least": 2 * peak.flop() / speed}]},
    }
    assert Share("share", WORK, peak, "80%").cells(figures)[:2] == ("50%", "25%")


def test_growth_is_from_one_size_to_the_next() -> None:
    works = [Training("LSTM", 1, 2, T, 4) for T in (1, 10, 100)]
    figures = {work.name: {"minigrad": runs(seconds=0.001 * work.T**2)} for work in works}
    ours, theirs, factors = Growth("growth", works, "x 10").cells(figures)
    assert ours == "1 ms, 100 ms, 10,000 ms"
    assert not theirs
    assert factors == "x 100.0, x 100.0"


def test_what_was_not_measured_says_so() -> None:
    lines = cells(table(ROWS, {}))[2:]
    assert len(lines) == len(ROWS)
    assert all(line[1:4] == ["unmeasured", "unmeasured", ""] for line in lines)


def all_figures() -> report.Runs:
    figures = dict(seconds=1.0, least=1.0, MB=1.0, others=0.5)
    return {name: {who: runs(**figures) for who in work.contestants} for name, work in report.WORKLOADS.items()}


def test_every_row_can_be_rendered() -> None:
    assert "unmeasured" not in table(ROWS, all_figures())


def test_a_plot_for_each_size_and_one_for_memory(tmp_path: Path) -> None:
    paths = plots.draw(all_figures(), tmp_path / "plots")
    assert [path.name for path in paths] == ["time-H.svg", "time-T.svg", "time-B.svg", "memory-T.svg"]
    assert all(path.read_text().count("<svg") == 1 for path in paths)
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in plots.draw(all_figures(), tmp_path / "plots")] == before


BEGIN, END = "<!-- the table of `make bench`: begin -->", "<!-- the table of `make bench`: end -->"


@pytest.fixture
def program_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int]]]:
    """The program, with a folder of its own and figures that cost nothing; gives what it asked for."""
    (tmp_path / "README.md").write_text(f"Before\n{BEGIN}\nold\n{END}\nAfter\n", encoding="utf-8")
    asked: list[tuple[str, int]] = []

    def take_turns(module: str, contestants: list[str], rounds: int, name: str, *, one_thread: bool) -> Any:
        assert module == "benchmarks.measure"
        asked.append((name, rounds))
        return {who: all_figures()[name][who] for who in contestants}

    monkeypatch.setattr(program, "HERE", tmp_path)
    monkeypatch.setattr(program, "take_turns", take_turns)
    monkeypatch.setattr(program, "installed", lambda package: True)
    monkeypatch.setattr(program, "has", lambda device: device == "cpu")
    monkeypatch.setattr(plots, "draw", lambda runs: None)

    def run(*arguments: str) -> list[tuple[str, int]]:
        monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
        program.main()
        return asked

    return run


def test_the_quick_run_keeps_nothing(program_in: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name, _ in program_in("--quick")]
    assert len(names) == len(set(names))
    assert not any("2x512" in name or "T 10000" in name for name in names)
    assert "min-char-rnn" in capsys.readouterr().out
    assert "old" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_the_whole_run_writes_table_and_figures(program_in: Any, tmp_path: Path) -> None:
    asked = program_in()
    works = [work for row in ROWS for work in row.works] + [work for works in SWEEPS.values() for work in works]
    assert sorted(name for name, _ in asked) == sorted({work.name for work in works if work.device == "cpu"})
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("Before\n")
    assert readme.endswith("After\n")
    assert "other programs kept 0.5 cores busy" in readme
    assert "old" not in readme
    assert [line.count("unmeasured") for line in readme.splitlines() if "GPU" in line] == [2, 2]
    kept = json.loads((tmp_path / "results" / "cpu.json").read_text())
    assert set(kept["runs"]) == {name for name, _ in asked}


def test_figures_of_a_gpu_outlive_a_run_without_one(program_in: Any, tmp_path: Path) -> None:
    gpu = [work.name for row in ROWS for work in row.works if work.device == "cuda"]
    kept = {"conditions": "a machine with a GPU", "runs": {name: all_figures()[name] for name in gpu}}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "cuda.json").write_text(json.dumps(kept))
    program_in()
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "unmeasured" not in readme
    assert "a machine with a GPU" in readme


def test_without_pytorch_only_ours_is_measured(program_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "installed", lambda package: False)
    figures = program.measure(ROWS[1].works, rounds=3)
    assert [list(sides) for sides in figures.values()] == [["minigrad"]]
