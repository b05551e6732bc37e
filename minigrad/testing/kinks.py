"""Where a function has no derivative: kinks, with another slope on either side, and jumps."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .differences import EPSILON, FIRST_STEP, NEAR, SHRINK, STEPS, Map, Vector, measure_noise

Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

BESIDE = 2 * NEAR[0]  # how far beside a point rounding is measured, so that a kink there does not pass for it
SURE = 16.0  # errors that two slopes must differ by
CONSTANT = 0.05  # of a jump: how much it may change, over the last steps
LAST = 4


class Sides(NamedTuple):
    """How the outputs of f behave on either side of a point, along a direction."""

    below: Vector  # the slope as x is approached from below, (m,) ...
    above: Vector  # ... and from above
    error: Vector  # of the two together
    low: Vector  # what f itself tends to from below ...
    high: Vector  # ... and from above
    jumps: Mask  # whether that is a jump

    @property
    def bends(self) -> Mask:
        """Where there is a kink or a jump."""
        return np.asarray(np.abs(self.above - self.below) > SURE * self.error) | self.jumps


def sides(f: Map, x: Vector, u: Vector) -> Sides:
    """Look at f on either side of x, along u, at steps that shrink."""
    y = f(x)
    noise = np.fmin(*[measure_noise(f, x + beside * u, u, NEAR[:1]) for beside in (BESIDE, -BESIDE)])
    above, above_error, high, up = one_side(f, x, u, y, noise)
    below, below_error, low, down = one_side(f, x, -u, y, noise)
    return Sides(-below, above, above_error + below_error, low, high, up | down)


def one_side(f: Map, x: Vector, u: Vector, y: Vector, noise: Vector) -> tuple[Vector, Vector, Vector, Mask]:
    """The slope from x along u, and its error; what f tends to at x from there, and whether that is not f(x)."""
    h = FIRST_STEP / SHRINK ** np.arange(STEPS)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        leaps = np.stack([f(x + step * u) - y for step in h])  # (STEPS, m)
        slopes = leaps / h
        limits = slopes[1:] + np.diff(slopes, axis=0) / (SHRINK - 1)  # Richardson's
        changes = np.abs(np.diff(limits, axis=0))
        rounding = noise + EPSILON * np.abs(y)
        errors = np.nan_to_num(changes[1:] + changes[:-1] / SHRINK + 4 * rounding / h[3:], nan=np.inf)
        best = np.argmin(errors, axis=0)[None]
        leap = np.abs(leaps[-1])
        jumps = (leap > 64 * rounding) & (np.ptp(leaps[-LAST:], axis=0) < CONSTANT * leap)
    value, error = (np.take_along_axis(values, best, axis=0)[0] for values in (limits[2:], errors))
    return value, error, y + leaps[-1], jumps
