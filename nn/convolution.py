"""Layers of images, (N, C, H, W): convolutions, pooling, batch normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad import Tensor, as_tensor, get_default_dtype
from minigrad.ops.windows import Pair, pair

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module


class Convolution(Module):
    """What a convolution and its transpose have in common; the base of Conv2d and ConvTranspose2d."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, groups: int, **pairs: Any) -> None:
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: expected groups to divide in_channels {in_channels} and out_channels {out_channels}, "
                f"got {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(f"{name}: kernel_size", kernel_size, 1)
        self.stride, self.padding, self.dilation = (
            pair(f"{name}: {option}", pairs[option], least)
            for option, least in (("stride", 1), ("padding", 0), ("dilation", 1))
        )

    def _add_weights(self, first: int, second: int, bias: bool) -> None:
        self.weight = new_parameter(first, second, *self.kernel_size)
        self.bias = new_parameter(self.out_channels) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from minigrad's default generator."""
        bound = 1 / math.sqrt(max(1, math.prod(self.weight.shape[1:])))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        options: list[tuple[str, Any, Any]] = [
            ("padding", self.padding, (0, 0)),
            ("dilation", self.dilation, (1, 1)),
            ("output_padding", getattr(self, "output_padding", (0, 0)), (0, 0)),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
        ]
        changed = "".join(f", {name}={value}" for name, value, default in options if value != default)
        shape = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return shape + changed


class Conv2d(Convolution):
    """The sum of products of weights and each window of x, plus a bias.

    Args:
        in_channels, out_channels: C of x and of y.
        kernel_size: of a window. This and the next three: for both axes, or (rows, columns).
        stride: from window to window.
        padding: zeros around x.
        dilation: from place to place in a window.
        groups: parts of the channels that do not see each other.
        bias: False leaves it out.

    Attributes:
        weight: (out_channels, in_channels / groups, K_h, K_w), from U(-k, k), k = 1 / sqrt(what a window holds).
        bias: (out_channels,), from the same distribution, or None.

    Raises:
        ValueError: options that can't be.

    >>> Conv2d(3, 8, 3, stride=2, padding=1)(np.ones((1, 3, 32, 32), "float32")).shape
    (1, 8, 16, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        options = dict(stride=stride, padding=padding, dilation=dilation)
        super().__init__(in_channels, out_channels, kernel_size, groups, **options)
        self._add_weights(out_channels, in_channels // groups, bias)

    def forward(self, input: Any) -> Tensor:
        """x, (N, C, H, W), to y, (N, out_channels, H', W'); ValueError for another shape."""
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(Convolution):
    """Each element of x times the weights, added up where a convolution would have read them, plus a bias.

    Args:
        in_channels, out_channels: C of x and of y.
        kernel_size, stride, padding, groups, bias, dilation: of the convolution that goes the other way.
        output_padding: rows and columns more, behind.

    Attributes:
        weight: (in_channels, out_channels / groups, K_h, K_w).
        bias: (out_channels,), or None.

    Raises:
        ValueError: options that can't be.

    >>> ConvTranspose2d(8, 3, 2, stride=2)(np.ones((1, 8, 16, 16), "float32")).shape
    (1, 3, 32, 32)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ) -> None:
        options = dict(stride=stride, padding=padding, dilation=dilation)
        super().__init__(in_channels, out_channels, kernel_size, groups, **options)
        self.output_padding: Pair = pair("ConvTranspose2d: output_padding", output_padding, 0)
        self._add_weights(in_channels, out_channels // groups, bias)

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        """x, (N, C, H, W), to y, (N, out_channels, H', W'); ValueError for another shape.

        Args:
            output_size: (H', W'), in place of `output_padding`.
        """
        x, more = as_tensor(input), self.output_padding
        if output_size is not None:
            axes = zip(output_size[-2:], x.shape[-2:], self.kernel_size, self.stride, self.padding, self.dilation,
                       strict=True)  # fmt: skip
            more = tuple(m - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for m, n, k, s, p, d in axes)
        options = self.stride, self.padding, more, self.groups, self.dilation
        return F.conv_transpose2d(x, self.weight, self.bias, *options)


class Pool(Module):
    """A pooling of windows; the base of MaxPool2d and AvgPool2d."""

    def __init__(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode


class MaxPool2d(Pool):
    """The greatest of each window.

    Args:
        kernel_size: of a window. This and the next three: for both axes, or (rows, columns).
        stride: from window to window; None: `kernel_size`.
        padding: by how much windows hang over.
        dilation: from place to place in a window.
        return_indices: give the places of the greatest too, for `MaxUnpool2d`.
        ceil_mode: a last window that fits in part counts too.

    >>> MaxPool2d(2)(np.arange(4.0).reshape(1, 1, 2, 2)).item()
    3.0
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation, self.return_indices = dilation, return_indices

    def forward(self, input: Any) -> Any:
        """x, (N, C, H, W), to y, (N, C, H', W'), or with `return_indices` to y and the places."""
        options = self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        return F.max_pool2d(input, self.kernel_size, *options)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxUnpool2d(Module):
    """Zeros, with the values of x at the places that `MaxPool2d` read them from.

    Args:
        kernel_size, stride, padding: of the pooling.

    >>> y, places = MaxPool2d(2, return_indices=True)(np.arange(4.0).reshape(1, 1, 2, 2))
    >>> MaxUnpool2d(2)(y, places).numpy()
    array([[[[0., 0.],
             [0., 3.]]]])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.kernel_size: Pair = pair("MaxUnpool2d: kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("MaxUnpool2d: stride", stride, 1)
        self.padding: Pair = pair("MaxUnpool2d: padding", padding, 0)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Tensor:
        """x, (N, C, H', W'), and its places to (N, C, H, W), `output_size` or the least that pools to x's."""
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Pool):
    """The mean of each window.

    Args:
        kernel_size, stride, padding, ceil_mode: as for `MaxPool2d`.
        count_include_pad: padding counts as zeros; False: places within x alone count.

    >>> AvgPool2d(2)(np.arange(4.0).reshape(1, 1, 2, 2)).item()
    1.5
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, input: Any) -> Tensor:
        """x, (N, C, H, W), to (N, C, H', W')."""
        options = self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return F.avg_pool2d(input, self.kernel_size, *options)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The mean of each of as many windows as are asked for, which cover x whatever its size.

    Args:
        output_size: how many windows along both axes, or (rows, columns).

    >>> AdaptiveAvgPool2d(7)(np.ones((1, 3, 10, 20), "float32")).shape
    (1, 3, 7, 7)
    """

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, input: Any) -> Tensor:
        """x, (N, C, H, W), to (N, C, H', W'); ValueError for another shape."""
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """The argument, as PyTorch shows it."""
        return f"output_size={self.output_size}"


class BatchNorm2d(Module):
    """Each channel with mean 0 and variance 1, then a scale and an offset for each.

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    In training by the mean and variance of the batch, else by their running averages. Source: Ioffe, Szegedy, Batch
    normalization, 2015.

    Args:
        num_features: C, how many channels there are.
        eps: keeps the division finite where a channel is constant.
        momentum: the weight of a batch in the running averages; None: all batches weigh the same.
        affine: False leaves weight and bias out.
        track_running_stats: False keeps no averages, and always takes the batch's.

    Attributes:
        weight, bias: (C,), ones and zeros at first, or None.
        running_mean, running_var, num_batches_tracked: buffers, or None.

    >>> BatchNorm2d(1)(np.array([[[[1.0, 3.0]]]], "float32")).data.round(2)
    array([[[[-1.,  1.]]]], dtype=float32)
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = new_parameter(num_features) if affine else None
        self.bias = new_parameter(num_features) if affine else None
        if track_running_stats:
            for name, start in (("running_mean", 0.0), ("running_var", 1.0)):
                self.register_buffer(name, np.full(num_features, start, get_default_dtype()))
            self.register_buffer("num_batches_tracked", np.array(0))
        else:
            self.running_mean = self.running_var = self.num_batches_tracked = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to ones and bias to zeros, and forget what was averaged."""
        for tensor, value in ((self.weight, 1.0), (self.running_var, 1.0), (self.bias, 0.0), (self.running_mean, 0.0)):
            if tensor is not None:
                init.constant_(tensor, value)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.data *= 0

    def forward(self, input: Any) -> Tensor:
        """x, (N, C, H, W), to a tensor of the same shape; ValueError for another shape."""
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data += 1
            momentum = 1 / int(self.num_batches_tracked.data) if self.momentum is None else self.momentum
        by_batch = self.training or self.running_mean is None
        running = self.running_mean, self.running_var
        return F.batch_norm(input, *running, self.weight, self.bias, by_batch, momentum, self.eps)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
