"""What convolutions are made of: windows as the rows of a matrix, and products of these with the weights.

The windows of x are copied into a matrix a few images at a time, so that they stay in the cache, and one product with
the weights gives all that these images become. Arrays have their channels last here, and apart by groups:
(N, H, W, G, C / G).
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import Array
from .windows import Pair, at, grown, reach, windows_of

BLOCK = 2**20  # bytes of windows at a time: they stay in a core's second-level cache
GPU_BLOCK = 2**28  # enough to keep a GPU busy


def grouped(x: Array, G: int) -> Array:
    """(N, C, H, W) as (N, H, W, G, C / G), a view where the memory allows it."""
    N, C, H, W = x.shape
    return x.transpose(0, 2, 3, 1).reshape(N, H, W, G, C // G)


def ungrouped(x: Array) -> Array:
    """(N, H, W, G, C / G) as (N, C, H, W), a view."""
    N, H, W, G, C = x.shape
    return x.reshape(N, H, W, G * C).transpose(0, 3, 1, 2)


# ---- the three products


def convolve(xp: Any, windows: Array, weight: Array, bias: Array = None) -> Array:
    """Windows (G, N, H', W', K_h, K_w, C / G) times weights (F, C / G, K_h, K_w), plus bias: (N, H', W', G, F / G)."""
    G, N, H, W = windows.shape[:4]
    matrices, operands = _matrices(xp, weight, G), [windows, weight] + ([] if bias is None else [bias])
    dtype = np.result_type(*[operand.dtype for operand in operands])
    y = xp.empty((N, H, W, G, matrices.shape[2]), dtype)
    for images, block in _blocks(xp, windows, dtype):
        rows = _rows(y, images)
        xp.matmul(block, matrices, out=rows)
        if bias is not None:
            rows += bias.reshape(G, 1, -1)
    return y


def convolve_back(xp: Any, y: Array, weight: Array, stride: Pair, padding: Pair, dilation: Pair, size: Pair) -> Array:
    """The transpose of a convolution: y (N, H', W', G, F / G) back to (N, *size, G, C / G)."""
    F, C, *kernel = weight.shape
    G, out = y.shape[3], y.shape[1:3]
    if stride != (1, 1):
        (p, q), (H, W) = padding, size
        return _spread(xp, y, weight, stride, dilation, (H + 2 * p, W + 2 * q))[:, p : p + H, q : q + W]
    # a convolution again, by the weights turned by half a circle: its products are as large, and nothing is added up
    turned = weight.reshape(G, F // G, C, *kernel)[..., ::-1, ::-1].swapaxes(1, 2).reshape(G * C, F // G, *kernel)
    spans = [reach(k, d) - 1 for k, d in zip(kernel, dilation, strict=True)]
    before = spans[0] - padding[0], spans[1] - padding[1]
    after = tuple(n + span - m - b for n, span, m, b in zip(size, spans, out, before, strict=True))
    return convolve(xp, windows_of(xp, grown(xp, y, before, after), kernel, (1, 1), dilation, size), turned)


def meetings(xp: Any, windows: Array, y: Array) -> Array:
    """What windows (G, N, H', W', K_h, K_w, C / G) meet in y (N, H', W', G, F / G): (F, C / G, K_h, K_w)."""
    G, _, _, _, *kernel, C = windows.shape
    F, dtype = y.shape[-1], np.result_type(windows.dtype, y.dtype)
    weight = xp.zeros((G, math.prod(kernel) * C, F), dtype)
    for images, block in _blocks(xp, windows, dtype):
        weight += xp.matmul(block.swapaxes(1, 2), _rows(y, images))
    return weight.reshape(G, *kernel, C, F).transpose(0, 4, 3, 1, 2).reshape(G * F, C, *kernel)


# ---- their parts


def _images_at_once(xp: Any, N: int, size: int) -> Iterator[slice]:
    """N images, some at a time; `size` is the bytes of the windows of one."""
    step = max(1, (BLOCK if xp is np else GPU_BLOCK) // max(1, size))
    return (slice(start, min(start + step, N)) for start in range(0, N, step))


def _blocks(xp: Any, windows: Array, dtype: Any) -> Iterator[tuple[slice, Array]]:
    """Some images at a time, their windows (G, N, H', W', K_h, K_w, C / G) as matrices (G, rows, K)."""
    G, N, *of_image = windows.shape
    rows, K = math.prod(of_image[:2]), math.prod(of_image[2:])
    buffer = None
    for images in _images_at_once(xp, N, G * rows * K * np.dtype(dtype).itemsize):
        some = windows[:, images]
        if buffer is None or buffer.shape != some.shape:
            buffer = xp.empty(some.shape, dtype)
        buffer[...] = some
        yield images, buffer.reshape(G, some.shape[1] * rows, K)


def _rows(x: Array, images: slice) -> Array:
    """Some images of (N, H, W, G, C / G) as matrices, (G, rows, C / G), a view."""
    some = x[images]
    return some.reshape(math.prod(some.shape[:3]), *some.shape[3:]).swapaxes(0, 1)


def _matrices(xp: Any, weight: Array, G: int) -> Array:
    """(F, C / G, K_h, K_w) as (G, K, F / G), each column in the order of a row of windows."""
    F, C, *kernel = weight.shape
    parts = weight.reshape(G, F // G, C, *kernel).transpose(0, 3, 4, 2, 1)
    return xp.ascontiguousarray(parts).reshape(G, math.prod(kernel) * C, F // G)


def _spread(xp: Any, y: Array, weight: Array, stride: Pair, dilation: Pair, size: Pair) -> Array:
    """The transpose of `convolve` and `windows_of`: y (N, H', W', G, F / G) back to (N, *size, G, C / G)."""
    _, C, *kernel = weight.shape
    N, *out, G, _ = y.shape
    matrices, dtype = _matrices(xp, weight, G).swapaxes(1, 2), np.result_type(y.dtype, weight.dtype)  # (G, F / G, K)
    x = xp.zeros((N, *size, G, C), dtype)
    for images in _images_at_once(xp, N, math.prod(out) * G * matrices.shape[2] * dtype.itemsize):
        some = x[images]
        block = xp.matmul(_rows(y, images), matrices).reshape(G, len(some), *out, *kernel, C)
        for i, j in itertools.product(*map(range, kernel)):
            rows, columns = at(i, out[0], stride[0], dilation[0]), at(j, out[1], stride[1], dilation[1])
            some[:, rows, columns] += xp.moveaxis(block[..., i, j, :], 0, 3)
    return x
