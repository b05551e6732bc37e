"""gradient_test: what is right passes, what is wrong fails, whatever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.methods import functions
from minigrad.registry import OPS
from minigrad.testing import GradientError, gradient_test
from minigrad.testing.strategies import arrays


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
    with pytest.raises(GradientError, match=r"args\[1\]"):
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
    with pytest.raises(TypeError, match="gradient_test: expected what to call Linear with, got nothing"):
        gradient_test(nn.Linear(2, 1))
