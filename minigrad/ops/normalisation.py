"""Batch normalisation as one op: it reads and writes the images a third as often as in small ops."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..creation import as_tensor
from ..graph import Tensor
from ..operands import wider
from ..registry import op
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


def _parts(xp: Any, *arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Some rows of each array at a time: few enough to stay in the cache while they are read again."""
    step = max(1, BLOCK // arrays[0][:1].nbytes) if xp is np else len(arrays[0])
    return (tuple([array[i : i + step] for array in arrays]) for i in range(0, len(arrays[0]), step))


def _channels(along: Array, C: int) -> Array:
    """Sums along a row, (W C,), as sums of channels, (C,)."""
    return along.reshape(-1, C).sum(0)


def _back(g: list[Array], kept: list[Array], weight: Any, shapes: Any, needs: tuple[bool, ...]) -> list[Any]:
    """The gradients of x, weight and bias; x^ is the normalised x, n how many elements a channel has.

    dx = weight / deviation * (dy - mean(dy) - x^ mean(dy x^)) + dmean / n + 2 dvariance x^ deviation / n
    """
    (normalised, deviation), (dy, daverage, dvariance) = kept, g  # (N H, W C), (C,)
    xp, dy, C = backend_of(normalised).xp, _rows(dy), len(deviation)
    n, W = normalised.size // C, normalised.shape[1] // C
    db, dw = xp.zeros((2, W * C), wide := wider(dy.dtype))
    for part, normal in _parts(xp, dy, normalised):
        db += part.sum(0, dtype=wide)
        dw += xp.einsum("nc,nc->c", part, normal, dtype=wide)
    db, dw = _channels(db, C), _channels(dw, C)
    if not needs[0]:
        return [None, dw, db]
    scale = 1 / deviation if weight is None else weight / deviation
    by_normal, offset = 2 * dvariance * deviation / n - scale * dw / n, daverage / n - scale * db / n
    scale, by_normal, offset = [xp.tile(factor, W) for factor in (scale, by_normal, offset)]
    dx = xp.empty_like(normalised)
    for part, normal, out in _parts(xp, dy, normalised, dx):
        xp.multiply(normal, by_normal, out=out)
        out += part * scale
        out += offset
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
    rows, (N, C, H, W) = _rows(x), x.shape
    average, variance = xp.zeros((2, W * C), wide := wider(x.dtype))
    for (part,) in _parts(xp, rows):
        average += part.sum(0, dtype=wide)
    average = _channels(average, C) / (N * H * W)
    normalised, subtrahend = xp.empty_like(rows), xp.tile(average, W)
    for part, normal in _parts(xp, rows, normalised):
        xp.subtract(part, subtrahend, out=normal)
        variance += xp.einsum("nc,nc->c", normal, normal, dtype=wide)
    variance = _channels(variance, C) / (N * H * W)
    deviation = xp.sqrt(variance + eps)
    divisor, factor, offset = [None if v is None else xp.tile(v, W) for v in (deviation, weight, bias)]
    y = xp.empty_like(rows)
    for normal, out in _parts(xp, normalised, y):
        normal /= divisor
        xp.multiply(normal, 1 if factor is None else factor, out=out)
        out += 0 if offset is None else offset
    keep += [normalised, deviation]
    return _images(y, x.shape), average.astype(x.dtype, copy=False), variance.astype(x.dtype, copy=False)
