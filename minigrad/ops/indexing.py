"""Reading and adding at indices. What is read twice gets both gradients."""

import math
from typing import Any

import numpy as np

from ..adding import add_at
from ..backend import Array, is_array
from ..graph import Tensor
from ..pending import Part
from ..registry import op


def _check_range(xp: Any, indices: Array, n: int) -> None:
    """Out-of-range indices raise on every backend (CuPy's own functions wrap them silently)."""
    if xp is not np and indices.size and not (-n <= int(indices.min()) and int(indices.max()) < n):
        raise IndexError(f"indices must lie in [{-n}, {n}), got {int(indices.min())} to {int(indices.max())}")


def _check_index(xp: Any, index: Any, shape: tuple[int, ...]) -> None:
    """The same for every array of integers in an index."""
    items = [np.asarray(i) if isinstance(i, list) else i for i in (index if isinstance(index, tuple) else (index,))]
    takes = [i.ndim if is_array(i) and i.dtype.kind == "b" else i is not None and i is not Ellipsis for i in items]
    axis = 0
    for item, axes in zip(items, takes, strict=True):
        if is_array(item) and item.dtype.kind != "b":
            _check_range(xp, item, shape[axis])
        axis += len(shape) - sum(takes) if item is Ellipsis else axes


def _along(indices: Array, axis: int) -> tuple[Any, ...]:
    return (slice(None),) * axis + (indices,)


@op(
    x=lambda g, x_shape, index: _placed(g, index, x_shape),
    cases=lambda d: d.call(d.array((3, 2, 2)), d.index((3, 2, 2))),
    reference=lambda x, index: x[index],
)
def getitem(xp: Any, x: Array, index: Any) -> Tensor:
    """x[index], by every kind of NumPy's indices: numbers, slices, None, ..., boolean and integer arrays."""
    if xp is not np:
        _check_index(xp, index, x.shape)
    return x[index]


def _scattered(g: np.ndarray, index: Any, shape: Any) -> np.ndarray:
    """The definition of scatter, one element at a time."""
    out = np.zeros(shape)
    places = np.arange(out.size).reshape(shape)[index]
    for place, value in zip(places.ravel(), g.ravel(), strict=True):
        out.ravel()[place] += value
    return out


@op(
    values=lambda g, index: getitem(g, index),
    cases=lambda d: d.call(d.array(np.empty((3, 2, 2))[i := d.index((3, 2, 2))].shape), i, (3, 2, 2)),
    reference=_scattered,
)
def scatter(xp: Any, values: Array, index: Any, shape: Any) -> Tensor:
    """Zeros of a shape, with values added at an index: the transpose of `getitem`."""
    out = xp.zeros(shape, values.dtype)
    add_at(out, index, values)
    return out


def _placed(g: Array, index: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of what was read at an index."""
    return scatter(g, index, shape) if isinstance(g, Tensor) else Part(g, index, shape)


def _untake(g: Array, x_shape: tuple[int, ...], indices: Array, axis: int | None) -> Array:
    indices = list(indices) if isinstance(indices, tuple) else indices
    if axis is None:
        return scatter(g, (indices,), (math.prod(x_shape),)).reshape(x_shape)
    return _placed(g, _along(indices, axis % len(x_shape)), x_shape)


@op(
    x=_untake,
    cases=lambda d: d.call(d.array((3, 4)), d.indices(3, d.shape()), axis=d.one_of(None, 0, 1, -1)),
)
def take(xp: Any, x: Array, indices: Any, *, axis: int | None = None) -> Tensor:
    """The slices of x at integer indices along an axis; None: elements of the flattened x.

    Raises:
        IndexError: an index outside [-n, n).
    """
    indices = xp.asarray(indices)
    _check_range(xp, indices, x.size if axis is None else x.shape[axis])
    return xp.take(x, indices, axis=axis)


def grid(xp: Any, indices: Array, axis: int) -> tuple[Array, ...]:
    """The index that take_along_axis stands for."""
    axis %= indices.ndim
    grid = []
    for i, n in enumerate(indices.shape):
        shape = [1] * indices.ndim
        shape[i] = n
        grid.append(indices if i == axis else xp.arange(n).reshape(shape))
    return tuple(grid)


@op(
    x=lambda g, x_shape, indices, axis: scatter_along_axis(g, indices, axis, x_shape[axis]),
    cases=lambda d: d.call(d.array((3, 4)), *d.one_of((d.indices(3, (2, 4)), 0), (d.indices(4, (3, 5)), -1))),
)
def take_along_axis(xp: Any, x: Array, indices: Array, axis: int) -> Tensor:
    """For each place of `indices`, the element of x there but for `axis`, where the index says.

    Args:
        indices: integers, of x's shape but for `axis`.

    >>> import minigrad as mg
    >>> mg.take_along_axis(mg.tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([[1], [0]]), 1)
    Tensor([[2.],
            [3.]], dtype=float32)
    """
    _check_range(xp, indices, x.shape[axis])
    return xp.take_along_axis(x, indices, axis)


@op(
    values=lambda g, indices, axis: take_along_axis(g, indices, axis),
    cases=lambda d: d.call(d.array((2, 4)), d.indices(3, (2, 4)), 0, 3),
    reference=lambda values, indices, axis, n: _scattered(values, grid(np, indices, axis), (n, values.shape[1])),
)
def scatter_along_axis(xp: Any, values: Array, indices: Array, axis: int, n: int) -> Tensor:
    """Zeros, of length n along `axis`, with values added at indices: the transpose of `take_along_axis`."""
    shape = list(values.shape)
    shape[axis] = n
    out = xp.zeros(shape, values.dtype)
    add_at(out, grid(xp, xp.broadcast_to(indices, values.shape), axis), values)
    return out


def _index_added(x: np.ndarray, indices: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    out = x.copy()
    np.add.at(out, _along(indices, axis % x.ndim), values)
    return out


def _index_add_case(d: Any) -> Any:
    axis, count = d.one_of(0, 1, -1), d.integer(0, 4)
    x, values = ([n if i == axis % 2 else 2 for i in range(2)] for n in (3, count))
    return d.call(d.array(tuple(x)), d.indices(3, (count,)), d.array(tuple(values)), axis=axis)


@op(
    x=lambda g: g,
    values=lambda g, indices, axis: take(g, indices, axis=axis),
    cases=_index_add_case,
    reference=_index_added,
)
def index_add(xp: Any, x: Array, indices: Array, values: Array, *, axis: int = 0) -> Tensor:
    """x with slices of values added at integer indices along an axis; an index that comes twice adds twice.

    >>> import minigrad as mg
    >>> mg.index_add(mg.tensor([0.0, 0.0]), np.array([1, 1]), mg.tensor([2.0, 3.0]))
    Tensor([0., 5.], dtype=float32)
    """
    indices = xp.asarray(indices)
    _check_range(xp, indices, x.shape[axis])
    out = x.copy()
    add_at(out, _along(indices, axis % x.ndim), values)
    return out
