"""VGG16 and ResNet-18 against torchvision, and what their weights' files must be.

fixtures/vision/*.npz hold torchvision's names and shapes, and what its nets, of WIDTH channels for each 64, make of
images; make_vision_fixtures.py wrote them.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from nn.images import FeatureCache
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


def state_of(net: nn.Module, dtype: str = "float32") -> dict[str, np.ndarray]:
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


@pytest.mark.parametrize(
    ("name", "output", "shape"),
    [
        ("vgg16", "grid14", (512, 14, 14)),
        ("vgg16", "grid7", (512, 7, 7)),
        ("vgg16", "vector", (4096,)),
        ("resnet18", "grid14", (256, 14, 14)),
        ("resnet18", "grid7", (512, 7, 7)),
        ("resnet18", "vector", (512,)),
    ],
)
def test_shapes_at_224_pixels(name: str, output: str, shape: tuple[int, ...]) -> None:
    with mg.no_grad():
        y = NETS[name](output, width=1).eval()(np.zeros((1, 3, 224, 224), "float32"))
    assert y.shape == (1, shape[0] // 64, *shape[1:])  # of one channel where the published nets have 64


def test_a_frozen_net_passes_gradients_on_to_the_image_alone(name: str) -> None:
    net = NETS[name]("grid14", width=WIDTH).eval().requires_grad_(False)
    net.load_state_dict(state_of(net))
    images = mg.tensor(numbers("images", (1, 3, 64, 64)), requires_grad=True, dtype="float32")
    net(images).sum().backward()
    assert images.grad.data.any()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_other_outputs_and_images_are_refused(name: str) -> None:
    kind = NETS[name].__name__
    with pytest.raises(ValueError, match=rf"{kind}: expected output .* grid14, grid7, vector, logits, got 'fc7'"):
        NETS[name]("fc7")
    with pytest.raises(ValueError, match=f"{kind}: expected a width of at least 1, got 0"):
        NETS[name](width=0)
    for shape in ((3, 64, 64), (1, 1, 64, 64)):
        with pytest.raises(ValueError, match=re.escape(f"{kind}: expected images (N, 3, S, S), got {shape}")):
            NETS[name]("grid14", width=1)(np.zeros(shape, "float32"))


# ------------------------------------------------------------------------------------------------ files of weights


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_numbers_of_other_dtypes_become_the_nets(name: str, dtype: str, tmp_path: Path) -> None:
    state = state_of(NETS[name](width=1), dtype)
    safetensors.numpy.save_file(state, tmp_path / "weights.safetensors")
    mg.seed(0)
    net, drawn = NETS[name](width=1), mg.backend.default_generator().random()
    mg.seed(0)
    same = NETS[name](width=1).load_published(tmp_path / "weights.safetensors")
    assert mg.backend.default_generator().random() == drawn  # to read is not to draw
    for key, array in same.state_dict().items():
        assert array.dtype == net.state_dict()[key].dtype
        np.testing.assert_array_equal(array, state[key].astype(array.dtype))


def test_weights_behind_the_output_may_be_of_other_classes(name: str, tmp_path: Path) -> None:
    path, last = tmp_path / "ten.safetensors", {"vgg16": "classifier.6", "resnet18": "fc"}[name]
    state = state_of(NETS[name](width=1))
    safetensors.numpy.save_file(state | {f"{last}.{k}": state[f"{last}.{k}"][:10] for k in ("weight", "bias")}, path)
    for output in OUTPUTS[:-1]:
        net = NETS[name](output, width=1).load_published(path)
        assert all((array == state[key]).all() for key, array in net.state_dict().items())
    with pytest.raises(nn.CheckpointError, match=rf"ten\.safetensors: .*{last}.weight .*\(1000, \d+\).*\(10, \d+\)"):
        NETS[name](width=1).load_published(path)


State = dict[str, np.ndarray]


def without(state: State, key: str) -> str:
    del state[key]
    return f"{key} is missing"


def beside(state: State, key: str) -> str:
    state[f"{key}.more"] = np.zeros(1)
    return f"{key}.more is none of its names"


def reshaped(state: State, key: str) -> str:
    before = state[key].shape
    state[key] = state[key][None]
    return f"{key} should be of shape {before}, and is of {(1, *before)}"


def complex_(state: State, key: str) -> str:
    state[key] = state[key].astype("complex64")
    return f"{key} should be of float32 or alike, and is of complex64"


@settings(max_examples=30)  # each saves a file and makes two nets
@given(st.sampled_from(OUTPUTS), st.sampled_from([without, beside, reshaped, complex_]), st.data())
def test_weights_of_another_net_are_refused_by_the_files_name(
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
    output: str,
    change: Callable[[State, str], str],
    data: st.DataObject,
) -> None:
    net, path = NETS[name](output, width=1), tmp_path_factory.mktemp("of") / "other.safetensors"
    before = {key: array.copy() for key, array in net.state_dict().items()}
    state = state_of(NETS[name](width=1))
    key = data.draw(st.sampled_from([key for key, array in before.items() if array.ndim]))
    problem = change(state, key)
    safetensors.numpy.save_file(state, path)
    with pytest.raises(nn.CheckpointError) as error:
        net.load_published(path)
    assert str(error.value).startswith(f"{path}: expected the weights of torchvision's {name}")
    assert problem in str(error.value)
    assert "\n" not in str(error.value)
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_file_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    net, path = NETS[name]("grid14", width=1), tmp_path / "weights.safetensors"
    other = {"vgg16": ResNet18, "resnet18": VGG16}[name](width=1)
    own = net.state_dict()
    for state in (other.state_dict(), {"step": 7, "model": own}, 7, dict.fromkeys(own, 1)):
        nn.save(path, state)
        with pytest.raises(nn.CheckpointError, match=r"weights\.safetensors: expected the weights .*; and \d+ more\."):
            net.load_published(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(nn.CheckpointError, match=r"weights\.safetensors: .*cut short"):
        net.load_published(path)
    with pytest.raises(nn.CheckpointError, match=r"none\.safetensors: .*there is none"):
        net.load_published(tmp_path / "none.safetensors")


def test_files_from_before_batches_were_counted_are_read(tmp_path: Path) -> None:
    whole = state_of(ResNet18(width=1))
    state = {key: array for key, array in whole.items() if not key.endswith("num_batches_tracked")}
    assert len(state) == len(whole) - 20
    safetensors.numpy.save_file(state, tmp_path / "old.safetensors")
    net = ResNet18(width=1).load_published(tmp_path / "old.safetensors")
    assert all((net.state_dict()[key] == array).all() for key, array in state.items())


def test_a_cache_of_features_tells_outputs_apart(tmp_path: Path) -> None:
    net = VGG16("grid14", width=1)
    pooled = VGG16("grid7", width=1)
    pooled.load_state_dict(net.state_dict())
    caches = [FeatureCache(tmp_path, each, size=32) for each in (net, pooled)]
    assert caches[0].folder != caches[1].folder
