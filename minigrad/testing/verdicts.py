"""What is behind a v J u that is wrong: a wrong element, which is found by halving, or a kink, which excuses it."""

from typing import Any, NamedTuple

import numpy as np

from .comparison import Comparison, Jacobian
from .differences import SAFETY, Vector
from .functions import Function, Slots
from .kinks import Sides, sides

SPLITS = 200  # how often directions are halved to tell kinks apart
SLACK = 0.05  # how far outside of two slopes a gradient may lie, in their distance


class Verdict(NamedTuple):
    """What is wrong with v J u, or that there is no derivative."""

    v: Vector
    u: Vector
    words: str  # expected 3, got 1.5
    apart: float  # how far off the gradient is
    mode: str | None  # which of the MODES says so; None: nothing is wrong

    def told(self, function: Function) -> str:
        """A line of a message."""
        return f"  d {naming(function.outputs, self.v)} / d {naming(function.inputs, self.u)}: {self.words}"


class Judge:
    """Looks into the directions along which something is wrong."""

    def __init__(self, jacobian: Jacobian) -> None:
        self.jacobian, self.function, self.splits = jacobian, jacobian.function, SPLITS
        self.kinks = np.zeros(self.function.x.size, bool)  # the elements along which there is one

    def judge(self, both: Comparison, vs: Any, rows: Any, u: Vector) -> list[Verdict]:
        """What is behind it that v J u is wrong for some v. For outputs that are smooth along u nothing is excused."""
        wrong = both.excess > 1
        if not wrong.any():
            return []
        worst = int(np.argmax(both.excess))
        by_itself = is_wrong(vs[worst], u, both, worst)
        vs, rows = vs[wrong], rows[wrong]
        beside = self.beside(u)
        smooth, bent = nonzero(vs * ~beside.bends), nonzero(vs * beside.bends)
        found = self.wrong(smooth, u)
        if not (is_unit(u) or found) and self.splits:
            self.splits -= 1
            for half in map(as_unit, halves(u)):
                found += self.judge(self.jacobian.compare(vs, rows, half), vs, rows, half)
            if found:
                return found
        found += [self.at_kink(as_unit(v), u, beside) for v in bent]
        return found or [by_itself]  # which was right when it was looked at again, and so is wrong all the more

    def unexcused(self, u: Vector) -> Vector:
        """A direction without the elements that are known to be at kinks."""
        return u * ~self.kinks

    def wrong(self, vs: Any, u: Vector) -> list[Verdict]:
        """Those of some rows whose v J u is wrong; where they or u weigh several elements, one wrong element."""
        both = self.jacobian.compare(vs, self.jacobian.rows(vs), u)
        places = [int(i) for i in np.flatnonzero(both.excess > 1)]
        if all(map(is_unit, [u, *vs])):
            return [is_wrong(vs[i], u, both, i) for i in places]
        return [self.narrow(vs[i], u) for i in places[:1]]

    def narrow(self, v: Vector, u: Vector) -> Verdict:
        """Follow the worse half of a direction, then of a row, to one element of each."""
        rows = self.jacobian.rows(v[None])
        while not is_unit(u):
            parts = [as_unit(half) for half in halves(u)]
            excess = [self.jacobian.compare(v[None], rows, part).excess[0] for part in parts]
            if max(excess) <= 1:
                break
            u = parts[int(np.argmax(excess))]
        while not is_unit(v):
            vs = np.stack(halves(v))
            less = self.jacobian.compare(vs, self.jacobian.rows(vs), u).excess
            if max(less) <= 1:
                break
            v = vs[int(np.argmax(less))]
        return is_wrong(v, u, self.jacobian.compare(v[None], self.jacobian.rows(v[None]), u), 0)

    def beside(self, u: Vector) -> Sides:
        """How f behaves on either side along u. A gradient may jump only where what it is the gradient of bends."""
        f, step = self.function, self.jacobian.step(u)
        found = sides(f.value, f.x, step)
        integral = f.gradient_of
        if integral is None or not found.jumps.any():
            return found
        reason = sides(integral.value, integral.x, step[: integral.x.size]).bends.any()
        return found._replace(jumps=found.jumps & reason)

    def at_kink(self, v: Vector, u: Vector, beside: Sides) -> Verdict:
        """No derivative, told of one of the outputs that v weighs. Outside of two slopes a gradient is wrong still."""
        unit = np.abs(self.jacobian.step(u)).max()
        jumps = beside.jumps & (v != 0)
        kind, below, above = "a jump{}, from {:.6g} below to {:.6g} above", beside.low, beside.high
        if not jumps.any():
            kind, below, above = "a kink{}, of slope {:.6g} below and {:.6g} above", beside.below, beside.above
            below, above = below / unit, above / unit
            ends = np.where(v, v * np.stack([below, above]), 0.0)
            low, high, got = ends.min(axis=0).sum(), ends.max(axis=0).sum(), self.got(v, u)
            slack = SLACK * (high - low) + SAFETY * (np.abs(v) @ np.where(v, beside.error, 0.0)) / unit
            if not low - slack <= got <= high + slack:
                words = f"expected {low:.6g} to {high:.6g}, the slopes at a kink, got {got:.10g}"
                return Verdict(v, u, words, max(low - got, got - high), self.jacobian.modes[0])
        i = int(np.argmax(jumps if jumps.any() else v != 0))
        one, at = as_unit(v * (np.arange(v.size) == i)), ""
        if is_unit(u):
            self.kinks |= u != 0
            at = f" at {self.function.x[u != 0][0]:.6g}"
        words = f"{kind.format(at, *without_dust(below[i], above[i]))}, got {self.got(one, u):.10g}"
        return Verdict(one, u, words, 0.0, None)

    def got(self, v: Vector, u: Vector) -> float:
        """What the backward pass gives for v J u."""
        step = self.jacobian.step(u)
        return float(self.jacobian.pull(v) @ step / np.abs(step).max()) + 0.0  # which is no -0


def is_wrong(v: Vector, u: Vector, both: Comparison, i: int) -> Verdict:
    """The verdict on one row of a comparison."""
    weight = v.sum() if is_unit(v) else 1.0
    expected, got = float(both.expected[i] / weight) + 0.0, float(both.got[i] / weight) + 0.0  # no -0
    if np.isnan(expected):
        return Verdict(v, u, f"the differences do not settle (noise?), got {got:.10g}", np.inf, both.mode)
    digits = 17 if f"{expected:.10g}" == f"{got:.10g}" else 10
    return Verdict(v, u, f"expected {expected:.{digits}g}, got {got:.{digits}g}", abs(expected - got), both.mode)


# ------------------------------------------------------------------------------------------------ vectors


def nonzero(vs: Any) -> Any:
    """The rows that are not zero."""
    return vs[vs.any(axis=1)]


def is_unit(w: Vector) -> bool:
    """Whether a vector weighs one element alone."""
    return bool(np.count_nonzero(w) == 1)


def as_unit(w: Vector) -> Vector:
    """A vector with one element scaled to the unit vector; any other as it is."""
    return np.sign(np.abs(w)) if is_unit(w) else w


def halves(w: Vector) -> list[Vector]:
    """A vector in two parts, each with half of its elements and zeros for the rest."""
    parts = np.zeros((2, w.size))
    for part, support in zip(parts, np.array_split(np.flatnonzero(w), 2), strict=True):
        part[support] = w[support]
    return list(parts)


# ------------------------------------------------------------------------------------------------ words


def without_dust(a: float, b: float) -> tuple[float, float]:
    """Two numbers, either 0 where it is nothing beside the other."""
    most = max(abs(a), abs(b))
    return (0.0 if abs(a) < 1e-9 * most else a), (0.0 if abs(b) < 1e-9 * most else b)


def naming(slots: Slots, w: Vector) -> str:
    """The element that a vector weighs alone, or how many it weighs."""
    places = np.flatnonzero(w)
    first = slots.element(int(places[0]))
    return first if len(places) == 1 else f"({first} and {len(places) - 1} others, weighted)"
