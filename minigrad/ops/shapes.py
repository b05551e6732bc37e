"""Ops that move elements about and compute nothing: reshaping, transposing, joining, splitting, padding."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array
from ..graph import Tensor
from ..registry import op


@op(
    x=lambda g, x_shape: reshape(g, x_shape),
    cases=lambda d: d.call(d.array(s := d.shape()), d.one_of(-1, s[::-1], (1, *s))),
)
def reshape(xp: Any, x: Array, shape: Any) -> Tensor:
    """The same elements, row by row, in another shape; one length may be -1."""
    return xp.reshape(x, shape)


def _untranspose(g: Array, axes: Any) -> Array:
    return transpose(g, None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]).tolist()))


@op(x=_untranspose, cases=lambda d: d.call(d.array(s := d.shape()), d.one_of(None, d.permutation(len(s)))))
def transpose(xp: Any, x: Array, axes: Any = None) -> Tensor:
    """Axes in another order; None reverses them."""
    return xp.transpose(x, axes)


@op(
    x=lambda g, axis1, axis2: swapaxes(g, axis1, axis2),
    cases=lambda d: d.call(d.array(s := d.shape(1)), d.axis(len(s)), d.axis(len(s))),
)
def swapaxes(xp: Any, x: Array, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    return xp.swapaxes(x, axis1, axis2)


@op(
    x=lambda g, source, destination: moveaxis(g, destination, source),
    cases=lambda d: (
        d.call(d.array(s := d.shape(1)), d.axis(n := len(s)), d.axis(n))
        if d.boolean()
        else d.call(d.array(s := d.shape()), d.permutation(len(s)), d.permutation(len(s)))
    ),
)
def moveaxis(xp: Any, x: Array, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the rest in their order."""
    return xp.moveaxis(x, source, destination)


@op(
    x=lambda g, x_shape: reshape(g, x_shape),
    cases=lambda d: d.call(d.array(s := d.shape()), d.one_of(0, -1, (0, len(s) + 1))),
)
def expand_dims(xp: Any, x: Array, axis: Any) -> Tensor:
    """New axes of length 1 at the given places of the result."""
    return xp.expand_dims(x, axis)


@op(
    x=lambda g, x_shape: reshape(g, x_shape),
    cases=lambda d: d.call(d.array((1, *d.shape(1, min_side=2), 1)), axis=d.one_of(None, 0, -1, (0, -1))),
)
def squeeze(xp: Any, x: Array, *, axis: Any = None) -> Tensor:
    """Axes of length 1 removed: the given ones, or all."""
    return xp.squeeze(x, axis=axis)


@op(
    x=lambda g: g,  # the walk sums it back
    cases=lambda d: d.call(d.array((s := d.broadcastable(2))[0]), np.broadcast_shapes(*s)),
)
def broadcast_to(xp: Any, x: Array, shape: Any) -> Tensor:
    """x repeated along new axes and axes of length 1, as a read-only view."""
    return xp.broadcast_to(x, shape)


def _cut_at(g: Array, axis: int, shapes: Sequence[tuple[int, ...]]) -> Sequence[Array]:
    ends = list(itertools.accumulate(shape[axis] for shape in shapes))
    return split(g, ends[:-1], axis=axis)


@op(backward=_cut_at, cases=lambda d: d.call(d.arrays_to_join(axis := d.one_of(0, 1, -1)), axis=axis))
def concatenate(xp: Any, *tensors: Array, axis: int = 0) -> Tensor:
    """Tensors joined end to end along an axis; given as one list, or one by one.

    >>> import minigrad as mg
    >>> mg.concatenate([mg.tensor([1.0]), mg.tensor([2.0, 3.0])])
    Tensor([1., 2., 3.], dtype=float32)
    """
    if axis is None:
        raise ValueError("expected an axis; reshape(x, -1) flattens")
    return xp.concatenate(tensors, axis=axis)


@op(
    backward=lambda g, axis: unstack(g, axis=axis),
    cases=lambda d: d.call([d.array(s := d.shape()), d.array(s), d.array(s)], axis=d.one_of(0, -1)),
)
def stack(xp: Any, *tensors: Array, axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis; given as one list, or one by one."""
    return xp.stack(tensors, axis=axis)


@op(
    x=lambda g, axis: stack(g, axis=axis),
    cases=lambda d: d.call(d.array(s := d.shape(1, min_side=1)), axis=d.axis(len(s))),
    reference=lambda x, axis: tuple(np.moveaxis(x, axis, 0)),
)
def unstack(xp: Any, x: Array, *, axis: int = 0) -> tuple[Array, ...]:
    """All slices along an axis, as a tuple: the time steps of a sequence, at a cost linear in their number.

    >>> import minigrad as mg
    >>> x_0, x_1 = mg.unstack(mg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> x_1
    Tensor([3., 4.], dtype=float32)
    """
    return tuple(xp.moveaxis(x, axis, 0))


@op(
    x=lambda g, axis: concatenate(g, axis=axis),
    cases=lambda d: d.call(d.array((4, d.integer(0, 2), 4)), d.one_of(2, [1], [0, 3, 3]), axis=d.one_of(0, -1)),
    reference=lambda x, at, axis: tuple(np.split(x, at, axis=axis)),
)
def split(xp: Any, x: Array, indices_or_sections: Any, *, axis: int = 0) -> tuple[Array, ...]:
    """x cut along an axis: into so many equal sections, or before each of the given indices."""
    return tuple(xp.split(x, indices_or_sections, axis=axis))


def _crop(g: Array, x_shape: tuple[int, ...], pad_width: Any) -> Array:
    before = np.broadcast_to(pad_width, (len(x_shape), 2))[:, 0].tolist()
    return g[tuple(slice(start, start + n) for start, n in zip(before, x_shape, strict=True))]


@op(
    x=_crop,
    cases=lambda d: d.call(
        d.array((d.integer(0, 3), d.integer(1, 3))),
        d.one_of(1, (0, 2), ((1, 0), (2, 1))),
        constant_values=0.5,
    ),
)
def pad(xp: Any, x: Array, pad_width: Any, *, constant_values: float = 0) -> Tensor:
    """x with a border of a constant value.

    Args:
        pad_width: how many elements on each side: a number, (before, after), or such a pair for each axis.
    """
    return xp.pad(x, pad_width, constant_values=constant_values)


@op(
    x=lambda g, axis: flip(g, axis=axis),
    cases=lambda d: d.call(d.array(s := d.shape(1)), axis=d.axes(len(s))),
)
def flip(xp: Any, x: Array, *, axis: Any = None) -> Tensor:
    """x backwards along the given axes, or all."""
    return xp.flip(x, axis)


def _untile(g: Array, x_shape: tuple[int, ...], reps: Any) -> Array:
    reps = tuple(np.atleast_1d(reps).tolist())
    ndim = max(len(reps), len(x_shape))
    reps, lengths = (1,) * (ndim - len(reps)) + reps, (1,) * (ndim - len(x_shape)) + x_shape
    pairs = reshape(g, tuple(itertools.chain(*zip(reps, lengths, strict=True))))  # (rep, n, rep, n, ...)
    return reshape(pairs.sum(axis=tuple(range(0, 2 * ndim, 2))), x_shape)


@op(x=_untile, cases=lambda d: d.call(d.array(d.shape()), d.one_of(2, (2, 1), (1, 2, 3), ())))
def tile(xp: Any, x: Array, reps: Any) -> Tensor:
    """x repeated `reps` times along each axis."""
    return xp.tile(x, reps)
