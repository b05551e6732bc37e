"""What is measured of images: a step of training a captioner, and layers alone, forward and backward.

The captioner is that of `demos.captioner`. A user of PyTorch, which has none, writes `torch_captioner`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .libraries import LIBRARIES, Library
from .workloads import Step, initial


@dataclass(frozen=True)
class Captioning:
    """A step of training a captioner with soft attention: forward, backward, clipping to a norm of 1, AdamW.

    Four convolutions with batch norm look at the images; a GRU tells what is there. The words are random.
    """

    B: int = 64
    S: int = 64  # images of S x S pixels
    T: int = 16  # words
    V: int = 36
    E: int = 64  # the length of a word's vector
    H: int = 128
    dtype: str = "float32"

    contestants: ClassVar = ("minigrad", "torch")
    device: ClassVar = "cpu"
    one_thread: ClassVar = False
    units: ClassVar = 1
    name: ClassVar = "captioner"

    def build(self, contestant: str) -> Step:
        """Training by a library, from weights that are the same in both."""
        library, rng = LIBRARIES[contestant](), np.random.default_rng(0)
        images = library.tensor(rng.random((self.B, 3, self.S, self.S)).astype(self.dtype), self.device)
        ids = rng.integers(0, self.V, (self.T + 1, self.B))
        x, y = library.tensor(ids[:-1], self.device), library.tensor(ids[1:].reshape(-1), self.device)
        model = {"minigrad": minigrad_captioner, "torch": torch_captioner}[contestant](self)
        model.to(library.dtype(self.dtype))
        set_weights(model, library)
        parameters = list(model.parameters())
        optimizer = library.optim.AdamW(parameters)

        def step() -> Any:
            logits = model(images, x)[0]  # (T, B, V)
            loss = library.nn.functional.cross_entropy(logits.reshape(-1, self.V), y)
            optimizer.zero_grad()
            loss.backward()
            library.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            return loss

        return step


def set_weights(model: Any, library: Library) -> None:
    """The same for both, whatever their names: they stand in the same order."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    arrays = initial({f"{i:02}": tuple(p.shape) for i, p in enumerate(parameters)}).values()
    state = {name: library.tensor(array, "cpu") for name, array in zip(names, arrays, strict=True)}
    model.load_state_dict(state, strict=False)  # batch norm has buffers too


def minigrad_captioner(work: Captioning) -> Any:
    """Ours."""
    from demos.caption_model import WIDTHS, SmallNet
    from nn.captioning import Captioner

    return Captioner(SmallNet(), WIDTHS[-1], work.V, look="soft", cell="gru", hidden=work.H, embedding=work.E)


def torch_captioner(work: Captioning) -> Any:
    """The same in PyTorch."""
    import torch
    from torch import nn

    class Captioner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for below, width, stride in ((3 + 2, 32, 2), (32, 64, 2), (64, 64, 1), (64, 64, 1)):
                layers += [nn.Conv2d(below, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            self.encoder = nn.Sequential(*layers)
            along = torch.linspace(-1, 1, work.S)
            places = torch.stack(torch.meshgrid(along, along, indexing="xy"))  # (2, S, S)
            self.register_buffer("places", places.expand(work.B, -1, -1, -1), persistent=False)
            D, A = 64, max(1, work.H // 4)
            self.first = nn.Sequential(nn.Linear(2 * D, work.H), nn.Tanh())
            self.key, self.query = nn.Linear(D, A, bias=False), nn.Linear(work.H, A, bias=False)
            self.embedding = nn.Embedding(work.V, work.E)
            self.cell = nn.GRUCell(work.E + D, work.H)
            self.output = nn.Linear(work.H + D, work.V)

        def forward(self, images: Any, ids: Any) -> tuple[Any, Any]:
            features = self.encoder(torch.cat([images, self.places], dim=1))  # (B, D, S / 4, S / 4)
            v = features.flatten(2).transpose(1, 2)  # (B, L, D)
            keys = self.key(v) / math.sqrt(self.key.out_features)
            whole = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
            h = self.first(whole)
            said, maps = [], []
            for word in self.embedding(ids):  # (B, E)
                a = torch.softmax(torch.bmm(keys, self.query(h)[:, :, None]), dim=1).transpose(1, 2)  # (B, 1, L)
                z = torch.bmm(a, v)[:, 0]
                h = self.cell(torch.cat([word, z], dim=-1), h)
                said.append(torch.cat([h, z], dim=-1))
                maps.append(a)
            return self.output(torch.stack(said)), torch.cat(maps, dim=1)

    return Captioner()


KINDS = {
    "conv2d": lambda nn, work: nn.Conv2d(work.C, work.F, 3, work.stride, padding=1),
    "conv_transpose2d": lambda nn, work: nn.ConvTranspose2d(work.C, work.F, 3, work.stride, 1, work.stride - 1),
    "max_pool2d": lambda nn, work: nn.MaxPool2d(work.stride),
    "batch_norm": lambda nn, work: nn.BatchNorm2d(work.C),
}


@dataclass(frozen=True)
class Layer:
    """A layer of images (N, C, S, S), forward, and backward to them and to its weights."""

    kind: str  # a key of KINDS; windows are 3 x 3, those of a pooling stride x stride
    C: int
    S: int
    F: int = 0  # channels of what comes out, where the layer changes them
    stride: int = 1
    N: int = 64

    contestants: ClassVar = ("minigrad", "torch")
    device: ClassVar = "cpu"
    one_thread: ClassVar = False
    units: ClassVar = 1

    @property
    def name(self) -> str:
        """As in "conv2d 3 -> 32, 64x64, stride 2"."""
        words = [f"{self.kind} {self.C}" + f" -> {self.F}" * bool(self.F), f"{self.S}x{self.S}"]
        return ", ".join(words + [f"stride {self.stride}"] * (self.stride > 1))

    def build(self, contestant: str) -> Step:
        """A pass, which gives what the layer makes of x, and the gradients of x and of its weights.

        Within a network x is what a layer of the same library made, in the order in memory that this one likes; images
        come channel by channel.
        """
        library, rng = LIBRARIES[contestant](), np.random.default_rng(0)
        x = library.tensor(rng.normal(size=(self.N, self.C, self.S, self.S)).astype(np.float32), self.device)
        before, layer = library.nn.Conv2d(self.C, self.C, 1), KINDS[self.kind](library.nn, self)
        set_weights(library.nn.Sequential(before, layer), library)
        x = (x if self.C == 3 else before(x)).detach().requires_grad_()
        g = library.xp.tanh(layer(x)).detach()  # any gradient, in the order of y
        leaves = [x, *layer.parameters()]

        def step() -> Any:
            for leaf in leaves:
                leaf.grad = None
            y = layer(x)
            y.backward(g)
            return [y.detach(), *[leaf.grad for leaf in leaves]]

        return step
