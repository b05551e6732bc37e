"""gradient_test: what is right passes, what is wrong fails, whatever it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

import minigrad as mg
import nn
from minigrad.methods import functions
from minigrad.registry import OPS
from minigrad.testing import GradientError, gradient_test
from minigrad.testing.strategies import arrays, ragged_batches


@pytest.fixture
def wrong_op() -> Any:
    @mg.op(x=lambda g, x: g * 2.001 * x, reference=np.square)
    def almost_square(xp: Any, x: Any) -> Any:
        """x * x, with a gradient that is nearly right."""
        return x * x

    yield almost_square
    del OPS["almost_square"], functions["almost_square"]


def test_an_op_is_called_as_its_cases_draw(wrong_op: Any) -> None:
    gradient_test(mg.matmul)()
    with pytest.raises(GradientError, match="order 1"):
        gradient_test(wrong_op, order=1)()


@gradient_test((3, 2), arrays((2,), domain=(0.5, 2.0)), st.sampled_from([1, 2]), None)
def test_a_decorated_function_is_a_test(x: Any, y: Any, n: int, nothing: None) -> Any:
    """Collected by pytest."""
    assert nothing is None
    return mg.log(y) * x**n, (mg.sum(x),)


def test_it_keeps_its_name() -> None:
    assert test_a_decorated_function_is_a_test.__name__ == "test_a_decorated_function_is_a_test"
    assert test_a_decorated_function_is_a_test.__doc__ == "Collected by pytest."


def test_a_function_that_cuts_its_graph_fails() -> None:
    @gradient_test((2,))
    def cuts(x: mg.Tensor) -> mg.Tensor:
        return mg.as_tensor(x.data) * x

    with pytest.raises(GradientError, match=r"d output\[0\]"):
        cuts()


def test_second_order_is_proved_unless_told_otherwise(wrong_op: Any) -> None:
    @mg.op(x=lambda g, x: g * 3 * wrong_op(x), reference=np.power)
    def almost_cube(xp: Any, x: Any) -> Any:
        """x ** 3, whose second derivative is wrong."""
        return x * x * x

    try:
        gradient_test(almost_cube, (2,), order=1)()
        with pytest.raises(GradientError, match="order 2"):
            gradient_test(almost_cube, (2,))()
    finally:
        del OPS["almost_cube"], functions["almost_cube"]


class Scale(nn.Module):
    """A module with one parameter, whose gradient it cuts or not."""

    def __init__(self, cut: bool) -> None:
        self.factor, self.cut = nn.Parameter([1.0, 2.0]), cut

    def forward(self, x: Any) -> Any:
        return x * (self.factor.detach() if self.cut else self.factor)


def test_parameters_of_modules_are_proved_too_and_left_alone() -> None:
    gradient_test(Scale(cut=False), (3, 2))()
    with pytest.raises(GradientError, match=r"d factor\[1\]"):
        gradient_test(Scale(cut=True), (3, 2))()
    layer = nn.LSTM(1, 1, bidirectional=True)
    before = {name: (p.data, p.node, p.data.copy()) for name, p in layer.named_parameters()}
    gradient_test(layer, (2, 1, 1), order=1, examples=2)()
    for name, p in layer.named_parameters():
        data, node, copy = before[name]
        assert p.data is data
        assert p.node is node
        np.testing.assert_array_equal(data, copy)


def test_nothing_to_call_with_is_refused() -> None:
    expected = r"gradient_test: expected what to call Linear with, got nothing; shapes, say: gradient_test\(Linear"
    for linear in nn.Linear, nn.Linear(2, 1):
        with pytest.raises(TypeError, match=expected):
            gradient_test(linear)
    with pytest.raises(TypeError, match="expected what to call LSTM with, got nothing"):
        gradient_test(nn.LSTM(1, 2))  # only of a class is it known what it may be called with


def test_what_a_class_cannot_be_made_of_is_refused() -> None:
    for init in None, {"input_size": 2}, {"sizes": 2}, (2, 2):
        with pytest.raises(TypeError, match=r"expected init to make a GRUCell\(.*by name: init=dict\(\.\.\.\)"):
            gradient_test(nn.GRUCell, (2, 2), init=init)  # type: ignore[arg-type]


def test_a_list_for_a_shape_is_told_from_a_tuple() -> None:
    with pytest.raises(TypeError, match="a tuple of integers is the shape of one"):
        gradient_test(mg.tanh, [3, 2])()


# ---- classes


class Leaky(nn.RNN):
    """A layer that cuts the graph of its last state."""

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        outputs, last = super().forward(x, state, lengths)
        return outputs, last * last.detach()


class OwnLayer(nn.Module):
    """A layer of a user's own: no options, no lengths."""

    def __init__(self, input_size: int, hidden_size: int, gain: float = 1.0, cut: bool = False) -> None:
        self.W = nn.Parameter(np.zeros((hidden_size, input_size)))
        self.U = nn.Parameter(np.zeros((hidden_size, hidden_size)))
        self.gain, self.cut = gain, cut

    def forward(self, x: Any, state: Any = None) -> Any:
        U = self.U.detach() if self.cut else self.U
        h, outputs = mg.as_tensor(np.zeros((x.shape[1], len(U)))) if state is None else state, []
        for x_t in mg.as_tensor(x) @ self.W.T:
            h = mg.tanh(self.gain * x_t + mg.as_tensor(h, device=x_t.device) @ U)
            outputs.append(h)
        return mg.stack(outputs), h


def test_a_recurrent_class_needs_no_arguments() -> None:
    gradient_test(OwnLayer, examples=5)()
    with pytest.raises(GradientError) as failure:
        gradient_test(OwnLayer, init=dict(cut=True), examples=5)()
    assert "/ d U[0, 0]: expected" in str(failure.value)
    made, called = case_of(failure)
    assert made == "module = OwnLayer(input_size=1, hidden_size=1, cut=True)"
    assert called in ("module(x)", "module(x, state)")  # two steps, or one with a state before
    with pytest.raises(
        GradientError, match=r"d outputs\[1\]\[0, 0, 0\] \(h of layer 0, sequence 0, unit 0\)"
    ) as failure:
        gradient_test(Leaky)()
    assert case_of(failure) == ["module = Leaky(input_size=1, hidden_size=1)", "module(x)"]


def test_any_class_is_made_anew_of_what_is_given_or_drawn() -> None:
    made = set()

    class Power(nn.Module):
        def __init__(self, n: int, scale: float = 1.0) -> None:
            made.add((n, scale))
            self.n, self.scale = n, nn.Parameter([scale])

        def forward(self, x: Any) -> Any:
            return self.scale * x**self.n

    gradient_test(Power, (2,), init=dict(n=st.integers(1, 3), scale=2.0))()
    assert made == {(1, 2.0), (2, 2.0), (3, 2.0)}
    gradient_test(nn.LSTMCell, (2, 1), init=dict(input_size=1, hidden_size=1), examples=2)()


# ---- kinks


def test_points_on_kinks_are_left_out() -> None:
    gradient_test(mg.absolute, st.sampled_from([0.0, 0.5, -0.5]).map(np.array))()


@pytest.mark.parametrize("rare", [False, True])
def test_where_hardly_any_point_is_off_a_kink_nothing_is_proved(rare: bool) -> None:
    points = st.integers(0, 40).map(lambda i: np.array(1.0 * (rare and i == 17)))
    expected = r"points lie on a kink or a jump, and prove nothing; draw others, .*\n.*absolute\(x\)"
    with pytest.raises(GradientError, match=f"(?s)^[0-9]+ of [0-9]+ {expected}"):
        gradient_test(mg.absolute, points)()


def test_arguments_that_cannot_be_drawn_are_hypothesis_s_affair() -> None:
    with pytest.raises(Unsatisfiable):
        gradient_test(mg.tanh, arrays((2,)).filter(lambda x: False))()


# ---- devices


def test_every_device_is_held_to_the_host() -> None:
    def wrong(x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return x * y if x.device == "cpu" else x.detach() * y

    with pytest.raises(GradientError) as failure:
        gradient_test(wrong, (1,), (1,))()
    message = "device 'strict': order 1: gradient of x[0] is 0, and -2 on device 'cpu'"
    assert re.sub("[0-9.]{5,}", "", str(failure.value)).startswith(message[: message.index("-2")])
    assert "on device 'strict'" in failure.value.__notes__[-2]


# ---- what a failing test says


def case_of(failure: pytest.ExceptionInfo[BaseException]) -> list[str]:
    """The smallest case, as the notes of an error show it."""
    assert failure.value.__notes__[-2].startswith("The smallest case that was found, on device")
    return [line.strip() for line in failure.value.__notes__[-1].splitlines()]


def test_the_case_is_shown_as_a_call(wrong_op: Any) -> None:
    with pytest.raises(GradientError, match=r"d output / d x: expected .*\n  at x = np\.array\(-3\.0\)") as failure:
        gradient_test(wrong_op)()
    assert case_of(failure) == ["almost_square(x)"]

    def of_several(batch: Any, *more: Any) -> Any:
        return batch.x.detach() * batch.x, sum(more)

    with pytest.raises(GradientError, match=r"d outputs\[0\]\[0, 0, 0\] / d batch\.x\[0, 0, 0\]") as failure:
        gradient_test(of_several, ragged_batches(1), (2,), 3.0)()
    assert case_of(failure) == ["of_several(RaggedBatch(x=batch.x, lengths=array([1])), more[0], 3.0)"]


def test_an_error_of_the_function_itself_comes_with_the_case() -> None:
    with pytest.raises(ValueError, match="matmul: ") as failure:
        gradient_test(mg.matmul, (2, 1), (2,))()
    assert "  at x = np.array([[-2.0]" in failure.value.__notes__[0]
    assert case_of(failure) == ["matmul(x, y)"]


FAILING = """
import minigrad as mg, nn
from minigrad.testing import gradient_test

class Forgetful(nn.LSTM):
    def forward(self, x, state=None, lengths=None):
        outputs, (h, c) = super().forward(x, state, lengths)
        return outputs, (h, c.detach() * h)

test_forgetful = gradient_test(Forgetful, order=1)
"""


def test_pytest_shows_the_message_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header", "-q", "test_it.py"]
    path = {"PYTHONPATH": str(Path(mg.__file__).parents[1])}
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True)
    shown = re.sub(r"np.array\(.*\)|-?[0-9]+\.[0-9]+(e-[0-9]+)?", "...", run.stdout)
    assert re.search(r"gate [ifgo], unit 0", shown)
    assert "d outputs[2][0, 0, 0] (c of layer 0, sequence 0, unit 0) / d" in shown
    assert "module = Forgetful(input_size=1, hidden_size=1)" in shown
    assert "(x)" in shown
    assert ".py:" not in shown.partition("short test summary")[0]  # no frames, neither ours nor Hypothesis's


# ---- the page about it


PAGE = (Path(mg.__file__).parents[1] / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
(SHOWN,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> Iterator[dict[str, Any]]:
    """The names that the page's examples define."""
    names: dict[str, Any] = {}
    exec(EXAMPLES, names)
    yield names
    for name in "cube", "natural_log":
        del OPS[name], functions[name]


@pytest.mark.parametrize("name", sorted({*re.findall(r"\b(test_\w+)(?: =|\()", EXAMPLES)}))
def test_what_the_page_tests_passes_or_fails_as_it_shows(page: dict[str, Any], name: str) -> None:
    if name != "test_forgetful":
        page[name]()
        return
    with pytest.raises(GradientError) as failure:
        page[name]()
    said = "\n".join([str(failure.value), *failure.value.__notes__])
    rounded = re.compile(r"(\.[0-9]{6})[0-9]+")  # what differences find has no more digits that are sure
    assert rounded.sub(r"\1", said) == rounded.sub(r"\1", SHOWN.rstrip("\n"))
