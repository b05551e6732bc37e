"""The captioner of `demos.captioner`: its encoders, its loss on a batch, and the graph of a short caption to draw."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import minigrad as mg
import nn
from nn.captioning import Captioner, Told
from nn.vision import VGG16, ResNet18

WIDTHS = (32, 64, 128, 128)  # channels of the small net's convolutions
DEEP = {"vgg16": VGG16, "resnet18": ResNet18}
ENCODERS = ("small", *DEEP)


class SmallNet(nn.Module):
    """Four convolutions, (B, 3, S, S) -> (B, 128, S / 8, S / 8): what learns from scratch in minutes."""

    features = WIDTHS[-1]

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for i, (below, width) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
            layers += [nn.Conv2d(below, width, 3, stride=1 if i == 3 else 2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.net = nn.Sequential(*layers)

    def forward(self, images: Any) -> mg.Tensor:
        return self.net(images)
