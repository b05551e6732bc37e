"""Derivatives by complex steps: how exact they are, of what they know nothing, and that this does no harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.methods import functions
from minigrad.registry import OPS
from minigrad.testing import GradientError, check_grads
from minigrad.testing.complex_step import complex_derivative
from minigrad.testing.functions import Function
from minigrad.testing.gradients import as_tuple
from minigrad.testing.strategies import op_calls

from .unregistered import op_apart, right, tanh_with

NAMES = sorted(name for name, op in OPS.items() if op.forward.__module__.startswith("minigrad."))
NOT_ANALYTIC = {
    "absolute": "of a complex number, its modulus",
    "sign": "of a complex number, a direction",
    "var": "of complex numbers, of their moduli",
    "softplus": "NumPy's logaddexp takes no complex numbers",
    "astype": "it casts complex numbers to real ones",
    "grid_sample": "no complex number tells between which pixels it lies",
}
few = settings(max_examples=settings.default.max_examples // 5)


@pytest.mark.parametrize("name", [name for name in NAMES if OPS[name].proof.analytic])
@few
@given(data=st.data())
def test_gradients_match_complex_steps_to_1e_12(name: str, data: st.DataObject) -> None:
    call = data.draw(op_calls(OPS[name]), label="call")
    points = call.operands()

    def f(*xs: mg.Tensor) -> tuple[mg.Tensor, ...]:
        return as_tuple(call.of(functions[name], *xs))

    function = Function(f, points, [""] * len(points))
    n, m = function.x.size, function.y.size
    pull = function.pullback()
    J = np.stack([pull(v) for v in np.eye(m)]) if m else np.zeros((0, n))
    expected = np.stack([complex_derivative(function.value, function.x, u) for u in np.eye(n)], 1) if n else J
    size = max(np.abs(expected).max(initial=0.0), np.abs(function.y).max(initial=0.0))  # 1 - tanh^2 is rounded as 1 is
    np.testing.assert_allclose(J, expected, rtol=0, atol=1e-12 * size)
    check_grads(f, *points, modes=("complex",))


def test_analytic_are_all_ops_but_these() -> None:
    assert {name for name in NAMES if not OPS[name].proof.analytic} == NOT_ANALYTIC.keys()


@pytest.mark.parametrize("shape", [(4,), (20, 20)], ids=["small", "large"])
def test_an_error_that_differences_do_not_tell_is_caught(shape: tuple[int, ...]) -> None:
    x = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    f = tanh_with(lambda g, x, out: g * (1 - out * out + 5e-12))
    check_grads(f, x, modes=("differences",))
    with pytest.raises(GradientError, match=r"^order 1: .* differ from complex steps\n.*expected 0\.\d{15}"):
        check_grads(f, x)


def test_of_the_second_order_too() -> None:
    def gradient(g: Any, x: Any, out: Any) -> Any:
        return g * (1 - tanh_with(lambda g, out: g * (1 - out * out + 5e-12))(x) ** 2)

    x = np.array([0.5, 0.2])
    check_grads(tanh_with(gradient), x, modes=("differences",))
    with pytest.raises(GradientError, match=r"^order 2: .* differ from complex steps"):
        check_grads(tanh_with(gradient), x)


@pytest.mark.parametrize(
    "cut",
    [lambda x: np.real(x.data), lambda x: np.abs(x.data), lambda x: [float(v) for v in np.real(x.data)]],
    ids=["the real part", "the modulus", "numbers"],
)
def test_a_cut_graph_that_complex_steps_are_blind_to_is_caught_by_differences(cut: Callable[..., Any]) -> None:
    """They cut the imaginary part just where the gradient cuts the graph, and so find it right."""

    def f(x: mg.Tensor) -> mg.Tensor:
        return mg.as_tensor(np.asarray(cut(x))) * x

    x = np.array([1.5, 2.0])
    check_grads(f, x, modes=("complex",))
    for modes in ("differences",), ("differences", "complex"), ("complex", "differences"):
        with pytest.raises(GradientError, match=r"differ from finite differences\n.*expected 4, got 2"):
            check_grads(f, x, modes=modes)


def test_a_cut_graph_that_takes_complex_numbers_is_seen_by_both() -> None:
    for modes in ("differences",), ("complex",):
        with pytest.raises(GradientError, match=r"expected 3, got 1\.5"):
            check_grads(lambda x: mg.as_tensor(x.data) * x, np.array([1.5]), modes=modes)


def test_a_user_s_op_that_is_not_analytic_and_does_not_say_so_is_no_false_alarm() -> None:
    def an_abs(xp: Any, x: Any) -> Any:
        return xp.abs(x)

    f = op_apart(an_abs, x=lambda g, x: g * mg.sign(x))
    check_grads(f, np.array([1.0, -2.0]))
    with pytest.raises(GradientError):
        check_grads(f, np.array([1.0, -2.0]), modes=("complex",))


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: abs(x) * x, "op absolute is not analytic"),
        (lambda x: mg.tanh(x.astype("float32")), "op astype is not analytic"),
        (lambda x: x * float(x.data[0]), "f does not take complex numbers .(ComplexWarning|TypeError)"),
        (lambda x: mg.as_tensor(x.data, requires_grad=True) * x, "f does not take complex numbers .TypeError"),
        (lambda x: mg.sigmoid(-1000 * x), "f gives no finite values for complex numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered")
def test_where_complex_steps_alone_can_t_be_had_the_error_says_why(f: Callable[..., Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"modes: 'complex' can't be had: {reason}"):
        check_grads(f, np.array([1.5, 2.0]), modes=("complex",))


def test_where_they_can_t_be_had_differences_are_enough() -> None:
    check_grads(lambda x: abs(x) * x, np.array([1.5, 2.0]))
    check_grads(lambda x: mg.sigmoid(-1000 * x), np.array([1.5, 2.0]))


def test_a_graph_is_what_is_looked_at_not_the_ops_of_constants() -> None:
    check_grads(lambda x: x * mg.as_tensor(np.array([-2.0])).__abs__(), np.array([1.5]), modes=("complex",))


def test_it_is_right_to_call_tanh_right() -> None:
    check_grads(tanh_with(right), np.array([[0.3, -2.0]]), modes=("complex",))
