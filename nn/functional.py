"""Activations, losses and what layers compute, as functions of tensors; PyTorch's names and `dim`.

Ids and targets are integer arrays or tensors, on any device. Where one lies out of range, the error names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

import minigrad as mg
from minigrad import Tensor, as_tensor
from minigrad.backend import Array, backend_of, default_generator, move
from minigrad.creation import to_array
from minigrad.ops.losses import minus_at
from minigrad.ops.windows import pair

if TYPE_CHECKING:
    from numpy.random import Generator

R = TypeVar("R")

__all__ = [
    "relu", "tanh", "sigmoid", "softplus", "softmax", "log_softmax",
    "linear", "embedding", "one_hot", "layer_norm", "dropout",
    "conv2d", "conv_transpose2d", "max_pool2d", "max_unpool2d", "avg_pool2d", "adaptive_avg_pool2d",
    "batch_norm", "affine_grid", "grid_sample",
    "mse_loss", "binary_cross_entropy_with_logits", "cross_entropy", "nll_loss",
]  # fmt: skip

# ---- activations


def relu(input: Any) -> Tensor:
    """max(x, 0), elementwise."""
    return mg.relu(input)


def tanh(input: Any) -> Tensor:
    """Hyperbolic tangent, elementwise."""
    return mg.tanh(input)


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x)), elementwise."""
    return mg.sigmoid(input)


def softplus(input: Any) -> Tensor:
    """log(1 + exp(x)), elementwise, exact for large x too."""
    return mg.softplus(input)


def softmax(input: Any, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis.

    >>> softmax(as_tensor([0.0, 0.0]), dim=0)
    Tensor([0.5, 0.5], dtype=float32)
    """
    return mg.softmax(input, axis=dim)


def log_softmax(input: Any, dim: int) -> Tensor:
    """log(softmax(x)) along an axis, exact where the softmax underflows."""
    return mg.log_softmax(input, axis=dim)


# ---- layers


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x W^T + b.

    Args:
        input: x, of shape (..., in).
        weight: W, of shape (out, in).
        bias: b, of shape (out,), or None.

    Raises:
        ValueError: the last axis of x is not W's.

    >>> linear(as_tensor([1.0, 2.0]), as_tensor([[3.0, 4.0]]), as_tensor([0.5]))
    Tensor([11.5], dtype=float32)
    """
    x = as_tensor(input)
    if x.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"linear: expected input of shape (..., {weight.shape[1]}), as weight is {weight.shape}, got {x.shape}"
        )
    product = mg.matmul(x, weight.T)
    return product if bias is None else product + bias


def embedding(input: Any, weight: Any) -> Tensor:
    """The rows of a table at integer ids.

    Args:
        input: ids of any shape, in 0..V-1.
        weight: the table, of shape (V, D); the result is of shape (*input.shape, D).

    Raises:
        TypeError: ids that are not integers.
        IndexError: ids outside 0..V-1.

    >>> embedding(np.array([1, 1]), as_tensor([[0.0, 1.0], [2.0, 3.0]]))
    Tensor([[2., 3.],
            [2., 3.]], dtype=float32)
    """
    return mg.take(weight, indices("embedding: input", input, weight.shape[0]), axis=0)


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """A row of zeros with a one at the id, for each id; integers, to be cast for layers: `.to("float32")`.

    Args:
        input: ids of any shape, in 0..num_classes-1.
        num_classes: the length of a row; -1: one more than the largest id.

    Raises:
        TypeError: ids that are not integers.
        IndexError: ids outside 0..num_classes-1.

    >>> one_hot(np.array([2, 0]))
    Tensor([[0, 0, 1],
            [1, 0, 0]], dtype=int64)
    """
    ids = to_array(input)
    if num_classes == -1:
        if not ids.size:
            raise ValueError("one_hot: expected num_classes where there are no ids to find the largest of")
        num_classes = max(int(ids.max()) + 1, 1)
    ids = indices("one_hot: input", ids, num_classes)
    return as_tensor((ids[..., None] == backend_of(ids).xp.arange(num_classes)).astype(np.int64))


def layer_norm(
    input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, mean and variance of x over its last axes.

    Source: Ba, Kiros, Hinton, Layer normalization, 2016.

    Args:
        input: x, of shape (..., *normalized_shape).
        normalized_shape: lengths of the axes over which mean and variance (divided by n) are taken.
        weight, bias: of shape `normalized_shape`, or None: 1 and 0.
        eps: keeps the division finite where x is constant.

    Raises:
        ValueError: no axes, or shapes that don't belong together.

    >>> layer_norm(as_tensor([[1.0, 3.0]]), (2,), eps=0.0)
    Tensor([[-1.,  1.]], dtype=float32)
    """
    x, shape = as_tensor(input), tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: expected input of shape (..., *normalized_shape), {shape}, got {x.shape}")
    for name, factor in (("weight", weight), ("bias", bias)):
        if factor is not None and factor.shape != shape:
            raise ValueError(f"layer_norm: expected {name} of normalized_shape {shape}, got {factor.shape}")
    axes = tuple(range(-len(shape), 0))
    centred = x - mg.mean(x, axis=axes, keepdims=True)
    y = centred / mg.sqrt(mg.mean(mg.square(centred), axis=axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def dropout(input: Any, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Tensor:
    """Zero each element with probability p, and divide the others by 1 - p; where not training, change nothing.

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.

    Args:
        generator: what draws, on the host; None: minigrad's default generator (`mg.seed`).

    Raises:
        ValueError: p outside [0, 1].

    >>> dropout(as_tensor([1.0, 1.0]), p=1.0)
    Tensor([0., 0.], dtype=float32)
    """
    check_probability("dropout: p", p)
    x = as_tensor(input)
    if not training or p == 0:
        return x
    kept = (generator or default_generator()).random(x.shape, dtype=np.float32) >= p
    mask = kept.astype(x.dtype) / (1 - p if p < 1 else 1)
    return mg.multiply(x, move(mask, x.device))


# ---- images: (N, C, H, W), or one of them, (C, H, W)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The sum of products of weights (F, C / groups, K_h, K_w) and each window of x; see `minigrad.conv2d`.

    >>> conv2d(as_tensor([[[1.0, 2.0, 4.0]]]), as_tensor([[[[-1.0, 1.0]]]]))
    Tensor([[[1., 2.]]], dtype=float32)
    """
    return of_batch(mg.conv2d, input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Each element of x times the weights (C, F / groups, K_h, K_w), added up; see `minigrad.conv_transpose2d`.

    >>> conv_transpose2d(as_tensor([[[1.0, 2.0]]]), as_tensor([[[[1.0, 10.0]]]]))
    Tensor([[[ 1., 12., 20.]]], dtype=float32)
    """
    options = dict(stride=stride, padding=padding, output_padding=output_padding, groups=groups, dilation=dilation)
    return of_batch(mg.conv_transpose2d, input, weight, bias, **options)


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest of each window, and with `return_indices` where in the flattened image it lies.

    Arguments and errors as for `minigrad.max_pool2d`.

    >>> max_pool2d(as_tensor([[[1.0, 5.0, 2.0, 4.0]]]), (1, 2))
    Tensor([[[5., 4.]]], dtype=float32)
    """
    options = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    y, places = of_batch(mg.max_pool2d, input, kernel_size, **options)
    return (y, places) if return_indices else y


def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros, with the values of x at the places that `max_pool2d` read them from; where several meet, their sum.

    Args:
        input: x, (N, C, H', W').
        indices: the places, of x's shape.
        kernel_size, stride, padding: of the pooling, whose input is taken to be of the least size that gives x's ...
        output_size: ... or of this one: (H, W), or longer, of which the last two count.

    >>> max_unpool2d(as_tensor([[[7.0]]]), np.array([[[3]]]), 2)
    Tensor([[[0., 0.],
             [0., 7.]]], dtype=float32)
    """
    x = as_tensor(input)
    if output_size is None:
        kernel, pads = pair("max_unpool2d: kernel_size", kernel_size, 1), pair("max_unpool2d: padding", padding, 0)
        strides = kernel if stride is None else pair("max_unpool2d: stride", stride, 1)
        axes = zip(x.shape[-2:], kernel, strides, pads, strict=True)
        output_size = tuple((n - 1) * s - 2 * p + k for n, k, s, p in axes)
    indices = to_array(indices)
    indices = indices if x.ndim == 4 else indices[None]
    return of_batch(mg.max_unpool2d, x, indices, tuple(output_size)[-2:])


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window; arguments and errors as for `minigrad.avg_pool2d`.

    >>> avg_pool2d(as_tensor([[[1.0, 5.0, 2.0, 4.0]]]), (1, 2))
    Tensor([[[3., 3.]]], dtype=float32)
    """
    options = dict(stride=stride, padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    return of_batch(mg.avg_pool2d, input, kernel_size, **options)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """The mean of each of as many windows as are asked for, which cover x.

    Along an axis of n places the i-th of m windows has those from floor(i n / m) to ceil((i + 1) n / m) - 1.

    Args:
        input: x, (N, C, H, W) or (C, H, W).
        output_size: how many windows along both axes, or (rows, columns): H' and W' of the result.

    Raises:
        ValueError: an output_size below 1, or an x of other axes or without places.

    >>> adaptive_avg_pool2d(as_tensor([[[1.0, 5.0, 3.0]]]), (1, 2))
    Tensor([[[3., 4.]]], dtype=float32)
    """
    x = as_tensor(input)
    if x.ndim not in (3, 4) or 0 in x.shape[-2:]:
        raise ValueError(f"adaptive_avg_pool2d: expected input (N, C, H, W) or (C, H, W), not empty, got {x.shape}")
    for axis, m in zip((-2, -1), pair("adaptive_avg_pool2d: output_size", output_size, 1), strict=True):
        n = x.shape[axis]
        rows = mg.moveaxis(x, axis, 0)
        windows = [rows[i * n // m : -(-(i + 1) * n // m)] for i in range(m)]
        x = mg.moveaxis(mg.stack([mg.mean(window, axis=0) for window in windows]), 0, axis)
    return x


def batch_norm(
    input: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, for each channel.

    Source: Ioffe, Szegedy, Batch normalization, 2015.

    Args:
        input: x, (N, C, H, W).
        running_mean, running_var: (C,), what to normalise by; None: what `training` says.
        weight, bias: (C,), or None: 1 and 0.
        training: normalise by the batch's own mean and variance, and move the running ones towards these, in place:
            running = (1 - momentum) running + momentum of_batch, with the variance divided by n - 1.
        eps: keeps the division finite where a channel is constant.

    Raises:
        ValueError: shapes that don't belong together, one element a channel in training, nothing to normalise by.

    >>> batch_norm(as_tensor([[[[1.0, 3.0]]]]), None, None, training=True, eps=0.0)
    Tensor([[[[-1.,  1.]]]], dtype=float32)
    """
    x = as_tensor(input)
    if running_mean is not None and (x.ndim != 4 or x.shape[1:2] != running_mean.shape):
        raise ValueError(f"batch_norm: expected input (N, {len(running_mean)}, H, W), got {x.shape}")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: expected running_mean and running_var where not training, got None")
        scale = 1 / mg.sqrt(running_var + eps)
        scale = scale if weight is None else scale * weight
        offset = -running_mean * scale if bias is None else bias - running_mean * scale
        return x * scale.reshape(-1, 1, 1) + offset.reshape(-1, 1, 1)
    n = x.size // max(1, x.shape[1]) if x.ndim == 4 else 0
    if n == 1:
        raise ValueError(f"batch_norm: expected more than one element a channel in training, got input of {x.shape}")
    y, mean, variance = x.batch_norm(weight, bias, eps=eps)
    for running, found in ((running_mean, mean.data), (running_var, variance.data * (n / (n - 1)))):
        if running is not None:
            running.data[...] = (1 - momentum) * running.data + momentum * found
    return y


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """For each point of images the one that an affine map (N, 2, 3) takes it to; see `minigrad.affine_grid`.

    >>> affine_grid(as_tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2)).shape
    (1, 1, 2, 2)
    """
    return mg.affine_grid(theta, tuple(size), align_corners=align_corners)


def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> Tensor:
    """Images read at the points of a grid (N, H', W', 2); see `minigrad.grid_sample`.

    >>> grid_sample(as_tensor([[[[1.0, 3.0]]]]), as_tensor([[[[0.0, 0.0]]]]))
    Tensor([[[[2.]]]], dtype=float32)
    """
    return mg.grid_sample(input, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)


def of_batch(op: Callable[..., R], input: Any, *args: Any, **options: Any) -> R:
    """An op of images, of one image too."""
    x = as_tensor(input)
    if x.ndim != 3:
        return op(x, *args, **options)
    y: Any = op(mg.expand_dims(x, 0), *args, **options)
    return cast(R, tuple(map(first, y)) if isinstance(y, tuple) else first(y))


def first(x: Tensor) -> Tensor:
    """The only element of a batch."""
    return mg.squeeze(x, axis=0)


# ---- losses


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Squared error, (x - y)^2.

    Args:
        input, target: x and y, of one shape.
        reduction: "mean", "sum", or "none": one loss for each element.

    Raises:
        ValueError: different shapes, or an unknown reduction.

    >>> mse_loss(as_tensor([1.0, 2.0]), as_tensor([1.0, 4.0]))
    Tensor(2., dtype=float32)
    """
    x, y = as_tensor(input), as_tensor(target)
    if x.shape != y.shape:
        raise ValueError(f"mse_loss: expected target of input's shape {x.shape}, got {y.shape}")
    return reduced(mg.square(x - y), x.size, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Cross-entropy of the sigmoid of logits x with probabilities y, in nats, exact for large logits.

        -weight * (pos_weight * y * log(sigmoid(x)) + (1 - y) * log(1 - sigmoid(x)))

    Args:
        input: x, of any shape.
        target: y, of the same shape; integers and booleans count as numbers.
        weight: a factor for each element, of a shape that broadcasts to x's.
        reduction: "mean", "sum", or "none": one loss for each element.
        pos_weight: a factor for the first term, of a shape that broadcasts to x's: above 1 it favours recall.

    Raises:
        ValueError: shapes that don't belong together, or an unknown reduction.

    >>> binary_cross_entropy_with_logits(as_tensor([0.0, 1000.0]), as_tensor([0.0, 1.0]), reduction="none")
    Tensor([0.6931472, 0.       ], dtype=float32)
    """
    x, y = as_tensor(input), as_tensor(target)
    if x.shape != y.shape:
        raise ValueError(f"binary_cross_entropy_with_logits: expected target of input's shape {x.shape}, got {y.shape}")
    if y.dtype.kind != "f":
        y = y.to(x.dtype).to(x.device)
    positive = y * mg.softplus(-x)  # -log(sigmoid(x)) = softplus(-x), and -log(1 - sigmoid(x)) = softplus(x)
    if pos_weight is not None:
        positive = positive * broadcastable("pos_weight", pos_weight, x)
    loss = positive + (1 - y) * mg.softplus(x)
    if weight is not None:
        loss = loss * broadcastable("weight", weight, x)
    return reduced(loss, x.size, reduction)


def cross_entropy(input: Any, target: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the softmax of logits x with the target class y: -log(exp(x_y) / sum_v exp(x_v)), in nats.

    Args:
        input: logits of shape (V,), (N, V) or (N, V, d1, ...).
        target: classes in 0..V-1, of the shape of `input` without V.
        ignore_index: a target of this value adds nothing to the loss, and nothing to the count of the mean.
        reduction: "mean" over the targets not ignored (nan where all are), "sum", or "none": one for each.

    Raises:
        TypeError: targets that are not integers.
        ValueError: shapes that don't belong together, or an unknown reduction.
        IndexError: targets outside 0..V-1 other than `ignore_index`.

    >>> cross_entropy(as_tensor([[0.0, 0.0], [0.0, 9.0]]), np.array([0, -100]))
    Tensor(0.6931472, dtype=float32)
    """
    return likelihood_loss(mg.cross_entropy, as_tensor(input), target, ignore_index, reduction)


def nll_loss(input: Any, target: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log-likelihood of the target classes, -x_y; arguments and errors as in `cross_entropy`.

    Args:
        input: log-probabilities of shape (V,), (N, V) or (N, V, d1, ...).

    >>> nll_loss(as_tensor([-3.0, -0.5]), 1)
    Tensor(0.5, dtype=float32)
    """
    return likelihood_loss(minus_at, as_tensor(input), target, ignore_index, reduction)


def likelihood_loss(
    loss_of: Callable[..., Tensor], x: Tensor, target: Any, ignore_index: int, reduction: str
) -> Tensor:
    """A loss of x and the target class at each place, over those whose target is not ignored."""
    axis = class_axis(x)
    V, shape = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    target, kept = class_targets(target, V, ignore_index)
    if target.shape != shape:
        raise ValueError(
            f"target: expected shape {shape}, input's {x.shape} without its class axis {axis}, got {target.shape}"
        )
    loss = loss_of(x, target, axis=axis)
    if kept is None:
        return reduced(loss, target.size, reduction)
    return reduced(mg.where(kept, loss, 0.0), int(kept.sum()), reduction)


def class_axis(x: Tensor) -> int:
    """Which axis of logits counts the classes: the second, or the only one."""
    if not x.ndim:
        raise ValueError("input: expected shape (V,), (N, V) or (N, V, d1, ...), got a 0-d tensor")
    return min(x.ndim - 1, 1)


def class_targets(target: Any, V: int, ignore_index: int) -> tuple[Array, Array | None]:
    """Targets as an array of ids in 0..V-1, and where they count; None: everywhere."""
    target = to_array(target)
    xp = backend_of(target).xp
    kept = xp.asarray(target != ignore_index)
    if bool(kept.all()):
        return indices("target", target, V), None
    return indices("target", xp.where(kept, target, xp.zeros_like(target)), V), kept


def reduced(loss: Tensor, count: int, reduction: str) -> Tensor:
    """A loss of one element each, reduced; the mean over nothing is nan."""
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")
    total = mg.sum(loss)
    return total if reduction == "sum" else total * (1 / count if count else float("nan"))


# ---- checks


def indices(name: str, ids: Any, n: int) -> Array:
    """Ids as an array, which lie in 0..n-1, or raise: TypeError or IndexError."""
    ids = to_array(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {ids.dtype}")
    if ids.size:
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= n:
            worst = low if -low > high - n else high
            raise IndexError(f"{name}: expected integers in 0..{n - 1}, got {worst}")
    return ids


def broadcastable(name: str, factor: Any, x: Tensor) -> Tensor:
    """A factor as a tensor whose shape broadcasts to that of x, or raise ValueError."""
    tensor = as_tensor(factor)
    ends = zip(tensor.shape[::-1], x.shape[::-1], strict=False)
    if tensor.ndim > x.ndim or any(n not in (1, size) for n, size in ends):
        raise ValueError(f"{name}: expected a shape that broadcasts to input's {x.shape}, got {tensor.shape}")
    return tensor


def check_probability(name: str, p: float) -> None:
    """Raise ValueError unless p lies in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected a probability in [0, 1], got {p}")
