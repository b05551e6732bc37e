"""check_grads: a function's gradients, to any order, against finite differences.

A function of tensors is looked at as a map of vectors, f: R^n -> R^m. A backward pass gives v J for a row of
weights v; finite differences give J u for a direction u; the two meet in v J u. With every unit vector for v and u
that is the whole Jacobian, element by element. Where it is too large, a few chosen v and u stand for all.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, backend_of, generator, is_array, owner, to_numpy
from ..graph import Tensor
from ..operands import describe as as_shown
from .differences import Vector, derivative_along
from .functions import TINY, Describe, Function, Slots, gradients, signed

FULL = 300  # up to so many elements, in and out, the whole Jacobian is compared
SAFETY = 8.0  # how many estimated errors a gradient may be off
WORST = 5  # how many wrong elements a message shows
MODES = ("differences", "complex")


class GradientError(AssertionError):
    """A gradient that is wrong, or that can't be told; the message says where, worst element first."""


def check_grads(f: Callable[..., Any], *args: Any, order: int = 2, modes: Sequence[str] = MODES) -> None:
    """Prove the gradients of `f` at a point, in float64, or show where they are wrong.

    Each derivative is compared with finite differences, within the error that these are estimated to have: a
    gradient of size 1e-8 is held to its own scale. Order 2 does the same to the gradient itself, as a function of
    the arguments and of the cotangents (the gradients that flow in, drawn at random). Besides: gradients have
    their argument's shape, dtype and device, and are finite; two runs give the same bits; nothing that was given
    is written to, cotangents included; and gradients share memory with nothing.

    Up to 300 elements in and out, the whole Jacobian is compared. Beyond, v J u for random weights v of the results
    and random directions u of the arguments: over all elements, over blocks of elements of like size, over single
    ones. A wrong element shows in every direction that contains it, and is then found by halving.

    What this can miss: an error that finite differences can't tell, which is about 1e-11 of the size of f's results
    (in a large function, times their number) and never below 1e-13; and whatever shows at other points only, like a
    branch not taken here. So draw several points, off kinks: there formula and differences may rightly disagree.

    Args:
        f: a function of `args` that returns a tensor, or tuples of tensors, nested or not.
        args: tensors or arrays. Floating-point ones become float64 and are differentiated; what else there is,
            indices or flags, is passed as it is.
        order: how often to differentiate, 1 or more.
        modes: what to compare with.

    Raises:
        GradientError: something of the above fails. The message names the argument and the element, with the
            expected and the given value, worst first.
        TypeError: nothing to differentiate, or a result that is not made of tensors.

    >>> import minigrad as mg
    >>> check_grads(lambda x, y: x * mg.tanh(y), np.ones((2, 1)), np.arange(3.0))
    >>> check_grads(lambda x: mg.as_tensor(x.data) * x, np.array([1.5]))
    Traceback (most recent call last):
    minigrad.testing.gradients.GradientError: order 1: 1 of 1 derivatives differ from finite differences
      d output[0] / d args[0][0]: expected 3, got 1.5
    """
    prove(f, args, order=order, modes=modes)


def prove(
    f: Callable[..., Any],
    args: Sequence[Any],
    *,
    order: int = 2,
    modes: Sequence[str] = MODES,
    names: Sequence[str] | None = None,
    describe: Describe | None = None,
) -> None:
    """`check_grads` for those who can name things.

    Args:
        names: what messages call each of `args`; None: args[0], args[1] ...
        describe: words for an element, or "": describe("weight_hh_l0", (3, 1)) may give "gate f, unit 1". It is asked
            for results too, by the name "output" or "outputs[i]".
    """
    if order < 1:
        raise ValueError(f"check_grads: expected order to be 1 or more, got {order}")
    points = {i: a for i, a in enumerate(map(as_float64, args)) if a is not None}
    if not points:
        raise TypeError("check_grads: expected a tensor or array of floating-point numbers among args, got none")
    rng = generator(0)

    def of_points(*xs: Tensor) -> tuple[Tensor, ...]:
        place = dict(zip(points, xs, strict=True))
        return as_tuple(f(*[place.get(i, arg) for i, arg in enumerate(args)]))

    constants = [a.data if isinstance(a, Tensor) else a for i, a in enumerate(args) if i not in points]
    guarded = [*points.values(), *filter(is_array, constants)]
    before = [array.copy() for array in guarded]
    known_as = [names[i] if names else f"args[{i}]" for i in points]
    function = Function(of_points, [*points.values()], known_as, describe=describe or (lambda name, place: ""))
    for k in range(1, order + 1):
        check_purity(function, f"order {k}", rng)
        gradient = function.gradient(rng)
        check_values(function, gradient, f"order {k}", rng)
        if not all(map(same_bits, guarded, before)):
            raise GradientError(f"order {k}: f, or its backward pass, wrote to its arguments")
        function = gradient


def as_float64(value: Any) -> Array | None:
    """A floating-point tensor or array in float64, itself if it is that already; None for anything else."""
    array = value.data if isinstance(value, Tensor) else value
    return array.astype(np.float64, copy=False) if is_array(array) and array.dtype.kind == "f" else None


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    """The tensors among f's results that vary continuously, nested ones in order."""
    results = flat(result)
    for i, y in enumerate(results):
        if not isinstance(y, Tensor):
            raise TypeError(f"check_grads: expected f to return tensors, got {type(y).__name__} as result {i}")
    return tuple(y for y in results if y.dtype.kind == "f")


def flat(result: Any) -> tuple[Any, ...]:
    """The members of nested tuples and lists, in order."""
    return tuple(y for part in result for y in flat(part)) if isinstance(result, tuple | list) else (result,)


# ------------------------------------------------------------------------------------------------ purity


def check_purity(function: Function, label: str, rng: np.random.Generator) -> None:
    """Shapes, dtypes, finite values; the same bits twice; nothing written to, nothing shared."""
    if not np.isfinite(function.y).all():
        k = int(np.argmin(np.isfinite(function.y)))
        raise GradientError(
            f"{label}: {function.outputs.element(k)} is {function.y[k]}; choose arguments inside f's domain"
        )
    seeds = function.outputs.unpack(signed(rng, function.outputs.size))
    outputs, found = backward_once(function, seeds, label)
    again = backward_once(function, seeds, label)
    for name, one, two in zip(function.outputs.names, outputs, again[0], strict=True):
        if not same_bits(one, two):
            raise GradientError(f"{label}: two runs give different values of {name}")
    memory = {id(owner(array)): name for array, name in zip(function.points, function.inputs.names, strict=True)}
    memory |= {id(owner(array)): name for array, name in zip(outputs, function.outputs.names, strict=True)}
    for name, point, one, two in zip(function.inputs.names, function.points, found, again[1], strict=True):
        if one.shape != point.shape or one.dtype != point.dtype or backend_of(one) is not backend_of(point):
            raise GradientError(
                f"{label}: the gradient by {name}, {as_shown(point)}, is {as_shown(one)}; device "
                f"{backend_of(one).device!r}, expected {backend_of(point).device!r}"
            )
        if not same_bits(one, two):
            raise GradientError(f"{label}: two runs give different gradients by {name}")
        for array, run in (one, "first"), (two, "second"):
            other = memory.setdefault(id(owner(array)), f"the {run} gradient by {name}")
            if other != f"the {run} gradient by {name}":
                raise GradientError(f"{label}: the {run} gradient by {name} shares its memory with {other}")
    check_recorded(function, outputs, label)
    g = function.inputs.pack(found)
    if not np.isfinite(g).all():
        k = int(np.argmin(np.isfinite(g)))
        raise GradientError(f"{label}: the gradient by {function.inputs.element(k)} is {g[k]}, and f is finite there")


def backward_once(function: Function, seeds: Sequence[Array], label: str) -> tuple[list[Array], list[Array]]:
    """The outputs and the gradients of one run, which must leave outputs and seeds alone."""
    # A sentinel added to each output receives the same gradient as f, and after f has gone backward.
    sentinels = [Tensor(seed * 0.0).requires_grad_() for seed in seeds]
    xs = [Tensor(p).requires_grad_() for p in function.points]
    ys = function.f(*xs)
    kept = [y.data.copy() for y in ys]
    found = gradients([y + s for y, s in zip(ys, sentinels, strict=True)], [*xs, *sentinels], seeds)
    for name, y, copy, seed, s in zip(function.outputs.names, ys, kept, seeds, found[len(xs) :], strict=True):
        if not same_bits(y.data, copy):
            raise GradientError(f"{label}: the backward pass wrote to {name}")
        if not same_bits(s.data, seed):
            raise GradientError(f"{label}: the backward pass wrote to the cotangent of {name}, which others read too")
    return [y.data for y in ys], [g.data for g in found[: len(xs)]]


def check_recorded(function: Function, recorded: Sequence[Array], label: str) -> None:
    """Recording a graph, for order 2 that of the backward pass, must not change the values."""
    y = function.outputs.pack(recorded)
    different = np.abs(y - function.y) > 1e-12 * (np.abs(y) + np.abs(y).max(initial=0.0))
    if different.any():
        k = int(np.argmax(different))
        raise GradientError(
            f"{label}: {function.outputs.element(k)} is {function.y[k]:.10g}, but {y[k]:.10g} with its graph recorded"
        )


def same_bits(one: Array, two: Array) -> bool:
    """Whether two arrays hold the same values, to the bit."""
    a, b = to_numpy(one), to_numpy(two)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------------------------------ values


class Comparison(NamedTuple):
    """v J u for each row v and one direction u, by both ways."""

    expected: Vector  # by finite differences; nan where these do not settle
    got: Vector  # by the backward pass
    excess: Vector  # how far apart the two are, in units of what is allowed; above 1 the gradient is wrong


class Fault(NamedTuple):
    """One wrong derivative: the rows and the direction, and what the two ways gave for it."""

    v: Vector
    u: Vector
    expected: float
    got: float


def check_values(function: Function, gradient: Function, label: str, rng: np.random.Generator) -> None:
    """Compare v J u for all unit vectors v and u, or where that is too much for chosen ones."""
    n, m = function.inputs.size, function.outputs.size
    if not n or not m:
        return
    full = n <= FULL and m <= FULL
    pull = function.pullback()
    rows = np.eye(m) if full else probes(np.abs(function.y), rng)  # (q, m)
    pulled = np.stack([pull(v) for v in rows])  # (q, n)
    faults = []
    for u in np.eye(n) if full else probes(np.abs(pulled[0]), rng):
        both = compare(function, gradient, rows, pulled, u)
        wrong = np.flatnonzero(both.excess > 1)
        faults += [Fault(rows[i], u, both.expected[i], both.got[i]) for i in wrong]
        if faults and not full:
            faults = [narrow(function, gradient, pull, faults[0].v, u)]
            break
    if faults:
        count = f"{len(faults)} of {n * m}" if full else "some"
        raise GradientError(f"{label}: {count} derivatives differ from finite differences\n{listing(function, faults)}")


def probes(sizes: Vector, rng: np.random.Generator) -> Any:
    """A few vectors that stand for all: over all elements, over blocks of elements of like size, over single ones.

    In a block of its own a small element is not drowned by the rounding of large ones.
    """
    n = sizes.size
    if n <= 16:
        return np.eye(n)
    supports = [slice(None), slice(None), *np.array_split(np.argsort(sizes), 8), 0, n - 1, *rng.choice(n, 4)]
    vectors = np.zeros((len(supports), n))
    for vector, support in zip(vectors, supports, strict=True):
        vector[support] = signed(rng, n)[support]
    return vectors


def compare(function: Function, gradient: Function, rows: Any, pulled: Any, u: Vector) -> Comparison:
    """v J u for rows v, of which v J is given; u in units of each element's scale, the result in one unit."""
    step = u * function.scale
    unit = np.abs(step).max()
    derivative = derivative_along(function.value, function.x, step, function.noise)
    lost = np.isnan(derivative.value)
    value, error = np.where(lost, 0.0, derivative.value), np.where(lost, 0.0, derivative.error)
    expected, got = np.where(np.abs(rows) @ lost > 0, np.nan, rows @ value), pulled @ step
    apart, allowed = np.abs(expected - got), SAFETY * (np.abs(rows) @ error)
    if not np.all(apart <= allowed):  # only now is it worth to know how far the gradient itself is rounded:
        fair = 64 * function.coarseness * np.abs(gradient.y).max()  # not much farther, for its size, than f is
        allowed += SAFETY * (np.minimum(gradient.noise, fair) @ np.abs(step))
    excess = np.where(np.isnan(apart), np.inf, apart / np.maximum(allowed, TINY))
    return Comparison(expected / unit, got / unit, excess)


def narrow(function: Function, gradient: Function, pull: Callable[[Vector], Vector], v: Vector, u: Vector) -> Fault:
    """Follow the worse half of a direction with a wrong derivative, then of the rows, to one element of each."""
    pulled = pull(v)[None]
    while np.count_nonzero(u) > 1:
        excess = [compare(function, gradient, v[None], pulled, half).excess[0] for half in halves(u)]
        if max(excess) <= 1:
            break
        u = halves(u)[int(np.argmax(excess))]
    while np.count_nonzero(v) > 1:
        rows = np.stack(halves(v))
        less = compare(function, gradient, rows, np.stack([pull(half) for half in rows]), u).excess
        if max(less) <= 1:
            break
        v = rows[int(np.argmax(less))]
    v, u = as_unit(v), as_unit(u)
    both = compare(function, gradient, v[None], pull(v)[None], u)
    return Fault(v, u, both.expected[0], both.got[0])


def as_unit(w: Vector) -> Vector:
    """A vector with one element scaled to the unit vector; any other as it is."""
    return np.sign(np.abs(w)) if np.count_nonzero(w) == 1 else w


def halves(w: Vector) -> list[Vector]:
    """A vector in two parts, each with half of its elements and zeros for the rest."""
    parts = np.zeros((2, w.size))
    for part, support in zip(parts, np.array_split(np.flatnonzero(w), 2), strict=True):
        part[support] = w[support]
    return list(parts)


def listing(function: Function, faults: Sequence[Fault]) -> str:
    """Wrong derivatives for a message, worst first."""

    def apart(fault: Fault) -> float:
        return float(np.nan_to_num(abs(fault.expected - fault.got), nan=np.inf))

    lines = []
    for v, u, expected, got in sorted(faults, key=apart, reverse=True)[:WORST]:
        known = (
            "the differences do not settle (a kink, a jump or noise)"
            if np.isnan(expected)
            else f"expected {expected:.10g}"
        )
        lines.append(f"  d {naming(function.outputs, v)} / d {naming(function.inputs, u)}: {known}, got {got:.10g}")
    if len(faults) > WORST:
        lines.append(f"  and {len(faults) - WORST} more")
    return "\n".join(lines)


def naming(slots: Slots, w: Vector) -> str:
    """The element that a vector weighs alone, or how many it weighs."""
    places = np.flatnonzero(w)
    first = slots.element(int(places[0]))
    return first if len(places) == 1 else f"({first} and {len(places) - 1} others, weighted)"
