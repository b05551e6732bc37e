"""Batch normalisation as one op: it reads and writes the images a third as often as in small ops."""

from typing import Any

from ..backend import Array, backend_of
from ..creation import as_tensor
from ..graph import Tensor
from ..registry import op
from .elementwise import sqrt, square
from .reductions import mean
from .shapes import reshape

AXES = (0, 2, 3)  # all but that of the channels


def _in_steps(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x = as_tensor(x)
    average = mean(x, axis=AXES, keepdims=True)
    centred = x - average
    variance = mean(square(centred), axis=AXES, keepdims=True)
    y = centred / sqrt(variance + eps)
    y = y if weight is None else y * reshape(weight, (-1, 1, 1))
    y = y if bias is None else y + reshape(bias, (-1, 1, 1))
    return y, reshape(average, -1), reshape(variance, -1)


def _sums(xp: Any, *factors: Array) -> Array:
    """For each channel the sum of products, (C,): of rows, of images, of all, since a long float32 sum loses digits."""
    return xp.einsum(",".join(["nchw"] * len(factors)) + "->nch", *factors).sum(2).sum(0)


def _back(g: list[Array], kept: list[Array], weight: Any, needs: tuple[bool, ...]) -> list[Any]:
    """The gradients of x, weight and bias; x^ is the normalised x, n how many elements a channel has.

    dx = weight / deviation * (dy - mean(dy) - x^ mean(dy x^)) + dmean / n + 2 dvariance x^ deviation / n
    """
    normalised, deviation = kept  # (N, C, H, W), (C,)
    dy, daverage, dvariance = g
    xp, n = backend_of(normalised).xp, normalised.size // len(deviation)
    db, dw = _sums(xp, dy), _sums(xp, dy, normalised)
    dx = None
    if needs[0]:
        scale = 1 / deviation if weight is None else weight / deviation
        along = -scale * dw / n + 2 * dvariance * deviation / n
        dx = normalised * along[:, None, None]
        dx += dy * scale[:, None, None]
        dx += (daverage / n - scale * db / n)[:, None, None]
    return [dx, dw if needs[1] else None, db if needs[2] else None]


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
    n = x.size // x.shape[1]
    average = _sums(xp, x) / n
    normalised = x - average[:, None, None]
    variance = _sums(xp, normalised, normalised) / n
    deviation = xp.sqrt(variance + eps)
    normalised /= deviation[:, None, None]
    keep += [normalised, deviation]
    if weight is None and bias is None:
        return normalised.copy(), average, variance
    y = normalised if weight is None else normalised * weight[:, None, None]
    return (y if bias is None else y + bias[:, None, None]), average, variance
