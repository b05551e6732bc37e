"""Directional derivatives by a complex step: f'(x) = Im f(x + ih) / h.

Nothing is subtracted, so h may be so small that truncation is far below rounding: the derivative is exact to about
as many digits as f is. It takes an f that is analytic, and computes with complex numbers as it does with real ones.

Source: Squire and Trapp, Using complex variables to estimate derivatives of real functions, 1998.
"""

import warnings

import numpy as np

from .differences import SAFETY, Derivative, Map, Vector
from .functions import Function, ops_of

STEP = 1e-20
ACCURACY = 1e-12  # of a gradient, relative to the largest of the derivatives and of what f gives


class NotAnalytic(ValueError):
    """A function that complex steps say nothing about."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"check_grads: modes: 'complex' can't be had: {reason}; 'differences' can, for any f")


def complex_derivative(f: Map, x: Vector, u: Vector) -> Vector:
    """The derivative of f at x along u, by one complex step."""
    return np.asarray(f(x + 1j * STEP * u).imag / STEP)


def known_by_complex_step(function: Function, u: Vector) -> Derivative:
    """The derivative of a function along u, with how far the gradient may be off it."""
    value = complex_derivative(function.value, function.x, u)
    return Derivative(value, np.full_like(value, ACCURACY / SAFETY * (np.abs(value).max() + function.size)))


def check_analytic(function: Function) -> None:
    """Raise NotAnalytic unless complex steps can be taken."""
    _, ys = function.record()
    names = sorted(op.name for op in ops_of(ys) if not op.proof.analytic)
    if names:
        raise NotAnalytic(f"op {names[0]} is not analytic")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)  # an imaginary part was thrown away
            value = complex_derivative(function.value, function.x, function.scale)
    except Exception as error:  # whatever f makes of complex numbers
        raise NotAnalytic(f"f does not take complex numbers ({type(error).__name__}: {error})") from error
    if value.shape != function.y.shape or not np.isfinite(value).all():
        raise NotAnalytic("f gives no finite values for complex numbers")
