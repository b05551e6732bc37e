"""The strict device refuses what CuPy refuses, and computes what NumPy computes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.backend import backend_for, move, owner, to_numpy

xp = backend_for("strict").xp
VALUES = np.arange(6.0).reshape(2, 3)


def strict(array: Any = VALUES) -> Any:
    return move(np.asarray(array), "strict")


@pytest.mark.parametrize(
    "mistake",
    [
        np.asarray,
        np.exp,
        np.sum,
        lambda x: np.add.at(x, 0, 1.0),
        lambda x: np.concatenate([x, x]),
        lambda x: x * VALUES,
        lambda x: VALUES * x,
        lambda x: x * np.float64(2),
        lambda x: np.float32(2) * x,
        lambda x: x * [1.0, 2.0, 3.0],
        lambda x: x < VALUES,
        lambda x: xp.exp(VALUES),
        lambda x: xp.maximum(x, VALUES),
        lambda x: xp.maximum(x, [1.0, 2.0, 3.0]),
        lambda x: xp.where(x > 0, x, np.float64(1)),
        lambda x: xp.sum([1.0, 2.0]),
        lambda x: xp.sum(2.0),
        lambda x: xp.concatenate([x, VALUES]),
        lambda x: xp.stack([x[0, 0], 1.0]),
        lambda x: xp.einsum("ij,ij", x, VALUES),
        lambda x: operator.setitem(x, 0, VALUES[0]),
        lambda x: operator.setitem(x, 0, [1.0, 2.0, 3.0]),
        lambda x: x[np.array([0, 1])],
        lambda x: xp.add.at(x, np.array([0, 1]), 1.0),
        lambda x: hash(x),
    ],
)
def test_a_mistake_raises(mistake: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        mistake(strict())


@pytest.mark.parametrize(
    "f",
    [
        lambda xp, x: x * 2.0 - 1 / (x + 1),
        lambda xp, x: -(abs(x) ** 2) @ x.T,
        lambda xp, x: (x > 1) & ~(x == 4),
        lambda xp, x: xp.exp(x).sum(axis=0),
        lambda xp, x: xp.sum(x),
        lambda xp, x: x.max(),
        lambda xp, x: x[0, 0] * 2,
        lambda xp, x: x[1:, ::-1],
        lambda xp, x: x[xp.asarray([1, 0])],
        lambda xp, x: x[x > 2],
        lambda xp, x: xp.where(x > 2, x, 0.0),
        lambda xp, x: xp.concatenate([x, x], axis=1),
        lambda xp, x: xp.einsum("ij,kj->ik", x, x),
        lambda xp, x: xp.pad(x, ((1, 0), (0, 2)), constant_values=0.5),
        lambda xp, x: xp.zeros((2, 2), x.dtype),
        lambda xp, x: x.astype(np.float32) * 2.0,
        lambda xp, x: xp.split(x, [1], axis=1)[1],
    ],
)
def test_what_is_allowed_computes_as_numpy_and_stays_on_the_device(f: Callable[..., Any]) -> None:
    x = strict()
    result, expected = f(xp, x), np.asarray(f(np, VALUES))
    assert type(result) is type(x)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(to_numpy(result), expected)


def test_values_for_one_place_twice_are_refused() -> None:
    x, twice = strict(), xp.asarray([1, 4])  # 4 wraps around to 1
    with pytest.raises(ValueError, match="two are the same"):
        x[:, twice] = xp.asarray([1.0, 2.0])
    with pytest.raises(ValueError, match="two are the same"):
        x[:, twice] += 1.0
    x[:, x[0] > 1] = xp.asarray([[8.0], [9.0]])
    x[:, twice] = 7.0  # the same value, in any order
    np.testing.assert_array_equal(to_numpy(x), [[0, 7, 8], [3, 7, 9]])


def test_what_cupy_lacks_is_lacking() -> None:
    pytest.importorskip("cupy")
    with pytest.raises(AttributeError, match="CuPy has no busday_count"):
        xp.busday_count(1)
    with pytest.raises(AttributeError, match="CuPy's arrays have no setflags"):
        strict().setflags(write=False)


def test_a_scalar_of_numpy_would_change_the_dtype() -> None:
    """Which is why those of floats are refused; Python's are weak, and 0-d arrays are not."""
    x = strict(VALUES.astype("float32"))
    assert (x * 3.0).dtype == xp.exp(x).dtype == "float32"
    assert (x * xp.asarray(3.0)).dtype == "float64"
    for mistake in lambda: x * np.float64(3.0), lambda: xp.add(x, np.float64(3.0)), lambda: x.__iadd__(np.float32(3)):
        with pytest.raises(TypeError, match="expected a strict array or a Python scalar"):
            mistake()


def test_writes_go_through_views_and_back() -> None:
    x = strict()
    row = x[1]
    row[xp.asarray([0, 2])] = 7.0
    row += 1
    xp.add.at(x, (0, xp.asarray([0, 0])), 1.0)
    np.testing.assert_array_equal(to_numpy(x), [[2, 1, 2], [8, 5, 8]])


def test_moving_copies() -> None:
    array = VALUES.copy()
    x = strict(array)
    x += 1
    to_numpy(x)[:] = 0
    np.testing.assert_array_equal(array, VALUES)
    np.testing.assert_array_equal(to_numpy(x), VALUES + 1)


def test_base_says_whose_memory_a_view_shows() -> None:
    x = strict()
    assert x.base is None
    assert (x * 2).base is None
    assert xp.sum(x, axis=0).base is None
    for view in x[0], x.T, x[0][1:], x.reshape(3, 2), xp.broadcast_to(x, (4, 2, 3)), xp.split(x, 2)[1]:
        assert owner(view) is x
    assert x.astype(x.dtype, copy=False) is x
    copied = x.T.reshape(6)
    assert owner(copied) is not x


def test_an_integer_index_wraps_around() -> None:
    x = strict()
    np.testing.assert_array_equal(to_numpy(x[xp.asarray([2, -3])]), VALUES[[0, 1]])
    np.testing.assert_array_equal(to_numpy(xp.take(x, xp.asarray([5]), axis=1)), VALUES[:, [2]])
    with pytest.raises(IndexError):
        x[2]
