"""Products of matrices and tensors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..graph import Tensor
from ..multiplying import product
from ..pending import held
from ..registry import op
from .shapes import broadcast_to, expand_dims, reshape, squeeze, transpose


def _matmul_by_x(g: Array, y: Array, x_shape: tuple[int, ...]) -> Array:
    if y.ndim == 1:  # (..., n, k) @ (k,) = (..., n)
        return expand_dims(g, -1) * y
    if len(x_shape) == 1:  # (k,) @ (..., k, m) = (..., m)
        return squeeze(matmul(y, expand_dims(g, -1)), axis=-1)
    return _owed(g, y.swapaxes(-1, -2))


def _matmul_by_y(g: Array, x: Array, y_shape: tuple[int, ...]) -> Array:
    if x.ndim == 1:  # (k,) @ (..., k, m) = (..., m)
        return x * g if len(y_shape) == 1 else expand_dims(x, -1) * expand_dims(g, -2)
    if len(y_shape) == 1:  # (..., n, k) @ (k,) = (..., n)
        return squeeze(matmul(x.swapaxes(-1, -2), expand_dims(g, -1)), axis=-1)
    if len(y_shape) == 2 and x.ndim > 2:  # one matrix for all rows: one product, not one for each matrix of x
        rows = math.prod(x.shape[:-1])
        x, g = x.reshape((rows, x.shape[-1])), g.reshape((rows, g.shape[-1]))
    return _owed(x.swapaxes(-1, -2), g)


def _owed(x: Any, y: Any) -> Any:
    """The gradient x @ y, which the walk works out later where it can and that saves work."""
    in_arrays = not isinstance(x, Tensor) and not isinstance(y, Tensor)
    return (in_arrays and held(x, y)) or matmul(x, y)


@op(x=_matmul_by_x, y=_matmul_by_y, cases=lambda d: d.call(*d.factors()))
def matmul(xp: Any, x: Array, y: Array) -> Tensor:
    """Matrix product of the last two axes; other axes broadcast, and one axis is a vector."""
    x_ndim, y_ndim = getattr(x, "ndim", 0), getattr(y, "ndim", 0)
    if x_ndim and y_ndim and x.shape[-1] != y.shape[-2 if y_ndim > 1 else 0]:
        raise ValueError(
            f"x's last axis ({x.shape[-1]}) and y's {'second last' if y_ndim > 1 else 'only'} axis "
            f"({y.shape[-2 if y_ndim > 1 else 0]}) must have one length"
        )
    if x_ndim > 2 and y_ndim == 2:  # one large product: BLAS takes half the time that it needs for many small ones
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return product(xp, rows, y).reshape(*x.shape[:-1], y.shape[-1])
    return product(xp, x, y) if x_ndim > 1 and y_ndim > 1 else xp.matmul(x, y)


@op(
    x=lambda g, y, x_shape: reshape(matmul(g, reshape(y, -1)), x_shape),
    y=lambda g, x, y_shape: reshape(matmul(reshape(x, -1), g), y_shape),
    cases=lambda d: d.call(d.array(d.shape()), d.array(d.shape())),
)
def outer(xp: Any, x: Array, y: Array) -> Tensor:
    """All products of an element of x and one of y, a matrix; both are flattened."""
    return xp.outer(x, y)


def _contracted(axes: Any, x_ndim: int, y_ndim: int) -> tuple[list[int], list[int]]:
    """The axes of x and of y that a tensordot sums over, in pairs."""
    if isinstance(axes, int | np.integer):
        return list(range(x_ndim - axes, x_ndim)), list(range(axes))
    of_x, of_y = (np.atleast_1d(side).tolist() for side in axes)
    return [a % x_ndim for a in of_x], [a % y_ndim for a in of_y]


def _tensordot_by_x(g: Array, y: Array, x_shape: tuple[int, ...], axes: Any) -> Array:
    of_x, of_y = _contracted(axes, len(x_shape), y.ndim)
    return _tensordot_back(g, y, len(x_shape), of_x, of_y, first=True)


def _tensordot_by_y(g: Array, x: Array, y_shape: tuple[int, ...], axes: Any) -> Array:
    of_x, of_y = _contracted(axes, x.ndim, len(y_shape))
    return _tensordot_back(g, x, len(y_shape), of_y, of_x, first=False)


def _tensordot_back(g: Array, other: Array, ndim: int, mine: list[int], its: list[int], first: bool) -> Array:
    """The gradient of one factor: g contracted with the free axes of the other, its axes put in order."""
    free = [a for a in range(ndim) if a not in mine]
    its_free = [a for a in range(other.ndim) if a not in its]
    in_g = range(len(free), g.ndim) if first else range(len(its_free))
    back = tensordot(g, other, (list(in_g), its_free))  # (*free, *what is left of other, in its order)
    order = free + [mine[its.index(a)] for a in sorted(its)]
    return transpose(back, tuple(np.argsort(order).tolist()))


@op(
    x=_tensordot_by_x,
    y=_tensordot_by_y,
    cases=lambda d: d.call(
        d.array(s := d.shape(3, 3, max_side=2)),
        d.array(s[::-1]),
        d.one_of(1, ((1,), (1,)), ((0, 2), (2, 0)), ((-1, 1), (0, 1)), 0),
    ),
)
def tensordot(xp: Any, x: Array, y: Array, axes: Any = 2) -> Tensor:
    """Sum of products over pairs of axes: the last n of x with the first n of y, or two lists of axes."""
    return xp.tensordot(x, y, axes)


# ---- einsum


def _labels(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """Each operand's labels and the result's, with `...` and the implied right-hand side written out."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts]
    named = [len(term.replace("...", "")) for term in terms]
    dots = max((len(s) - n for s, n, t in zip(shapes, named, terms, strict=True) if "..." in t), default=0)
    rest = "".join(spare[:dots])
    full = [
        term.replace("...", rest[dots - (len(shape) - n) :] if len(shape) > n else "")
        for term, shape, n in zip(terms, shapes, named, strict=True)
    ]
    if arrow:
        return full, right.replace("...", rest)
    letters = "".join(full)
    return full, rest + "".join(sorted(c for c in set(letters) - set(rest) if letters.count(c) == 1))


def _einsum_gradients(g: Array, operands: Sequence[Array], subscripts: str, shapes: Any) -> list[Array]:
    terms, result = _labels(subscripts, shapes)
    gradients = []
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        sources = [
            (result, g),
            *((t, x) for j, (t, x) in enumerate(zip(terms, operands, strict=True)) if j != i),
        ]
        gradients.append(_einsum_back(term, shape, sources))
    return gradients


def _einsum_back(term: str, shape: tuple[int, ...], sources: list[tuple[str, Array]]) -> Array:
    """The gradient of the operand with labels `term`: the product of the result's gradient and the others."""
    free = iter(
        c
        for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        if c not in term and all(c not in t for t, _ in sources)
    )
    target = ""
    for label, n in zip(term, shape, strict=True):
        if label in target:  # a diagonal: its own label, tied to the first by an identity matrix
            twin = next(free)
            sources = [*sources, (label + twin, _identity(sources[0][1], n))]
            label = twin
        target += label
    known = "".join(label for label in target if any(label in t for t, _ in sources))
    back = einsum(",".join(t for t, _ in sources) + "->" + known, *[x for _, x in sources])
    # labels that stood only in this operand were summed over: repeat along them
    lengths = dict(zip(known, back.shape, strict=True))
    back = reshape(back, tuple(lengths.get(label, 1) for label in target))
    return broadcast_to(back, tuple(lengths.get(label, n) for label, n in zip(target, shape, strict=True)))


def _identity(like: Array, n: int) -> Array:
    data = like.data if isinstance(like, Tensor) else like
    return backend_of(data).xp.eye(n, dtype=data.dtype)


@op(backward=_einsum_gradients, cases=lambda d: d.einsum_call())
def einsum(xp: Any, subscripts: str, *operands: Array) -> Tensor:
    """Sum of products by Einstein's convention: `einsum("tbd,hd->tbh", x, w)`; `...` and diagonals included.

    >>> import minigrad as mg
    >>> mg.einsum("ij,j->i", mg.tensor([[1.0, 2.0]]), mg.tensor([3.0, 4.0]))
    Tensor([11.], dtype=float32)
    """
    return xp.einsum(subscripts, *operands)
