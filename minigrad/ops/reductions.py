"""Reductions over axes: sums, means, extremes, softmax. `axis` as NumPy's: None (all), one, or a tuple."""

import math
from typing import Any

import numpy as np

from ..backend import Array
from ..graph import Tensor
from ..registry import op
from .elementwise import exp
from .shapes import broadcast_to, flip, reshape


def _axes(axis: Any) -> Any:
    """The same axes for NumPy, which takes axis 0 of a number, that has none, unless it comes in a tuple."""
    return axis if axis is None or isinstance(axis, tuple) else (axis,)


def _kept(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The shape that a reduction over `axis` leaves with keepdims."""
    axes = range(len(shape)) if axis is None else {a % len(shape) for a in np.atleast_1d(axis).tolist()}
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements one result of a reduction over `axis` is made of."""
    return math.prod(n for n, kept in zip(shape, _kept(shape, axis), strict=True) if n != kept)


def _spread(g: Array, shape: tuple[int, ...], axis: Any) -> Array:
    """Reduced values back in the shape they were reduced from, each repeated over its elements."""
    return broadcast_to(reshape(g, _kept(shape, axis)), shape)


def _axis_case(d: Any, min_side: int = 1) -> Any:
    shape, axis = d.reduction(min_side)
    return d.call(d.array(shape), axis=axis, keepdims=d.boolean())


def _one_axis_case(d: Any) -> Any:
    shape = d.shape(min_dims=1, min_side=1)
    return d.call(d.array(shape), axis=d.axis(len(shape)))


@op(x=lambda g, x_shape, axis: _spread(g, x_shape, axis), cases=lambda d: _axis_case(d, min_side=0))
def sum(xp: Any, x: Array, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over axes."""
    return xp.sum(x, axis=_axes(axis), keepdims=keepdims)


@op(x=lambda g, x_shape, axis: _spread(g / _count(x_shape, axis), x_shape, axis), cases=_axis_case)
def mean(xp: Any, x: Array, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over axes."""
    return xp.mean(x, axis=axis, keepdims=keepdims)


def _var_gradient(g: Array, x: Array, x_shape: tuple[int, ...], axis: Any, ddof: int) -> Array:
    deviation = x - mean(x, axis=axis, keepdims=True)
    divisor = _count(x_shape, axis) - ddof
    return _spread(g * (2 / divisor if divisor > 0 else math.nan), x_shape, axis) * deviation


@op(
    x=_var_gradient,
    analytic=False,  # of complex numbers NumPy takes the squared modulus
    cases=lambda d: d.call(
        d.array(s := d.shape(1, min_side=2)), axis=d.axis(len(s)), ddof=d.one_of(0, 1), keepdims=d.boolean()
    ),
)
def var(xp: Any, x: Array, *, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Variance over axes: the mean squared deviation, its sum divided by the count less `ddof`."""
    return xp.var(x, axis=axis, ddof=ddof, keepdims=keepdims)


def _to_extremes(g: Array, x: Array, out: Array, x_shape: tuple[int, ...], axis: Any) -> Array:
    chosen = x == _spread(out, x_shape, axis)  # a plain boolean array
    return _spread(g, x_shape, axis) * (chosen / chosen.sum(axis=axis, keepdims=True, dtype=g.dtype))


@op(x=_to_extremes, cases=_axis_case)
def max(xp: Any, x: Array, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest element over axes; equal ones share the gradient equally."""
    return xp.max(x, axis=_axes(axis), keepdims=keepdims)


@op(x=_to_extremes, cases=_axis_case)
def min(xp: Any, x: Array, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Smallest element over axes; equal ones share the gradient equally."""
    return xp.min(x, axis=_axes(axis), keepdims=keepdims)


@op(
    x=lambda g, x, out, x_shape, axis: _spread(g, x_shape, axis) * exp(x - _spread(out, x_shape, axis)),
    cases=_axis_case,
    reference=lambda x, axis, keepdims: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)),
)
def logsumexp(xp: Any, x: Array, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow: the largest element is taken out first."""
    top = xp.max(x, axis=_axes(axis), keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))  # inf - inf would give nan
    out = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else xp.squeeze(out, axis=axis)


@op(
    x=lambda g, out, axis: out * (g - sum(g * out, axis=axis, keepdims=True)),
    cases=_one_axis_case,
    reference=lambda x, axis: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True),
)
def softmax(xp: Any, x: Array, *, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along one axis: probabilities."""
    e = xp.exp(x - xp.max(x, axis=_axes(axis), keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


@op(
    x=lambda g, out, axis: g - exp(out) * sum(g, axis=axis, keepdims=True),
    cases=_one_axis_case,
    reference=lambda x, axis: x - np.log(np.exp(x).sum(axis=axis, keepdims=True)),
)
def log_softmax(xp: Any, x: Array, *, axis: int = -1) -> Tensor:
    """log(softmax(x)) along one axis, exact where the softmax underflows."""
    shifted = x - xp.max(x, axis=_axes(axis), keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


def _cumsum_gradient(g: Array, x_shape: tuple[int, ...], axis: int | None) -> Array:
    return reshape(flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis), x_shape)


@op(
    x=_cumsum_gradient,
    cases=lambda d: d.call(d.array(s := d.shape(1)), axis=d.one_of(None, d.axis(len(s)))),
)
def cumsum(xp: Any, x: Array, *, axis: int | None = None) -> Tensor:
    """Running sum along an axis; None: of the flattened array."""
    return xp.cumsum(x, axis=axis)
