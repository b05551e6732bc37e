"""Write fixtures/vision/*.npz: names and shapes of torchvision's nets, and what narrow ones make of an image.

    python -m tests.nn.make_vision_fixtures   # made with PyTorch 2.13.0 and torchvision 0.29.2

Run it from the root of the checkout, where torchvision is. Weights and image come from a formula that the test computes
too (`test_vision.numbers`), so that they need not be stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, make_layers

from .test_vision import FIXTURES, IMAGES, WIDTH, filled, numbers


class NarrowResNet(ResNet):
    """resnet18 with WIDTH channels for each 64."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1 = torch.nn.Conv2d(3, WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(WIDTH)
        self.fc = torch.nn.Linear(8 * WIDTH, 1000)

    def _make_layer(self, block: type[BasicBlock], planes: int, blocks: int, **options: Any) -> torch.nn.Sequential:
        self.inplanes = WIDTH if planes == 64 else self.inplanes
        return super()._make_layer(block, planes * WIDTH // 64, blocks, **options)

    def outputs(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """All outputs by the names that nn gives them."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        grid14 = self.layer3(self.layer2(self.layer1(x)))
        yield "grid14", grid14
        yield "grid7", (grid7 := self.layer4(grid14))
        yield "vector", (vector := self.avgpool(grid7).flatten(1))
        yield "logits", self.fc(vector)


class NarrowVGG(VGG):
    """vgg16 with WIDTH channels for each 64."""

    def __init__(self) -> None:
        steps = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
        super().__init__(make_layers([n if n == "M" else n * WIDTH for n in steps]), init_weights=False)
        for i, sizes in ((0, (8 * WIDTH * 49, 64 * WIDTH)), (3, (64 * WIDTH, 64 * WIDTH)), (6, (64 * WIDTH, 1000))):
            self.classifier[i] = torch.nn.Linear(*sizes)

    def outputs(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """All outputs by the names that nn gives them."""
        yield "grid14", self.features[:-1](x)
        yield "grid7", (grid7 := self.features(x))
        yield "vector", self.classifier[:-1](self.avgpool(grid7).flatten(1))
        yield "logits", self(x)


def main() -> None:
    """Write both files."""
    FIXTURES.mkdir(exist_ok=True)
    for name, narrow in (("vgg16", NarrowVGG()), ("resnet18", NarrowResNet())):
        shapes = {key: tuple(value.shape) for key, value in getattr(torchvision.models, name)().state_dict().items()}
        narrow.double().eval()
        state = filled({key: tuple(value.shape) for key, value in narrow.state_dict().items()})
        narrow.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
        with torch.no_grad():
            found = {key: y.numpy() for key, y in narrow.outputs(torch.tensor(numbers("images", IMAGES)))}
        path = FIXTURES / f"{name}.npz"
        np.savez_compressed(path, shapes=np.array(json.dumps(shapes)), **found)
        print(path.name, {key: (y.shape, f"{abs(y).mean():.2g}") for key, y in found.items()}, path.stat().st_size)


if __name__ == "__main__":
    main()
