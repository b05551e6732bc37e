"""check_grads: what it must catch, what it must let pass, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import nn
from minigrad.testing import GradientError, break_gradient, check_grads
from minigrad.testing.findings import shown
from minigrad.testing.gradients import prove

from .unregistered import all_but, constant, op_apart, right, tanh_with

SMALL = np.linspace(-1.5, 1.0, 6).reshape(2, 3)
LARGE = np.linspace(-1.5, 1.0, 10_000).reshape(100, 100)
few = settings(max_examples=settings.default.max_examples // 10)


# ---- mutants


@pytest.mark.parametrize("x", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "gradient",
    [
        lambda g, x, out: right(g, x, out) * 1.001,
        lambda g, x, out: -right(g, x, out),
        lambda g, x, out: g * (1 - out * out + 1e-6),
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
    with pytest.raises(GradientError, match=rf"d output{place} / d args\[0\]{place}: expected 0\.\d+, got 0\n"):
        check_grads(f, LARGE)
    with pytest.raises(GradientError, match=rf"d output / d args\[0\]{place}: expected 0\.\d+, got 0\n"):
        check_grads(lambda x: f(x).sum(), LARGE)


def test_a_small_element_is_not_drowned_by_large_ones() -> None:
    scale = np.where(np.arange(1000) % 2, 1.0, 1e-9)
    f = tanh_with(lambda g, x: g * scale * all_but(500, x.shape) * (1 - mg.tanh(x) ** 2), scale)
    with pytest.raises(GradientError, match=r"d output\[500\] / d args\[0\]\[500\]: expected .*e-10, got 0\n"):
        check_grads(f, np.linspace(-1, 1, 1000), order=1, modes=("differences",))


def test_a_missing_sum_over_broadcast_axes_is_caught() -> None:
    def a_bias(xp: Any, x: Any, b: Any) -> Any:
        return x + b

    function = op_apart(a_bias, x=lambda g: g, b=lambda g: g[0])
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


@pytest.mark.parametrize("seed", [5, 31])
def test_differences_that_agree_by_chance_near_kinks_are_no_false_alarm(seed: int) -> None:
    x = 0.1 * np.random.default_rng(seed).normal(size=(20, 25))
    check_grads(lambda x: mg.relu(x) @ mg.relu(x).T @ x, x, order=1)


def test_the_rounding_of_a_saturated_gate_is_no_false_alarm() -> None:
    """The gradient of a GRU's biases is 5e-5 here; what it is summed up from is rounded as 1 is."""
    x = mg.tensor([[[-1.12862363], [2.57958031]]], dtype="float64")
    h = mg.tensor([[-2.54503149], [1.16317244]], dtype="float64")
    W = mg.tensor([[0.28778424], [-2.00401183], [1.7041921]], dtype="float64")
    U = mg.tensor([[-0.58760396], [-2.87940003], [0.8288039]], dtype="float64")
    b = np.array([-1.6696432877175198, 2.0385606447817963, -0.25323542271888755])
    check_grads(lambda b: mg.gru(x, h, W, U, b), b)


# ---- arguments and messages


def test_arguments_become_float64_and_others_pass_as_they_are() -> None:
    seen = []

    def f(x: Any, y: Any, ids: Any, flag: Any) -> Any:
        seen.append((x.dtype, y.dtype, ids, flag))
        return (x * y)[ids]

    ids = np.array([1, 1])
    check_grads(f, np.ones(3, np.float32), mg.tensor([1.0, 2.0, 3.0], requires_grad=True), ids, "flag")
    assert all(i is ids and flag == "flag" for _, _, i, flag in seen)
    dtypes = [(str(x), str(y)) for x, y, _, _ in seen]
    # by complex steps too, and at last as they were given
    assert {*dtypes} == {("float64", "float64"), ("complex128", "complex128"), ("float32", "float32")}


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


def test_the_message_lists_the_worst_element_first_and_shows_the_arguments() -> None:
    with pytest.raises(GradientError) as error:
        check_grads(lambda i, x: (x.detach() ** 2 * x, x), np.arange(2), np.array([1.0, -3.0, 2.0, 0.0]))
    assert str(error.value).splitlines() == [
        "order 1: 3 of 32 derivatives differ from finite differences",
        "  d outputs[0][1] / d args[1][1]: expected 27, got 9",
        "  d outputs[0][2] / d args[1][2]: expected 12, got 4",
        "  d outputs[0][0] / d args[1][0]: expected 3, got 1",
        "  at args[0] = np.array([0, 1])",
        "     args[1] = np.array([1.0, -3.0, 2.0, 0.0])",
    ]


def test_names_and_words_stand_in_the_message_of_every_order() -> None:
    def words(name: str, place: tuple[int, ...]) -> str:
        return {"weight": f"unit {place[0]}", "output": f"step {place[0]}"}.get(name, "")

    x, weight = np.array([2.0]), mg.tensor([3.0, 5.0], dtype="float64")
    with pytest.raises(GradientError) as error:
        prove(lambda x, w: w.detach() * w * x, [x, weight], names=["x", "weight"], describe=words)
    assert str(error.value).splitlines() == [
        "order 1: 2 of 6 derivatives differ from finite differences",
        "  d output[1] (step 1) / d weight[1] (unit 1): expected 20, got 10",
        "  d output[0] (step 0) / d weight[0] (unit 0): expected 12, got 6",
        "  at x = np.array([2.0])",
        "     weight = np.array([3.0, 5.0])",
    ]
    f = tanh_with(lambda g, x, out: g * (1 - constant(out) ** 2))
    with pytest.raises(GradientError, match=r"d gradient of weight\[0\] \(unit 0\) / d weight\[0\] \(unit 0\): expec"):
        prove(f, [np.ones(1)], names=["weight"], describe=words)
    with pytest.raises(
        GradientError, match=r"d gradient of weight\[0\] \(unit 0\) / d cotangent of output\[0\] \(step 0\)"
    ):
        prove(
            tanh_with(lambda g, x, out: constant(g) * (1 - out * out)), [np.ones(1)], names=["weight"], describe=words
        )


@given(
    hnp.arrays(
        st.sampled_from(["float64", "float32", "float16", "int64", "int32", "bool"]),
        hnp.array_shapes(min_dims=0, min_side=1, max_side=3),
        elements={"allow_nan": False, "allow_infinity": False},
    ).filter(lambda array: array.size <= 12)
)
def test_small_arguments_can_be_pasted(array: np.ndarray) -> None:
    (line,) = shown(["x"], [array]).splitlines()
    again = eval(line.removeprefix("  at x = "))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_what_is_large_is_shown_by_its_shape(device: str) -> None:
    array = mg.as_tensor(LARGE, device=device)
    assert shown(["x", "n", "text"], [array, 3, "a" * 80]).splitlines() == [
        "  at x = an array of shape (100, 100) and dtype float64" + (device != "cpu") * f" on {device!r}",
        "     n = 3",
        "     text = '" + "a" * 56 + "...",
    ]


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
    for modes in [(), ("complex", "real"), "complex"]:
        with pytest.raises(ValueError, match=r"modes among \('differences', 'complex'\), got"):
            check_grads(mg.tanh, SMALL, modes=modes)


@pytest.mark.parametrize(
    ("arg", "got"), [([1.0, 2.0], "list"), (1.0, "float"), (np.ones(3, int), "int64 array"), ((3, 2), "tuple")]
)
def test_what_is_nothing_to_differentiate_is_named(arg: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"among args, got {got}; "):
        check_grads(mg.tanh, arg)


# ---- modules


class Scale(nn.Module):
    """A module with a parameter, whose gradient it cuts or not; it calls its elements by name."""

    def __init__(self, cut: bool) -> None:
        self.factor, self.cut = nn.Parameter([1.0, 2.0]), cut

    def forward(self, x: Any) -> Any:
        return x * (self.factor.detach() if self.cut else self.factor)

    def describe_element(self, name: str, place: tuple[int, ...]) -> str:
        return f"unit {place[0]}" if name == "factor" else ""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_parameters_of_a_module_are_proved_too_and_left_alone(dtype: str) -> None:
    x = np.ones((1, 2), dtype)
    with pytest.raises(GradientError, match=r"/ d factor\[1\] \(unit 1\): expected 1, got 0"):
        check_grads(Scale(cut=True).to(dtype), x)
    scale = Scale(cut=False).to(dtype)
    before, node = scale.factor.data, scale.factor.node
    check_grads(scale, x)
    assert scale.factor.data is before
    assert scale.factor.node is node
    with pytest.raises(GradientError), break_gradient("lstm.forget", "sign"):
        check_grads(nn.LSTM(1, 1).to(dtype), np.ones((3, 1, 1), dtype), order=1)
