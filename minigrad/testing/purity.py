"""What holds of every gradient besides its values: finite, of the right kind, pure, linear in what flows in."""

from collections.abc import Sequence

import numpy as np

from ..backend import Array, backend_of, owner, to_numpy
from ..graph import Tensor
from ..operands import describe
from .findings import GradientError
from .functions import Function, gradients, signed, variable

NEGLIGIBLE = 1e-30  # smaller numbers may be rounded by more than a part of their size


class Run:
    """One recording of f among those that a backward pass goes through."""

    ys: Sequence[Tensor]
    gradients: list[Array]

    def __init__(self, function: Function, seeds: Sequence[Array]) -> None:
        self.seeds = seeds
        self.xs = [variable(p) for p in function.points]
        # Added to an output, a sentinel receives the same gradient as f; a leaf, it is reached after f has gone back.
        self.sentinels = [variable(seed * 0) for seed in seeds]


def check_purity(function: Function, rng: np.random.Generator) -> None:
    """Shapes, dtypes, finite values; the same bits again; nothing written to, nothing shared, nothing kept."""
    check_finite(function)
    seeds = function.outputs.unpack(signed(rng, function.outputs.size))
    (alone,) = backward(function, seeds)
    # In one walk with a second recording, what a formula keeps or hands out twice is overwritten in between. And the
    # gradients must follow a factor of -2 to the bit, for it rounds nothing.
    first, second = backward(function, seeds, [seed * -2 for seed in seeds])
    for name, *ys in zip(function.outputs.names, alone.ys, first.ys, second.ys, strict=True):
        if not all(same_bits(ys[0].data, y.data) for y in ys):
            raise GradientError(
                f"two runs give different values of {name}; is something kept from call to call, or drawn at random? "
                "Noise wants a seed, dropout module.eval()"
            )
    found = alone.gradients, first.gradients, second.gradients
    for name, point, g, again, doubled in zip(function.inputs.names, function.points, *found, strict=True):
        check_kind(name, point, g)
        if not same_bits(g, again):
            raise GradientError(
                f"two runs give different gradients by {name}; in the second, f was recorded twice and gone back "
                "through in one pass: is a buffer used again, or is something kept from call to call?"
            )
        if not same_numbers(g * -2, doubled):
            raise GradientError(
                f"the gradient by {name} does not follow the cotangents: times -2, they do not give it times -2; "
                "is it not linear in them, is a buffer used again, or is something kept from call to call?"
            )
    check_memory(function, [alone, first, second])
    check_recorded(function, [y.data for y in alone.ys])
    g = function.inputs.pack(alone.gradients)
    if not np.isfinite(g).all():
        k = int(np.argmin(np.isfinite(g)))
        raise GradientError(f"the gradient by {function.inputs.element(k)} is {g[k]}, and f is finite there")


def check_finite(function: Function) -> None:
    """f itself must be finite at the point."""
    finite = np.isfinite(function.y)
    if not finite.all():
        k = int(np.argmin(finite))
        raise GradientError(f"{function.outputs.element(k)} is {function.y[k]}; choose arguments inside f's domain")


def check_kind(name: str, point: Array, g: Array) -> None:
    """A gradient has its argument's shape, dtype and device."""
    if g.shape != point.shape or g.dtype != point.dtype or backend_of(g) is not backend_of(point):
        raise GradientError(
            f"the gradient by {name}, {describe(point)}, is {describe(g)}; device {backend_of(g).device!r}, "
            f"expected {backend_of(point).device!r}"
        )


def backward(function: Function, *seeds: Sequence[Array]) -> list[Run]:
    """Record f once for each list of seeds, and go back through all in one walk, which must leave them alone."""
    runs = [Run(function, each) for each in seeds]  # all leaves are older than all that is recorded
    for run in runs:
        run.ys = function.f(*run.xs)
    kept = [y.data.copy() for run in runs for y in run.ys]
    ends = [y + s for run in runs for y, s in zip(run.ys, run.sentinels, strict=True)]
    leaves = [leaf for run in runs for leaf in (*run.xs, *run.sentinels)]
    found = iter(gradients(ends, leaves, [seed for run in runs for seed in run.seeds]))
    copies = iter(kept)
    for run in runs:
        run.gradients = [next(found).data for _ in run.xs]
        for name, y, seed in zip(function.outputs.names, run.ys, run.seeds, strict=True):
            if not same_bits(y.data, next(copies)):
                raise GradientError(f"the backward pass wrote to {name}")
            if not same_bits(next(found).data, seed):
                raise GradientError(f"the backward pass wrote to the cotangent of {name}, which others read too")
    return runs


def check_memory(function: Function, runs: Sequence[Run]) -> None:
    """Gradients share their memory with nothing."""
    known = dict(zip(function.inputs.names, function.points, strict=True))
    known |= dict(zip(function.outputs.names, [y.data for y in runs[0].ys], strict=True))
    memory = {id(owner(array)): name for name, array in known.items()}
    for nth, run in zip(("first", "second", "third"), runs, strict=True):
        for name, g in zip(function.inputs.names, run.gradients, strict=True):
            own = f"the {nth} gradient by {name}"
            other = memory.setdefault(id(owner(g)), own)
            if other != own:
                raise GradientError(f"{own} shares its memory with {other}")


def check_recorded(function: Function, recorded: Sequence[Array]) -> None:
    """Recording a graph, for order 2 that of the backward pass, must not change the values."""
    y = function.outputs.pack(recorded)
    different = np.abs(y - function.y) > 1e-12 * (np.abs(y) + function.size)
    if different.any():
        k = int(np.argmax(different))
        raise GradientError(
            f"{function.outputs.element(k)} is {function.y[k]:.10g}, but {y[k]:.10g} with its graph recorded"
        )


def same_bits(one: Array, two: Array) -> bool:
    """Whether two arrays hold the same values, to the bit."""
    a, b = to_numpy(one), to_numpy(two)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def same_numbers(one: Array, two: Array) -> bool:
    """Whether two arrays of one kind hold the same numbers, zeros of either sign and what is too small for all bits."""
    a, b = to_numpy(one), to_numpy(two)
    with np.errstate(invalid="ignore"):
        return bool(((a == b) | (np.abs(a - b) < NEGLIGIBLE) | (np.isnan(a) & np.isnan(b))).all())
