"""What holds of gradients besides their values: pure, finite, linear in the cotangents, the same in every run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import GradientError, check_grads
from minigrad.testing.purity import check_kind

from .unregistered import all_but, double, in_place, op_apart, right, tanh_with

SMALL = np.linspace(-1.5, 1.0, 6).reshape(2, 3)


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

    with pytest.raises(GradientError, match=r"order 1: .* is a buffer used again"):
        check_grads(tanh_with(gradient), SMALL)


def test_gradients_that_share_memory_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigrad.autodiff.own_copy", lambda g: g)
    with pytest.raises(GradientError, match=r"gradient by args\[1\] shares its memory with .* by args\[0\]"):
        check_grads(lambda x, y: x + y, SMALL, SMALL)


def test_an_argument_that_is_written_to_is_caught() -> None:
    with pytest.raises(GradientError, match="wrote to its arguments"):
        check_grads(lambda x, ids: in_place(ids, double, x), SMALL, np.ones(2, int))


@pytest.mark.parametrize(
    "gradient",
    [
        lambda g, x, out: right(g, x, out) + 1e-9,
        lambda g, x, out: abs(g) * (1 - out * out),
        lambda g, x, out: g * g * (1 - out * out),
    ],
    ids=["offset", "size", "square"],
)
def test_a_gradient_that_does_not_follow_the_cotangents_is_caught(gradient: Callable[..., Any]) -> None:
    with pytest.raises(GradientError, match=r"^order 1: the gradient by args\[0\] does not follow the cotangents"):
        check_grads(tanh_with(gradient), SMALL)


def test_state_kept_from_call_to_call_is_caught() -> None:
    calls = itertools.count()
    for f in (
        tanh_with(lambda g, x, out: right(g, x, out) * (1 + next(calls) * 1e-9)),
        lambda x: mg.tanh(x) * (1 + next(calls) * 1e-9),
    ):
        with pytest.raises(GradientError, match=r"^order 1: two runs give different"):
            check_grads(f, SMALL)


def test_what_a_forward_pass_leaves_for_the_gradient_of_another_is_caught() -> None:
    last: dict[str, Any] = {}

    def an_op(xp: Any, x: Any) -> Any:
        last["out"] = xp.tanh(x)
        return last["out"]

    with pytest.raises(GradientError, match="differ"):
        check_grads(op_apart(an_op, x=lambda g: g * (1 - last["out"] ** 2)), SMALL, order=1)


def test_small_and_signed_zeros_are_no_false_alarm() -> None:
    check_grads(lambda x: mg.exp(x) * (x * 0.0), np.array([-700.0, -745.0, 1.0, 0.0]))
    check_grads(lambda x: mg.softmax(x) * -1.0, np.array([-740.0, 0.0, -1e3]))


@pytest.mark.parametrize("g", [np.zeros((3, 2)), np.zeros((2, 3), "float32")], ids=["shape", "dtype"])
def test_a_gradient_of_another_kind_is_caught(g: np.ndarray) -> None:
    check_kind("x", SMALL, SMALL)
    with pytest.raises(GradientError, match=r"the gradient by x, of shape \(2, 3\) and dtype float64, is of shape"):
        check_kind("x", SMALL, g)


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
