"""Kinks told from bugs: what has no derivative is not called wrong, and what is wrong is never excused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.testing import GradientError, NonDifferentiable, check_grads
from minigrad.testing.kinks import sides

from .unregistered import relu_with, right, tanh_with

few = settings(max_examples=settings.default.max_examples // 10)
LARGE = np.concatenate([np.linspace(-1, -0.1, 5_000), np.linspace(0.1, 1, 5_000)])

KINKS: dict[str, tuple[Callable[..., Any], list[float], str]] = {
    "relu": (mg.relu, [1.0, 0.0, -2.0], r"\[1\]: a kink at 0, of slope 0 below and 1 above, got 0\n"),
    "abs": (abs, [1.0, 0.0, -2.0], r"\[1\]: a jump at 0, from -(.*) below to \1 above, got 0\n"),
    "2 relu - x": (lambda x: 2 * mg.relu(x) - x, [0.0], r"\[0\]: a kink at 0, of slope -1 below and 1 above, got -1\n"),
    "max": (mg.max, [1.0, 0.0, 1.0], r"\[0\]: a jump at 1, from "),
    "clip": (lambda x: mg.clip(x, -1, 2), [0.0, -1.0], r"\[1\]: a kink at -1, of slope 0 below and 1 above, got 1\n"),
    "maximum": (lambda x: mg.maximum(x, 3.0), [3.0, 1.0], r"\[0\]: a jump at 3, from "),
    "sign": (mg.sign, [1.0, 0.0], r"\[1\]: a jump at 0, from -1 below to 1 above, got 0\n"),
    "small": (lambda x: x + 1e-3 * mg.relu(x), [0.0], r"of slope 1 below and 1\.001 above, got 1\n"),
    "branches": (lambda x: mg.where(x.data > 0, x, 3.0), [0.0], r"a jump at 0, from 3 below to 0 above, got 0\n"),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_point_without_a_derivative_is_a_result_of_its_own(name: str) -> None:
    f, x, message = KINKS[name]
    with pytest.raises(NonDifferentiable, match=message) as error:
        check_grads(f, np.array(x))
    assert not isinstance(error.value, AssertionError)
    assert "at args[0] = np.array([" in str(error.value)


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("side", [-1, 1])
def test_beside_it_there_is_one(name: str, side: int) -> None:
    f, x, _ = KINKS[name]
    check_grads(f, np.array(x) + side * 1e-5 * np.arange(1, 1 + len(x)))


@few
@given(kinks=st.sets(st.integers(0, LARGE.size - 1), min_size=1, max_size=3), summed=st.booleans())
def test_kinks_are_found_among_ten_thousand_elements(kinks: set[int], summed: bool) -> None:
    x = LARGE.copy()
    x[list(kinks)] = 0
    with pytest.raises(NonDifferentiable, match=r"^order 1") as error:
        check_grads(lambda x: mg.relu(x).sum() if summed else mg.relu(x), x)
    for k in kinks:
        assert f"/ d args[0][{k}]: a kink at 0, of slope 0 below and 1 above, got 0" in str(error.value)


@few
@given(kinks=st.sets(st.integers(0, 9_999), min_size=1, max_size=3), bug=st.integers(0, 9_999), summed=st.booleans())
def test_a_bug_beside_kinks_is_a_bug(kinks: set[int], bug: int, summed: bool) -> None:
    assume(bug not in kinks)
    x = np.abs(LARGE)
    x[list(kinks)] = 0
    scale = 1 + 0.001 * (np.arange(x.size) == bug)
    f = relu_with(lambda g, x: g * (x > 0) * scale)
    with pytest.raises(
        GradientError,
        match=rf"d output(\[{bug}\])? / d args\[0\]\[{bug}\]: expected (1|0\.99999\d*|1\.00000\d*), got 1\.001\n",
    ):
        check_grads(lambda x: f(x).sum() if summed else f(x), x)


def test_a_bug_beside_a_kink_is_a_bug_in_small_too() -> None:
    f = relu_with(lambda g, x: g * (x > 0) * np.array([1, 1, 1.001]))
    with pytest.raises(GradientError) as error:
        check_grads(f, np.array([1.0, 0.0, 2.0]))
    assert str(error.value).splitlines()[:-1] == [
        "order 1: 1 of 9 derivatives differ from finite differences",
        "  d output[2] / d args[0][2]: expected 1, got 1.001",
    ]


def test_kinks_are_not_counted_among_the_wrong_ones() -> None:
    f = relu_with(lambda g, x: g * (x > 0) * 1.001)
    with pytest.raises(GradientError, match=r"^order 1: 6 of 64 derivatives differ"):
        check_grads(f, np.array([0.0, 0.0, 1, 2, 3, 4, 5, 6]), order=1)


def test_outside_of_both_slopes_a_gradient_is_wrong_at_a_kink_too() -> None:
    f = relu_with(lambda g, x: g * np.where(x == 0, 1.5, x > 0))
    with pytest.raises(GradientError, match=r"expected 0 to 1, the slopes at a kink, got 1\.5"):
        check_grads(f, np.array([1.0, 0.0]))
    with pytest.raises(GradientError, match="expected 1, got 0"):  # two kinks that make none
        check_grads(lambda x: mg.relu(x) - mg.relu(-x), np.array([0.0]))


def test_a_gradient_that_jumps_where_its_function_does_not_bend_is_wrong() -> None:
    f = tanh_with(lambda g, x, out: right(g, x, out) + 1e-3 * g * (x > 0))
    with pytest.raises(GradientError, match=r"^order 2: .*\n.*the differences do not settle"):
        check_grads(f, np.array([0.0]))


SMOOTH: dict[str, tuple[Callable[..., Any], float]] = {
    "fast": (lambda x: mg.sin(200 * x), 0.3),
    "steep": (mg.sqrt, 1e-8),
    "curved": (lambda x: mg.exp(20 * x), 1.0),
    "smooth to first order": (lambda x: x * abs(x), 0.0),
    "rounded": (lambda x: (mg.sin(x) + 1e8) - 1e8, 0.3),
    "in single precision": (lambda x: mg.tanh(x.astype("float32")), 0.3),
}


@pytest.mark.parametrize("name", SMOOTH)
@few
@given(shift=st.floats(0, 0.1))
def test_what_is_smooth_has_no_kinks_and_what_is_wrong_there_is_no_kink(name: str, shift: float) -> None:
    f, x = SMOOTH[name]
    point = np.array([x + shift * (x > 0.1)])
    check_grads(f, point, order=1)

    def value(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):  # at steps out of the domain
            return f(mg.as_tensor(x)).numpy().astype(float)

    assert not sides(value, point, np.ones(1)).bends.any()
    with pytest.raises(GradientError):
        check_grads(lambda x: f(x) + 0.01 * (f(x) - f(x).detach() + x - x.detach()), point, order=1)


def test_noise_is_no_kink() -> None:
    def noisy(x: mg.Tensor) -> mg.Tensor:  # the same at the same x, and without pattern
        return x + 1e-6 * mg.as_tensor(np.sin(1e15 * x.data))

    check_grads(noisy, np.array([0.3]), order=1)
    with pytest.raises(GradientError):
        check_grads(lambda x: noisy(x) + 0.1 * (x - x.detach()), np.array([0.3]), order=1)


def test_a_half_of_all_elements_at_kinks_is_told_in_a_few_lines() -> None:
    with pytest.raises(NonDifferentiable, match=r"and \d+ more\n  at args\[0\] = an array of shape \(400,\)") as error:
        check_grads(mg.relu, np.where(np.arange(400) % 2, 0, 1.0), order=1)
    assert len(str(error.value).splitlines()) == 8
