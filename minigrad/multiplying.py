"""Products of matrices, by BLAS: what is worth it is shared among threads."""

import contextlib
from typing import Any

import numpy as np

from .backend import Array
from .threads import one_blas_thread, shared

PER_NANOSECOND = 32  # multiplications, roughly, where all lies in the cache
READ = 4  # elements that are read in a nanosecond, roughly, where they do not
FEW = 2**18  # multiplications, up to which OpenBLAS takes one thread
LARGE = 2**24  # from which on several are worth it


def product(xp: Any, x: Array, y: Array) -> Array:
    """x @ y of matrices (..., n, k) and (..., k, m)."""
    k, m = x.shape[-1], y.shape[-1]
    if k == 1:  # BLAS takes four times as long
        return xp.multiply(x, y)
    if xp is not np or x.size * m < FEW or x.ndim != y.ndim or x.dtype != y.dtype:
        return xp.matmul(x, y)
    if x.ndim == 2 and x.size * m >= LARGE:
        return _large_product(x, y)
    if x.ndim > 2 and x.shape[:-2] == y.shape[:-2]:
        return _products(x, y)
    with blas_for(x.size * m):
        return xp.matmul(x, y)


def blas_for(work: int) -> contextlib.AbstractContextManager[Any]:
    """BLAS takes one thread inside, if it would take several for so many multiplications, which are few."""
    return one_blas_thread() if FEW <= work < LARGE else contextlib.nullcontext()


def _products(x: Array, y: Array) -> Array:
    """x @ y of stacks of matrices."""
    out = np.empty((*x.shape[:-1], y.shape[-1]), x.dtype)
    cost = (x.size * y.shape[-1] / PER_NANOSECOND + (x.size + y.size + out.size) / READ) / len(x)
    shared(np, len(x), cost, lambda part: np.matmul(x[part], y[part], out=out[part]))
    return out


def _large_product(x: Array, y: Array) -> Array:
    """x (n, k) @ y (k, m), in parts of the longest of n, k and m."""
    (n, k), m = x.shape, y.shape[1]
    if k > max(n, m):
        whole, *rest = shared(np, k, n * m / PER_NANOSECOND, lambda part: x[:, part] @ y[part])
        for more in rest:
            whole += more
        return whole
    out = np.empty((n, m), x.dtype)
    if n >= m:
        shared(np, n, k * m / PER_NANOSECOND, lambda part: np.matmul(x[part], y, out=out[part]))
    else:
        shared(np, m, n * k / PER_NANOSECOND, lambda part: np.matmul(x, y[:, part], out=out[:, part]))
    return out
