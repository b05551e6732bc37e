"""Gradients in the dtype that is given: they keep it, and lose no more than rounding."""

from __future__ import annotations

import re
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
from minigrad.testing.strategies import arrays, op_calls

from .unregistered import right, tanh_with

NAMES = sorted(name for name, op in OPS.items() if op.forward.__module__.startswith("minigrad."))
few = settings(max_examples=settings.default.max_examples // 10)
POINT = np.array([[0.5, -1.0, 2.0]], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_every_op_passes_in_every_dtype(name: str, dtype: str, data: st.DataObject) -> None:
    call = data.draw(op_calls(OPS[name]), label="call")
    xs = [x.astype(dtype) for x in call.operands()]
    check_grads(lambda *xs: call.of(functions[name], *xs), *xs, order=1)


def in_single(wrong: Callable[..., Any]) -> Callable[..., Any]:
    """A gradient of tanh that is another where it is computed in float32."""
    return lambda g, x, out: wrong(g, x, out) if out.dtype == np.float32 else right(g, x, out)


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (lambda g, x, out: right(g, x, out) * ((x + 1e10) - 1e10) / x, "expected .* as in float64, got 0"),
        (lambda g, x, out: right(g, x, out) * np.exp(99 + 0 * x) / np.exp(99 + 0 * x), "got (nan|inf|0)"),
        (lambda g, x, out: right(g, x, out) * (x * 1e-30) * 1e-30 / x * 1e60, "got (nan|0)"),
        (in_single(lambda g, x, out: g * (1 - out)), "expected"),
        (in_single(lambda g, x, out: right(g, x, out) * 1.001), "expected"),
        (in_single(lambda g, x, out: right(g, x, out) * np.nan), "got nan"),
    ],
    ids=["cancelled", "overflow", "underflow", "formula", "scaled", "nan"],
)
def test_a_gradient_that_is_lost_in_float32_is_caught(gradient: Callable[..., Any], message: str) -> None:
    def first_order(g: Any, x: Any, out: Any) -> Any:
        with np.errstate(all="ignore"):
            return gradient(g, x, out)

    check_grads(tanh_with(first_order), POINT.astype("float64"), order=1)
    with pytest.raises(GradientError, match=r"^in float32: \d of 3 elements of the gradient are lost") as error:
        check_grads(tanh_with(first_order), POINT, order=1)
    assert re.search(rf"  gradient of args\[0\]\[0, \d\]: .*{message}", str(error.value))
    assert "at args[0] = np.array([[0.5, -1.0, 2.0]], 'float32')" in str(error.value)


def test_a_gradient_computed_in_float64_does_no_harm() -> None:
    check_grads(tanh_with(lambda g, x, out: right(g.astype("float64"), x, out)), POINT, order=1)


def test_dtypes_may_be_mixed() -> None:
    check_grads(lambda x, y, z: mg.tanh(x * y) + z, POINT, POINT[0].astype("float64"), mg.as_tensor(np.float16(0.5)))


RIGHT: dict[str, tuple[Callable[..., Any], Callable[[np.random.Generator], Any]]] = {
    "saturated": (lambda x: mg.tanh(x) + mg.sigmoid(x), lambda r: 20 * r.normal(size=8)),
    "normalised": (lambda x: (x - mg.mean(x)) / mg.sqrt(mg.var(x) + 1e-5), lambda r: r.normal(size=9) + 5),
    "only rounding": (lambda x: mg.log(mg.softmax(x, axis=1).sum(axis=1)), lambda r: r.normal(size=(4, 3))),
    "cancelled": (lambda x: (mg.sin(x) + 1e4) - 1e4, lambda r: r.normal(size=5)),
    "huge": (lambda x: mg.square(x) * 1e8, lambda r: 1e3 * r.normal(size=5)),
    "tiny": (lambda x: mg.sin(x) * 1e-12, lambda r: r.normal(size=5)),
    "fast": (lambda x: mg.sin(200 * x), lambda r: r.normal(size=5)),
    "a long sum": (lambda x: mg.tanh(x).sum(), lambda r: r.normal(size=5_000)),
    "a deep chain": (lambda x: recurrent(x), lambda r: 2 * r.normal(size=(8, 8))),
    "two layers": (lambda x: mg.tanh(mg.tanh(x @ x.T) @ x).sum(), lambda r: r.normal(size=(20, 30))),
}


def recurrent(W: mg.Tensor) -> mg.Tensor:
    h: Any = np.ones((2, 8), W.dtype)
    for _ in range(30):
        h = mg.tanh(h @ W)
    return h


@pytest.mark.parametrize("name", RIGHT)
@few
@given(seed=st.integers(0, 2**32))
def test_rounding_is_no_false_alarm(name: str, seed: int) -> None:
    f, point = RIGHT[name]
    check_grads(f, point(np.random.default_rng(seed)).astype("float32"), order=1)


# ---- float32 inside


INSIDE: dict[str, Callable[[Any], Any]] = {
    "tanh": lambda x: mg.tanh(3 * x.astype("float32")),
    "sigmoid": lambda x: mg.sigmoid(10 * x.astype("float32")),
    "there and back": lambda x: mg.tanh(x.astype("float32")).astype("float64"),
    "softmax": lambda x: mg.softmax(x.astype("float32"), axis=0),
    "square": lambda x: mg.square(x.astype("float32")) * x,
}


@pytest.mark.parametrize("name", INSIDE)
@few
@given(point=arrays((1,), domain=(-8.0, 8.0)))
def test_what_a_function_computes_in_float32_is_judged_by_its_rounding(name: str, point: np.ndarray) -> None:
    check_grads(INSIDE[name], point)
    with pytest.raises(GradientError, match=r"^order 1: .* differ"):
        check_grads(lambda x: INSIDE[name](x) + 10 * (x - x.detach()), point, order=1)


def test_a_gradient_is_not_excused_by_its_own_float32() -> None:
    f = tanh_with(lambda g, x, out: right(g.astype("float32"), x, out).astype("float64"))
    with pytest.raises(GradientError, match="differ from finite differences"):
        check_grads(f, POINT.astype("float64"))
