"""Products of matrices, by BLAS: with how many threads, its own or ours."""

import contextlib
from typing import Any

import numpy as np

from .backend import Array
from .threads import one_blas_thread, shared

PER_NANOSECOND = 32  # multiplications, roughly, where all lies in the cache
READ = 4  # elements that are read in a nanosecond, roughly, where they do not
FEW = 2**18  # multiplications, up to which OpenBLAS takes one thread
LARGE = 2**26  # from which on its other threads are worth that they wait in a loop afterwards


def product(xp: Any, x: Array, y: Array) -> Array:
    """x @ y of matrices (..., n, k) and (..., k, m)."""
    k, m = x.shape[-1], y.shape[-1]
    if k == 1:  # BLAS takes four times as long
        return xp.multiply(x, y)
    if xp is not np or x.size * m < FEW:
        return xp.matmul(x, y)
    if x.ndim > 2 and x.shape[:-2] == y.shape[:-2] and x.dtype == y.dtype:
        return _stacked(x, y)
    with blas_for(x.size * m):
        return xp.matmul(x, y)


def blas_for(work: int, large: int = LARGE) -> contextlib.AbstractContextManager[Any]:
    """BLAS takes one thread inside, if it would take several for so many multiplications, which are few."""
    return one_blas_thread() if FEW <= work < large else contextlib.nullcontext()


def _stacked(x: Array, y: Array) -> Array:
    """x @ y of stacks of matrices, shared among threads."""
    out = np.empty((*x.shape[:-1], y.shape[-1]), x.dtype)
    cost = (x.size * y.shape[-1] / PER_NANOSECOND + (x.size + y.size + out.size) / READ) / len(x)
    shared(np, len(x), cost, lambda part: np.matmul(x[part], y[part], out=out[part]))
    return out
