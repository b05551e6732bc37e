"""Ops of images: laws beside those that every op is tested by, PyTorch itself, odd and wrong input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ops.windows import count, reach
from minigrad.testing import check_grads

few = settings(max_examples=settings.default.max_examples // 4)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def numbers(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


class Convolution(NamedTuple):
    """The shapes and options of a convolution."""

    x: tuple[int, ...]
    weight: tuple[int, ...]
    y: tuple[int, ...]
    options: dict[str, Any]


@st.composite
def convolutions(draw: Any) -> Convolution:
    """Strides beyond the kernel, padding beyond it, kernels beyond x; sizes that windows leave over."""
    kernel, stride, dilation, G = draw(pairs), draw(pairs), draw(pairs), draw(st.integers(1, 3))
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    least = [max(1, reach(k, d) - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = tuple(n + draw(st.integers(0, 4)) for n in least)
    N, C, F = draw(st.integers(0, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    out = count(size, kernel, stride, padding, dilation)
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=G)
    return Convolution((N, G * C, *size), (G * F, C, *kernel), (N, G * F, *out), options)


def more_of(shapes: Convolution) -> tuple[int, ...]:
    """The output_padding with which a transposed convolution gives x's size back."""
    o = shapes.options
    axes = zip(shapes.x[2:], shapes.y[2:], shapes.weight[2:], o["stride"], o["padding"], o["dilation"], strict=True)
    return tuple(n - ((m - 1) * s - 2 * p + reach(k, d)) for n, m, k, s, p, d in axes)


@st.composite
def poolings(draw: Any) -> tuple[tuple[int, ...], Any, dict[str, Any]]:
    """The shape of x, the kernel, and the options that both poolings have."""
    kernel = draw(pairs)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(k + draw(st.integers(0, 4)) for k in kernel)
    options = dict(stride=draw(st.none() | pairs), padding=padding, ceil_mode=draw(st.booleans()))
    return (draw(st.integers(0, 2)), draw(st.integers(1, 2)), *size), kernel, options


# ---- laws


@few
@given(convolutions())
def test_a_transposed_convolution_is_the_transpose(device: str, shapes: Convolution) -> None:
    """<conv(x), y> = <x, conv_transpose(y)> = <weight, conv2d_weight(x, y)>."""
    x, weight, y = (mg.tensor(numbers(*shape, seed=i), device=device) for i, shape in enumerate(shapes[:3]))
    back = mg.conv_transpose2d(y, weight, output_padding=more_of(shapes), **shapes.options)
    by_weight = mg.conv2d_weight(x, y, shapes.weight[2:], **shapes.options)
    product = (mg.conv2d(x, weight, **shapes.options) * y).sum().item()
    scale = 1e-12 * max(1, x.size * weight.size)  # rounding grows with the terms of the sum
    assert abs(product - (x * back).sum().item()) < scale
    assert abs(product - (weight * by_weight).sum().item()) < scale


@few
@given(convolutions(), st.integers(0, 3), st.integers(0, 3))
def test_a_shifted_image_gives_the_shifted_convolution(shapes: Convolution, down: int, right: int) -> None:
    options = shapes.options | {"padding": 0}
    x, weight = numbers(*shapes.x), numbers(*shapes.weight, seed=1)
    x = np.pad(x, ((0, 0), (0, 0), (0, 9), (0, 9)))  # so that windows fit without padding
    (s, t), y = options["stride"], np.asarray(mg.conv2d(x, weight, **options))
    y_shifted = np.asarray(mg.conv2d(np.pad(x, ((0, 0), (0, 0), (down * s, 0), (right * t, 0))), weight, **options))
    np.testing.assert_allclose(y_shifted[:, :, down:, right:], y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "padding"), [(3, 0), (3, 1), (3, 2), (4, 2), (1, 0)])
def test_a_transposed_convolution_pads_by_k_less_1_less_p_and_turns_the_weights(kernel: int, padding: int) -> None:
    x, weight = numbers(2, 3, 4, 5), numbers(3, 2, kernel, kernel, seed=1)
    turned = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    expected = mg.conv2d(x, turned, padding=kernel - 1 - padding)
    np.testing.assert_allclose(mg.conv_transpose2d(x, weight, padding=padding), expected, rtol=1e-12, atol=1e-12)


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers in memory in other ways."""
    wide = np.full(tuple(2 * n for n in x.shape), np.nan, x.dtype)
    every_other = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    every_other[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "channels last": np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
        "reversed": np.ascontiguousarray(x[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
        "every other": every_other,
        "Fortran's": np.asfortranarray(x),
        "read-only": read_only,
        "one number": np.broadcast_to(x[:1, :1, :1, :1], x.shape),
    }


OF_IMAGES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "conv2d": (lambda x, w: mg.conv2d(x, w, padding=1, stride=(1, 2), groups=2), ((2, 4, 5, 4), (2, 2, 3, 2))),
    "conv_transpose2d": (lambda x, w: mg.conv_transpose2d(x, w, padding=1), ((2, 4, 5, 4), (4, 2, 3, 2))),
    "conv_transpose2d, stride": (lambda x, w: mg.conv_transpose2d(x, w, stride=2), ((2, 4, 3, 2), (4, 1, 3, 2))),
    "conv2d_weight": (lambda x, y: mg.conv2d_weight(x, y, (3, 2), stride=2), ((2, 4, 5, 4), (2, 3, 2, 2))),
    "max_pool2d": (lambda x: mg.max_pool2d(x, 2, stride=1, padding=1)[0], ((2, 3, 4, 5),)),
    "avg_pool2d": (lambda x: mg.avg_pool2d(x, (2, 3), stride=1, padding=1), ((2, 3, 4, 5),)),
    "avg_unpool2d": (lambda y: mg.avg_unpool2d(y, (4, 5), 2), ((2, 3, 2, 2),)),
    "max_unpool2d": (lambda x: mg.max_unpool2d(x, np.arange(12).reshape(1, 2, 2, 3) % 8, (4, 2)), ((1, 2, 2, 3),)),
    "grid_sample": (lambda x, grid: mg.grid_sample(x, grid), ((2, 3, 4, 5), (2, 3, 2, 2))),
    "batch_norm": (lambda x: mg.batch_norm(x)[0], ((2, 3, 4, 5),)),
}
of_images = pytest.mark.parametrize("name", OF_IMAGES)


def with_gradients(f: Callable[..., Any], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What f gives, and the gradient of each array."""
    xs = [mg.Tensor(x).requires_grad_() for x in arrays]
    y = f(*xs)
    return [y.numpy(), *(g.numpy() for g in mg.grad(y, xs, mg.tensor(numbers(*y.shape, dtype=y.dtype.name))))]


@of_images
@pytest.mark.parametrize("layout", list(layouts(np.zeros((1, 1, 1, 1)))))
def test_the_memory_layout_makes_no_difference(name: str, layout: str) -> None:
    f, shapes = OF_IMAGES[name]
    arrays = [layouts(numbers(*shape, seed=i))[layout] for i, shape in enumerate(shapes)]
    before = [x.copy() for x in arrays]
    plain = with_gradients(f, [np.array(x, order="C") for x in arrays])
    for got, expected in zip(with_gradients(f, arrays), plain, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    for x, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(x, was)  # nothing is written into what is given


@of_images
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(name: str, dtype: str) -> None:
    f, shapes = OF_IMAGES[name]
    found = with_gradients(f, [numbers(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)])
    assert {x.dtype for x in found} == {np.dtype(dtype)}


@of_images
def test_an_op_of_complex_images_acts_on_both_parts(name: str) -> None:
    if name in ("max_pool2d", "batch_norm"):
        pytest.skip("not linear")
    f, ((*shape,), *rest) = OF_IMAGES[name]
    real, imaginary, others = numbers(*shape), numbers(*shape, seed=1), [numbers(*s, seed=2) for s in rest]
    expected = f(mg.tensor(real), *others).numpy() + 1j * f(mg.tensor(imaginary), *others).numpy()
    got = np.asarray(f(real + 1j * imaginary, *others))
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@of_images
def test_an_empty_batch_has_an_empty_result_and_gradients(name: str, device: str) -> None:
    f, shapes = OF_IMAGES[name]
    if name in ("max_unpool2d", "batch_norm"):
        pytest.skip("has its indices; has no mean")
    weights = "conv2d" in name or "transpose" in name
    empty = [shape if i and weights and "_weight" not in name else (0, *shape[1:]) for i, shape in enumerate(shapes)]
    xs = [mg.tensor(numbers(*shape), requires_grad=True, device=device) for shape in empty]
    y = f(*xs)
    assert [g.shape for g in mg.grad(y.sum(), xs, create_graph=True)] == empty
    assert y.size == 0 or not y.numpy().any()  # of no images the weights' gradient is zero


def test_unpooling_of_an_empty_batch_has_a_gradient(device: str) -> None:
    x = mg.tensor(np.zeros((0, 1, 2, 2)), requires_grad=True, device=device)
    y = mg.max_unpool2d(x, np.zeros((0, 1, 2, 2), int), (3, 3))
    assert mg.grad(y.sum(), x)[0].shape == x.shape


def test_the_grid_of_an_empty_batch_has_a_gradient() -> None:
    theta = mg.tensor(np.zeros((0, 2, 3)), requires_grad=True)
    assert mg.grad(mg.affine_grid(theta, (0, 1, 2, 2)).sum(), theta)[0].shape == (0, 2, 3)


@few
@given(convolutions(), st.lists(st.booleans(), min_size=3, max_size=3).filter(any), st.booleans())
def test_only_what_requires_gradients_gets_them(shapes: Convolution, needs: list[bool], create_graph: bool) -> None:
    arrays = [numbers(*shapes.x), numbers(*shapes.weight), numbers(shapes.weight[0])]
    xs = [mg.tensor(x, need) for x, need in zip(arrays, needs, strict=True)]
    mg.conv2d(*xs, **shapes.options).sum().backward(create_graph=create_graph)
    for x, need in zip(xs, needs, strict=True):
        assert (x.grad is not None) == need
        assert not need or x.grad.shape == x.shape


def test_a_bias_of_more_digits_keeps_them() -> None:
    x, weight, bias = numbers(1, 1, 2, 2, dtype="float32"), np.zeros((1, 1, 1, 1), "f4"), np.array([1 + 1e-12])
    for convolve in (mg.conv2d, mg.conv_transpose2d):
        y = np.asarray(convolve(x, weight, bias))
        assert y.dtype == np.float64
        assert (y == bias).all()


# ---- PyTorch itself, where it is installed


def same_as_torch(ours: Any, theirs: Any, arrays: list[np.ndarray]) -> None:
    """The output and the gradients of two functions, both of a library's tensors."""
    torch = pytest.importorskip("torch")
    xs = [torch.tensor(x, requires_grad=True) for x in arrays]
    y = theirs(*xs)
    g = numbers(*y.shape, seed=9)
    expected = [y, *torch.autograd.grad(y, xs, torch.tensor(g))]
    x = [mg.tensor(array, requires_grad=True) for array in arrays]
    y = ours(*x)
    for got, wanted in zip([y, *mg.grad(y, x, mg.tensor(g))], expected, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(force=True), rtol=1e-9, atol=1e-9)


@few
@given(convolutions(), st.booleans())
def test_convolutions_are_pytorchs(shapes: Convolution, bias: bool) -> None:
    torch = pytest.importorskip("torch")
    weights = [numbers(*shapes.weight, seed=1)] + [numbers(shapes.weight[0], seed=2)] * bias
    o = shapes.options
    same_as_torch(lambda *xs: mg.conv2d(*xs, **o), lambda *xs: torch.conv2d(*xs, **o), [numbers(*shapes.x), *weights])


@few
@given(convolutions(), st.booleans(), st.data())
def test_transposed_convolutions_are_pytorchs(shapes: Convolution, bias: bool, data: Any) -> None:
    torch = pytest.importorskip("torch")
    least = [n - m for n, m in zip(shapes.x[2:], more_of(shapes), strict=True)]
    limits = zip(least, shapes.options["stride"], shapes.options["dilation"], strict=True)
    more = tuple(data.draw(st.integers(max(0, 1 - n), max(s, d) - 1), "output_padding") for n, s, d in limits)
    weights = [numbers(*shapes.weight, seed=1)] + [numbers(shapes.x[1], seed=2)] * bias
    o = shapes.options | {"output_padding": more}
    same_as_torch(
        lambda *xs: mg.conv_transpose2d(*xs, **o),
        lambda *xs: torch.conv_transpose2d(*xs, **o),
        [numbers(*shapes.y), *weights],
    )


@few
@given(poolings(), pairs, st.booleans())
def test_poolings_are_pytorchs(pooling: Any, dilation: tuple[int, int], counted: bool) -> None:
    torch = pytest.importorskip("torch")
    shape, kernel, options = pooling
    o = options | {"count_include_pad": counted}
    same_as_torch(
        lambda x: mg.avg_pool2d(x, kernel, **o),
        lambda x: torch.nn.functional.avg_pool2d(x, kernel, **o),
        [numbers(*shape)],
    )
    spans = [reach(k, d) - k for k, d in zip(kernel, dilation, strict=True)]
    x, o = numbers(*shape[:2], shape[2] + spans[0], shape[3] + spans[1]).round(), options | {"dilation": dilation}
    pool = torch.nn.functional.max_pool2d
    same_as_torch(lambda x: mg.max_pool2d(x, kernel, **o)[0], lambda x: pool(x, kernel, **o), [x])
    _, places = pool(torch.tensor(x), kernel, return_indices=True, **o)
    np.testing.assert_array_equal(np.asarray(mg.max_pool2d(x, kernel, **o)[1]), places.numpy())


@few
@given(
    st.tuples(*[st.integers(1, 4)] * 4),
    st.sampled_from(["bilinear", "nearest"]),
    st.sampled_from(["zeros", "border", "reflection"]),
    st.booleans(),
)
def test_samples_are_pytorchs(size: Any, mode: str, padding_mode: str, align: bool) -> None:
    torch = pytest.importorskip("torch")
    options = dict(mode=mode, padding_mode=padding_mode, align_corners=align)
    x, grid = numbers(2, *size[1:]), 2 * numbers(2, size[0], 3, 2, seed=1)
    same_as_torch(
        lambda *xs: mg.grid_sample(*xs, **options),
        lambda *xs: torch.nn.functional.grid_sample(*xs, **options),
        [x, grid],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of one row or column, where align_corners
        same_as_torch(
            lambda x: mg.affine_grid(x, (2, *size[1:]), align_corners=align),
            lambda x: torch.nn.functional.affine_grid(x, (2, *size[1:]), align_corners=align),
            [numbers(2, 2, 3)],
        )


# ---- odd input


@few
@given(poolings(), pairs, st.sampled_from([-np.inf, np.nan]))
def test_the_place_of_a_greatest_lies_in_the_image_whatever_the_numbers(
    pooling: Any, dilation: tuple[int, int], value: float
) -> None:
    (*batch, H, W), kernel, options = pooling
    spans = [reach(k, d) - k for k, d in zip(kernel, dilation, strict=True)]
    shape, options = (*batch, H + spans[0], W + spans[1]), options | {"dilation": dilation}
    image = np.where(numbers(*shape) > 1, 1.0, value)
    image[:, :, 0, 0] = 1  # of no window that begins in the padding and steps over the corner
    x = mg.tensor(image, requires_grad=True)
    y, places = mg.max_pool2d(x, kernel, **options)
    (g,) = mg.grad(y.sum(), x)
    assert g.numpy().sum() == y.size
    flat, at = x.numpy().reshape(*shape[:2], shape[2] * shape[3]), places.numpy()
    if np.isneginf(value):
        np.testing.assert_array_equal(flat[(*np.indices(at.shape)[:2], at)], y.numpy())


@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_the_greatest_of_whole_numbers_is_one(dtype: str) -> None:
    x = np.arange(9, dtype=dtype).reshape(1, 1, 3, 3)
    y, places = mg.max_pool2d(x, 2, padding=1)
    assert np.asarray(y).dtype == dtype
    np.testing.assert_array_equal(y, [[[[0, 2], [6, 8]]]])
    np.testing.assert_array_equal(places, [[[[0, 2], [6, 8]]]])


@pytest.mark.parametrize("far", [3e4, 1e30, np.inf])
def test_points_far_outside_read_zeros(far: float) -> None:
    x = mg.tensor(numbers(1, 2, 3, 4), requires_grad=True)
    grid = mg.tensor(np.array([[[[far, 0.0], [0.0, -far], [-far, far]]]]), requires_grad=True)
    y = mg.grid_sample(x, grid)
    assert not y.numpy().any()
    assert all(not g.numpy().any() for g in mg.grad(y.sum(), [x, grid]))


@pytest.mark.parametrize("layout", ["channels last", "Fortran's", "read-only"])
def test_a_mean_over_a_million_elements_is_exact_in_every_layout(layout: str) -> None:
    """One float32 sum over all of them, one after another, is wrong by a hundredth."""
    x = 1000 + numbers(16, 2, 256, 256, dtype="float32")
    y, mean, variance = (np.asarray(z) for z in mg.batch_norm(layouts(x)[layout]))
    exact = x.astype("float64")
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-6)  # float32 has 7 digits
    np.testing.assert_allclose(variance, exact.var((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(y[:1], ((exact - 1000) / 1)[:1], atol=2e-2)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 7), (2, 1, 7, 1)])
@pytest.mark.parametrize("options", [{"padding": 5, "dilation": 4}, {"padding": 9, "stride": 8}, {"padding": 2}])
def test_kernels_larger_than_the_image(shape: tuple[int, ...], options: dict[str, int]) -> None:
    check_grads(lambda x, w: mg.conv2d(x, w, **options), numbers(*shape), numbers(1, 1, 3, 3))


def test_a_nan_that_a_convolution_makes_is_pinned_to_it() -> None:
    x = mg.tensor(np.full((1, 1, 2, 2), 1e38, "f4"), requires_grad=True)
    weight = mg.tensor(np.array([[[[1e38, -1e38], [1e38, -1e38]]]], "f4"))
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="conv2d"), mg.detect_anomaly():
        mg.conv2d(x, weight).sum().backward()


def test_a_write_to_an_image_is_noticed() -> None:
    x, weight = (mg.tensor(numbers(1, 1, 2, 2), requires_grad=True) for _ in range(2))
    with mg.guard():
        y = mg.conv2d(x, weight)
        x.data = np.zeros(x.shape)
        with pytest.raises(mg.GraphError, match="conv2d"):
            y.sum().backward()


# ---- wrong input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: mg.conv2d(x[0], w), r"conv2d: expected x \(N, C, H, W\) .* got 3 and 4 axes"),
        (lambda x, w: mg.conv2d(x, w[0]), "got 4 and 3 axes"),
        (lambda x, w: mg.conv2d(x, w[:, :1]), "expected x to have 1 channels, as weight has it, got 2"),
        (lambda x, w: mg.conv2d(x, w[:, :, :0]), "at least one row and column of x and of weight"),
        (lambda x, w: mg.conv2d(x[..., :0], w, padding=1), "at least one row and column of x and of weight"),
        (lambda x, w: mg.conv2d(x, w, np.zeros(3)), r"expected bias of shape \(2,\).* got .*bias of shape \(3,\)"),
        (lambda x, w: mg.conv2d(x, w, groups=3), "groups: expected an integer that divides 2 channels and 2, got 3"),
        (lambda x, w: mg.conv2d(x, w, groups=1.0), "groups: expected an integer .* got 1.0"),
        (lambda x, w: mg.conv2d(x, w, stride=0), "stride: expected an integer of at least 1, or two of them, got 0"),
        (lambda x, w: mg.conv2d(x, w, padding=-1), "padding: expected an integer of at least 0, .* got -1"),
        (lambda x, w: mg.conv2d(x, w, dilation=(1, 1, 1)), "dilation: expected an integer"),
        (lambda x, w: mg.conv2d(x, w, dilation=4), r"window reaches over \(5, 5\) rows and columns"),
        (lambda x, w: mg.conv_transpose2d(x, w[:1]), "expected x to have 1 channels"),
        (lambda x, w: mg.conv_transpose2d(x, w, output_padding=1), "output_padding to be smaller than stride"),
        (lambda x, w: mg.conv_transpose2d(x, w, padding=3), "expected padding that leaves something"),
        (lambda x, w: mg.conv2d_weight(x, x, (2, 2)), r"expected y of \(3, 3\) rows and columns"),
        (lambda x, w: mg.conv2d_weight(x, x[:, :, :2, :2], (2, 2)), r"expected y of \(3, 3\) .* got \(2, 2\)"),
        (lambda x, w: mg.conv2d_weight(x, x[:1], (2, 2)), r"expected x \(N, C, H, W\) and y \(N, F, H', W'\)"),
        (lambda x, w: mg.conv2d_weight(x[0], x, (2, 2)), r"expected x \(N, C, H, W\)"),
        (lambda x, w: mg.conv2d_weight(x, x, (1, 1), groups=4), "groups: expected an integer that divides"),
        (lambda x, w: mg.conv2d_weight(x, x, 1.0), "kernel: expected an integer"),
        (lambda x, w: mg.max_pool2d(x[0], 2), r"max_pool2d: expected x \(N, C, H, W\), got 3 axes"),
        (lambda x, w: mg.max_pool2d(x, 5), "reaches over 5 places, has none within x, where there are 4"),
        (lambda x, w: mg.max_pool2d(x, 2.0), "kernel: expected an integer of at least 1, or two of them, got 2.0"),
        (lambda x, w: mg.max_pool2d(x, 2, padding=2), r"padding of at most half the kernel \(2, 2\), got \(2, 2\)"),
        (lambda x, w: mg.avg_pool2d(x[0, 0], 2), r"avg_pool2d: expected x \(N, C, H, W\), got 2 axes"),
        (lambda x, w: mg.avg_unpool2d(x, (4, 4), 2), "expected y of shape"),
        (lambda x, w: mg.max_unpool2d(x, np.zeros((2, 2, 4, 4)), (4, 4)), "integers of its shape"),
        (lambda x, w: mg.affine_grid(np.zeros((1, 2, 3)), (2, 1, 4, 4)), r"got size \(2, 1, 4, 4\)"),
        (lambda x, w: mg.grid_sample(x, np.zeros((2, 1, 1, 3))), r"expected x .* and grid \(N, H', W', 2\)"),
        (lambda x, w: mg.grid_sample(x, np.zeros((2, 1, 1, 2)), mode="cubic"), "mode 'bilinear' or 'nearest'.*'cubic'"),
        (lambda x, w: mg.batch_norm(x, np.ones(3)), r"expected weight of shape \(2,\)"),
        (lambda x, w: mg.batch_norm(x[:0]), "with elements"),
    ],
)  # fmt: skip
def test_wrong_calls_are_refused_by_name(call: Callable[..., Any], message: str) -> None:
    x, weight = numbers(2, 2, 4, 4), numbers(2, 2, 2, 2)
    with pytest.raises(ValueError, match=message):
        call(x, weight)


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_batch_norm_of_whole_numbers_gives_floats(dtype: str) -> None:
    x = np.arange(24).reshape(2, 3, 2, 2).astype(dtype)
    for found, expected in zip(mg.batch_norm(x), mg.batch_norm(x.astype(float)), strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6, atol=1e-6)


def test_half_precision_sums_are_made_in_more() -> None:
    """Of 180,000 numbers near 2, and of 100 of 1,000: float16 ends at 65,504."""
    x = (numbers(2, 1, 300, 300) * 0.1 + 2).astype(np.float16)
    y, mean, variance = mg.batch_norm(x)
    assert y.dtype == mean.dtype == np.float16
    assert mean.item() == pytest.approx(2, rel=1e-3)
    assert variance.item() == pytest.approx(float(x.astype(np.float64).var()), rel=1e-3)
    weight = mg.tensor(np.ones(1, np.float16), requires_grad=True)
    (g,) = mg.grad(mg.batch_norm(x, weight)[0], weight, y / 4)
    assert g.item() == pytest.approx(45_000, rel=2e-3)  # a quarter of the sum of y * y
    pooled = mg.avg_pool2d(np.full((1, 1, 10, 10), 1000, np.float16), 10)
    assert pooled.item() == 1000
    assert pooled.dtype == np.float16


def test_poolings_of_integers_and_booleans(device: str) -> None:
    x = mg.tensor(np.array([[[[1, 2], [4, 0]]]]), device=device)
    assert mg.avg_pool2d(x, 2).item() == 1.75
    values, _ = mg.max_pool2d(mg.tensor(np.zeros((1, 1, 2, 2), bool), device=device), 3, padding=1)
    assert not values.numpy().any()


def test_the_place_of_a_nan_is_its_own(device: str) -> None:
    x = mg.tensor([[[[1.0, np.nan, 3.0, 2.0, 5.0, 4.0]]]], device=device)
    values, places = mg.max_pool2d(x, (1, 3))
    np.testing.assert_array_equal(values.numpy(), [[[[np.nan, 5]]]])
    np.testing.assert_array_equal(places.numpy(), [[[[1, 4]]]])


def test_a_padding_larger_than_what_is_transposed() -> None:
    x, weight = np.full((1, 1, 1, 1), 3.0), np.full((1, 1, 1, 1), 2.0)
    for options in (dict(dilation=9), dict(stride=9)):
        y = mg.conv_transpose2d(mg.tensor(x), weight, padding=2, output_padding=8, **options).numpy()
        np.testing.assert_array_equal(y, np.zeros((1, 1, 5, 5)))  # the only element lies in the padding


def test_places_outside_the_image_are_refused(device: str) -> None:
    x = mg.tensor(np.ones((1, 1, 1, 1)), device=device)
    for place in (-1, 4):
        with pytest.raises(IndexError, match=rf"max_unpool2d: expected indices in 0\.\.3, got {place}"):
            mg.max_unpool2d(x, np.full((1, 1, 1, 1), place), (2, 2))
