"""Gradients that are not worked out where they arise: the walk holds them until it knows what they are added to."""

import math
from typing import Any

from .adding import add_at
from .backend import Array, backend_of
from .multiplying import product

MOST = 2**19  # elements of factors that are held for a gradient, or as many as it has itself


class Part:
    """A gradient that is zero but at an index. The walk adds it in place: T steps x[t] cost T, not T * T."""

    def __init__(self, values: Array, index: Any, shape: tuple[int, ...]) -> None:
        self.values, self.index, self.shape, self.dtype = values, index, shape, values.dtype

    def dense(self) -> Array:
        """The whole gradient, an array of its own."""
        whole = backend_of(self.values).xp.zeros(self.shape, self.dtype)
        add_at(whole, self.index, self.values)
        return whole


class Product:
    """A gradient x @ y that is larger than x and y together. The walk holds those that arrive at a node as one.

    What T steps multiply by is owed a sum of products, which is one product, of the factors side by side:
    x_1 @ y_1 + ... + x_T @ y_T = [x_1 ... x_T] @ [y_1; ...; y_T]. It is large once then, not T times.
    """

    def __init__(self, x: Array, y: Array) -> None:
        self.xs, self.ys = [x], [y]  # (..., n, k_t) and (..., k_t, m)
        self.shape, self.dtype = (*x.shape[:-1], y.shape[-1]), x.dtype
        self.elements = x.size + y.size
        self.rest: Array | None = None  # what else arrived

    def joined(self, earlier: Any) -> "Product":
        """The sum of what arrived earlier, an array or a Product, and this."""
        if type(earlier) is not Product:
            self.rest = earlier
            return self
        earlier.xs += self.xs
        earlier.ys += self.ys
        earlier.elements += self.elements
        if earlier.elements > max(MOST, math.prod(self.shape)):
            earlier.rest, earlier.xs, earlier.ys, earlier.elements = earlier.dense(), [], [], 0
        return earlier

    def dense(self) -> Array:
        """The whole gradient, an array of its own."""
        if not self.xs:
            assert self.rest is not None
            return self.rest
        xp = backend_of(self.xs[0]).xp
        (x, *more), (y, *_) = self.xs, self.ys
        if more:
            x, y = xp.concatenate(self.xs, -1), xp.concatenate(self.ys, -2)
        whole: Array = product(xp, x, y)
        if self.rest is not None:
            whole += self.rest
        return whole


def held(x: Array, y: Array) -> Product | None:
    """The gradient x @ y of matrices (..., n, k) and (..., k, m), to be worked out later; None where it is small."""
    fits = x.dtype is y.dtype and x.shape[:-2] == y.shape[:-2]
    return Product(x, y) if fits and x.size + y.size <= math.prod(x.shape[:-1]) * y.shape[-1] else None
