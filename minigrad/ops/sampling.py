"""Images read at points that a grid names: what spatial transformers are made of.

Source: Jaderberg, Simonyan, Zisserman, Kavukcuoglu, Spatial transformer networks, 2015.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, backend_of
from ..graph import Tensor
from ..registry import op
from .elementwise import where
from .indexing import scatter, take
from .products import matmul
from .reductions import sum
from .shapes import reshape, stack, swapaxes, transpose


def _data(x: Any) -> Array:
    return x.data if isinstance(x, Tensor) else x


# ---- affine_grid


def _centres(like: Any, n: int, align_corners: bool) -> Array:
    """Where the centres of n pixels lie in [-1, 1], the ends of which are the outer ones' borders, or centres."""
    xp, steps = backend_of(_data(like)).xp, np.arange(n)
    centres = 2 * steps / max(n - 1, 1) - (n > 1) if align_corners else (2 * steps + 1) / n - 1
    return xp.asarray(centres.astype(_data(like).real.dtype))


def _plane(like: Any, size: Any, align_corners: bool) -> Array:
    """The points (x, y, 1) of an image, (H W, 3)."""
    xp, (*_, H, W) = backend_of(_data(like)).xp, size
    x, y = _centres(like, W, align_corners), _centres(like, H, align_corners)
    ones = xp.ones((H, W), x.dtype)
    return xp.stack([ones * x, ones * y[:, None], ones], axis=-1).reshape(H * W, 3)


def _affine_case(d: Any) -> Any:
    N = d.integer(1, 2)
    return d.call(d.array((N, 2, 3)), (N, 1, d.integer(1, 3), d.integer(1, 3)), align_corners=d.boolean())


def _affine_defined(theta: np.ndarray, size: Any, align_corners: bool) -> np.ndarray:
    plane = _plane(np.zeros(1), size, align_corners)
    return np.stack([plane @ one.T for one in theta]).reshape(len(theta), *size[2:], 2)


@op(
    theta=lambda g, theta_shape, size, align_corners: matmul(
        swapaxes(reshape(g, (theta_shape[0], size[2] * size[3], 2)), 1, 2), _plane(g, size, align_corners)
    ),
    cases=_affine_case,
    reference=_affine_defined,
)
def affine_grid(xp: Any, theta: Array, size: Any, *, align_corners: bool = False) -> Tensor:
    """For each point of an image the one that an affine map takes it to: (x', y') = theta (x, y, 1).

    Args:
        theta: a map for each image, (N, 2, 3).
        size: (N, C, H, W) of the images to make.
        align_corners: -1 and 1 are the centres of the outer pixels; False: their outer borders.

    Returns:
        The points (x', y'), (N, H, W, 2), x' to the right, y' downwards, from -1 to 1 within the image.

    Raises:
        ValueError: shapes that don't belong together.

    >>> import minigrad as mg
    >>> mg.affine_grid(mg.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2))
    Tensor([[[[0., 0.],
              [1., 0.]]]], dtype=float32)
    """
    if theta.ndim != 3 or theta.shape[1:] != (2, 3) or len(size) != 4 or size[0] != len(theta):
        raise ValueError(f"expected theta (N, 2, 3) and size (N, C, H, W), got size {tuple(size)}")
    return (_plane(theta, size, align_corners) @ theta.swapaxes(1, 2)).reshape(len(theta), *size[2:], 2)


# ---- grid_sample


class Neighbour(NamedTuple):
    """A pixel along an axis, for each point: where, how much it weighs, and how fast that grows with the point."""

    index: Array  # integers; some lie outside the image
    weight: Any
    slope: Any


def _pixels(t: Any, n: int, padding_mode: str, align_corners: bool) -> tuple[Any, Any]:
    """Points of [-1, 1] on the scale of n pixels, and how many pixels they move as t moves by 1."""
    slope = (n - 1) / 2 if align_corners else n / 2
    u = (t + 1) * slope - (0 if align_corners else 0.5)
    xp, dtype = backend_of(_data(t)).xp, _data(t).dtype
    if padding_mode == "reflection":
        low, span = (0.0, n - 1) if align_corners else (-0.5, n)
        turns = xp.floor((_data(u) - low) / max(span, 1))
        odd = turns % 2 == 1
        u = u - low - turns * span
        u, slope = where(odd, span - u, u) + low, slope * (1 - 2 * odd.astype(dtype))
    beyond = 2 if padding_mode == "zeros" else 0  # so far outside that no pixel of x is near
    low, high = -beyond, n - 1 + beyond
    inside = (_data(u) > low) & (_data(u) < high)
    return where(inside, u, xp.clip(_data(u), low, high)), slope * inside.astype(dtype)


def _neighbours(t: Any, n: int, mode: str, padding_mode: str, align_corners: bool) -> list[Neighbour]:
    """The pixels along an axis that points t are made of: two, or the nearest."""
    xp = backend_of(_data(t)).xp
    u, slope = _pixels(t, n, padding_mode, align_corners)
    if mode == "nearest":
        return [Neighbour(xp.rint(_data(u)).astype(np.int64), 1.0, 0.0)]
    low = xp.floor(_data(u))
    part = u - low
    index = low.astype(np.int64)
    return [Neighbour(index, 1 - part, -slope), Neighbour(index + 1, part, slope)]


class Corner(NamedTuple):
    """A pixel of each point, with its weight and how fast that grows with x and with y, all (N, H', W')."""

    index: Array  # among the N H W pixels of all images
    weight: Any
    by_x: Any
    by_y: Any


def _corners(grid: Any, x_shape: tuple[int, ...], **options: Any) -> Iterator[Corner]:
    """The pixels that each point of a grid is made of."""
    N, _, H, W = x_shape
    xp, dtype = backend_of(_data(grid)).xp, _data(grid).dtype
    first = (xp.arange(N) * (H * W))[:, None, None]
    rows, columns = _neighbours(grid[..., 1], H, **options), _neighbours(grid[..., 0], W, **options)
    for row, column in itertools.product(rows, columns):
        i, j = row.index, column.index
        inside = ((i >= 0) & (i < H) & (j >= 0) & (j < W)).astype(dtype)
        index = first + xp.clip(i, 0, H - 1) * W + xp.clip(j, 0, W - 1)
        weights = row.weight * column.weight, row.weight * column.slope, column.weight * row.slope
        yield Corner(index, *[weight * inside for weight in weights])


def _last(x: Any) -> Any:
    """(N, C, H, W) as (N, H, W, C)."""
    return transpose(x, (0, 2, 3, 1))


def _pixel_rows(x: Any) -> Any:
    """The pixels of all images, (N H W, C)."""
    return reshape(_last(x), (-1, x.shape[1]))


def _sample_by_x(g: Any, grid: Any, x_shape: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    (N, C, H, W), g = x_shape, _last(g)
    dx: Any = 0.0
    for corner in _corners(grid, x_shape, mode=mode, padding_mode=padding_mode, align_corners=align_corners):
        dx = dx + scatter(g * corner.weight[..., None], (corner.index,), (N * H * W, C))
    return transpose(reshape(dx, (N, H, W, C)), (0, 3, 1, 2))


def _sample_by_grid(g: Any, x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    rows, g, by_x, by_y = _pixel_rows(x), _last(g), 0.0, 0.0
    for corner in _corners(grid, x.shape, mode=mode, padding_mode=padding_mode, align_corners=align_corners):
        product = sum(g * take(rows, corner.index, axis=0), axis=-1)  # (N, H', W')
        by_x, by_y = by_x + product * corner.by_x, by_y + product * corner.by_y
    return stack([by_x, by_y], axis=-1)


def _sample_case(d: Any) -> Any:
    N, C, H, W = d.integer(1, 2), d.integer(1, 2), d.integer(1, 2), d.integer(1, 3)
    out, align = d.one_of((1, 1), (1, 2), (2, 1)), d.boolean()
    x, along = d.array((N, C, H, W)), (d.array((N, *out, 2)) + 3) / 6  # in [0, 1]
    # pixels from -1 to one behind the last, off what is a kink: whole numbers and halves
    cells = np.floor(along * 97) % (np.array([W, H]) + 2) - 1
    part = (along * 97) % 1
    pixels = cells + np.where(part < 0.5, 0.1 + 0.6 * part, 0.3 + 0.6 * part)
    n = np.array([W, H])
    grid = 2 * pixels / np.maximum(n - 1, 1) - 1 if align else (2 * pixels + 1) / n - 1
    modes = d.one_of("bilinear", "nearest"), d.one_of("zeros", "border", "reflection")
    return d.call(x, grid, mode=modes[0], padding_mode=modes[1], align_corners=align)


def _pixel_defined(u: float, n: int, padding_mode: str, align_corners: bool) -> float:
    """Where a point lies that may be outside, on the scale of n pixels."""
    low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
    if padding_mode == "reflection":
        while high > low and not low <= u <= high:
            u = 2 * low - u if u < low else 2 * high - u
    return u if padding_mode == "zeros" else min(max(u, 0.0), n - 1.0)


def _sample_defined(x: np.ndarray, grid: np.ndarray, mode: str, padding_mode: str, align_corners: bool) -> np.ndarray:
    y = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    for n, i, j in np.ndindex(grid.shape[:3]):
        where_to = []
        for t, size in zip(grid[n, i, j], x.shape[:1:-1], strict=True):
            u = (t + 1) / 2 * (size - 1) if align_corners else ((t + 1) * size - 1) / 2
            where_to.append(_pixel_defined(u, size, padding_mode, align_corners))
        for row, column in np.ndindex(x.shape[2:]):
            far = abs(where_to[0] - column), abs(where_to[1] - row)
            if mode == "bilinear":
                y[n, :, i, j] += max(0.0, 1 - far[0]) * max(0.0, 1 - far[1]) * x[n, :, row, column]
            elif max(far) < 0.5:
                y[n, :, i, j] = x[n, :, row, column]
    return y


@op(
    x=_sample_by_x,
    grid=_sample_by_grid,
    cases=_sample_case,
    analytic=False,
    reference=_sample_defined,
)
def grid_sample(
    xp: Any, x: Array, grid: Array, *, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> Tensor:
    """The images x read at the points of a grid.

    Args:
        x: (N, C, H, W).
        grid: points (x, y), (N, H', W', 2): x to the right, y downwards, from -1 to 1 within the image.
        mode: "bilinear", between the four pixels around a point, or "nearest".
        padding_mode: what lies outside: "zeros", what lies at the "border", or the image's "reflection".
        align_corners: -1 and 1 are the centres of the outer pixels; False: their outer borders.

    Returns:
        (N, C, H', W').

    Raises:
        ValueError: shapes that don't belong together, or an unknown mode.

    >>> import minigrad as mg
    >>> mg.grid_sample(mg.tensor([[[[1.0, 3.0]]]]), mg.tensor([[[[0.0, 0.0], [0.5, 0.0]]]]))
    Tensor([[[[2., 3.]]]], dtype=float32)
    """
    if x.ndim != 4 or grid.ndim != 4 or grid.shape[3] != 2 or len(grid) != len(x):
        raise ValueError("expected x (N, C, H, W) and grid (N, H', W', 2)")
    if mode not in ("bilinear", "nearest") or padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError("expected mode 'bilinear' or 'nearest', and padding_mode 'zeros', 'border' or 'reflection'")
    rows = _pixel_rows(x)
    y: Any = 0.0
    for corner in _corners(grid, x.shape, mode=mode, padding_mode=padding_mode, align_corners=align_corners):
        y = y + take(rows, corner.index, axis=0) * corner.weight[..., None]
    return y.transpose(0, 3, 1, 2)
