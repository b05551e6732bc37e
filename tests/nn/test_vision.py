"""VGG16 and ResNet-18 against torchvision, and what their weights' files must be.

fixtures/vision/*.npz hold torchvision's names and shapes, and what its nets, of WIDTH channels for each 64, make of
images; make_vision_fixtures.py wrote them.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import minigrad as mg
import nn
from nn.vision import OUTPUTS, VGG16, PublishedNet, ResNet18

FIXTURES = Path(__file__).parent / "fixtures" / "vision"
NETS: dict[str, type[PublishedNet]] = {"vgg16": VGG16, "resnet18": ResNet18}
WIDTH, IMAGES = 4, (2, 3, 64, 80)  # grids of 4x5 and 2x3 or 2x2 places, which don't divide VGG16's 7x7

# As for the rest of nn; in float32 sixteen layers of sums take the last digits.
TOLERANCES = {"float64": 1e-9, "float32": 1e-5}


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of a name in [-1, 1), which look random: the bits of the place, mixed by multiplications."""
    x = np.arange(math.prod(shape), dtype=np.uint32) + np.uint32(zlib.crc32(name.encode()))
    for factor in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D):
        x = (x ^ (x >> 15)) * np.uint32(factor)
    return (x / 2.0**31 - 1).reshape(shape)


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights under which the numbers keep their size from layer to layer."""
    state = {}
    for name, shape in shapes.items():
        values = numbers(name, shape)
        if len(shape) > 1:
            state[name] = values * math.sqrt(6 / math.prod(shape[1:]))
        elif not shape:
            state[name] = np.array(7)  # batches tracked
        else:
            state[name] = values / 2 + (name.endswith(("weight", "running_var")))
    return state


def state_of(net: PublishedNet, dtype: str = "float32") -> dict[str, np.ndarray]:
    """All weights of a net by the formula."""
    state = filled({name: array.shape for name, array in net.state_dict().items()})
    return {name: a.astype(dtype if a.ndim else "int64") for name, a in state.items()}


def fixture(name: str) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
    with np.load(FIXTURES / f"{name}.npz") as file:
        outputs = {key: file[key] for key in file.files}
    shapes = json.loads(str(outputs.pop("shapes")))
    return {key: tuple(shape) for key, shape in shapes.items()}, outputs


@pytest.fixture(scope="module", params=NETS)
def name(request: pytest.FixtureRequest) -> str:
    """torchvision's name of a net."""
    return str(request.param)


def test_names_and_shapes_are_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of parameters of one element each, shown many times, since VGG16's take half a gigabyte."""

    def shown(*shape: int) -> nn.Parameter:
        parameter = nn.Parameter([0.0])
        parameter.become(np.broadcast_to(np.float32(0), shape))
        return parameter

    for module in (nn.convolution, nn.layers):
        monkeypatch.setattr(module, "new_parameter", shown)
    for function in ("uniform_", "constant_"):
        monkeypatch.setattr(nn.init, function, lambda tensor, *_: tensor)
    shapes = {key: array.shape for key, array in NETS[name]().state_dict().items()}
    assert list(shapes.items()) == list(fixture(name)[0].items())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_are_torchvisions(name: str, output: str, dtype: str, device: str, tmp_path: Path) -> None:
    safetensors.numpy.save_file(state_of(NETS[name](width=WIDTH), "float64"), tmp_path / "weights.safetensors")
    net = NETS[name](output, width=WIDTH).to(dtype).to(device)
    assert isinstance(net, PublishedNet)
    net.load_published(tmp_path / "weights.safetensors").eval()
    y = net(mg.tensor(numbers("images", IMAGES), dtype=dtype, device=device))
    expected = fixture(name)[1][output]
    assert (y.dtype, y.shape) == (dtype, expected.shape)
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=TOLERANCES[dtype] * abs(expected).max())
