"""VGG16 and ResNet-18, for what a captioner sees of an image: torchvision's layers, names and published weights.

A net ends where its output is: the layers behind are not made.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from minigrad import Tensor, as_tensor
from minigrad.backend import Array

from . import functional as F
from .checkpoint import CheckpointError, load
from .convolution import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, MaxPool2d
from .layers import Dropout, Flatten, Linear, ReLU, Sequential
from .module import Module

OUTPUTS = ("grid14", "grid7", "vector", "logits")  # in the order in which the layers give them
CLASSES = 1000  # of ImageNet
SHOWN = 3  # problems of a file that an error names


class PublishedNet(Module):
    """Layers in a row, up to an output; the base of VGG16 and ResNet18."""

    published_as: str  # torchvision's function that makes the net

    def __init__(self, output: str = "logits", *, width: int = 64) -> None:
        name = type(self).__name__
        if output not in OUTPUTS:
            raise ValueError(f"{name}: expected output to be one of {', '.join(OUTPUTS)}, got {output!r}")
        if width < 1:
            raise ValueError(f"{name}: expected a width of at least 1, got {width}")
        self.output, self.width = output, width
        next(made for made in self._layers(width) if made == output)

    def _layers(self, width: int) -> Iterator[str]:
        """Make the layers in order; after the last layer of each output stop, and name the output."""
        raise NotImplementedError

    def forward(self, input: Any) -> Tensor:
        """Images, (N, 3, S, S), normalised as `nn.images.read_image` does it, to the output; ValueError for others."""
        x = as_tensor(input)
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"{type(self).__name__}: expected images (N, 3, S, S), got {x.shape}")
        for layer in self.children():
            x = layer(x)
        return x

    def load_published(self, path: str | Path) -> Self:
        """Take the weights of torchvision's net from a safetensors file, and return this net.

        Nothing is downloaded. The file is made where torchvision is, here for VGG16:

            net = torchvision.models.vgg16(weights="IMAGENET1K_V1")
            safetensors.torch.save_file(net.state_dict(), "vgg16.safetensors")

        Weights behind this net's output are passed over, so that a net fine-tuned to other classes gives features too.
        The numbers take this net's dtype.

        Args:
            path: the file.

        Raises:
            CheckpointError: the file is missing or damaged, or has not the names and shapes of this net's weights.
                Nothing has changed then.
        """
        found = load(path)
        state = found if isinstance(found, dict) else {}
        # The names are the same at any width. What the small net draws is not taken from the caller's generator.
        whole = contextvars.copy_context().run(type(self), width=1).state_dict()
        problems = [*unexpected(state, whole), *unfit(state, self.state_dict())]
        if problems:
            more = f"; and {len(problems) - SHOWN} more" * (len(problems) > SHOWN)
            raise CheckpointError(
                f"{path}: expected the weights of torchvision's {self.published_as}, as "
                f"{type(self).__name__}({self.extra_repr()}) has them, but {'; '.join(problems[:SHOWN])}{more}. Give a "
                f"file that safetensors.torch.save_file made of the state_dict of {self.published_as}, "
                "or take an output before the layers that differ"
            )
        self.load_state_dict(state, strict=False)
        return self

    def extra_repr(self) -> str:
        """The arguments."""
        return f"output={self.output!r}, width={self.width}"


def unexpected(state: Mapping[str, Any], whole: Mapping[str, Array]) -> Iterator[str]:
    """What a state has that not even the whole net has, in words."""
    return (f"{name} is none of its names" for name in state if name not in whole)


def unfit(state: Mapping[str, Any], own: Mapping[str, Array]) -> Iterator[str]:
    """What a state lacks, or has of another shape or kind of number, in words."""
    for name, array in own.items():
        if name not in state:
            if not name.endswith(".num_batches_tracked"):  # a count for training alone, which older files lack
                yield f"{name} is missing"
            continue
        value = state[name]
        if not hasattr(value, "shape") or value.shape != array.shape:
            yield f"{name} should be of shape {array.shape}, and is of {getattr(value, 'shape', 'none')}"
        elif value.dtype.kind != array.dtype.kind:
            yield f"{name} should be of {array.dtype} or alike, and is of {value.dtype}"


class VGG16(PublishedNet):
    """Thirteen 3x3 convolutions, pooled five times, and three linear layers; torchvision's vgg16.

    Source: Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition, 2015. The weights
    are those that torchvision calls VGG16_Weights.IMAGENET1K_V1, for images normalised by ImageNet's mean and standard
    deviation (`nn.images.read_image` with size 224).

    Args:
        output: of images of S = 224 pixels; the grids of others have S / 16 or S / 32 places a side, rounded down:
            "grid14": (N, 512, 14, 14), the last convolution before it is pooled, as soft attention takes it,
            "grid7": (N, 512, 7, 7), and pooled,
            "vector": (N, 4096), from all but the last layer,
            "logits": (N, 1000), of the classes of ImageNet.
        width: channels of the first convolution, to which all layers are in proportion; 64 are the published.

    Raises:
        ValueError: an unknown output.

    >>> import numpy as np
    >>> cnn = VGG16("grid14", width=2).eval().requires_grad_(False)
    >>> cnn(np.zeros((1, 3, 224, 224), "float32")).shape
    (1, 16, 14, 14)
    """

    published_as = "vgg16"

    def _layers(self, width: int) -> Iterator[str]:
        self.features = Sequential()
        channels = 3
        for step, count in enumerate((2, 2, 3, 3, 3)):
            if step:
                self.features.append(MaxPool2d(2))
            for _ in range(count):
                before, channels = channels, width * min(2**step, 8)
                self.features.extend([Conv2d(before, channels, 3, padding=1), ReLU()])
        yield "grid14"
        self.features.append(MaxPool2d(2))
        yield "grid7"
        self.avgpool, self.flatten = AdaptiveAvgPool2d(7), Flatten()
        hidden = 64 * width
        self.classifier = Sequential(Linear(49 * channels, hidden), ReLU(), Dropout())
        self.classifier.extend([Linear(hidden, hidden), ReLU(), Dropout()])
        yield "vector"
        self.classifier.append(Linear(hidden, CLASSES))
        yield "logits"


class ResNet18(PublishedNet):
    """A convolution, eight blocks of two more around which x is led, and a linear layer; torchvision's resnet18.

    Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016. The weights are those that
    torchvision calls ResNet18_Weights.IMAGENET1K_V1, for images as `VGG16` takes them.

    Features are taken after `eval()`: in training, batch norm would make them depend on the rest of the batch.

    Args:
        output: of images of S = 224 pixels; the grids of others have S / 16 or S / 32 places a side, rounded up:
            "grid14": (N, 256, 14, 14), of the third of four layers,
            "grid7": (N, 512, 7, 7), of the fourth,
            "vector": (N, 512), its mean,
            "logits": (N, 1000), of the classes of ImageNet.
        width: as for `VGG16`.

    Raises:
        ValueError: an unknown output.

    >>> import numpy as np
    >>> cnn = ResNet18("vector", width=2).eval().requires_grad_(False)
    >>> cnn(np.zeros((1, 3, 224, 224), "float32")).shape
    (1, 16)
    """

    published_as = "resnet18"

    def _layers(self, width: int) -> Iterator[str]:
        self.conv1 = Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1, self.relu = BatchNorm2d(width), ReLU()
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        self.layer1 = Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = halved(width)
        self.layer3 = halved(2 * width)
        yield "grid14"
        self.layer4 = halved(4 * width)
        yield "grid7"
        self.avgpool, self.flatten = AdaptiveAvgPool2d(1), Flatten()
        yield "vector"
        self.fc = Linear(8 * width, CLASSES)
        yield "logits"


class BasicBlock(Module):
    """ReLU of x plus two convolutions of it: what is learned is the difference from x.

    Args:
        in_channels, out_channels: C of x and of y. Where they differ, x goes through a convolution of one place.
        stride: of the first convolution, and of x's.

    >>> import numpy as np
    >>> BasicBlock(2, 4, stride=2)(np.ones((1, 2, 6, 6), "float32")).shape
    (1, 4, 3, 3)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(out_channels)
        self.downsample = Sequential()
        if (in_channels, stride) != (out_channels, 1):
            shortcut = Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample.extend([shortcut, BatchNorm2d(out_channels)])

    def forward(self, input: Any) -> Tensor:
        """x, (N, C, H, W), to y, (N, out_channels, H', W')."""
        x = as_tensor(input)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def halved(channels: int) -> Sequential:
    """Two blocks that give twice as many channels at half as many places a side."""
    return Sequential(BasicBlock(channels, 2 * channels, stride=2), BasicBlock(2 * channels, 2 * channels))
