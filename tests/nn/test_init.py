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
        (lambda: init.kaiming_uniform_(mg.tensor([[1.0]]), mode="fan"), "mode: expected 'fan_in' or 'fan_out'"),
        (lambda: init.kaiming_uniform_(mg.tensor([[1.0]]), nonlinearity="gelu"), "nonlinearity: expected one of"),
    ],
)
def test_unknown_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
