"""Batch normalisation as one op: it reads and writes the images a third as often as in small ops."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..creation import as_tensor
from ..graph import Tensor
from ..operands import wider
from ..registry import op
from ..threads import shared
from .elementwise import sqrt, square
from .reductions import mean
from .shapes import reshape

AXES = (0, 2, 3)  # all but that of the channels
BLOCK = 2**18  # bytes of an array at a time


def _in_steps(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x = as_tensor(x)
    average = mean(x, axis=AXES, keepdims=True)
    centred = x - average
    variance = mean(square(centred), axis=AXES, keepdims=True)
    y = centred / sqrt(variance + eps)
    y = y if weight is None else y * reshape(weight, (-1, 1, 1))
    y = y if bias is None else y + reshape(bias, (-1, 1, 1))
    return y, reshape(average, -1), reshape(variance, -1)


# A row of an image is a row of a matrix, (N H, W C): NumPy's loops want it long, longer than C. What there is of each
# channel is repeated along it.


def _rows(x: Array) -> Array:
    """(N, C, H, W) as (N H, W C), a view where the channels are last in memory."""
    N, C, H, W = x.shape
    return x.transpose(0, 2, 3, 1).reshape(N * H, W * C)


def _images(rows: Array, shape: tuple[int, ...]) -> Array:
    """(N H, W C) as (N, C, H, W), a view."""
    N, C, H, W = shape
    return rows.reshape(N, H, W, C).transpose(0, 3, 1, 2)


def _blocks(xp: Any, part: slice, *arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Some rows of a part at a time, of each array: few enough to stay in the cache while they are read again."""
    step = max(1, BLOCK // arrays[0][:1].nbytes) if xp is np else len(arrays[0])
    starts = range(part.start, part.stop, step)
    return (tuple([array[i : min(i + step, part.stop)] for array in arrays]) for i in starts)


def _moments(xp: Any, rows: Array, C: int) -> tuple[Array, Array]:
    """Mean and variance of each channel, (C,), from those of each column of each block of rows.

    Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    """
    wide = wider(rows.dtype)

    def some(part: slice) -> list[tuple[int, Array, Array]]:
        found = []
        for (block,) in _blocks(xp, part, rows):
            average = block.sum(0, dtype=wide) / len(block)
            rest = block - average
            found.append((len(block), average, xp.einsum("nc,nc->c", rest, rest)))
        return found

    blocks = [block for found in shared(xp, len(rows), rows.shape[1], some) for block in found]
    lengths, *columns = zip(*blocks, strict=True)
    counts = xp.asarray(lengths, wide)[:, None, None]
    averages, squares = [xp.stack(column).reshape(len(blocks), -1, C) for column in columns]
    n = rows.size // C
    average = (averages * counts).sum((0, 1)) / n
    return average, (squares + counts * xp.square(averages - average)).sum((0, 1)) / n


def _back(g: list[Array], kept: list[Array], weight: Any, shapes: Any, needs: tuple[bool, ...]) -> list[Any]:
    """The gradients of x, weight and bias; x^ is the normalised x, n how many elements a channel has.

    dx = weight / deviation * (dy - mean(dy) - x^ mean(dy x^)) + dmean / n + 2 dvariance x^ deviation / n
    """
    (rows, average, deviation), (dy, daverage, dvariance) = kept, g  # (N H, W C), (C,)
    xp, dy, C = backend_of(rows).xp, _rows(dy), len(deviation)
    n, W = rows.size // C, rows.shape[1] // C
    average, wide = xp.tile(average, W), wider(dy.dtype)

    def sums(part: slice) -> Array:
        found = xp.zeros((2, W * C), wide)
        for of_dy, of_x in _blocks(xp, part, dy, rows):
            found[0] += of_dy.sum(0, dtype=wide)
            found[1] += xp.einsum("nc,nc->c", of_dy, of_x - average, dtype=wide)
        return found

    db, dw = xp.stack(shared(xp, len(dy), W * C, sums)).reshape(-1, 2, W, C).sum((0, 2))
    dw /= deviation
    if not needs[0]:
        return [None, dw, db]
    scale = 1 / deviation if weight is None else weight / deviation
    slope, offset = 2 * dvariance / n - scale * dw / (n * deviation), daverage / n - scale * db / n
    scale, slope, offset = [xp.tile(factor, W).astype(rows.dtype) for factor in (scale, slope, offset)]
    dx = xp.empty_like(rows)

    def some(part: slice) -> None:
        for of_dy, of_x, out in _blocks(xp, part, dy, rows, dx):
            centred = of_x - average
            centred *= slope
            centred += offset
            xp.multiply(of_dy, scale, out=out)
            out += centred

    shared(xp, len(dy), W * C, some)
    return [_images(dx, shapes[0]), dw, db]


def _case(d: Any) -> Any:
    shape = d.integer(1, 2), d.integer(1, 2), d.integer(1, 2), 2
    weights = [d.array((shape[1],)) if d.boolean() else None for _ in range(2)]
    return d.call(d.array(shape), *weights, eps=d.one_of(0.1, 1.0))


@op(backward=_back, steps=_in_steps, cases=_case)
def batch_norm(
    xp: Any, x: Array, weight: Array = None, bias: Array = None, *, eps: float = 1e-5, keep: list[Array]
) -> Any:
    """Each channel of x less its mean, over its standard deviation; then a scale and an offset for each.

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    Source: Ioffe, Szegedy, Batch normalization, 2015.

    Args:
        x: (N, C, H, W).
        weight, bias: (C,), or None: 1 and 0.
        eps: keeps the division finite where a channel is constant.

    Returns:
        y (N, C, H, W), and each channel's mean and variance (divided by N H W), (C,).

    Raises:
        ValueError: shapes that don't belong together.

    >>> import minigrad as mg
    >>> y, mean, variance = mg.batch_norm(mg.tensor([[[[1.0, 3.0]]]]), eps=0.0)
    >>> y.numpy(), mean.item(), variance.item()
    (array([[[[-1.,  1.]]]], dtype=float32), 2.0, 1.0)
    """
    if x.ndim != 4 or not x.size:
        raise ValueError(f"expected x (N, C, H, W), with elements, got shape {x.shape}")
    for name, factor in (("weight", weight), ("bias", bias)):
        if factor is not None and getattr(factor, "shape", ()) != (x.shape[1],):
            raise ValueError(f"expected {name} of shape ({x.shape[1]},), one for each channel")
    rows, (_, C, _, W) = _rows(x if x.dtype.kind in "fc" else x.astype(wider(x.dtype))), x.shape
    average, variance = _moments(xp, rows, C)
    deviation = xp.sqrt(variance + eps)
    scale = 1 / deviation if weight is None else weight / deviation
    subtrahend, factor, offset = [None if v is None else xp.tile(v, W) for v in (average, scale, bias)]
    y = xp.empty_like(rows)

    def some(part: slice) -> None:
        for block, out in _blocks(xp, part, rows, y):
            xp.subtract(block, subtrahend, out=out)
            out *= factor
            if offset is not None:
                out += offset

    shared(xp, len(rows), W * C, some)
    keep += [rows, average, deviation]
    return _images(y, x.shape), average.astype(y.dtype, copy=False), variance.astype(y.dtype, copy=False)
