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
from ..multiplying import PER_NANOSECOND
from ..threads import shared
from .windows import Pair, Sliding, reach

BLOCK = 2**18  # elements of windows at a time: they stay in a core's second-level cache
GPU_BLOCK = 2**26  # enough to keep a GPU busy


def grouped(x: Array, G: int) -> Array:
    """(N, C, H, W) as (N, H, W, G, C / G), a view where the memory allows it."""
    N, C, H, W = x.shape
    return x.transpose(0, 2, 3, 1).reshape(N, H, W, G, C // G)


def ungrouped(x: Array) -> Array:
    """(N, H, W, G, C / G) as (N, C, H, W), a view."""
    N, H, W, G, C = x.shape
    return x.reshape(N, H, W, G * C).transpose(0, 3, 1, 2)


# ---- the three products, each shared among threads by images


def convolve(xp: Any, x: Array, sliding: Sliding, weight: Array, bias: Array = None) -> Array:
    """The windows of x (N, H, W, G, C / G) times weights (F, C / G, K_h, K_w), plus bias: (N, H', W', G, F / G)."""
    N, G = len(x), x.shape[3]
    matrices, operands = _matrices(xp, weight, G), [x, weight] + ([] if bias is None else [bias])
    y = xp.empty((N, *sliding.out, G, matrices.shape[2]), np.result_type(*[operand.dtype for operand in operands]))

    def some(part: slice) -> None:
        mine = y[part]
        for images, windows in _unfolded(xp, x[part], sliding):
            rows = _rows(mine[images])
            xp.matmul(windows, matrices, out=rows)
            if bias is not None:
                rows += bias.reshape(G, 1, -1)

    shared(xp, N, _cost(sliding.size_of(x), matrices.shape[2]), some)
    return y


def convolve_back(xp: Any, y: Array, weight: Array, stride: Pair, padding: Pair, dilation: Pair, size: Pair) -> Array:
    """The transpose of a convolution: y (N, H', W', G, F / G) back to (N, *size, G, C / G)."""
    if stride != (1, 1):
        return _spread(xp, y, weight, stride, padding, dilation, size)
    # a convolution again, by the weights turned by half a circle: its products are as large, and nothing is added up
    F, C, *kernel = weight.shape
    G, out = y.shape[3], y.shape[1:3]
    turned = weight.reshape(G, F // G, C, *kernel)[..., ::-1, ::-1].swapaxes(1, 2).reshape(G * C, F // G, *kernel)
    spans = [reach(k, d) - 1 for k, d in zip(kernel, dilation, strict=True)]
    before = spans[0] - padding[0], spans[1] - padding[1]
    h, w = [n + span - m - b for n, span, m, b in zip(size, spans, out, before, strict=True)]
    return convolve(xp, y, Sliding((kernel[0], kernel[1]), stride, dilation, before, (h, w), size), turned)


def meetings(xp: Any, x: Array, sliding: Sliding, y: Array) -> Array:
    """What the windows of x (N, H, W, G, C / G) meet in y (N, H', W', G, F / G): (F, C / G, K_h, K_w)."""
    (N, _, _, G, C), F, kernel = x.shape, y.shape[-1], sliding.kernel
    dtype = np.result_type(x.dtype, y.dtype)

    def some(part: slice) -> Array:
        weight = xp.zeros((G, math.prod(kernel) * C, F), dtype)
        mine = y[part]
        for images, windows in _unfolded(xp, x[part], sliding):
            weight += xp.matmul(windows.swapaxes(1, 2), _rows(mine[images]))
        return weight

    weight, *rest = shared(xp, N, _cost(sliding.size_of(x), F), some)
    for more in rest:
        weight += more
    return weight.reshape(G, *kernel, C, F).transpose(0, 4, 3, 1, 2).reshape(G * F, C, *kernel)


def _spread(xp: Any, y: Array, weight: Array, stride: Pair, padding: Pair, dilation: Pair, size: Pair) -> Array:
    """The transpose of a convolution, each element of y times the weights, added up where it was read.

    Every stride-th row and column of x, padded, is an array of its own at first: what one weight adds to it lies in one
    piece.
    """
    F, C, *kernel = weight.shape
    N, *out, G, _ = y.shape
    matrices = weight.reshape(G, F // G, C, *kernel).transpose(3, 4, 0, 1, 2)  # (K_h, K_w, G, F / G, C / G)
    (s, t), (d, e), (p, q), (H, W) = stride, dilation, padding, size
    x = xp.zeros((N, H + 2 * p, W + 2 * q, G, C), np.result_type(y.dtype, weight.dtype))
    of_image = math.prod(out) * G * math.prod(kernel) * C

    def some(part: slice) -> None:
        mine, to = y[part], x[part]
        for images in _some_at_once(xp, len(mine), of_image):
            into = to[images]
            added = xp.matmul(_rows(mine[images]), matrices).swapaxes(2, 3).reshape(*kernel, len(into), *out, G, C)
            phases = xp.zeros((s, t, len(into), -(-x.shape[1] // s), -(-x.shape[2] // t), G, C), x.dtype)
            for i, j in itertools.product(*map(range, kernel)):
                (row, a), (column, b) = divmod(i * d, s), divmod(j * e, t)
                phases[a, b, :, row : row + out[0], column : column + out[1]] += added[i, j]
            for a, b in itertools.product(range(s), range(t)):
                every = into[:, a::s, b::t]
                every[...] = phases[a, b, :, : every.shape[1], : every.shape[2]]

    shared(xp, N, _cost(of_image, F // G), some)
    return x[:, p : p + H, q : q + W]


# ---- their parts


def _cost(size: int, F: int) -> float:
    """Nanoseconds that an image takes whose windows have so many elements, each of which meets F weights."""
    return size * (1 + F / PER_NANOSECOND)


def _some_at_once(xp: Any, N: int, size: int) -> Iterator[slice]:
    """N images, some at a time; the windows of one have so many elements."""
    step = max(1, (BLOCK if xp is np else GPU_BLOCK) // max(1, size))
    return (slice(start, min(start + step, N)) for start in range(0, N, step))


def _unfolded(xp: Any, x: Array, sliding: Sliding) -> Iterator[tuple[slice, Array]]:
    """Some images at a time, and their windows as the rows of matrices, (G, rows, K)."""
    windows = sliding.windows(xp, x)
    for images in _some_at_once(xp, len(x), sliding.size_of(x)):
        G, n, H, W, *of_window = (some := windows[:, images]).shape
        yield images, some.reshape(G, n * H * W, math.prod(of_window))


def _rows(x: Array) -> Array:
    """Images (N, H, W, G, C / G) as matrices, (G, N H W, C / G), a view."""
    return x.reshape(math.prod(x.shape[:3]), *x.shape[3:]).swapaxes(0, 1)


def _matrices(xp: Any, weight: Array, G: int) -> Array:
    """(F, C / G, K_h, K_w) as (G, K, F / G), each column in the order of a row of windows."""
    F, C, *kernel = weight.shape
    parts = weight.reshape(G, F // G, C, *kernel).transpose(0, 3, 4, 2, 1)
    return xp.ascontiguousarray(parts).reshape(G, math.prod(kernel) * C, F // G)
