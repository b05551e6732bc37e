"""detect_anomaly(): the first NaN or Inf is pinned to its op, its time step and its line, and marked in drawings."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.methods import functions
from minigrad.pending import Part
from minigrad.registry import OPS
from minigrad.testing.gradients import flat
from minigrad.testing.strategies import op_calls

NAMES = sorted(name for name, op in OPS.items() if op.forward.__module__.startswith("minigrad."))
few = settings(max_examples=settings.default.max_examples // 10)


def variable(data: Any) -> mg.Tensor:
    return mg.tensor(np.asarray(data, float), requires_grad=True)


def first(f: Callable[[], Any]) -> mg.AnomalyError:
    """What comes up first in f."""
    with pytest.raises(mg.AnomalyError) as error, mg.detect_anomaly():
        f()
    return error.value


def marked(error: mg.AnomalyError) -> list[str]:
    """The ops that the error's drawing marks."""
    drawing = mg.draw(error.outputs)
    assert "first nan or inf" in drawing.dot
    return [box.title for box in drawing.picture.boxes if box.anomaly]


steps = st.integers(1, 5).flatmap(lambda T: st.tuples(st.just(T), st.integers(0, T - 1)))


@given(steps, st.sampled_from(["log", "sqrt"]))
def test_the_forward_pass_is_pinned_to_op_step_and_line(at: tuple[int, int], name: str) -> None:
    T, t = at
    x = np.ones(T)
    x[t] = -1.0 if name == "sqrt" else 0.0

    def forward() -> None:
        h = variable(1.0)
        for step in range(T):
            with mg.scope(f"t={step}"):
                h = h + functions[name](h * x[step])  # here it happens
                h = mg.tanh(h) + 1

    error = first(forward)
    lines = str(error).splitlines()
    assert lines[0] == f"{name}: the result is {'nan' if name == 'sqrt' else '-inf'}"
    assert lines[1] == f"  scope: t={t}"
    assert lines[2].startswith("  line: ")
    assert "test_anomalies.py:" in lines[2]
    assert lines[2].endswith(", in forward: h = h + functions[name](h * x[step])  # here it happens")
    assert lines[3].startswith("  given: x in [")
    assert marked(error) == [name]


@given(steps)
def test_the_backward_pass_is_pinned_to_op_step_and_line(at: tuple[int, int]) -> None:
    T, t = at
    x = variable(np.where(np.arange(T) == t, 0.0, 1.0))
    losses = []

    def forward() -> mg.Tensor:
        h = variable(0.0)
        for step in range(T):
            with mg.scope(f"t={step}"):
                h = h + mg.sqrt(x[step])
        return h

    def both() -> None:
        losses.append(forward())
        losses[0].backward()

    error = first(both)
    lines = str(error).splitlines()
    assert lines[0] == "backward through sqrt: the gradient of x is inf"
    assert lines[1] == f"  scope: t={t}"
    assert lines[2].endswith("in forward: h = h + mg.sqrt(x[step])")
    assert lines[3] == "  given: out in [0, 0], gradient in [1, 1]"
    assert marked(error) == ["sqrt"]
    assert [box.title for box in mg.draw(losses[0]).picture.boxes if box.anomaly] == ["sqrt"]
    assert x.grad is None


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
@given(steps)
def test_a_layer_over_a_sequence_is_pinned_to_the_step_forward(layer: Any, at: tuple[int, int]) -> None:
    T, t = at
    net = layer(1, 1, **({"nonlinearity": "relu"} if layer is nn.RNN else {})).to("float64")
    net.weight_ih_l0.data = np.full_like(net.weight_ih_l0.data, 1e200)
    net.weight_hh_l0.data = np.full_like(net.weight_hh_l0.data, -1.0)
    net.bias_hh_l0.data = np.full_like(net.bias_hh_l0.data, np.finfo(float).max)
    x = np.zeros((T, 1, 1))
    x[t] = 1e200  # 1e200 * 1e200 is inf

    def forward() -> None:
        net(x)

    if layer is nn.RNN:
        error = first(forward)
        assert f"  scope: RNN / t={t}\n" in str(error)
        assert "in forward: net(x" in str(error)
        assert marked(error) == ["matmul"]
    else:  # gates are bounded, however large what enters them: nothing comes up
        with mg.detect_anomaly():
            forward()


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
@given(st.integers(2, 5).flatmap(lambda T: st.tuples(st.just(T), st.integers(1, T - 1))))
def test_a_layer_over_a_sequence_is_pinned_to_the_step_backward(layer: Any, at: tuple[int, int]) -> None:
    """A gradient of 1e300 that comes in at step t is multiplied by weights of 1e200 there."""
    T, t = at
    net = layer(1, 1).to("float64")
    for p in net.parameters():
        p.data = np.zeros_like(p.data)
    net.weight_hh_l0.data = np.full_like(net.weight_hh_l0.data, 1e200)
    seed = np.zeros((T, 1, 1))
    seed[t] = 1e300

    def both() -> None:
        outputs, _ = net(np.zeros((T, 1, 1)))
        outputs.backward(seed)

    error = first(both)
    assert str(error).startswith("backward ")
    assert f"{layer.__name__} / t={t}\n" in str(error)
    assert "in both: outputs, _ = net(np.zeros((T, 1, 1)))" in str(error)
    assert len(marked(error)) == 1


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_an_operand_that_is_not_finite_is_named(name: str, data: st.DataObject) -> None:
    """Whatever the op makes of it: it raises, and names the operand, or its results are finite."""
    op = OPS[name]
    call = data.draw(op_calls(op))
    operands = [x.copy() for x in call.operands()]
    broken = data.draw(st.integers(0, len(operands) - 1)) if operands else 0
    if not operands or not operands[broken].size:
        return
    operands[broken].ravel()[-1] = np.nan
    message, results = "", ()
    try:
        with mg.detect_anomaly():
            results = call.of(functions[name], *map(mg.as_tensor, operands))
    except mg.AnomalyError as error:
        message = str(error)
    assert message.startswith(f"{name}: its operand ") or all(np.isfinite(y.numpy()).all() for y in flat(results))


def test_a_sum_of_finite_gradients_that_overflows_is_found() -> None:
    x = variable(0.0)
    x.name = "x"
    error = first(lambda: (x * 1e308 + x * 1.5e308).backward())
    assert str(error) == "backward into x: the sum of its gradients is inf"
    y = variable(0.0)
    error = first(lambda: ((z := y * 1.0) * 1e308 + z * 1.5e308).backward())
    assert str(error).startswith("backward into multiply: the sum of its gradients is inf\n  line: ")


def test_second_derivatives_are_watched() -> None:
    x = variable([0.0, 1.0])

    def second() -> None:
        (dx,) = mg.grad((x**1.5).sum(), x, create_graph=True)
        mg.grad(dx.sum(), x)

    assert "inf" in str(first(second))


def test_what_is_finite_passes_and_gives_the_same_bits() -> None:
    def trained() -> bytes:
        mg.seed(0)
        net, x = nn.LSTM(2, 3), mg.tensor(np.linspace(-1, 1, 24).reshape(6, 2, 2).astype("float32"))
        optimizer = nn.optim.Adam(net.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            net(x)[0].sum().backward()
            optimizer.step()
        return b"".join(p.data.tobytes() for p in net.parameters())

    plain = trained()
    with mg.detect_anomaly(), mg.guard():
        assert trained() == plain


def test_the_mode_is_the_threads_own_and_ends_with_its_block() -> None:
    zero, seen = mg.tensor([0.0]), []

    def other() -> None:
        with np.errstate(divide="ignore"):
            seen.append(mg.log(zero).item())

    with mg.detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    assert seen == [-np.inf, -np.inf]


def test_a_drawing_inside_raises_nothing_and_shows_values() -> None:
    x = variable([1.0, 0.0])
    with np.errstate(divide="ignore"):
        y = mg.log(x).sum()
    with mg.detect_anomaly():
        assert "-inf" in mg.draw(y, values=True, gradients=True).dot


def test_nothing_recorded_is_still_found_but_has_no_drawing() -> None:
    error = first(lambda: mg.log(mg.tensor([1.0, 0.0])))
    assert str(error).startswith("log: the result is -inf at [1]\n  line: ")
    with pytest.raises(mg.GraphError, match="expected a tensor with a graph"):
        mg.draw(error.outputs)


# ---- what is easily got wrong


@pytest.mark.parametrize("layer", [None, nn.LSTM])
def test_with_create_graph_the_op_that_was_recorded_is_named(layer: Any) -> None:
    def backward() -> None:
        with mg.scope("outside"):
            if layer is None:
                x = variable([0.0, 1.0])
                y = mg.sqrt(x).sum()
            else:
                net = layer(1, 1).to("float64")
                net.weight_hh_l0.data = np.full((4, 1), 1e200)
                y = net(x := variable(np.zeros((3, 1, 1))))[0][2, 0, 0] * 1e300
        mg.grad(y, x, create_graph=True)

    error = first(backward)
    assert str(error).startswith("backward through ")
    assert f"  scope: outside{' / LSTM / t=2' if layer else ''}\n" in str(error)
    assert f"in backward: y = {'net(x' if layer else 'mg.sqrt(x)'}" in str(error)


def test_one_of_several_results_is_told_and_the_op_marked() -> None:
    T, B, D, H = 2, 1, 1, 1
    arrays = [np.zeros(shape) for shape in [(T, B, D), (B, H), (B, H), (4 * H, D), (4 * H, H)]]
    _, h, _ = mg.lstm(*[variable(a) for a in arrays])
    error = first(lambda: (h + h).backward(np.full((B, H), 1.5e308)))
    assert str(error).startswith("backward into lstm, result 1: the sum of its gradients is inf at [0, 0]")
    assert marked(error) == ["lstm"]


def test_a_gradient_that_overflows_in_its_operands_dtype_is_the_ops() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True, dtype="float16")
    error = first(lambda: (x.astype("float32") * 1e6).sum().backward())
    assert str(error).startswith("backward through astype: the gradient of x is inf at [0]")


def test_leaves_are_not_marked_and_no_gradient_changes() -> None:
    x, y = variable(0.0), variable(1.0)
    error = first(lambda: (y + (x * 1e308 + x * 1.5e308)).backward())
    assert "backward into a leaf" in str(error)
    assert x.grad is None
    assert y.grad is None
    assert not any(box.anomaly for box in mg.draw(x * 2).picture.boxes)
    (x * 1.5e308 + y).backward()
    first(lambda: (x * 1.5e308 + y).backward())  # the sum with the gradient that is there
    assert y.grad is not None
    assert y.grad.item() == 1.0


def test_numpy_still_warns_of_what_is_not_minigrads() -> None:
    with mg.detect_anomaly(), pytest.warns(RuntimeWarning, match="divide by zero"):
        np.log(np.zeros(1))
    with mg.detect_anomaly(), pytest.warns(RuntimeWarning, match="divide by zero"):
        mg.log(np.zeros(1))  # of arrays alone, an op is NumPy's function


def test_modes_that_end_out_of_order_end_each_by_itself() -> None:
    def block(mode: Any) -> Iterator[None]:
        with mode:
            yield

    x = variable([1.0])
    for outer, inner in (mg.no_grad, mg.guard), (mg.guard, mg.no_grad), (mg.detect_anomaly, mg.guard):
        held = block(inner())
        next(held)
        with outer():
            held.close()
            inside = (x * 2).node
        after = (x * 2).node
        assert (inside is None) == (outer is mg.no_grad)
        assert inside is None or inside.witness is not None
        assert after is not None
        assert after.witness is None


def test_slices_of_a_sequence_are_still_added_up_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, calls = Part.dense, []
    monkeypatch.setattr(Part, "dense", lambda self: calls.append(1) or dense(self))
    x = variable(np.ones((50, 2)))
    with mg.detect_anomaly(), mg.guard():
        mg.stack([x[t] * 2.0 for t in range(50)]).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("backward", [False, True])
def test_an_error_dies_with_its_last_handle_and_travels_to_other_processes(backward: bool) -> None:
    found: list[Any] = []
    gc.disable()
    try:
        x = variable([0.0, 1.0])
        try:  # pytest.raises would hold the frames
            with mg.detect_anomaly():
                mg.sqrt(x).sum().backward() if backward else mg.log(x)
        except mg.AnomalyError as error:
            found += [weakref.ref(error), str(error), pickle.loads(pickle.dumps(error))]
        assert found[0]() is None
    finally:
        gc.enable()
    assert str(found[2]) == found[1]
    assert found[2].outputs == []


def test_the_line_is_the_users_however_the_package_was_found(tmp_path: Path) -> None:
    root = Path(mg.__file__).parents[1]
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(root / 'tests' / '..')!r})\nimport minigrad as mg\n"
        "with mg.detect_anomaly():\n    mg.log(mg.tensor([0.0]))  # here\n"
    )
    run = subprocess.run([sys.executable, "-I", program], capture_output=True, text=True)
    assert f"line: {program}:5, in <module>: mg.log(mg.tensor([0.0]))  # here" in run.stderr
