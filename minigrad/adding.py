"""Adding at an index, where what is indexed twice is added to twice, always in the same order."""

import math
from typing import Any

import numpy as np

from .backend import Array, backend_of
from .kernels import Kernels, kernels_for

OFTEN = 16  # times that each row comes: from there on, sums of sorted rows beat `np.add.at`


def add_at(array: Array, index: Any, values: Array) -> None:
    """array[index] += values, in place; what is indexed twice is added to twice."""
    items = index if isinstance(index, tuple) else (index,)
    if all(i is None or i is Ellipsis or isinstance(i, int | np.integer | slice) for i in items):
        array[index] += values  # reads no element twice
        return
    xp = backend_of(array).xp
    items = tuple([xp.asarray(i, None if i else int) if isinstance(i, list | tuple) else i for i in items])
    whole_rows = len(items) == 1 and items[0].dtype.kind in "iu"
    if kernels := kernels_for(array, "indexing"):
        _add_on_gpu(kernels, array, items, values, whole_rows)
    elif whole_rows and type(array) is np.ndarray and array.ndim > 1:
        _add_rows(array, items[0].ravel(), values.reshape(items[0].size, *array.shape[1:]))
    else:
        xp.add.at(array, items, values)


def _add_rows(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """array[rows] += values, several times as fast as NumPy's where rows come once, or often, as words do."""
    rows = np.arange(len(array))[rows]  # one number for each row
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    if len(starts) == len(rows):  # none comes twice
        array[rows] += values
        return
    if len(rows) <= OFTEN * len(starts):
        np.add.at(array, rows, values)
        return
    for row, places in zip(ordered[starts], np.split(order, starts[1:]), strict=True):
        array[row] += values[places].sum(axis=0)


def _add_on_gpu(kernels: Kernels, array: Array, index: tuple[Any, ...], values: Array, whole_rows: bool) -> None:
    """array[index] += values, without atomics; where the index is not of rows, element by element."""
    xp = backend_of(array).xp
    if whole_rows:
        rows, width = index[0].astype(np.int64) % len(array), math.prod(array.shape[1:])
        shape = *rows.shape, *array.shape[1:]
    else:
        rows, width = xp.arange(array.size).reshape(array.shape)[index], 1
        shape = rows.shape
    count = rows.size
    keys = xp.sort(rows.ravel() * count + xp.arange(count))  # no two are alike, so that no sort can reorder them
    values = xp.ascontiguousarray(xp.broadcast_to(values, shape), array.dtype)
    sums = array if array.flags.c_contiguous else xp.zeros(array.shape, array.dtype)
    kernels.launch("add_rows", count * width, sums, keys, values, count, width)
    if sums is not array:
        array += sums
