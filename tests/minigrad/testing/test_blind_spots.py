"""What gradient checkers have been seen to let through; `benchmarks/README.md` says which of them, today."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import GradientError, NonDifferentiable, check_grads

from .unregistered import all_but, double, in_place, right, tanh_with

VECTOR = np.linspace(-1.5, 1.0, 1000)


@pytest.mark.parametrize("k", np.linspace(0, 999, 20, dtype=int).tolist())
def test_one_zeroed_element_of_1000(k: int) -> None:
    f = tanh_with(lambda g, x, out: right(g, x, out) * all_but(k, x.shape))
    with pytest.raises(GradientError, match=rf"d args\[0\]\[{k}\]: expected .*, got 0\n"):
        check_grads(f, VECTOR, order=1)


@pytest.mark.parametrize("scale", [1e-5, 1e-8])
@pytest.mark.parametrize("n", [6, 1000])
def test_a_zero_gradient_of_small_outputs(scale: float, n: int) -> None:
    with pytest.raises(GradientError, match="differ"):
        check_grads(tanh_with(lambda g, x, out: g * 0.0, scale), VECTOR[:n], order=1)


@pytest.mark.parametrize("n", [6, 1000])
def test_a_float32_gradient_of_float64_arguments(n: int) -> None:
    f = tanh_with(lambda g, x, out: right(g.astype("float32"), x, out.astype("float32")))
    with pytest.raises(GradientError, match="differ"):
        check_grads(f, VECTOR[:n], order=1)


def test_a_backward_pass_that_writes_to_its_cotangent() -> None:
    f = tanh_with(lambda g, x, out: in_place(g, double, right(g, x, out) * 0.5))
    with pytest.raises(GradientError, match=r"wrote to the cotangent of output"):
        check_grads(f, VECTOR[:6], order=1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_all_zero_gradient_of_1000_elements(dtype: str) -> None:
    with pytest.raises(GradientError, match="differ"):
        check_grads(tanh_with(lambda g, x, out: g * 0.0), VECTOR.astype(dtype), order=1)


def test_a_kink_is_diagnosed() -> None:
    with pytest.raises(NonDifferentiable, match="a kink at 0, of slope 0 below and 1 above"):
        check_grads(mg.relu, np.array([0.0, 1.0]))


def test_the_verdict_is_the_same_in_every_run() -> None:
    def verdict(f: Any) -> str:
        with pytest.raises(GradientError) as error:
            check_grads(f, VECTOR, order=1)
        return str(error.value)

    f = tanh_with(lambda g, x, out: right(g, x, out) * (1 + 1e-3 * (x > 0.5)))
    assert verdict(f) == verdict(f)


def test_gradients_that_are_one_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigrad.autodiff.own_copy", lambda g: g)
    with pytest.raises(GradientError, match="shares its memory with"):
        check_grads(lambda x, y: x + y, VECTOR, VECTOR)
