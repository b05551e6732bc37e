"""v J u, by backward passes and by derivatives along u: for all unit vectors, or for a few that stand for all.

Where the two differ, kinks are told from bugs, and the wrong element is found.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .complex_step import NotAnalytic, check_analytic, complex_derivative
from .differences import EPSILON, SAFETY, Derivative, Vector, derivative_along
from .findings import GradientError, NonDifferentiable
from .functions import TINY, Function, Slots, signed
from .kinks import Sides, sides

FULL = 300  # up to so many elements, in and out, the whole Jacobian is compared
WORST = 5  # how many elements a message shows
SPLITS = 200  # how often directions are halved to tell kinks apart
SLACK = 0.05  # how far a gradient at a kink may lie outside of the two slopes, in their distance
MODES = ("differences", "complex")


class Comparison(NamedTuple):
    """v J u for each row v and one direction u, by both ways."""

    expected: Vector  # by differences or complex steps; nan where these give nothing
    got: Vector  # by the backward pass
    excess: Vector  # how far apart the two are, in units of what is allowed; above 1 the gradient is wrong
    mode: Any  # which of MODES says so, for each row


class Fault(NamedTuple):
    """One wrong derivative: the rows and the direction, and what the two ways gave for it."""

    v: Vector
    u: Vector
    expected: float
    got: float
    mode: str


class Kink(NamedTuple):
    """No derivative: a row and a direction along which f bends or jumps."""

    v: Vector
    u: Vector
    below: float  # slopes, or the values of f itself where it jumps
    above: float
    got: float
    jumps: bool


def check_values(function: Function, gradient: Function, modes: Sequence[str], rng: np.random.Generator) -> None:
    """Compare v J u for all unit vectors v and u, or where that is too much for chosen ones."""
    n, m = function.inputs.size, function.outputs.size
    if not n or not m:
        return
    full = n <= FULL and m <= FULL
    probe = Probe(function, gradient, modes)
    rows = np.eye(m) if full else probes(np.abs(function.y), rng)  # (q, m)
    pulled = probe.pull_all(rows)  # (q, n)
    suspects: list[tuple[Vector, Comparison]] = []
    for u in np.eye(n) if full else probes(np.abs(pulled[0]), rng):
        both = probe.compare(rows, pulled, u)
        if (both.excess > 1).any():
            suspects.append((u, both))
    suspects.sort(key=lambda suspect: -worst(suspect[1]))
    faults: list[Fault] = []
    kinks: list[Kink] = []
    for u, both in suspects:
        found = probe.judge(rows[both.excess > 1], u)
        faults += [each for each in found if isinstance(each, Fault)]
        kinks += [each for each in found if isinstance(each, Kink)]
        if len(faults) >= (WORST if full else 1):
            break
    if faults:
        wrong = sum(int((both.excess > 1).sum()) for _, both in suspects) - len(kinks)
        raise GradientError(wrong_ones(function, faults, wrong if full else None))
    if kinks:
        raise NonDifferentiable(without_derivative(function, kinks))


def worst(both: Comparison) -> float:
    """How far apart the two ways are."""
    return float(np.nan_to_num(np.abs(both.expected - both.got), nan=np.inf).max())


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


# ------------------------------------------------------------------------------------------------ one direction


class Probe:
    """A function and its gradient, compared along one direction at a time."""

    def __init__(self, function: Function, gradient: Function, modes: Sequence[str]) -> None:
        self.function, self.gradient, self.pull = function, gradient, function.pullback()
        self.modes = [mode for mode in modes if mode != "complex" or self.may_be_complex(alone=len(modes) == 1)]
        self.splits = 0

    def may_be_complex(self, alone: bool) -> bool:
        """Whether complex steps can be taken; if they are all there is, they must."""
        try:
            check_analytic(self.function)
        except NotAnalytic as reason:
            if alone:
                raise NotAnalytic(f"check_grads: modes=('complex',): {reason}; 'differences' take any f") from None
            return False
        return True

    def pull_all(self, rows: Any) -> Any:
        """v J for rows v: (q, m) -> (q, n)."""
        return np.stack([self.pull(v) for v in rows]) if len(rows) else np.zeros((0, self.function.x.size))

    def compare(self, rows: Any, pulled: Any, u: Vector) -> Comparison:
        """v J u for rows v, of which v J is given; u in units of each element's scale, the result in one unit.

        Complex steps are believed where differences agree with them, as far as these can tell.
        """
        f, step = self.function, u * self.function.scale
        known: Derivative | None = None
        found: Comparison | None = None
        for mode in self.modes:
            if mode == "complex":
                sharp = complex_derivative(f.value, f.x, step)
                known = sharp if known is None else sharpened(known, sharp)
            else:
                known = derivative_along(f.value, f.x, step, f.noise)
            compared = self.against(known, rows, pulled, step, mode)
            found = compared if found is None else worse(found, compared)
        assert found is not None
        return found

    def against(self, known: Derivative, rows: Any, pulled: Any, step: Vector, mode: str) -> Comparison:
        """v J u with a derivative along u that is known."""
        lost = np.isnan(known.value)
        value, error = np.where(lost, 0.0, known.value), np.where(lost, 0.0, known.error)
        expected, got = np.where(np.abs(rows) @ lost > 0, np.nan, rows @ value), pulled @ step
        sums = np.abs(rows) @ np.abs(value) + np.abs(pulled) @ np.abs(step)
        apart = np.abs(expected - got)
        allowed = SAFETY * (np.abs(rows) @ error) + 4 * EPSILON * (sums + largest(pulled) * np.abs(step).max())
        if not np.all(apart <= allowed):  # only now is it worth to know how far the gradient itself is rounded
            noise = self.gradient.noise
            if mode == "differences":  # not much farther, for its size, than f is; complex steps came close already
                noise = np.minimum(noise, 64 * self.function.coarseness * np.abs(self.gradient.y).max())
            allowed += SAFETY * (noise @ np.abs(step))
        excess = np.where(np.isnan(apart), np.inf, apart / np.maximum(allowed, TINY))
        unit = np.abs(step).max()
        return Comparison(expected / unit, got / unit, excess, np.full(len(got), mode, object))

    # ---- what is wrong, and whether that is a kink

    def judge(self, rows: Any, u: Vector) -> list[Fault | Kink]:
        """What is behind rows v whose v J u is wrong: outputs that are smooth along u must be right all the same."""
        beside = self.beside(u)
        smooth = nonzero(rows * ~beside.bends)
        both = self.compare(smooth, self.pull_all(smooth), u)
        wrong = np.flatnonzero(both.excess > 1)
        found: list[Fault | Kink] = []
        for i in wrong:
            if np.count_nonzero(u) > 1 or np.count_nonzero(smooth[i]) > 1:
                return [self.narrow(smooth[i], u)]
            found.append(Fault(smooth[i], u, both.expected[i], both.got[i], both.mode[i]))
        bent = nonzero(rows * beside.bends)
        if np.count_nonzero(u) == 1 or self.splits >= SPLITS:
            return found + [self.kink(v, u, beside) for v in bent]
        self.splits += 1
        for half in halves(u) if len(bent) else ():
            both = self.compare(rows, self.pull_all(rows), half)
            if (both.excess > 1).any():
                found += self.judge(rows[both.excess > 1], half)
                if any(isinstance(each, Fault) for each in found):
                    break
        return found

    def beside(self, u: Vector) -> Sides:
        """How f behaves on either side along u; its gradient may jump only where what it is the gradient of bends."""
        f = self.function
        found = sides(f.value, f.x, u * f.scale)
        if found.jumps.any() and (integral := f.gradient_of):
            step = (u * f.scale)[: integral.x.size]
            if not sides(integral.value, integral.x, step).bends.any():
                return found._replace(jumps=np.zeros_like(found.jumps), error=np.full_like(found.error, np.inf))
        return found

    def kink(self, v: Vector, u: Vector, beside: Sides) -> Fault | Kink:
        """Outputs that bend or jump along u: where they bend, the gradient must lie between the slopes."""
        step = u * self.function.scale
        unit = np.abs(step).max()
        got = float(self.pull(v) @ step)
        ends = np.stack([v * np.nan_to_num(beside.below), v * np.nan_to_num(beside.above)])
        low, high = ends.min(axis=0).sum(), ends.max(axis=0).sum()
        slack = SLACK * (high - low) + SAFETY * np.abs(v) @ np.nan_to_num(beside.error, posinf=0.0)
        if beside.jumps[v != 0].any():
            i = int(np.argmax(np.abs(v) * beside.jumps))
            v = one_of(v, i)
            return Kink(v, u, beside.low[i], beside.high[i], float(self.pull(v) @ step) / unit, jumps=True)
        if not low - slack <= got <= high + slack:
            return Fault(v, u, float("nan"), got / unit, self.modes[0])
        i = int(np.argmax(ends.max(axis=0) - ends.min(axis=0)))
        v = one_of(v, i)
        got = float(self.pull(v) @ step)
        return Kink(v, u, beside.below[i] / unit, beside.above[i] / unit, got / unit, jumps=False)

    def narrow(self, v: Vector, u: Vector) -> Fault:
        """Follow the worse half of a direction with a wrong derivative, then of the rows, to one element of each."""
        pulled = self.pull(v)[None]
        while np.count_nonzero(u) > 1:
            excess = [self.compare(v[None], pulled, half).excess[0] for half in halves(u)]
            if max(excess) <= 1:
                break
            u = halves(u)[int(np.argmax(excess))]
        while np.count_nonzero(v) > 1:
            rows = np.stack(halves(v))
            less = self.compare(rows, self.pull_all(rows), u).excess
            if max(less) <= 1:
                break
            v = rows[int(np.argmax(less))]
        v, u = as_unit(v), as_unit(u)
        both = self.compare(v[None], self.pull(v)[None], u)
        return Fault(v, u, both.expected[0], both.got[0], both.mode[0])


def sharpened(coarse: Derivative, fine: Derivative) -> Derivative:
    """A finer derivative where a coarser one agrees with it, and that one elsewhere."""
    with np.errstate(invalid="ignore"):
        agree = np.abs(fine.value - coarse.value) <= SAFETY * coarse.error + fine.error
    return Derivative(*[np.where(agree, a, b) for a, b in zip(fine, coarse, strict=True)])


def worse(one: Comparison, other: Comparison) -> Comparison:
    """What the first says where it finds fault, else the second."""
    faulty = one.excess > 1
    return Comparison(*[np.where(faulty, a, b) for a, b in zip(one, other, strict=True)])


# ------------------------------------------------------------------------------------------------ vectors


def largest(rows: Any) -> Vector:
    """The largest size in each row."""
    return np.asarray(np.abs(rows).max(axis=1, initial=0.0))


def nonzero(rows: Any) -> Any:
    """The rows that are not zero."""
    return rows[rows.any(axis=1)]


def one_of(v: Vector, i: int) -> Vector:
    """The unit vector of one of the elements that a vector weighs."""
    return np.asarray((np.arange(v.size) == i) * 1.0)


def as_unit(w: Vector) -> Vector:
    """A vector with one element scaled to the unit vector; any other as it is."""
    return np.sign(np.abs(w)) if np.count_nonzero(w) == 1 else w


def halves(w: Vector) -> list[Vector]:
    """A vector in two parts, each with half of its elements and zeros for the rest."""
    parts = np.zeros((2, w.size))
    for part, support in zip(parts, np.array_split(np.flatnonzero(w), 2), strict=True):
        part[support] = w[support]
    return list(parts)


# ------------------------------------------------------------------------------------------------ messages


def wrong_ones(function: Function, faults: Sequence[Fault], count: int | None) -> str:
    """What a message says of wrong derivatives, the worst first."""

    def apart(fault: Fault) -> float:
        return float(np.nan_to_num(abs(fault.expected - fault.got), nan=np.inf))

    faults = sorted(faults, key=apart, reverse=True)[:WORST]
    by = {"differences": "finite differences", "complex": "complex steps"}[faults[0].mode]
    of_all = "some" if count is None else f"{count} of {function.inputs.size * function.outputs.size}"
    lines = [f"{of_all} derivatives differ from {by}"]
    for v, u, expected, got, _ in faults:
        known = "the differences do not settle (noise?)" if np.isnan(expected) else f"expected {expected:.10g}"
        lines.append(f"  {quotient(function, v, u)}: {known}, got {got:.10g}")
    if count is not None and count > len(faults):
        lines.append(f"  and {count - len(faults)} more")
    return "\n".join(lines)


def without_derivative(function: Function, kinks: Sequence[Kink]) -> str:
    """What a message says of kinks and jumps."""
    lines = ["f has no derivative here"]
    for v, u, below, above, got, jumps in kinks[:WORST]:
        what = "a jump from {} below to {} above" if jumps else "a kink, of slope {} below and {} above"
        (at,) = {*function.x[u != 0][:1]}
        lines.append(
            f"  {quotient(function, v, u)} at {at:.10g}: {what.format(f'{below:.6g}', f'{above:.6g}')}, got {got:.10g}"
        )
    if len(kinks) > WORST:
        lines.append(f"  and {len(kinks) - WORST} more")
    return "\n".join(lines)


def quotient(function: Function, v: Vector, u: Vector) -> str:
    """A derivative as it is written."""
    return f"d {naming(function.outputs, v)} / d {naming(function.inputs, u)}"


def naming(slots: Slots, w: Vector) -> str:
    """The element that a vector weighs alone, or how many it weighs."""
    places = np.flatnonzero(w)
    first = slots.element(int(places[0]))
    return first if len(places) == 1 else f"({first} and {len(places) - 1} others, weighted)"
