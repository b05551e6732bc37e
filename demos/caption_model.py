"""The captioner of `demos.captioner`: which network looks at the image, and what a word owes to each pixel."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import minigrad as mg
import nn
from nn.captioning import LOOKS, Captioner
from nn.vision import VGG16, ResNet18

WIDTHS, STRIDES = (32, 64, 64, 64), (2, 2, 1, 1)  # of the small net's convolutions
DEEP = {  # published nets, and how many features they give, of the whole image or of a place
    "vgg16": (VGG16, {"vector": 4096, "grid14": 512}),
    "resnet18": (ResNet18, {"vector": 512, "grid14": 256}),
}
ENCODERS = ("small", *DEEP)


class SmallNet(nn.Module):
    """Four convolutions, (B, 3, S, S) -> (B, 64, S / 4, S / 4): what learns from scratch in minutes.

    Each place sees 23 pixels a side, hardly more than a thing has, so that attention must lie on a thing to see it. Two
    channels more tell where in the image a pixel is: Liu et al., An intriguing failing of convolutional neural networks
    and the CoordConv solution, 2018.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for below, width, stride in zip((3 + 2, *WIDTHS), WIDTHS, STRIDES, strict=False):
            layers += [nn.Conv2d(below, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.net = nn.Sequential(*layers)

    def forward(self, images: Any) -> mg.Tensor:
        x = mg.as_tensor(images)
        return self.net(mg.concatenate([x, mg.tensor(places(*x.shape), device=x.device)], axis=1))


def places(B: int, _: int, H: int, W: int) -> np.ndarray:
    """Where each pixel is, from -1 to 1: to the right and downwards, (B, 2, H, W)."""
    along = np.meshgrid(np.linspace(-1, 1, W, dtype=np.float32), np.linspace(-1, 1, H, dtype=np.float32))
    return np.broadcast_to(np.stack(along), (B, 2, H, W))


class AsGrid(nn.Module):
    """Features as a grid: (B, D, rows, columns) as they are, one vector an image, (B, D), as a single place."""

    def forward(self, features: Any) -> mg.Tensor:
        x = mg.as_tensor(features)
        return x if x.ndim == 4 else x.reshape(*x.shape, 1, 1)


def deep_net(config: Mapping[str, Any]) -> nn.Module:
    """The published net of a config, with its weights where the config names their file.

    Without attention it gives one vector an image, with attention a grid of 14 x 14 places for images of 224 pixels.
    """
    kind, _ = DEEP[config["encoder"]]
    net = kind(output_of(config))
    return net.load_published(config["weights"]) if config["weights"] else net


def output_of(config: Mapping[str, Any]) -> str:
    """What a published net is to give."""
    return "grid14" if LOOKS[config["look"]].attends else "vector"


def captioner_of(config: Mapping[str, Any]) -> Captioner:
    """The model of a run's config, not trained yet."""
    if config["encoder"] == "small":
        encoder, D, side = SmallNet(), WIDTHS[-1], 4
    else:
        output = output_of(config)
        encoder = AsGrid() if config["frozen"] else nn.Sequential(deep_net(config), AsGrid())
        D, side = DEEP[config["encoder"]][1][output], 1
    V, names = len(config["words"]) + 3, ("look", "cell", "hidden", "embedding")
    return Captioner(encoder, D, V, side=side, **{name: config[name] for name in names})


def gradients_of_words(model: Captioner, image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """How much the score of each word of a caption changes with each pixel: |d logit / d pixel|, summed over colours.

    Args:
        model: set to evaluation.
        image: (3, H, W).
        ids: the caption, (T,).

    Returns:
        (T, H, W).
    """
    x = mg.tensor(image[None], requires_grad=True, device=model.output.weight.device)
    before = np.concatenate([[0], ids[:-1]]).astype(np.int64)[:, None]  # START, and the words but the last
    logits = model(x, before).logits  # (T, 1, V)
    found = [mg.grad(logits[t, 0, int(i)], x, retain_graph=True)[0] for t, i in enumerate(ids)]
    return np.stack([np.abs(g.numpy()[0]).sum(axis=0) for g in found])
