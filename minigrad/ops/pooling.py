"""Pooling: the greatest or the mean of each window, and the ways back.

Windows may hang over the edges: what lies outside is never the greatest; in a mean it counts as zeros, or not at all.
"""

import itertools
import math
from typing import Any

import numpy as np

from ..adding import add_at
from ..backend import Array
from ..graph import Tensor
from ..operands import wider
from ..registry import op
from ..threads import shared
from .indexing import take_along_axis
from .shapes import reshape
from .windows import Pair, at, grown, pair, reach


class Windows:
    """Where the windows of a pooling lie in images of a size.

    Raises:
        ValueError: options that are no numbers of the kind, more padding than half the kernel, or a window outside x.
    """

    def __init__(self, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
        self.size, self.kernel, self.padding = (
            pair("size", size, 1),
            pair("kernel", kernel, 1),
            pair("padding", padding, 0),
        )
        self.stride = self.kernel if stride is None else pair("stride", stride, 1)
        self.dilation = pair("dilation", dilation, 1)
        axes = [self._along(axis, ceil_mode) for axis in (0, 1)]
        self.counts, self.beyond = (tuple(both) for both in zip(*axes, strict=True))

    def _along(self, axis: int, ceil_mode: bool) -> Pair:
        """How many windows an axis has, and how far the last reaches beyond the size; `ceil_mode`: it may hang over."""
        options = self.size, self.kernel, self.stride, self.padding, self.dilation
        n, k, s, p, d = [both[axis] for both in options]
        span = reach(k, d)
        if p > k // 2:
            raise ValueError(f"expected padding of at most half the kernel {self.kernel}, got {self.padding}")
        count = (n + 2 * p - span + (s - 1 if ceil_mode else 0)) // s + 1
        count -= ceil_mode and (count - 1) * s >= n + p  # a window begins in x, or in the padding before it
        places = (np.arange(max(count, 0)) * s - p)[:, None] + np.arange(k) * d
        if count < 1 or not ((places >= 0) & (places < n)).any(axis=1).all():
            raise ValueError(f"a window, which reaches over {span} places, has none within x, where there are {n}")
        return count, (count - 1) * s + span - n - p

    def padded(self, xp: Any, x: Array, fill: Any) -> Array:
        """x (N, H, W, C), grown so that every window lies in it."""
        return grown(xp, x, self.padding, self.beyond, fill)

    def places(self) -> list[tuple[int, int, tuple[Any, ...]]]:
        """For each place (i, j) of a window the index, into a padded x, of that place in all windows."""
        return [
            (
                i,
                j,
                (slice(None), *[at(*of) for of in zip((i, j), self.counts, self.stride, self.dilation, strict=True)]),
            )
            for i, j in itertools.product(*map(range, self.kernel))
        ]

    def steps(self, i: int, j: int) -> int:
        """How far the place (i, j) of a window lies behind its first, in the flattened image."""
        return i * self.dilation[0] * self.size[1] + j * self.dilation[1]

    def corner(self, xp: Any) -> Array:
        """Where in the flattened image each window's first place lies, (H', W', 1)."""
        sides = [xp.arange(n) * s - p for n, s, p in zip(self.counts, self.stride, self.padding, strict=True)]
        return (sides[0][:, None] * self.size[1] + sides[1])[:, :, None]

    def first_inside(self, xp: Any) -> Array:
        """Which of its places is the first of each window that lies in x, (H', W', 1)."""
        sides = []
        for n, s, p, d in zip(self.counts, self.stride, self.padding, self.dilation, strict=True):
            sides.append(xp.maximum(-((xp.arange(n) * s - p) // d), 0))
        return (sides[0][:, None] * self.kernel[1] + sides[1])[:, :, None]

    def divisors(self, xp: Any, dtype: Any, count_include_pad: bool) -> Array:
        """How many places each window has, (H', W', 1): with the padding, but not beyond, or within x alone."""
        sides = []
        for n, k, s, p, count in zip(self.size, self.kernel, self.stride, self.padding, self.counts, strict=True):
            starts = np.arange(count) * s - p
            first, last = (starts, n + p) if count_include_pad else (np.maximum(starts, 0), n)
            sides.append(np.minimum(starts + k, last) - first)
        return xp.asarray((sides[0][:, None] * sides[1])[:, :, None].astype(dtype))


def _size(x: Array) -> Any:
    """(H, W) of images; ValueError where x holds none."""
    if x.ndim != 4:
        raise ValueError(f"expected x (N, C, H, W), got {x.ndim} axes")
    return x.shape[2:]


def _last(x: Array) -> Array:
    """(N, C, H, W) as (N, H, W, C), a view."""
    return x.transpose(0, 2, 3, 1)


def _second(x: Array) -> Array:
    """(N, H, W, C) as (N, C, H, W), a view."""
    return x.transpose(0, 3, 1, 2)


# ---- what the property tests draw, and the definitions


def _options(d: Any, **more: Any) -> tuple[Pair, dict[str, Any]]:
    """The size of images, and the options of a call."""
    kernel, stride = ((d.integer(1, 3), d.integer(1, 2)) for _ in range(2))
    dilation = (d.integer(1, 2), 1) if "dilation" in more else (1, 1)
    padding = tuple(d.integer(0, k // 2) for k in kernel)
    size = tuple(max(1, reach(k, e) - p) + d.integer(0, 2) for k, e, p in zip(kernel, dilation, padding, strict=True))
    options = dict(stride=d.one_of(None, stride), padding=padding, ceil_mode=d.boolean())
    return size, dict(kernel=kernel, **options, **({"dilation": dilation} if more else {}))


def _windows_one_by_one(size: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any = 1) -> Any:
    """For each window its place in the result, and the places within x that it has."""
    windows = Windows(size, kernel, stride, padding, dilation, ceil_mode)
    for h, w in itertools.product(*map(range, windows.counts)):
        inside = []
        for i, j in itertools.product(*map(range, windows.kernel)):
            row, column = (
                n * s + m * e - p
                for n, m, s, e, p in zip((h, w), (i, j), windows.stride, windows.dilation, windows.padding, strict=True)
            )
            if 0 <= row < size[0] and 0 <= column < size[1]:
                inside.append((row, column))
        yield (h, w), inside, windows


def _pooled(f: Any, x: np.ndarray, **options: Any) -> np.ndarray:
    """f of each window's values (N, C, places), its places and the windows, in a row for each place of the result."""
    found = []
    for place, inside, windows in _windows_one_by_one(x.shape[2:], **options):
        found.append(f(np.stack([x[:, :, i, j] for i, j in inside], -1), place, inside, windows))
    return np.stack(found, -1).reshape(*x.shape[:2], *windows.counts)


def _max_defined(x: np.ndarray, kernel: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    def flat(values: Any, place: Any, inside: Any, windows: Any) -> Any:
        return np.array([i * x.shape[3] + j for i, j in inside])[values.argmax(-1)]

    options["kernel"] = kernel
    return _pooled(lambda values, *_: values.max(-1), x, **options), _pooled(flat, x, **options)


def _divisor(place: Any, inside: Any, windows: Any, *, count_include_pad: bool) -> int:
    """How many places count in a window's mean."""
    if not count_include_pad:
        return len(inside)
    return math.prod(
        sum(0 <= o * s + i < n + 2 * p for i in range(k))
        for o, s, n, p, k in zip(place, windows.stride, windows.size, windows.padding, windows.kernel, strict=True)
    )


def _avg_defined(x: np.ndarray, kernel: Any, count_include_pad: bool, **options: Any) -> np.ndarray:
    return _pooled(
        lambda values, *window: values.sum(-1) / _divisor(*window, count_include_pad=count_include_pad),
        x,
        kernel=kernel,
        **options,
    )


def _avg_unpool_defined(y: np.ndarray, size: Any, kernel: Any, count_include_pad: bool, **options: Any) -> np.ndarray:
    x = np.zeros((*y.shape[:2], *size))
    for place, inside, windows in _windows_one_by_one(size, kernel=kernel, **options):
        for i, j in inside:
            x[:, :, i, j] += y[(..., *place)] / _divisor(place, inside, windows, count_include_pad=count_include_pad)
    return x


def _unpool_defined(x: np.ndarray, indices: np.ndarray, size: Any) -> np.ndarray:
    y = np.zeros((*x.shape[:2], math.prod(size)))
    for n, c, i, j in np.ndindex(x.shape):
        y[n, c, indices[n, c, i, j]] += x[n, c, i, j]
    return y.reshape(*x.shape[:2], *size)


def _pool_case(d: Any, **more: Any) -> Any:
    size, options = _options(d, **more)
    if "count_include_pad" in more:
        options.pop("dilation")
        options["count_include_pad"] = d.boolean()
    return d.call(d.array((d.integer(1, 2), d.integer(1, 2), *size)), options.pop("kernel"), **options)


def _avg_unpool_case(d: Any) -> Any:
    size, options = _options(d)
    windows = Windows(size, options["kernel"], options["stride"], options["padding"], 1, options["ceil_mode"])
    y = d.array((d.integer(1, 2), d.integer(1, 2), *windows.counts))
    return d.call(y, size, options.pop("kernel"), count_include_pad=d.boolean(), **options)


def _unpool_case(d: Any) -> Any:
    shape, size = (d.integer(1, 2), 1, d.integer(1, 2), 2), (d.integer(1, 3), 3)
    return d.call(d.array(shape), d.indices(math.prod(size), shape) % math.prod(size), size)


# ---- the ops


@op(
    x=lambda g, indices, size: _read(g, indices),
    cases=_unpool_case,
    reference=_unpool_defined,
)
def max_unpool2d(xp: Any, x: Array, indices: Array, size: Any) -> Tensor:
    """Zeros of a size, with the values of x at the places that `max_pool2d` read them from; what meets is added.

    Args:
        x: (N, C, H', W').
        indices: integers of x's shape: places in the flattened image.
        size: (H, W) of the result, (N, C, H, W).

    Raises:
        ValueError, IndexError: indices of another shape, or outside the image.

    >>> import minigrad as mg
    >>> mg.max_unpool2d(mg.tensor([[[[1.0, 2.0]]]]), np.array([[[[3, 0]]]]), (2, 2))
    Tensor([[[[2., 0.],
              [0., 1.]]]], dtype=float32)
    """
    H, W = pair("size", size, 1)
    indices = xp.asarray(indices)
    if x.ndim != 4 or indices.shape != x.shape or indices.dtype.kind not in "iu":
        raise ValueError(f"expected x (N, C, H, W), and indices, integers of its shape, got {indices.shape}")
    if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= H * W):
        raise IndexError(f"expected indices in 0..{H * W - 1}, got {int(indices.min())} to {int(indices.max())}")
    N, C = x.shape[:2]
    places = _last(indices) * C + xp.arange(C)  # of (H, W, C)
    places += (xp.arange(N) * (H * W * C))[:, None, None, None]
    y = xp.zeros(N * H * W * C, x.dtype)
    add_at(y, places.ravel(), _last(x).ravel())
    return _second(y.reshape(N, H, W, C))


def _least(dtype: np.dtype[Any]) -> Any:
    """What no number of a dtype is less than."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    return False if dtype.kind == "b" else -math.inf


def _read(y: Any, indices: Array) -> Any:
    """What lies at the places in the flattened images of y (N, C, H, W)."""
    N, C, *size = y.shape
    places = indices.reshape(N, C, math.prod(indices.shape[2:]))
    return reshape(take_along_axis(reshape(y, (N, C, math.prod(size))), places, 2), indices.shape)


@op(
    x=lambda g, out, x_shape: max_unpool2d(g[0], out[1], x_shape[2:]),
    cases=lambda d: _pool_case(d, dilation=True),
    reference=_max_defined,
)
def max_pool2d(
    xp: Any, x: Array, kernel: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The greatest of each window, the first where several are, and its place in the flattened image.

    Args:
        x: (N, C, H, W).
        kernel: rows and columns of a window. This and the next three: for both axes, or a pair.
        stride: from window to window; None: the kernel, so that no two overlap.
        padding: by how much the first window hangs over, and the last may.
        dilation: from place to place in a window.
        ceil_mode: a last window that fits in part counts too.

    Returns:
        y and its places, both (N, C, H', W'), as `max_unpool2d` takes them.

    Raises:
        ValueError: options that can't be, padding of more than half the kernel, or a window that lies outside x.

    >>> import minigrad as mg
    >>> y, places = mg.max_pool2d(mg.tensor([[[[1.0, 5.0, 2.0, 4.0]]]]), (1, 2))
    >>> y.numpy(), places.numpy()
    (array([[[[5., 4.]]]], dtype=float32), array([[[[1, 3]]]]))
    """
    windows = Windows(_size(x), kernel, stride, padding, dilation, ceil_mode)
    N, C = x.shape[:2]
    y, place = [xp.empty((N, *windows.counts, C), dtype) for dtype in (x.dtype, np.intp)]
    flat = xp.asarray([windows.steps(i, j) for i, j, _ in windows.places()])
    corner = windows.corner(xp)

    def some(part: slice) -> None:
        padded = windows.padded(xp, _last(x)[part], _least(x.dtype))
        which = _greatest(xp, padded, windows, y[part])
        xp.add(flat[which], corner, out=place[part])

    shared(xp, N, math.prod(windows.counts) * C * 4 * len(flat), some)
    return _second(y), _second(place)


def _greatest(xp: Any, padded: Array, windows: Windows, y: Array) -> Array:
    """The greatest of each window, into y (N, H', W', C); which of the window's places the first of them is."""
    places = [index for _, _, index in windows.places()]
    small = np.min_scalar_type(len(places))
    which = xp.zeros(y.shape, small)
    which += windows.first_inside(xp).astype(small)
    y[...] = padded[places[0]]
    for n, index in enumerate(places[1:], 1):
        other = padded[index]
        # the last place that is greater than all before it is the first of the greatest
        xp.maximum(which, (other > y) * small.type(n), out=which)
        xp.maximum(y, other, out=y)
    if (y != y).any():  # nan is greater than all, for maximum, but not for >
        for n, index in reversed(list(enumerate(places))):
            xp.copyto(which, small.type(n), where=padded[index] != padded[index])
    return which


@op(
    x=lambda g, x_shape, kernel, stride, padding, ceil_mode, count_include_pad: avg_unpool2d(
        g, x_shape[2:], kernel, stride=stride, padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    ),
    cases=lambda d: _pool_case(d, count_include_pad=True),
    reference=_avg_defined,
)
def avg_pool2d(
    xp: Any,
    x: Array,
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window.

    Args:
        x, kernel, stride, padding, ceil_mode: as for `max_pool2d`.
        count_include_pad: padding counts as zeros; False: only places within x count.

    >>> import minigrad as mg
    >>> mg.avg_pool2d(mg.tensor([[[[1.0, 5.0, 2.0, 4.0]]]]), (1, 2))
    Tensor([[[[3., 3.]]]], dtype=float32)
    """
    windows = Windows(_size(x), kernel, stride, padding, 1, ceil_mode)
    padded = windows.padded(xp, _last(x), 0.0)
    first, *rest = windows.places()
    y = padded[first[2]].astype(wider(x.dtype))
    for _, _, index in rest:
        y += padded[index]
    y /= windows.divisors(xp, y.real.dtype, count_include_pad)
    return _second(y.astype(x.dtype, copy=False) if x.dtype.kind in "fc" else y)


@op(
    y=lambda g, kernel, stride, padding, ceil_mode, count_include_pad: avg_pool2d(
        g, kernel, stride=stride, padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    ),
    cases=_avg_unpool_case,
    reference=_avg_unpool_defined,
)
def avg_unpool2d(
    xp: Any,
    y: Array,
    size: Any,
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The transpose of `avg_pool2d`: each element of y, divided as there, added to all places of its window.

    Args:
        y: (N, C, H', W').
        size: (H, W) of the result, (N, C, H, W).
        kernel, stride, padding, ceil_mode, count_include_pad: of the pooling.

    >>> import minigrad as mg
    >>> mg.avg_unpool2d(mg.tensor([[[[3.0]]]]), (1, 2), (1, 2))
    Tensor([[[[1.5, 1.5]]]], dtype=float32)
    """
    windows = Windows(size, kernel, stride, padding, 1, ceil_mode)
    if y.ndim != 4 or y.shape[2:] != windows.counts:
        raise ValueError(f"expected y of shape (N, C, *{windows.counts}), as many windows as there are, got {y.shape}")
    (p, q), (H, W) = windows.padding, windows.size
    N, C = y.shape[:2]
    x = xp.zeros((N, H + p + max(windows.beyond[0], 0), W + q + max(windows.beyond[1], 0), C), y.dtype)
    share = _last(y) / windows.divisors(xp, y.real.dtype, count_include_pad)
    for _, _, index in windows.places():
        x[index] += share
    return _second(x[:, p : p + H, q : q + W])
