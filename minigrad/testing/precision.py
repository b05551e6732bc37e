"""The gradients of a function in the dtypes it is given, float32 say, against those in float64."""

import numpy as np

from ..graph import Tensor
from .differences import EPSILON, SAFETY, Vector
from .findings import GradientError
from .functions import Function
from .purity import check_finite, check_kind

ROUNDINGS = 256.0  # so many may add up, each of an epsilon of the largest number around
SHOWN = 5  # elements in a message


def check_precision(low: Function, exact: Function, rng: np.random.Generator) -> None:
    """Gradients keep their argument's shape, dtype and device, and are those of float64 but for rounding.

    How much that may be shows in how the gradient moves when the arguments move by an epsilon, in either precision.
    Where it moves too little to tell, as where f saturates, an error is forgiven in proportion to the largest
    elements of the gradient and of f.

    Args:
        low: f, at a point of the given dtypes.
        exact: the gradient of f in float64.
    """
    check_finite(low)
    with np.errstate(all="ignore"):  # what comes of it will show
        gradient = low.gradient(rng)
        found = gradient.f(*map(Tensor, gradient.points))
    for name, point, g in zip(low.inputs.names, low.points, found, strict=True):
        check_kind(name, point, g.data)
    got, expected = gradient.y, exact.value(gradient.x)
    apart = np.abs(got - expected)
    wrong = [int(k) for k in np.flatnonzero(~(apart <= rounding(low, gradient, exact, expected)))]
    if wrong:
        lines = [f"{len(wrong)} of {got.size} elements of the gradient are lost"]
        for k in sorted(wrong, key=lambda k: -np.nan_to_num(apart[k], nan=np.inf))[:SHOWN]:
            lines.append(
                f"  {gradient.outputs.element(k)}: expected {expected[k]:.6g} as in float64, got {got[k] + 0.0:.6g}"
            )
        raise GradientError("\n".join(lines))


def rounding(low: Function, gradient: Function, exact: Function, expected: Vector) -> Vector:
    """How far each element of the gradient may be rounded."""
    n, point = low.x.size, gradient.x  # the arguments, then the cotangents
    kinds = [np.finfo(dtype) for dtype in low.inputs.dtypes]
    epsilon = max(EPSILON, *[float(kind.eps) for kind in kinds])
    of_f = np.abs(point[n:]).max(initial=0.0) * np.abs(low.y).max(initial=0.0)
    least = max(float(kind.tiny) for kind in kinds)
    allowed: Vector = ROUNDINGS * (epsilon * (gradient.outputs.largest(expected) + of_f) + least)
    if (np.abs(gradient.y - expected) <= allowed).all():
        return allowed
    for x in low.nearby(epsilon):
        near = np.concatenate([x, point[n:]])
        with np.errstate(invalid="ignore"):
            moved = np.fmax(np.abs(gradient.value(near) - gradient.y), np.abs(exact.value(near) - expected))
        allowed = np.fmax(allowed, SAFETY * moved)
    return allowed
