"""nn.convolution: names, first values, running statistics, and what is refused. PyTorch's values: test_pytorch.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import nn
import nn.functional as F

REPRS = {
    "Conv2d(3, 8, 3)": "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))",
    "Conv2d(2, 4, (1, 2), 2, (1, 0), 2, 2, False)": (
        "Conv2d(2, 4, kernel_size=(1, 2), stride=(2, 2), padding=(1, 0), dilation=(2, 2), groups=2, bias=False)"
    ),
    "ConvTranspose2d(2, 4, 3)": "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=(1, 1))",
    "ConvTranspose2d(2, 4, 3, 2, 1, 1, 2, False, 2)": (
        "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), "
        "output_padding=(1, 1), groups=2, bias=False)"
    ),
    "MaxPool2d(2)": "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
    "MaxPool2d((2, 3), 1, 1, 2, True, True)": (
        "MaxPool2d(kernel_size=(2, 3), stride=1, padding=1, dilation=2, ceil_mode=True)"
    ),
    "MaxUnpool2d(2)": "MaxUnpool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))",
    "AvgPool2d(3, 2, 1)": "AvgPool2d(kernel_size=3, stride=2, padding=1)",
    "BatchNorm2d(3)": "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
    "BatchNorm2d(3, 0.1, None, False, False)": (
        "BatchNorm2d(3, eps=0.1, momentum=None, affine=False, track_running_stats=False)"
    ),
}
LAYERS = ["Conv2d", "ConvTranspose2d", "MaxPool2d", "MaxUnpool2d", "AvgPool2d", "BatchNorm2d"]
FUNCTIONS = ["max_pool2d", "max_unpool2d", "batch_norm", "affine_grid", "grid_sample"]  # the others are C++: unreadable


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# ---- what they are called and made of


@pytest.mark.parametrize("call", REPRS)
def test_reprs_are_pytorchs(call: str) -> None:
    assert repr(eval(f"nn.{call}")) == REPRS[call]


@pytest.mark.parametrize("call", REPRS)
def test_names_and_shapes_are_pytorchs(call: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = eval(f"nn.{call}").state_dict(), eval(f"torch.nn.{call}", {"torch": torch}).state_dict()
    assert [(name, value.shape) for name, value in ours.items()] == [
        (name, tuple(v.shape)) for name, v in theirs.items()
    ]


@pytest.mark.parametrize("name", [*LAYERS, *FUNCTIONS])
def test_arguments_and_defaults_are_pytorchs(name: str) -> None:
    """All of ours, in its order; it has a few behind them."""
    torch = pytest.importorskip("torch")
    ours, theirs = (nn, torch.nn) if name in LAYERS else (F, torch.nn.functional)
    parameters = inspect.signature(getattr(ours, name)).parameters.values()
    given = inspect.signature(getattr(theirs, name)).parameters
    if name == "max_pool2d":
        given = inspect.signature(theirs.max_pool2d_with_indices).parameters
    assert [p.name for p in parameters] == list(given)[: len(parameters)]
    for p in parameters:
        default = given[p.name].default
        assert p.default == default or default is None  # None: filled in later, as align_corners is


def test_weights_fill_pytorchs_range_evenly() -> None:
    """U(-k, k), k = 1 / sqrt(what a window holds): kaiming_uniform of sqrt(5); the bias too."""
    mg.seed(0)
    for layer in (nn.Conv2d(16, 64, (2, 3), groups=2), nn.ConvTranspose2d(64, 16, (2, 3), groups=2)):
        values = np.concatenate([p.data.ravel() for p in layer.parameters()]) * (8 * 6) ** 0.5
        assert abs(values).max() <= 1
        assert abs(values.mean()) < 5 * (1 / 3 / values.size) ** 0.5
        assert abs((values**2).mean() - 1 / 3) < 5 * (4 / 45 / values.size) ** 0.5


def test_a_model_of_all_layers_keeps_its_dtype_through_a_step(device: str) -> None:
    for dtype in ("float32", "float64"):
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2, 1, 1),
            nn.ConvTranspose2d(4, 2, 2, stride=2), nn.Flatten(), nn.Linear(72, 1),
        ).to(device).to(dtype)  # fmt: skip
        optimizer = nn.optim.Adam(model.parameters())
        loss = model(mg.tensor(numbers(3, 2, 4, 4, dtype=dtype), device=device)).sum()
        loss.backward()
        optimizer.step()
        arrays = {name: value for name, value in model.state_dict().items() if "tracked" not in name}
        assert {value.dtype for value in arrays.values()} == {np.dtype(dtype)} == {loss.dtype}
        assert all(np.isfinite(mg.as_tensor(value).numpy()).all() for value in arrays.values())


@pytest.mark.parametrize("call", [call for call in REPRS if "Batch" not in call and "Unpool" not in call])
def test_one_image_is_a_batch_of_one(call: str, device: str) -> None:
    layer = eval(f"nn.{call}").to(device)
    x = mg.tensor(numbers(getattr(layer, "in_channels", 2), 6, 7), device=device)
    one, batch = layer(x), layer(mg.expand_dims(x, 0))
    for a, b in zip(one, batch, strict=True) if isinstance(one, tuple) else [(one, batch)]:
        np.testing.assert_array_equal(a.numpy(), b.numpy()[0])


# ---- pooling and back


def test_the_lectures_unpooling() -> None:
    x = mg.tensor(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    places = np.array([[[[5, 2], [12, 15]]]])
    expected = [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    np.testing.assert_array_equal(nn.MaxUnpool2d(2)(x, places).numpy()[0, 0], expected)
    pooled, found = nn.MaxPool2d(2, return_indices=True)(mg.tensor([[np.array(expected, float).tolist()]]))
    np.testing.assert_array_equal(pooled.numpy(), x.numpy())
    np.testing.assert_array_equal(found.numpy(), places)


@given(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_pooling_what_was_unpooled_gives_it_back(kernel: int, rows: int, columns: int, unbatched: bool) -> None:
    """With the image's size where windows leave rows over."""
    x = abs(numbers(2, 3, 4 * kernel + min(rows, kernel - 1), 2 * kernel + min(columns, kernel - 1)))
    x = x[0] if unbatched else x
    pool = nn.MaxPool2d(kernel, return_indices=True)
    y, places = pool(x)
    image = nn.MaxUnpool2d(kernel)(y, places, output_size=x.shape)
    assert image.shape == x.shape
    again, found = pool(image)
    np.testing.assert_array_equal(again.numpy(), np.asarray(y))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(places))


def test_an_output_size_is_reached_by_padding_behind() -> None:
    x, layer = numbers(1, 1, 3, 4), nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)
    assert layer(x).shape == (1, 1, 5, 7)
    y = layer(x, output_size=(6, 8))
    layer.output_padding = (1, 1)
    np.testing.assert_array_equal(y.numpy(), layer(x).numpy())
    for size in ((4, 7), (5, 9)):
        with pytest.raises(ValueError, match="output_padding"):
            layer(x, output_size=size)


# ---- batch norm


@given(st.integers(1, 3), st.integers(1, 4), st.floats(-5, 5), st.floats(0.1, 5))
def test_batch_norm_gives_mean_0_and_variance_1(N: int, C: int, mean: float, deviation: float) -> None:
    x = mean + deviation * numbers(N, C, 3, 4, dtype="float64")
    y = nn.BatchNorm2d(C, eps=1e-12).to("float64")(x).data
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-9)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, atol=1e-9)


@given(st.sampled_from([0.0, 0.1, 1.0, None]), st.integers(1, 4))
def test_running_statistics_are_averages_of_the_batches(momentum: float | None, steps: int) -> None:
    layer = nn.BatchNorm2d(2, momentum=momentum).to("float64")
    mean, variance, state = np.zeros(2), np.ones(2), layer.state_dict()
    for t in range(steps):
        x = numbers(3, 2, 2, 2, seed=t, dtype="float64")
        m = 1 / (t + 1) if momentum is None else momentum
        mean, variance = (1 - m) * mean + m * x.mean((0, 2, 3)), (1 - m) * variance + m * x.var((0, 2, 3), ddof=1)
        layer(x)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), variance, rtol=1e-12)
    assert layer.num_batches_tracked.item() == steps
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(state[name], array)  # averages move in place, all of them
    x = numbers(1, 2, 1, 1, dtype="float64")
    expected = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
    np.testing.assert_allclose(layer.eval()(x).numpy(), expected, rtol=1e-9)
    assert layer.num_batches_tracked.item() == steps  # evaluation counts nothing


def test_statistics_go_through_a_state_dict_and_are_forgotten_by_a_reset() -> None:
    first, second = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    first(numbers(3, 2, 2, 2))
    second.load_state_dict(first.state_dict())
    x = numbers(1, 2, 2, 2, seed=1)
    np.testing.assert_array_equal(first.eval()(x).numpy(), second.eval()(x).numpy())
    assert second.num_batches_tracked.item() == 1
    second.reset_parameters()
    for name, value in nn.BatchNorm2d(2).state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)


def test_without_statistics_evaluation_takes_the_batchs() -> None:
    layer, x = nn.BatchNorm2d(2, track_running_stats=False), numbers(3, 2, 2, 2)
    assert list(layer.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer(x).numpy(), layer.eval()(x).numpy())
    assert not nn.BatchNorm2d(2, affine=False, track_running_stats=False).state_dict()


def test_no_graph_grows_along_the_statistics() -> None:
    layer = nn.BatchNorm2d(2)
    layer(mg.tensor(numbers(3, 2, 2, 2), requires_grad=True))
    assert not any(buffer.requires_grad for buffer in layer.buffers())


# ---- wrong input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 2.5), "Conv2d: kernel_size: expected an integer of at least 1, .* got 2.5"),
        (lambda: nn.Conv2d(3, 4, 2, stride=0), "Conv2d: stride: expected an integer of at least 1, .* got 0"),
        (lambda: nn.Conv2d(3, 4, 2, padding=-1), "Conv2d: padding: expected an integer of at least 0, .* got -1"),
        (lambda: nn.Conv2d(3, 4, 2, padding="same"), "Conv2d: padding: expected an integer .* got 'same'"),
        (lambda: nn.Conv2d(3, 4, 2, dilation=(1, 2, 3)), r"Conv2d: dilation: expected .* got \(1, 2, 3\)"),
        (lambda: nn.Conv2d(3, 4, 2, groups=2), "groups to divide in_channels 3 and out_channels 4, got 2"),
        (lambda: nn.Conv2d(4, 3, 2, groups=0), "groups to divide in_channels 4 and out_channels 3, got 0"),
        (lambda: nn.ConvTranspose2d(3, 4, 2, output_padding=-1), "ConvTranspose2d: output_padding: expected"),
        (lambda: nn.ConvTranspose2d(3, 4, 2, output_padding=1)(numbers(3, 4, 4)), "smaller than stride or dilation"),
        (lambda: nn.Conv2d(3, 4, 2)(numbers(1, 2, 4, 4)), "conv2d: expected x to have 3 channels, .* got 2"),
        (lambda: nn.Conv2d(3, 4, 2)(numbers(3, 4)), r"conv2d: expected x \(N, C, H, W\)"),
        (lambda: nn.Conv2d(3, 4, 5)(numbers(3, 4, 4)), r"which x, padded to \(4, 4\)"),
        (lambda: nn.MaxPool2d(2)(numbers(4, 4)), r"max_pool2d: expected x \(N, C, H, W\), got 2 axes"),
        (lambda: nn.MaxPool2d(2.5)(numbers(1, 4, 4)), "max_pool2d: kernel: expected an integer .* got 2.5"),
        (lambda: nn.AvgPool2d(5)(numbers(1, 4, 4)), "reaches over 5 places, has none within x, where there are 4"),
        (lambda: nn.MaxUnpool2d(0)(numbers(1, 1, 1), np.zeros((1, 1, 1), int)), "MaxUnpool2d: kernel_size: expected"),
        (lambda: nn.MaxUnpool2d(2)(numbers(1, 1, 1), np.zeros((1, 1, 2), int)), "integers of its shape"),
        (lambda: nn.BatchNorm2d(3)(numbers(2, 2, 4, 4)), r"batch_norm: expected input \(N, 3, H, W\), got \(2, 2,"),
        (lambda: nn.BatchNorm2d(3, affine=False)(numbers(2, 1, 4, 4)), r"\(N, 3, H, W\), got \(2, 1, 4, 4\)"),
        (lambda: nn.BatchNorm2d(3).eval()(numbers(3, 4, 4)), r"\(N, 3, H, W\), got \(3, 4, 4\)"),
        (lambda: nn.BatchNorm2d(3)(numbers(1, 3, 1, 1)), "more than one element a channel in training"),
        (lambda: F.batch_norm(numbers(1, 3, 1, 1), None, None), "expected running_mean and running_var"),
    ],
)  # fmt: skip
def test_wrong_calls_are_refused_by_name(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
