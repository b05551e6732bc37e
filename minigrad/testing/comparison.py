"""v J u by both ways: v J by a backward pass, J u by finite differences and by a complex step."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .complex_step import NotAnalytic, check_analytic, complex_derivative, known_by_complex_step
from .differences import EPSILON, FIRST_STEP, SAFETY, Derivative, Vector, derivative_along
from .functions import NEARBY, TINY, Function

MODES = ("differences", "complex")
BELIEF = 1e3  # so many estimated errors complex steps may be off: of what is not analytic they know nothing at all
UNKNOWN = 1e100
FACTORS = np.linspace(1.1, 1.7, NEARBY)  # a multiple is rounded anew


class Comparison(NamedTuple):
    """v J u for each row v and one direction u, by both ways."""

    expected: Vector  # by differences or complex steps; nan where these give nothing
    got: Vector  # by the backward pass
    excess: Vector  # how far apart the two are, in units of what is allowed; above 1 the gradient is wrong
    mode: str  # which of MODES says so

    @property
    def worst(self) -> float:
        """How far apart the two are where they differ most."""
        return float(np.nan_to_num(np.abs(self.expected - self.got), nan=np.inf).max())


class Jacobian:
    """The Jacobian J of a function at its point, by rows v J and along directions u.

    Args:
        gradient: the function's gradient, which tells how far v J may be rounded.
        modes: how J u is found.

    Raises:
        NotAnalytic: complex steps alone are asked for, and can't be taken; beside differences they may be left out.
    """

    def __init__(self, function: Function, gradient: Function, modes: Sequence[str]) -> None:
        self.function, self.gradient, self.asked = function, gradient, modes
        self.pull = function.pullback()
        function.value(function.x + FIRST_STEP * function.scale)  # what that leaves behind, v J must not read

    @functools.cached_property
    def modes(self) -> list[str]:
        """The modes that there are."""
        try:
            if "complex" in self.asked:
                check_analytic(self.function)
        except NotAnalytic:
            if len(self.asked) == 1:
                raise
            return ["differences"]
        return [mode for mode in MODES if mode in self.asked]

    def step(self, u: Vector) -> Vector:
        """How far a direction goes: u is in units of each element's scale."""
        return u * self.function.scale

    def rows(self, vs: Any) -> Any:
        """v J for each v: (q, m) -> (q, n)."""
        return np.stack([self.pull(v) for v in vs]) if len(vs) else np.zeros((0, self.function.x.size))

    def compare(self, vs: Any, rows: Any, u: Vector) -> Comparison:
        """v J u for each v, of which v J is given, in units of the largest step.

        Complex steps are believed where differences agree with them, as far as these can tell: they then tell more.
        """
        f, step = self.function, self.step(u)
        known = None
        for mode in self.modes:
            if mode == "complex":
                fine = known_by_complex_step(f, step)
                known = fine if known is None else sharpened(known, fine)
            else:
                known = derivative_along(f.value, f.x, step, f.noise)
            found = self.against(known, vs, rows, step, mode)
            if mode == "differences" and (found.excess > 1).any():
                surer = derivative_along(f.value, f.x, step, f.noise, thorough=True)
                known = Derivative(*[np.where(np.isnan(surer.value), *each) for each in zip(known, surer, strict=True)])
                found = self.against(known, vs, rows, step, mode)
            if (found.excess > 1).any():
                break
        return found

    def moved(self, v: Vector, row: Vector, step: Vector) -> float:
        """How far rounding moves v J u, by both ways: at points that are nearly the same, for multiples of v and u."""
        f, g = self.function, self.gradient
        rows, alongs = [], []
        for x, factor in zip(f.nearby(4 * EPSILON), FACTORS, strict=True):
            rows.append(g.value(np.concatenate([x, factor * v])) / factor)
            alongs.append(complex_derivative(f.value, x, factor * step) / factor)
        with np.errstate(invalid="ignore"):
            return float(np.abs(rows - row).max(axis=0) @ np.abs(step) + np.ptp(alongs, axis=0) @ np.abs(v))

    def against(self, known: Derivative, vs: Any, rows: Any, step: Vector, mode: str) -> Comparison:
        """v J u by rows, and by a derivative along u that is known."""
        lost = np.isnan(known.value)
        value, error = np.where(lost, 0.0, known.value), np.where(lost, 0.0, known.error)
        expected, got = np.where(np.abs(vs) @ lost > 0, np.nan, vs @ value), rows @ step
        sums = np.abs(vs) @ np.abs(value) + np.abs(rows) @ np.abs(step)
        largest = np.abs(rows).max(axis=1, initial=0.0) * np.abs(step).max()
        apart, allowed = np.abs(expected - got), SAFETY * (np.abs(vs) @ error) + 4 * EPSILON * (sums + largest)
        if not np.all(apart <= allowed):  # only now is it worth to know how far the gradient itself is rounded
            noise = self.gradient.noise
            if mode == "differences":  # in fairness, not much farther than f is
                noise = np.minimum(noise, 64 * self.function.coarseness * np.abs(self.gradient.y).max())
            allowed += SAFETY * (noise @ np.abs(step))
            if mode == "complex":  # as far as it is; differences have passed it already
                for i in np.flatnonzero(apart > allowed):
                    allowed[i] += SAFETY * self.moved(vs[i], rows[i], step)
        excess = np.where(np.isnan(apart), np.inf, apart / np.maximum(allowed, TINY))
        unit = max(np.abs(step).max(), TINY)  # of no direction at all
        return Comparison(expected / unit, got / unit, excess, mode)


def sharpened(coarse: Derivative, fine: Derivative) -> Derivative:
    """A finer derivative where a coarser one agrees with it; elsewhere nothing more is to be known."""
    with np.errstate(invalid="ignore"):
        agree = np.abs(fine.value - coarse.value) <= BELIEF * coarse.error + fine.error
    return Derivative(np.where(agree, fine.value, 0.0), np.where(agree, fine.error, UNKNOWN))
