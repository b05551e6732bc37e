"""Directional derivatives by finite differences, each with an estimate of its own error.

Central differences at shrinking steps are extrapolated to step 0. What is left is of two kinds, and both are
measured rather than assumed: truncation shows in how much the extrapolation changes from step to step, and
rounding in how roughly f runs over steps too small for its curvature. So no tolerance is fixed, and a derivative
of 1e-8 is known as well, relative to its size, as one of 1.

Source: Ridders, Accurate computation of F'(x) and F'(x) F''(x), 1982; Moré and Wild, Estimating computational
noise, 2011.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Vector: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Map: TypeAlias = Callable[[Vector], Vector]  # x (n,) to f(x) (m,)

EPSILON = float(np.finfo(np.float64).eps)
FIRST_STEP = 4e-3  # where a smooth function's truncation and rounding meet, two steps further on
SHRINK = 4.0
SAFETY = 8.0  # how many estimated errors a gradient may be off
STEPS = 16  # down to 4e-12: a kink, or the end of the domain, that is farther away than a step does no harm

NEAR = 5e-4, 2e-6, 1e-8  # how far around x rounding is looked for
PLACES = np.arange(9) * 0.618 % 1  # where in there; uneven, for values that come in steps may be in tune with even ones
POWERS = np.vander(PLACES, 5)
ROUGHNESS = np.eye(9) - POWERS @ np.linalg.pinv(POWERS)  # takes a curve of degree 4 out of nine values


class Derivative(NamedTuple):
    """The derivative of each output of f along one direction."""

    value: Vector  # (m,); nan where no two steps in a row agreed, up to rounding
    error: Vector  # how far off it may be, roughly; inf there


def measure_noise(f: Map, x: Vector, u: Vector, distances: Sequence[float] = NEAR) -> Vector:
    """How far rounding moves each output of f near x: what a smooth curve leaves of its values along u.

    Over a long distance f may bend sharply, so that the shortest one where it moves at all is believed. Over a short
    one it may move without crossing the steps that its values come in, so that a longer one is believed too, but
    no more of it than rounding makes likely. Never less than a hundredth of an epsilon: intermediate values may
    well be of order 1.
    """
    y = f(x)
    least, most = np.full_like(y, np.inf), np.zeros_like(y)
    with np.errstate(invalid="ignore"):
        for distance in distances:
            values = np.stack([f(x + place * distance * u) for place in PLACES])
            rough = np.abs(ROUGHNESS @ (values - values[0])).max(axis=0)
            least = np.where((values != values[0]).any(axis=0), np.fmin(least, rough), least)
            most = np.fmax(most, rough)
    size = max(1.0, np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0))
    least = np.where(np.isfinite(least), np.fmin(least, 1e-4 * size), 0.0)  # more than that is a jump
    noise: Vector = np.maximum(np.maximum(least, np.fmin(most, 64 * EPSILON * size)), 0.01 * EPSILON)
    return noise


def derivative_along(f: Map, x: Vector, u: Vector, noise: Vector, thorough: bool = False) -> Derivative:
    """The derivative of f at x along u, by differences over steps that shrink until they agree.

    Args:
        noise: how far rounding moves each output, (m,).
        thorough: go on to the shortest step, and take the best of all; and believe in agreement, which may be
            chance where a kink is near, only when it comes twice.
    """
    value, error = np.full_like(noise, np.nan), np.full_like(noise, np.inf)
    slope = limit = change = value
    for k in range(-thorough, STEPS):  # to agree twice it takes a step more
        h = FIRST_STEP / SHRINK**k
        with np.errstate(invalid="ignore", over="ignore"):
            last_slope, slope = slope, (f(x + h * u) - f(x - h * u)) / (2 * h)
            last_limit, limit = limit, slope + (slope - last_slope) / (SHRINK**2 - 1)  # Richardson's
            last_change, change = change, np.abs(limit - last_limit)
            doubt = change + last_change / SHRINK if thorough else change
            rounding = (noise + EPSILON * np.abs(slope)) / h
            settled = (doubt <= 1e-6 * np.abs(limit)) | (doubt <= 4 * rounding + EPSILON / h)
        better = settled & (doubt + rounding < error)
        value, error = np.where(better, limit, value), np.where(better, doubt + rounding, error)
        if np.isfinite(error).all() and not thorough:
            break
    return Derivative(value, error)
