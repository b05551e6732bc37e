"""check_grads: what it must catch, what it must let pass, and what it says."""

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

SMALL = np.linspace(-1.5, 1.0, 6).reshape(2, 3)
LARGE = np.linspace(-1.5, 1.0, 10_000).reshape(100, 100)
few = settings(max_examples=settings.default.max_examples // 10)


def tanh_with(gradient: Callable[..., Any], scale: float = 1.0) -> Callable[[Any], mg.Tensor]:
    """An op that computes scale * tanh(x), and its gradient by a formula of (g, x, out)."""

    def a_tanh(xp: Any, x: Any) -> Any:
        return scale * xp.tanh(x)

    function = mg.op(x=gradient)(a_tanh)
    del OPS["a_tanh"], functions["a_tanh"]  # known to nobody else
    return function


def right(g: Any, x: Any, out: Any) -> Any:
    return g * (1 - out * out)


def constant(x: Any) -> Any:
    return x.detach() if isinstance(x, mg.Tensor) else x


def in_place(array: Any, change: Callable[[Any], None], result: Any) -> Any:
    change(array.data if isinstance(array, mg.Tensor) else array)
    return result


def all_but(k: int, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.ones(shape)
    mask.ravel()[k] = 0
    return mask


def double(array: np.ndarray) -> None:
    array *= 2


# ---- mutants


@pytest.mark.parametrize("x", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "gradient",
    [
        lambda g, x, out: right(g, x, out) * 1.001,
        lambda g, x, out: -right(g, x, out),
        lambda g, x, out: right(g, x, out) + 1e-6,
        lambda g, x, out: right(g, x, out) * all_but(4, x.shape),
        lambda g, x, out: g * (1 - out),
        lambda g, x, out: g * 0.0,
        lambda g, x, out: right(g, x, out).astype("float32"),
    ],
    ids=["scaled", "sign", "offset", "one element", "formula", "zero", "dtype"],
)
def test_a_wrong_gradient_is_caught(gradient: Callable[..., Any], x: np.ndarray) -> None:
    check_grads(tanh_with(right), x)
    with pytest.raises(GradientError, match=r"^order 1: .* differ"):
        check_grads(tanh_with(gradient), x, order=1)
    with pytest.raises(GradientError, match=r"^order 1: .* differ"):
        check_grads(lambda x: tanh_with(gradient)(x).sum(), x, order=1)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e8])
def test_gradients_are_held_to_their_own_scale(scale: float) -> None:
    def scaled(slope: float) -> Callable[..., Any]:
        return tanh_with(lambda g, x: g * slope * (1 - mg.tanh(x) ** 2), scale)

    check_grads(scaled(scale), SMALL)
    for wrong in 0.0, 1.001 * scale:
        with pytest.raises(GradientError, match="order 1"):
            check_grads(scaled(wrong), SMALL)


@few
@given(k=st.integers(0, LARGE.size - 1))
def test_any_one_element_of_ten_thousand_is_found_and_named(k: int) -> None:
    f = tanh_with(lambda g, x, out: right(g, x, out) * all_but(k, x.shape))
    place = rf"\[{k // 100}, {k % 100}\]"
    with pytest.raises(GradientError, match=rf"d output{place} / d args\[0\]{place}: expected 0\.\d+, got 0$"):
        check_grads(f, LARGE)
    with pytest.raises(GradientError, match=rf"d output / d args\[0\]{place}: expected 0\.\d+, got 0$"):
        check_grads(lambda x: f(x).sum(), LARGE)


def test_a_missing_sum_over_broadcast_axes_is_caught() -> None:
    def a_bias(xp: Any, x: Any, b: Any) -> Any:
        return x + b

    function = mg.op(x=lambda g: g, b=lambda g: g[0])(a_bias)
    del OPS["a_bias"], functions["a_bias"]
    with pytest.raises(GradientError, match=r"d args\[1\]\[0\]: expected 1, got 0") as error:
        check_grads(function, SMALL, np.ones(3))
    assert "d args[0]" not in str(error.value)


def test_a_dropped_time_step_is_caught() -> None:
    def recurrent(x: mg.Tensor, w: mg.Tensor, cut: int) -> mg.Tensor:
        h = x[0]
        for t in range(1, 5):
            h = mg.tanh(x[t] + (h.detach() if t == cut else h) @ w)
        return h

    x, w = np.linspace(-1, 1, 30).reshape(5, 2, 3), np.linspace(-1, 1.5, 9).reshape(3, 3)
    check_grads(lambda x, w: recurrent(x, w, cut=0), x, w)
    for t in range(1, 5):
        with pytest.raises(GradientError, match="order 1"):
            check_grads(lambda x, w, t=t: recurrent(x, w, cut=t), x, w)


@pytest.mark.parametrize(
    "gradient",
    [
        lambda g, x, out: g * (1 - constant(out) ** 2),
        lambda g, x, out: constant(g) * (1 - out * out),
        lambda g, x, out: g * (1 - constant(out) * out),
    ],
    ids=["by x", "by the cotangent", "by half"],
)
@pytest.mark.parametrize("x", [SMALL, LARGE[:5]], ids=["small", "large"])
def test_a_wrong_second_derivative_is_caught_at_order_two(gradient: Callable[..., Any], x: np.ndarray) -> None:
    check_grads(tanh_with(gradient), x, order=1)
    with pytest.raises(GradientError, match=r"^order 2: .* differ.*\n.*d gradient of args\[0\]"):
        check_grads(tanh_with(gradient), x)


def test_a_wrong_third_derivative_is_caught_at_order_three() -> None:
    def gradient(g: Any, x: Any, out: Any) -> Any:
        return g * (1 - tanh_with(lambda g, out: g * (1 - constant(out) * out))(x) ** 2)

    check_grads(tanh_with(gradient), SMALL, order=1)
    check_grads(mg.tanh, SMALL, order=3)
    with pytest.raises(GradientError, match=r"^order [23]"):
        check_grads(tanh_with(gradient), SMALL, order=3)


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (lambda g, x, out: in_place(g, double, g * 0.5 * (1 - out * out)), "wrote to the cotangent of output"),
        (lambda g, x, out: in_place(out, double, g * (1 - out * out / 4)), "wrote to output"),
        (lambda g, x, out: in_place(x, double, right(g, x, out)), "(wrote to its arguments|two runs)"),
        (lambda g, x, out: right(g, x, out) * np.nan, r"the gradient by args\[0\]\[0, 0\] is nan"),
        (lambda g, x, out: right(g, x, out) / all_but(4, (2, 3)), r"the gradient by args\[0\]\[1, 1\] is inf"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_an_impure_or_infinite_gradient_is_caught(gradient: Callable[..., Any], message: str) -> None:
    with pytest.raises(GradientError, match=f"^order 1: .*{message}"):
        check_grads(tanh_with(gradient), SMALL.copy())


def test_a_gradient_in_a_buffer_that_is_used_again_is_caught() -> None:
    buffer = np.zeros(SMALL.shape)

    def gradient(g: Any, x: Any, out: Any) -> Any:
        if isinstance(g, mg.Tensor):
            return right(g, x, out)
        return np.multiply(g, 1 - out * out, out=buffer)

    f = tanh_with(gradient)
    check_grads(f, SMALL)  # the walk copies what it does not own
    with pytest.raises(GradientError, match="order 1"):
        check_grads(lambda x, y: f(x) + f(y), SMALL, SMALL + 0.5)


def test_gradients_that_share_memory_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigrad.autodiff.own_copy", lambda g: g)
    with pytest.raises(GradientError, match=r"gradient by args\[1\] shares its memory with .* by args\[0\]"):
        check_grads(lambda x, y: x + y, SMALL, SMALL)


def test_an_argument_that_is_written_to_is_caught() -> None:
    with pytest.raises(GradientError, match="wrote to its arguments"):
        check_grads(lambda x, ids: in_place(ids, double, x), SMALL, np.ones(2, int))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * next(NOISE),
        lambda x: mg.as_tensor(x.data * 2) * x,
        lambda x: mg.tanh(x) if x.requires_grad else mg.sin(x),
    ],
    ids=["random", "cut", "recorded differently"],
)
def test_a_function_that_is_not_what_it_records_is_caught(f: Callable[..., Any]) -> None:
    with pytest.raises(GradientError, match=r"two runs give different|differ from|with its graph recorded"):
        check_grads(f, SMALL)


NOISE = iter(np.random.default_rng(0).normal(size=10_000))


# ---- no false alarms


def linear_sum(x: mg.Tensor, w: mg.Tensor, v: mg.Tensor) -> mg.Tensor:
    return mg.tanh(mg.tanh(x @ w) @ v).sum()


def cross_entropy(x: mg.Tensor, targets: np.ndarray) -> mg.Tensor:
    return -mg.log_softmax(x, axis=1)[np.arange(5), targets].mean()


RIGHT: dict[str, tuple[Callable[..., Any], Callable[[np.random.Generator], tuple[Any, ...]]]] = {
    "cross entropy": (cross_entropy, lambda r: (3 * r.normal(size=(5, 3)), r.integers(0, 3, 5))),
    "two layers": (
        linear_sum,
        lambda r: (r.normal(size=(20, 30)), r.normal(size=(30, 40)) / 5, r.normal(size=(40, 5)) / 6),
    ),
    "normalised": (lambda x: (x - mg.mean(x)) / mg.sqrt(mg.var(x) + 1e-5), lambda r: (r.normal(size=9) + 5,)),
    "kinks all over": (lambda x: mg.relu(x).sum(), lambda r: (r.normal(size=5_000),)),
    "kinks in each": (lambda x: mg.relu(x @ x.T), lambda r: (r.normal(size=(4, 3)),)),
    "saturated": (lambda x: mg.tanh(x) + mg.sigmoid(x), lambda r: (20 * r.normal(size=8),)),
    "only rounding": (lambda x: mg.log(mg.softmax(x, axis=1).sum(axis=1)), lambda r: (r.normal(size=(4, 3)),)),
    "cancelled": (lambda x: (mg.sin(x) + 1e8) - 1e8, lambda r: (r.normal(size=5),)),
    "equal": (lambda x: mg.var(x, axis=1), lambda r: (np.full((4, 3), 10 * r.normal()),)),
    "tiny": (lambda x: mg.sin(x) * 1e-12, lambda r: (r.normal(size=5),)),
    "huge": (lambda x: mg.square(x) * 1e8, lambda r: (1e3 * r.normal(size=5),)),
    "fast": (lambda x: mg.sin(200 * x), lambda r: (r.normal(size=5),)),
    "near the end of the domain": (lambda x: mg.sqrt(x), lambda r: (10 ** r.uniform(-6, 3, size=5),)),
    "in single precision": (lambda x: mg.tanh(x.astype("float32")), lambda r: (r.uniform(-1, 1, size=5),)),
    "zero": (lambda x: x * 0.0, lambda r: (r.normal(size=3),)),
    "constant": (lambda x: mg.as_tensor(np.ones(3)), lambda r: (r.normal(size=3),)),
    "with an unused argument": (lambda x, y: mg.exp(x), lambda r: (r.normal(size=3), r.normal(size=2))),
    "itself": (lambda x: x, lambda r: (r.normal(size=3),)),
    "a view": (lambda x: x[::-1].T, lambda r: (r.normal(size=(2, 3)),)),
    "several results": (lambda x: (mg.exp(x), mg.sum(x), *mg.unstack(x)), lambda r: (r.normal(size=3),)),
    "empty": (lambda x, y: mg.sum(x * y, axis=0), lambda r: (np.ones((2, 0)), r.normal(size=(2, 1)))),
}


@pytest.mark.parametrize("name", RIGHT)
@few
@given(seed=st.integers(0, 2**32))
def test_a_right_gradient_passes(name: str, seed: int) -> None:
    f, points = RIGHT[name]
    check_grads(f, *points(np.random.default_rng(seed)))


# ---- arguments and messages


def test_arguments_become_float64_and_others_pass_as_they_are() -> None:
    seen = []

    def f(x: Any, y: Any, ids: Any, flag: Any) -> Any:
        seen.append((x.dtype, y.dtype, ids, flag))
        return (x * y)[ids]

    ids = np.array([1, 1])
    check_grads(f, np.ones(3, np.float32), mg.tensor([1.0, 2.0, 3.0], requires_grad=True), ids, "flag")
    assert all(x == y == np.float64 and i is ids and flag == "flag" for x, y, i, flag in seen)


def test_the_point_is_left_alone_and_may_be_read_only() -> None:
    x = np.flip(SMALL)
    x.flags.writeable = False
    kept = x.copy()
    check_grads(mg.tanh, x)
    np.testing.assert_array_equal(x, kept)


def test_gradients_are_checked_on_every_device(device: str) -> None:
    x = mg.as_tensor(SMALL, device=device)
    check_grads(lambda x, y: mg.tanh(x @ y.T), x, x)
    with pytest.raises(GradientError):
        check_grads(lambda x: mg.tanh(x) * x.detach(), x)


def test_the_message_lists_the_worst_element_first() -> None:
    with pytest.raises(GradientError) as error:
        check_grads(lambda i, x: (x.detach() ** 2 * x, x), np.arange(2), np.array([1.0, -3.0, 2.0, 0.0]))
    assert str(error.value).splitlines() == [
        "order 1: 3 of 32 derivatives differ from finite differences",
        "  d outputs[0][1] / d args[1][1]: expected 27, got 9",
        "  d outputs[0][2] / d args[1][2]: expected 12, got 4",
        "  d outputs[0][0] / d args[1][0]: expected 3, got 1",
    ]


def test_where_differences_do_not_settle_the_message_says_so() -> None:
    with pytest.raises(GradientError, match=r"d output\[1\] / d args\[0\]\[1\]: the differences do not settle"):
        check_grads(lambda x: mg.sign(x), np.array([1.0, 0.0]))


def test_a_point_outside_the_domain_is_named() -> None:
    with pytest.raises(GradientError, match=r"output\[1\] is inf; choose arguments inside f's domain"):
        check_grads(lambda x: mg.as_tensor(np.array([1.0, np.inf])) * x, np.ones(2))


def test_nothing_to_check_is_an_error() -> None:
    with pytest.raises(TypeError, match="floating-point numbers among args"):
        check_grads(mg.sum, np.arange(3))
    with pytest.raises(TypeError, match="expected f to return tensors, got float as result 1"):
        check_grads(lambda x: (x, 1.0), SMALL)
    with pytest.raises(ValueError, match="order to be 1 or more, got 0"):
        check_grads(mg.tanh, SMALL, order=0)
