"""The gradients of a function in the dtypes it is given, float32 say, against those in float64."""

import numpy as np

from ..graph import Tensor
from .findings import GradientError
from .functions import TINY, Function, signed
from .purity import check_finite, check_kind

ROUNDINGS = 256.0  # so many may add up, each of an epsilon of the largest number around
SAFETY = 8.0  # how much farther than it was seen to move a gradient may be off
NEARBY = 4  # points where that is seen
WORST = 5  # how many elements a message shows


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
    at, got, expected = gradient.x, gradient.y, exact.value(gradient.x)  # arguments, then cotangents
    epsilon = max(float(np.finfo(dtype).eps) for dtype in low.inputs.dtypes)
    v = at[low.x.size :]
    allowed = ROUNDINGS * epsilon * (gradient.outputs.largest(expected) + np.abs(v).max() * np.abs(low.y).max()) + TINY
    for _ in range(NEARBY if (np.abs(got - expected) > allowed).any() else 0):
        near = at.copy()
        near[: low.x.size] += epsilon * signed(rng, low.x.size) * low.inputs.largest(low.x)
        with np.errstate(invalid="ignore"):
            moved = np.fmax(np.abs(gradient.value(near) - got), np.abs(exact.value(near) - expected))
        allowed = np.fmax(allowed, SAFETY * moved)
    wrong = [int(k) for k in np.flatnonzero(~(np.abs(got - expected) <= allowed))]
    if wrong:
        lines = [f"{len(wrong)} of {got.size} elements of the gradient are lost"]
        for k in sorted(wrong, key=lambda k: -np.nan_to_num(np.abs(got - expected)[k], nan=np.inf))[:WORST]:
            lines.append(f"  {gradient.outputs.element(k)}: expected {expected[k]:.6g} as in float64, got {got[k]:.6g}")
        raise GradientError("\n".join(lines))
