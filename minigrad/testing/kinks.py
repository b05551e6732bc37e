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
    value, error = np.full_like(y, np.nan), np.full_like(y, np.inf)
    slopes, limits, leaps = [], [], []
    for k in range(STEPS):
        h = FIRST_STEP / SHRINK**k
        with np.errstate(invalid="ignore", over="ignore"):
            leaps.append(f(x + h * u) - y)
            slopes.append(leaps[-1] / h)
            if k < 1:
                continue
            limits.append(slopes[-1] + (slopes[-1] - slopes[-2]) / (SHRINK - 1))  # Richardson's
            if len(limits) < 3:
                continue
            changes = np.abs(limits[-1] - limits[-2]) + np.abs(limits[-2] - limits[-3]) / SHRINK
            off = changes + 4 * (noise + EPSILON * np.abs(y)) / h
        better = off < error
        value, error = np.where(better, limits[-1], value), np.where(better, off, error)
    last = np.stack(leaps[-LAST:])
    with np.errstate(invalid="ignore"):
        leap = np.abs(last[-1])
        jumps = (leap > 64 * (noise + EPSILON * np.abs(y))) & (np.ptp(last, axis=0) < CONSTANT * leap)
    return value, error, y + last[-1], jumps
