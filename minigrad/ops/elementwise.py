"""Elementwise ops: arithmetic, exponentials, trigonometry, choices. Arrays broadcast as NumPy's.

Each gradient is a formula in `g`, the gradient of the output. The walk sums it over broadcast axes.
"""

from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..graph import Tensor
from ..registry import op
from ..threads import in_parts

LARGE = 2**13  # elements of x, from which on relu makes zeros to compare it with

# ---- arithmetic


@op(x=lambda g: g, y=lambda g: g)
def add(xp: Any, x: Array, y: Array) -> Tensor:
    """Sum, x + y."""
    return xp.add(x, y)


@op(x=lambda g: g, y=lambda g: -g)
def subtract(xp: Any, x: Array, y: Array) -> Tensor:
    """Difference, x - y."""
    return xp.subtract(x, y)


@op(x=lambda g, y: g * y, y=lambda g, x: g * x)
def multiply(xp: Any, x: Array, y: Array) -> Tensor:
    """Product, x * y."""
    return xp.multiply(x, y)


@op(x=lambda g, y: g / y, y=lambda g, y, out: -g * out / y, kinks=(0.0,))
def divide(xp: Any, x: Array, y: Array) -> Tensor:
    """Quotient, x / y."""
    return xp.divide(x, y)


def _power_by_base(g: Array, x: Array, y: Array) -> Array:
    if isinstance(y, int | float):  # spares two logarithms' worth of work, and 0 * inf at x = 0
        return g * y * x ** (y - 1) if y else g * 0.0
    return g * y * power(where((x == 0) & (y == 0), 1.0, x), y - 1)


def _power_by_exponent(g: Array, x: Array, out: Array) -> Array:
    # 0**y has slope 0 in y, for y > 0
    slope = float(np.log(x or 1)) if isinstance(x, int | float) else log(where(x == 0, 1.0, x))
    return g * out * slope


@op(x=_power_by_base, y=_power_by_exponent, domain=(0.5, 3.0))
def power(xp: Any, x: Array, y: Array) -> Tensor:
    """Power, x ** y; a negative x has one (and a gradient) only for a whole y."""
    return x**y


@op(x=lambda g: -g)
def negative(xp: Any, x: Array) -> Tensor:
    """Negation, -x."""
    return xp.negative(x)


@op(x=lambda g, x: g * sign(x), kinks=(0.0,), analytic=False)
def absolute(xp: Any, x: Array) -> Tensor:
    """Absolute value, |x|; its gradient at 0 is 0."""
    return xp.abs(x)


@op(x=lambda g: g * 0.0, kinks=(0.0,), analytic=False)
def sign(xp: Any, x: Array) -> Tensor:
    """Sign, -1, 0 or 1; its gradient is 0 everywhere."""
    return xp.sign(x)


@op(x=lambda g, x: g * (2 * x))
def square(xp: Any, x: Array) -> Tensor:
    """Square, x * x."""
    return xp.square(x)


@op(x=lambda g, out: g / (2 * out), domain=(0.1, 4.0))
def sqrt(xp: Any, x: Array) -> Tensor:
    """Square root; infinite gradient at 0."""
    return xp.sqrt(x)


# ---- exponentials and logarithms


@op(x=lambda g, out: g * out)
def exp(xp: Any, x: Array) -> Tensor:
    """Exponential, e ** x."""
    return xp.exp(x)


@op(x=lambda g, out: g * (out + 1))
def expm1(xp: Any, x: Array) -> Tensor:
    """e ** x - 1, exact for small x."""
    return xp.expm1(x)


@op(x=lambda g, x: g / x, domain=(0.1, 4.0))
def log(xp: Any, x: Array) -> Tensor:
    """Natural logarithm."""
    return xp.log(x)


@op(x=lambda g, x: g / (1 + x), domain=(-0.9, 3.0))
def log1p(xp: Any, x: Array) -> Tensor:
    """log(1 + x), exact for small x."""
    return xp.log1p(x)


# ---- trigonometry and activations


@op(x=lambda g, x: g * cos(x))
def sin(xp: Any, x: Array) -> Tensor:
    """Sine of x radians."""
    return xp.sin(x)


@op(x=lambda g, x: -g * sin(x))
def cos(xp: Any, x: Array) -> Tensor:
    """Cosine of x radians."""
    return xp.cos(x)


@op(x=lambda g, out: g * (1 - out * out))
def tanh(xp: Any, x: Array) -> Tensor:
    """Hyperbolic tangent."""
    return xp.tanh(x)


@op(x=lambda g, out: g * (out * (1 - out)), reference=lambda x: 1 / (1 + np.exp(-x)))
def sigmoid(xp: Any, x: Array) -> Tensor:
    """Logistic function, 1 / (1 + exp(-x)), as exact far below 0 as above."""
    with np.errstate(over="ignore"):  # 1 / inf is 0, as it should be
        return 1.0 / (1.0 + xp.exp(x * -1.0))  # not -x, which booleans have not


def _where_positive(g: Array, out: Array) -> Array:  # out, not x: so x is free to go
    if isinstance(g, Tensor):
        return g * (out > 0)
    xp = backend_of(g).xp
    return in_parts(lambda g, y, out=None: xp.multiply(g, y > 0, out=out), g, out)


@op(x=_where_positive, kinks=(0.0,), reference=lambda x: np.where(x > 0, x, 0))
def relu(xp: Any, x: Array) -> Tensor:
    """Rectifier, max(x, 0); its gradient at 0 is 0."""
    if not isinstance(x, np.ndarray) or x.size < LARGE or x.dtype.kind != "f":
        return xp.maximum(x, 0)
    zeros = np.zeros_like(x[:1])  # NumPy compares with an array four times as fast as with a number
    return in_parts(lambda x, out=None: np.maximum(x, zeros, out=out), x)


@op(x=lambda g, x: g * sigmoid(x), reference=lambda x: np.log(1 + np.exp(x)), analytic=False)
def softplus(xp: Any, x: Array) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return xp.logaddexp(x, 0.0)


# ---- choosing; equal elements share the gradient


def _share(g: Array, x: Array, y: Array) -> Array:
    return g * (x > y) + 0.5 * g * (x == y)  # a boolean times 0.5 would be float64, whatever g is


@op(x=lambda g, x, y: _share(g, x, y), y=lambda g, x, y: _share(g, y, x))
def maximum(xp: Any, x: Array, y: Array) -> Tensor:
    """The larger of x and y; where they are equal, each gets half the gradient."""
    return xp.maximum(x, y)


@op(x=lambda g, x, y: _share(g, y, x), y=lambda g, x, y: _share(g, x, y))
def minimum(xp: Any, x: Array, y: Array) -> Tensor:
    """The smaller of x and y; where they are equal, each gets half the gradient."""
    return xp.minimum(x, y)


@op(
    x=lambda g, condition: where(condition, g, 0.0),
    y=lambda g, condition: where(condition, 0.0, g),
    cases=lambda d: d.call(d.mask((s := d.broadcastable(3))[0]), d.array(s[1]), d.array(s[2])),
)
def where(xp: Any, condition: Array, x: Array, y: Array) -> Tensor:
    """x where the condition holds, y elsewhere.

    Args:
        condition: a boolean array (a constant), of a shape that broadcasts with x and y.
    """
    return xp.where(condition, x, y)


def _inside(g: Array, x: Array, min: Any, max: Any) -> Array:
    if min is not None:
        g = g * (x >= min)
    return g if max is None else g * (x <= max)


@op(
    x=_inside,
    kinks=(-1.0, 1.5),
    cases=lambda d: d.call(d.array(d.shape()), *d.one_of((-1.0, 1.5), (-1.0, None), (None, 1.5))),
    reference=lambda x, min, max: np.clip(x, min, max),
)
def clip(xp: Any, x: Array, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; the gradient passes where x lies inside or on a bound.

    Args:
        min, max: numbers or constant arrays; None: no bound.
    """
    return xp.clip(x, min, max)


# ---- conversions


@op(
    x=lambda g: g,  # the walk casts it back
    analytic=False,
    cases=lambda d: d.call(d.array(d.shape()), dtype=np.dtype(np.float64)),
    reference=lambda x, dtype: x.astype(dtype),
)
def astype(xp: Any, x: Array, *, dtype: Any) -> Tensor:
    """x in another dtype."""
    return x.astype(dtype)
