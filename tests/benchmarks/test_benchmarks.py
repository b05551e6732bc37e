"""The benchmarks run, and do the work that they claim to time; how long it takes is not tested."""

import json

import numpy as np
import pytest

from benchmarks import eager, memory, turns


def test_the_chain_has_as_many_ops_as_the_time_is_divided_by() -> None:
    forward, gradient = eager.minigrad_chain()
    out = forward()
    nodes, op_nodes = [out.node], 0
    while nodes:
        node = nodes.pop()
        op_nodes += node.op is not None
        nodes += node.parents[:1]
    assert op_nodes == eager.OPS
    out.backward(gradient)


def test_eager_measures_forward_and_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "PASSES", 1)
    assert set(eager.measured("minigrad")) == {"forward", "both"}


def test_without_pytorch_only_our_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (eager, turns):
        monkeypatch.setattr(module, "installed", lambda package: False)
    asked = []

    def take_turns(module: str, contestants: list[str], rounds: int) -> dict[str, list[turns.Figures]]:
        asked.extend(contestants)
        return {name: [{"forward": 1.0, "both": 3.0}, {"forward": 2.0, "both": 4.0}] for name in contestants}

    monkeypatch.setattr(eager, "take_turns", take_turns)
    eager.main()
    assert asked == ["minigrad"]
    printed = capsys.readouterr().out
    assert "forward 1.50 (1.00 to 2.00)" in printed
    assert "PyTorch is not installed" in printed


@pytest.mark.parametrize("name", memory.STEPS)
def test_the_steps_whose_memory_is_measured_train(name: str) -> None:
    step = memory.STEPS[name]()
    window = memory.text[np.arange(memory.T + 1)[:, None] + np.arange(memory.B)].astype(np.int64)
    losses = [step(window[:-1], window[1:]) for _ in range(20)]
    assert losses[-1] < losses[0] < np.log(memory.V) + 1


@pytest.mark.parametrize(("late", "fails"), [(101.0, False), (103.0, True), (97.0, True)])
def test_memory_that_moves_by_more_than_two_percent_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], late: float, fails: bool
) -> None:
    figures = {"MB after 50": 100.0, "MB after 1000": late, "loss after 50": 2.0, "loss after 1000": 1.0}
    monkeypatch.setattr(memory, "take_turns", lambda module, names, rounds: {name: [figures] for name in names})
    if fails:
        with pytest.raises(SystemExit, match="memory must stay within 2%; it did not: op by op, nn"):
            memory.main()
    else:
        memory.main()
    assert f"{late - 100:+.1f}%" in capsys.readouterr().out


@pytest.mark.parametrize("one_thread", [True, False])
def test_turns_alternate_on_one_thread_or_on_the_libraries_own_choice(
    monkeypatch: pytest.MonkeyPatch, one_thread: bool
) -> None:
    calls = []

    class Finished:
        stdout = json.dumps({"seconds": 1.0})

    def run(command: list[str], env: dict[str, str], **rest: object) -> Finished:
        calls.append((command[-2:], env.get("OMP_NUM_THREADS")))
        return Finished()

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(turns.subprocess, "run", run)
    measured = turns.take_turns("benchmarks.eager", ["a", "b"], 2, "work", one_thread=one_thread)
    threads = "1" if one_thread else None
    assert calls == [(["a", "work"], threads), (["b", "work"], threads)] * 2
    assert measured == {"a": [{"seconds": 1.0}] * 2, "b": [{"seconds": 1.0}] * 2}


@pytest.mark.parametrize(
    ("others", "expected"),
    [([0.1, 0.0, 0.1], [0, 1]), ([0.1, 0.9, 0.1], [0, 2]), ([0.9, 0.7, 0.8, 0.1, 0.0], [1, 3])],
)
def test_disturbed_turns_are_taken_again_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, others: list[float], expected: list[int]
) -> None:
    printed = (json.dumps({"turn": i, "others": busy}) for i, busy in enumerate(others))
    finished = type("Finished", (), {"stdout": property(lambda self: next(printed))})
    monkeypatch.setattr(turns.subprocess, "run", lambda *command, **rest: finished())
    measured = turns.take_turns("benchmarks.measure", ["a"], rounds=2)
    assert sorted(figures["turn"] for figures in measured["a"]) == expected
