"""Convolutions over two axes.

    x (N, C, H, W), weight (F, C / G, K_h, K_w) -> y (N, F, H', W'),    G groups of channels

In memory a result has its channels last, (N, H', W', F): windows are then copied in long runs, the product with the
weights writes where it should, and elementwise ops, which keep the layout of what they get, hand it on to the next
convolution as it wants it.

A convolution is linear in x and in its weights. What takes a gradient back to x is `conv_transpose2d`, what takes it
back to the weights `conv2d_weight`; the gradients of each of the three are the other two.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend import Array
from ..graph import Tensor
from ..registry import op
from .indexing import getitem
from .reductions import sum
from .unfolding import convolve, convolve_back, grouped, meetings, ungrouped
from .windows import Pair, Sliding, count, pair, reach

# ---- checks


def _check(x: Array, weight: Array, bias: Any, channels: int, outputs: int, groups: int) -> None:
    """Raise ValueError unless the shapes belong together."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(f"expected x (N, C, H, W) and weight of 4 axes, got {x.ndim} and {weight.ndim} axes")
    if not all((*x.shape[2:], *weight.shape[2:])):
        raise ValueError("expected at least one row and column of x and of weight")
    _check_groups(groups, x.shape[1], weight.shape[0])
    if x.shape[1] != channels:
        raise ValueError(f"expected x to have {channels} channels, as weight has it, got {x.shape[1]}")
    if bias is not None and getattr(bias, "shape", ()) != (outputs,):
        raise ValueError(f"expected bias of shape {(outputs,)}, one for each channel of the result")


def _check_groups(groups: Any, first: int, second: int) -> None:
    """Raise ValueError unless groups divide two numbers of channels."""
    if not isinstance(groups, int | np.integer) or groups < 1 or first % groups or second % groups:
        raise ValueError(f"groups: expected an integer that divides {first} channels and {second}, got {groups!r}")


def _pairs(stride: Any, padding: Any, dilation: Any) -> tuple[Pair, Pair, Pair]:
    return pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)


def _transposed_size(out: Sequence[int], kernel: Sequence[int], stride: Any, padding: Any, dilation: Any) -> Pair:
    """The least size of which a convolution makes `out`."""
    both = zip(out, kernel, *_pairs(stride, padding, dilation), strict=True)
    h, w = [(m - 1) * s - 2 * p + reach(k, d) for m, k, s, p, d in both]
    return h, w


# ---- gradients: each op's are the other two


def _to_x(size: Sequence[int], y: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """y back through a convolution whose x had a size."""
    least = _transposed_size(y.shape[2:], weight.shape[2:], stride, padding, dilation)
    more = size[0] - least[0], size[1] - least[1]
    return conv_transpose2d(
        y, weight, stride=stride, padding=padding, output_padding=more, dilation=dilation, groups=groups
    )


def _to_y(size: Sequence[int], x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The first rows and columns of a convolution, as many as `size` says.

    There may be more: a transposed convolution's result, with its `output_padding`, can hold more windows than it was
    made of.
    """
    y = conv2d(x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return y if y.shape[2:] == tuple(size) else getitem(y, (..., slice(size[0]), slice(size[1])))


def _to_weight(x: Any, y: Any, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return conv2d_weight(x, y, shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups)


# ---- what the property tests draw, and the definitions


def _case(d: Any) -> tuple[Any, ...]:
    """x, weight, bias or None, y of the shape of their convolution, and the options of a call."""
    kernel, stride, padding, dilation = ((d.integer(low, high), d.integer(low, 2)) for low, high in _OPTIONS)
    axes = zip(kernel, padding, dilation, (2, 1), strict=True)
    sides = [max(1, reach(k, e) - 2 * p) + d.integer(0, more) for k, p, e, more in axes]
    N, (G, C, F) = d.integer(1, 2), d.one_of(*_CHANNELS)
    out = count(sides, kernel, stride, padding, dilation)
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=G)
    x, weight = d.array((N, G * C, *sides)), d.array((G * F, C, *kernel))
    return x, weight, d.array((G * F,)) if d.boolean() else None, d.array((N, G * F, *out)), options


_OPTIONS = (1, 3), (1, 3), (0, 1), (1, 2)  # kernel, stride, padding, dilation: from, to
_CHANNELS = [c for c in itertools.product((1, 2), repeat=3) if c != (2, 2, 2)]  # groups, channels of x and of y in each


def _conv2d_case(d: Any) -> Any:
    x, weight, bias, _, options = _case(d)
    return d.call(x, weight, bias, **options)


def _transposed_case(d: Any) -> Any:
    _, weight, _, y, options = _case(d)
    bias = d.array((weight.shape[1] * options["groups"],)) if d.boolean() else None
    least = _transposed_size(y.shape[2:], weight.shape[2:], options["stride"], options["padding"], options["dilation"])
    limits = zip(least, options["stride"], options["dilation"], strict=True)
    more = tuple(d.integer(max(0, 1 - n), max(s, e) - 1) for n, s, e in limits)
    return d.call(y, weight, bias, output_padding=more, **options)


def _weight_case(d: Any) -> Any:
    x, weight, _, y, options = _case(d)
    return d.call(x, y, weight.shape[2:], **options)


def _one_by_one(x: Any, y: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Iterator[Any]:
    """Which x meets which y at which weight, one channel of one image at a time: (n, c of x, c in group, o, i, j)."""
    C, F = x[1] // groups, y[1] // groups
    for o, c in itertools.product(range(y[1]), range(C)):
        for i, j, h, w in itertools.product(*map(range, (*kernel, *y[2:]))):
            row = h * stride[0] + i * dilation[0] - padding[0]
            column = w * stride[1] + j * dilation[1] - padding[1]
            if 0 <= row < x[2] and 0 <= column < x[3]:
                yield (slice(None), o // F * C + c, row, column), (slice(None), o, h, w), (o, c, i, j)


def _conv2d_defined(x: Any, weight: Any, bias: Any, **options: Any) -> np.ndarray:
    out = count(x.shape[2:], weight.shape[2:], options["stride"], options["padding"], options["dilation"])
    y = np.zeros((len(x), len(weight), *out)) + (0 if bias is None else bias[:, None, None])
    for at_x, at_y, at_weight in _one_by_one(x.shape, y.shape, weight.shape[2:], **options):
        y[at_y] += x[at_x] * weight[at_weight]
    return y


def _transposed_defined(y: Any, weight: Any, bias: Any, output_padding: Any, **options: Any) -> np.ndarray:
    least = _transposed_size(y.shape[2:], weight.shape[2:], options["stride"], options["padding"], options["dilation"])
    size = [n + m for n, m in zip(least, output_padding, strict=True)]
    x = np.zeros((len(y), weight.shape[1] * options["groups"], *size)) + (0 if bias is None else bias[:, None, None])
    for at_x, at_y, at_weight in _one_by_one(x.shape, y.shape, weight.shape[2:], **options):
        x[at_x] += y[at_y] * weight[at_weight]
    return x


def _weight_defined(x: Any, y: Any, kernel: Any, **options: Any) -> np.ndarray:
    weight = np.zeros((y.shape[1], x.shape[1] // options["groups"], *kernel))
    for at_x, at_y, at_weight in _one_by_one(x.shape, y.shape, kernel, **options):
        weight[at_weight] += x[at_x] @ y[at_y]
    return weight


# ---- the ops


@op(
    x=lambda g, weight, x_shape, stride, padding, dilation, groups: _to_x(
        x_shape[2:], g, weight, stride, padding, dilation, groups
    ),
    weight=lambda g, x, weight_shape, stride, padding, dilation, groups: _to_weight(
        x, g, weight_shape, stride, padding, dilation, groups
    ),
    bias=lambda g: sum(g, axis=(0, 2, 3)),
    cases=_conv2d_case,
    reference=_conv2d_defined,
)
def conv2d(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The sum of products of weights and each window of x; a bias for each channel of the result is added.

        y[n, f, h, w] = bias[f] + sum over c, i, j of
            weight[f, c, i, j] x[n, c, stride h + dilation i - padding, stride w + dilation j - padding]

    Args:
        x: images, (N, C, H, W).
        weight: (F, C / groups, K_h, K_w); with groups, c runs over those of f's group alone.
        bias: (F,), or None.
        stride: from window to window. This and the next two: for both axes, or a pair.
        padding: rows and columns of zeros on either side.
        dilation: from place to place in a window.
        groups: parts of the channels that do not see each other.

    Returns:
        y (N, F, H', W'), with H' = (H + 2 padding - dilation (K_h - 1) - 1) // stride + 1.

    Raises:
        ValueError: shapes that don't belong together, or a window larger than the padded x.

    >>> import minigrad as mg
    >>> mg.conv2d(mg.tensor([[[[1.0, 2.0, 4.0]]]]), mg.tensor([[[[-1.0, 1.0]]]]))
    Tensor([[[[1., 2.]]]], dtype=float32)
    """
    _check(x, weight, bias, weight.shape[1] * groups, weight.shape[0], groups)
    stride, padding, dilation = _pairs(stride, padding, dilation)
    kernel = weight.shape[2:]
    out = count(x.shape[2:], kernel, stride, padding, dilation)
    sliding = Sliding(kernel, stride, dilation, padding, padding, out)
    return ungrouped(convolve(xp, grouped(x, groups), sliding, weight, bias))


@op(
    x=lambda g, weight, x_shape, stride, padding, dilation, groups: _to_y(
        x_shape[2:], g, weight, stride, padding, dilation, groups
    ),
    weight=lambda g, x, weight_shape, stride, padding, dilation, groups: _to_weight(
        g, x, weight_shape, stride, padding, dilation, groups
    ),
    bias=lambda g: sum(g, axis=(0, 2, 3)),
    cases=_transposed_case,
    reference=_transposed_defined,
)
def conv_transpose2d(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Each element of x times the weights, added up where a convolution would have read them: its transpose.

    Args:
        x: (N, C, H, W).
        weight: (C, F / groups, K_h, K_w), as of a convolution that goes the other way.
        bias: (F,), or None.
        stride, padding, dilation, groups: of that convolution.
        output_padding: rows and columns more, behind: a convolution makes one shape of several.

    Returns:
        y (N, F, H', W'), with H' = stride (H - 1) - 2 padding + dilation (K_h - 1) + 1 + output_padding.

    Raises:
        ValueError: shapes that don't belong together, an empty result, or an output_padding that is not smaller than
            stride or dilation.

    >>> import minigrad as mg
    >>> mg.conv_transpose2d(mg.tensor([[[[1.0, 2.0]]]]), mg.tensor([[[[1.0, 10.0]]]]))
    Tensor([[[[ 1., 12., 20.]]]], dtype=float32)
    """
    _check(x, weight, bias, weight.shape[0], weight.shape[1] * groups, groups)
    stride, padding, dilation = _pairs(stride, padding, dilation)
    more = pair("output_padding", output_padding, 0)
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise ValueError(f"expected output_padding to be smaller than stride or dilation, got {output_padding!r}")
    least = _transposed_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    size = least[0] + more[0], least[1] + more[1]
    if min(size) < 1:
        raise ValueError(f"expected padding that leaves something of the result, which would have {size} places")
    y = convolve_back(xp, grouped(x, groups), weight, stride, padding, dilation, size)
    if bias is not None:
        y = y.astype(np.result_type(y.dtype, bias.dtype), copy=False)
        y += bias.reshape(groups, -1)
    return ungrouped(y)


@op(
    x=lambda g, y, x_shape, stride, padding, dilation, groups: _to_x(
        x_shape[2:], y, g, stride, padding, dilation, groups
    ),
    y=lambda g, x, y_shape, stride, padding, dilation, groups: _to_y(
        y_shape[2:], x, g, stride, padding, dilation, groups
    ),
    cases=_weight_case,
    reference=_weight_defined,
)
def conv2d_weight(
    xp: Any,
    x: Array,
    y: Array,
    kernel: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """For each weight of a convolution, the sum of products of what it meets in x and in y: the weights' gradient.

    Args:
        x: what the convolution takes, (N, C, H, W).
        y: of the shape of what it gives, (N, F, H', W').
        kernel: (K_h, K_w); the result is of shape (F, C / groups, K_h, K_w).
        stride, padding, dilation, groups: of the convolution.

    Raises:
        ValueError: shapes that don't belong together.

    >>> import minigrad as mg
    >>> mg.conv2d_weight(mg.tensor([[[[1.0, 2.0, 4.0]]]]), mg.tensor([[[[1.0, 10.0]]]]), (1, 2))
    Tensor([[[[21., 42.]]]], dtype=float32)
    """
    if x.ndim != 4 or y.ndim != 4 or len(x) != len(y):
        raise ValueError("expected x (N, C, H, W) and y (N, F, H', W')")
    _check_groups(groups, x.shape[1], y.shape[1])
    stride, padding, dilation = _pairs(stride, padding, dilation)
    kernel = pair("kernel", kernel, 1)
    least = _transposed_size(y.shape[2:], kernel, stride, padding, dilation)
    more = [n - m for n, m in zip(x.shape[2:], least, strict=True)]
    if any(not 0 <= m < max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        most = count(x.shape[2:], kernel, stride, padding, dilation)
        raise ValueError(f"expected y of {most} rows and columns, as many windows as x has, got {y.shape[2:]}")
    sliding = Sliding(kernel, stride, dilation, padding, padding, y.shape[2:])
    return meetings(xp, grouped(x, groups), sliding, grouped(y, groups))
