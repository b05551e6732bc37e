"""The loss that is worth an op of its own."""

from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..creation import as_tensor
from ..graph import Tensor
from ..kernels import BLOCK, Kernels, kernels_for
from ..registry import op
from .indexing import grid, take_along_axis
from .reductions import log_softmax
from .shapes import expand_dims, squeeze


def minus_at(x: Any, target: Array, *, axis: int) -> Tensor:
    """-x at the target class of each place."""
    return -squeeze(take_along_axis(as_tensor(x), expand_dims(target, axis), axis), axis=axis)


def _in_steps(x: Any, target: Array, axis: int) -> Tensor:
    return minus_at(log_softmax(as_tensor(x), axis=axis), target, axis=axis)


def _kernels(x: Array, axis: int) -> Kernels | None:
    """The kernels, which take classes along the last axis."""
    return kernels_for(x, "losses") if axis in (-1, x.ndim - 1) else None


def _by_x(g: Array, kept: list[Array], target: Array, axis: int) -> Array:
    (probabilities,) = kept
    xp = backend_of(g).xp
    if kernels := _kernels(probabilities, axis):
        target, g, dx = _integers(xp, target), xp.ascontiguousarray(g), xp.empty_like(probabilities)
        kernels.launch("cross_entropy_back", dx.size, probabilities, target, g, dx, target.size, dx.shape[-1])
        return dx
    dx = probabilities * xp.expand_dims(g, axis)
    dx[grid(xp, xp.expand_dims(xp.asarray(target), axis), axis)] -= xp.expand_dims(g, axis)  # no element twice
    return dx


def _integers(xp: Any, target: Array) -> Array:
    """Targets as kernels take them."""
    return xp.ascontiguousarray(xp.asarray(target), np.int64)


def _on_gpu(xp: Any, kernels: Kernels, x: Array, target: Array, keep: list[Array]) -> Any:
    """The loss of each place, and the probabilities, by one kernel."""
    x = xp.ascontiguousarray(x)
    loss, probabilities = xp.empty(target.shape, x.dtype), xp.empty_like(x)
    target = _integers(xp, target)
    kernels.launch("cross_entropy", target.size * BLOCK, x, target, loss, probabilities, x.shape[-1])
    keep += [probabilities]
    return loss


@op(
    x=_by_x,
    steps=_in_steps,
    cases=lambda d: d.call(
        d.array(s := d.shape(1, 3, 1)),
        d.indices(s[a := d.integer(0, len(s) - 1)], s[:a] + s[a + 1 :]) % s[a],
        axis=a,
    ),
)
def cross_entropy(xp: Any, x: Array, target: Any, *, axis: int = -1, keep: list[Array]) -> Tensor:
    """-log(softmax(x)) of the target class of each place: exp(x) is computed once, and is all that is kept.

    Args:
        x: logits, with the classes along `axis`.
        target: integers, of x's shape without `axis`.

    Raises:
        TypeError: targets that are not integers.
        ValueError: targets of another shape.
        IndexError: a target outside 0..V-1, V classes.

    >>> import minigrad as mg
    >>> mg.cross_entropy(mg.tensor([[0.0, 0.0], [0.0, 9.0]]), [0, 1]).numpy().round(4)
    array([0.6931, 0.0001], dtype=float32)
    """
    target, V = xp.asarray(target), x.shape[axis]
    shape = tuple(np.delete(x.shape, axis).tolist())
    if target.dtype.kind not in "iu":
        raise TypeError(f"expected target to be integers, got dtype {target.dtype}")
    if target.shape != shape:
        raise ValueError(f"expected target of shape {shape}, x's without its axis {axis}, got {target.shape}")
    low, high = (int(target.min()), int(target.max())) if target.size else (0, V - 1)
    if low < 0 or high >= V:
        raise IndexError(f"expected target in 0..{V - 1}, got {low} to {high}")
    if kernels := _kernels(x, axis):
        return _on_gpu(xp, kernels, x, target, keep)
    target = xp.expand_dims(target, axis)
    e = x - xp.max(x, axis=axis, keepdims=True)
    of_target = xp.take_along_axis(e, target, axis)
    xp.exp(e, out=e)
    total = xp.sum(e, axis=axis, keepdims=True)
    e /= total
    keep += [e]
    return xp.squeeze(xp.log(total) - of_target, axis=axis)
