"""Windows that slide over two axes: what convolutions and poolings have in common.

Arrays have their channels last here, (N, H, W, ...). A window has K_h x K_w places, `dilation` apart; from one window
to the next it is `stride`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..backend import Array

Pair: TypeAlias = tuple[int, int]  # of rows, of columns


def pair(name: str, value: Any, least: int) -> Pair:
    """One number for both axes, or a pair, as a pair; ValueError for anything else, and for numbers below `least`."""
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2 or not all(isinstance(n, int | np.integer) and n >= least for n in both):
        raise ValueError(f"{name}: expected an integer of at least {least}, or two of them, got {value!r}")
    return int(both[0]), int(both[1])


def reach(kernel: int, dilation: int) -> int:
    """From the first place of a window to its last, both included."""
    return dilation * (kernel - 1) + 1


def count(size: Sequence[int], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """How many windows fit into a size, padded on either side; ValueError where none does."""
    both = zip(size, kernel, stride, padding, dilation, strict=True)
    h, w = [(n + 2 * p - reach(k, d)) // s + 1 for n, k, s, p, d in both]
    if h < 1 or w < 1:
        spans = tuple(reach(k, d) for k, d in zip(kernel, dilation, strict=True))
        padded = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
        raise ValueError(f"a window reaches over {spans} rows and columns, which x, padded to {padded}, has not")
    return h, w


def grown(xp: Any, x: Array, before: Pair, after: Pair, fill: float = 0.0) -> Array:
    """x (N, H, W, ...) with rows and columns more in front and behind, or fewer where these are negative."""
    if not any((*before, *after)):
        return x
    sizes = [n + b + a for n, b, a in zip(x.shape[1:3], before, after, strict=True)]
    out = xp.empty((len(x), *sizes, *x.shape[3:]), x.dtype)
    kept = [slice(max(-b, 0), max(0, n + min(a, 0))) for n, b, a in zip(x.shape[1:3], before, after, strict=True)]
    some = x[:, kept[0], kept[1]]
    top, left = [max(b, 0) for b in before]
    bottom, right = top + some.shape[1], left + some.shape[2]
    out[:, :top], out[:, bottom:] = fill, fill
    out[:, top:bottom, :left], out[:, top:bottom, right:] = fill, fill
    out[:, top:bottom, left:right] = some
    return out


def at(i: int, count: int, stride: int, dilation: int) -> slice:
    """Along an axis, the i-th place of every window."""
    return slice(i * dilation, i * dilation + (count - 1) * stride + 1, stride)


class Sliding(NamedTuple):
    """Windows that slide over images: where they are, and how many."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair  # rows and columns of padding
    after: Pair
    out: Pair  # how many windows

    def windows(self, xp: Any, x: Array) -> Array:
        """The windows of x (N, H, W, G, C) as a view that shows memory many times: (G, N, *out, *kernel, C)."""
        padded = grown(xp, x, self.before, self.after)
        N, _, _, G, C = padded.shape
        of_images, of_rows, of_columns, of_groups, of_channels = padded.strides
        (s, t), (d, e) = self.stride, self.dilation
        strides = of_groups, of_images, of_rows * s, of_columns * t, of_rows * d, of_columns * e, of_channels
        return xp.lib.stride_tricks.as_strided(padded, (G, N, *self.out, *self.kernel, C), strides)

    def size_of(self, x: Array) -> int:
        """How many elements the windows of one image of x have."""
        return math.prod(self.out) * math.prod(self.kernel) * math.prod(x.shape[3:])
