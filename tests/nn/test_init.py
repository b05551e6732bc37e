"""nn.init: distributions and bounds, devices and dtypes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from nn import init

RANDOM: dict[str, Callable[..., Any]] = {
    "uniform": init.uniform_,
    "normal": init.normal_,
    "xavier": init.xavier_uniform_,
    "kaiming": init.kaiming_uniform_,
    "xavier normal": init.xavier_normal_,
    "kaiming normal": init.kaiming_normal_,
    "truncated normal": init.trunc_normal_,
    "orthogonal": init.orthogonal_,
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_gives_the_same_values_everywhere(device: str, name: str) -> None:
    expected = RANDOM[name](mg.tensor(np.zeros((3, 2))), generator=mg.generator(5)).data
    for dtype in ("float32", "float64"):
        tensor = mg.tensor(np.zeros((3, 2), dtype), device=device)
        assert RANDOM[name](tensor, generator=mg.generator(5)) is tensor
        np.testing.assert_array_equal(tensor.numpy(), expected.astype(dtype))
    mg.seed(6)
    first = RANDOM[name](mg.tensor(np.zeros((3, 2)))).data
    mg.seed(6)
    np.testing.assert_array_equal(RANDOM[name](mg.tensor(np.zeros((3, 2)))).data, first)


@given(st.integers(1, 30), st.integers(1, 30), st.lists(st.integers(1, 3), max_size=2), st.floats(0.1, 3))
def test_bounds(out: int, into: int, kernel: list[int], a: float) -> None:
    weight = mg.tensor(np.zeros((out, into, *kernel)))
    area = int(np.prod(kernel))
    for fill, bound in [
        (lambda g: init.xavier_uniform_(weight, a, generator=g), a * (6 / (into + out) / area) ** 0.5),
        (lambda g: init.kaiming_uniform_(weight, a, generator=g), (6 / (1 + a * a) / (into * area)) ** 0.5),
        (
            lambda g: init.kaiming_uniform_(weight, 0, "fan_out", "relu", generator=g),
            (6 / (out * area)) ** 0.5,
        ),
        (lambda g: init.uniform_(weight, -a, a, generator=g), a),
    ]:
        expected = mg.generator(1).uniform(-1, 1, weight.shape) * bound
        np.testing.assert_allclose(fill(mg.generator(1)).data, expected, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 30), st.integers(1, 30), st.lists(st.integers(1, 3), max_size=2), st.floats(0.1, 3))
def test_standard_deviations(out: int, into: int, kernel: list[int], a: float) -> None:
    weight = mg.tensor(np.zeros((out, into, *kernel)))
    area = int(np.prod(kernel))
    for fill, std in [
        (lambda g: init.xavier_normal_(weight, a, generator=g), a * (2 / (into + out) / area) ** 0.5),
        (lambda g: init.kaiming_normal_(weight, a, generator=g), (2 / (1 + a * a) / (into * area)) ** 0.5),
        (lambda g: init.kaiming_normal_(weight, 0, "fan_out", "tanh", generator=g), 5 / 3 / (out * area) ** 0.5),
    ]:
        expected = mg.generator(1).normal(0, 1, weight.shape) * std
        np.testing.assert_allclose(fill(mg.generator(1)).data, expected, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 8), st.integers(1, 8), st.lists(st.integers(1, 3), max_size=2), st.floats(-3, 3))
def test_orthogonal_rows_or_columns(out: int, into: int, kernel: list[int], gain: float) -> None:
    weight = init.orthogonal_(mg.tensor(np.zeros((out, into, *kernel))), gain, mg.generator(2))
    W = weight.data.reshape(out, -1)
    product = W @ W.T if out <= W.shape[1] else W.T @ W
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_matrices_are_uniformly_distributed() -> None:
    mg.seed(0)
    n = 2000
    draws = np.stack([init.orthogonal_(mg.tensor(np.zeros((2, 2)))).data for _ in range(n)])
    # uniform: each number has mean 0 and mean square 1/2 (variance 1/8), half of all determinants are -1
    assert (abs(draws.mean(axis=0)) < 5 * (0.5 / n) ** 0.5).all()
    assert (abs((draws**2).mean(axis=0) - 0.5) < 5 * (1 / 8 / n) ** 0.5).all()
    assert abs(np.linalg.det(draws).mean()) < 5 / n**0.5


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-4, 3), st.floats(0.01, 4))
def test_truncated_normal_numbers_lie_between_the_bounds(mean: float, std: float, a: float, width: float) -> None:
    tensor = mg.tensor(np.zeros((3, 7)))
    try:
        values = init.trunc_normal_(tensor, mean, std, a, a + width, mg.generator(3)).data
    except ValueError:
        assert max(a - mean, mean - a - width) > 37 * std  # where no number would ever be drawn
    else:
        assert a <= values.min() <= values.max() <= a + width


@pytest.mark.parametrize(("a", "b"), [(0.0, 2.5), (2.0, 8.0), (-np.inf, -1.0)])
def test_truncated_normal_numbers_are_those_of_rejection(a: float, b: float) -> None:
    mg.seed(0)
    values = np.sort(init.trunc_normal_(mg.tensor(np.zeros(10_000)), 1.0, 2.0, a, b).data)
    draws = mg.generator(1).normal(1.0, 2.0, 100_000)
    kept = np.sort(draws[(draws >= a) & (draws <= b)])
    share = np.searchsorted(kept, values) / len(kept)
    assert abs(share - np.linspace(0, 1, len(values))).max() < 0.03  # Kolmogorov and Smirnov's, beyond p = 1e-4


@pytest.mark.parametrize("side", [-1, 1])
def test_truncated_normal_numbers_far_out_fall_off_as_they_should(side: int) -> None:
    mg.seed(0)
    a, b = (20, 30) if side > 0 else (-30, -20)
    values = abs(init.trunc_normal_(mg.tensor(np.zeros(10_000)), 0, 1, a, b).data)
    # the mean of the tail beyond 20 is the hazard rate, 20.0497; its standard deviation nearly 1 / 20
    assert abs(values.mean() - 20.0497) < 5 / 20 / 100
    assert len(np.unique(values)) > 9_900


def test_truncated_normal_without_bounds_in_reach_is_normal() -> None:
    mg.seed(0)
    values = init.trunc_normal_(mg.tensor(np.zeros(10_000)), 3, 0.5, -np.inf, np.inf).data
    assert abs(values.mean() - 3) < 5 * 0.5 / 100
    assert abs(values.std() - 0.5) < 5 * 0.5 / 2**0.5 / 100
    assert init.trunc_normal_(mg.tensor(np.zeros((0, 3)))).shape == (0, 3)


@given(st.integers(0, 4), st.integers(0, 4))
def test_eye_has_ones_on_its_diagonal(out: int, into: int) -> None:
    np.testing.assert_array_equal(init.eye_(mg.tensor(np.full((out, into), 7.0))).data, np.eye(out, into))


def test_constants(device: str) -> None:
    tensor = mg.tensor(np.zeros((2, 3), "f4"), device=device)
    for fill, value in [(init.ones_, 1), (init.zeros_, 0), (lambda t: init.constant_(t, 2.5), 2.5)]:
        assert (fill(tensor).numpy() == value).all()
    assert tensor.dtype == np.float32


def test_gains_are_pytorchs() -> None:
    expected = {"linear": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": 2**0.5, "leaky_relu": (2 / 1.0001) ** 0.5}
    assert {name: init.calculate_gain(name) for name in expected} == pytest.approx(expected, rel=1e-12)
    assert init.calculate_gain("leaky_relu", 1) == pytest.approx(1)


def test_normal_takes_mean_and_deviation() -> None:
    mg.seed(0)
    values = init.normal_(mg.tensor(np.zeros(10_000)), 3, 0.5).data
    assert abs(values.mean() - 3) < 5 * 0.5 / 100
    assert abs(values.std() - 0.5) < 5 * 0.5 / 2**0.5 / 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.xavier_uniform_(mg.tensor([1.0])), r"weight of shape \(out, in, ...\), got shape \(1,\)"),
        (lambda: init.xavier_normal_(mg.tensor([1.0])), "weight of shape"),
        (lambda: init.orthogonal_(mg.tensor([1.0])), r"weight of shape .* got shape \(1,\)"),
        (lambda: init.eye_(mg.tensor([1.0])), r"two axes, got shape \(1,\)"),
        (lambda: init.trunc_normal_(mg.tensor([1.0]), std=0), "std above 0, got 0"),
        (lambda: init.trunc_normal_(mg.tensor([1.0]), std=float("nan")), "std above 0, got nan"),
        (lambda: init.trunc_normal_(mg.tensor([1.0]), a=1, b=1), "expected a < b.* got a=1, b=1"),
        (lambda: init.trunc_normal_(mg.tensor([1.0]), a=50, b=60), "within reach, .*got a=50, b=60"),
        (lambda: init.trunc_normal_(mg.tensor([1.0]), a=3, b=1), "expected a < b.* got a=3, b=1"),
        (lambda: init.kaiming_normal_(mg.tensor([[1.0]]), mode="fan"), "mode: expected 'fan_in' or 'fan_out'"),
        (lambda: init.kaiming_uniform_(mg.tensor([[1.0]]), mode="fan"), "mode: expected 'fan_in' or 'fan_out'"),
        (lambda: init.kaiming_uniform_(mg.tensor([[1.0]]), nonlinearity="gelu"), "nonlinearity: expected one of"),
    ],
)
def test_unknown_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
