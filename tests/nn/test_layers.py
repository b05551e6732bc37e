"""nn.layers: shapes, initial values, randomness, and what is refused. PyTorch's values: test_pytorch.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import nn

probabilities = st.floats(0, 1)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


# ---- initial values


@pytest.mark.parametrize(
    ("kind", "sizes", "bound"),
    [
        ("Linear", (100, 50), 1 / 10),
        *((kind, (30, 64), 1 / 8) for kind in ("RNNCell", "LSTMCell", "GRUCell")),
        *((kind, (30, 64, 2), 1 / 8) for kind in ("RNN", "LSTM", "GRU")),
    ],
)
def test_parameters_fill_pytorchs_range_evenly(kind: str, sizes: tuple[int, ...], bound: float) -> None:
    mg.seed(0)
    layer = getattr(nn, kind)(*sizes)
    values = np.concatenate([p.data.ravel() for p in layer.parameters()]) / bound
    assert abs(values).max() <= 1
    # of n uniform draws in [-1, 1]: five standard deviations of the mean, and of the mean square
    assert abs(values.mean()) < 5 * (1 / 3 / values.size) ** 0.5
    assert abs((values**2).mean() - 1 / 3) < 5 * (4 / 45 / values.size) ** 0.5


def test_embeddings_are_standard_normal() -> None:
    mg.seed(0)
    values = nn.Embedding(100, 50).weight.data
    assert abs(values.mean()) < 5 / values.size**0.5
    assert abs(values.var() - 1) < 5 * (2 / values.size) ** 0.5


def test_a_seed_gives_the_same_values_in_every_dtype() -> None:
    mg.seed(3)
    single = nn.GRU(3, 4).state_dict()
    mg.seed(3)
    mg.set_default_dtype("float64")
    try:
        double = nn.GRU(3, 4).state_dict()
    finally:
        mg.set_default_dtype("float32")
    for key, array in double.items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array.astype("f4"), single[key])


# ---- linear and embedding


@given(shapes, st.integers(0, 4))
def test_linear_refuses_another_last_axis(shape: tuple[int, ...], n: int) -> None:
    layer = nn.Linear(3, 2)
    if n == 3:
        assert layer(np.zeros((*shape, 3), "f4")).shape == (*shape, 2)
    else:
        with pytest.raises(ValueError, match=r"expected input of shape \(\.\.\., 3\)"):
            layer(np.zeros((*shape, n), "f4"))
    with pytest.raises(ValueError, match="linear"):
        layer(np.float32(1))


@given(shapes, st.data())
def test_embedding_gives_rows_and_adds_up_their_gradients(device: str, shape: tuple[int, ...], data: Any) -> None:
    layer = nn.Embedding(4, 3).to(device)
    ids = np.array(data.draw(st.lists(st.integers(0, 3), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))))
    ids = ids.astype(data.draw(st.sampled_from(["i8", "i4", "u1"]))).reshape(shape)
    rows = layer(mg.tensor(ids) if data.draw(st.booleans()) else ids)
    np.testing.assert_array_equal(rows.numpy(), layer.weight.numpy()[ids])
    rows.sum().backward()
    counts = np.bincount(ids.ravel(), minlength=4)
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.repeat(counts[:, None], 3, axis=1))


@given(st.lists(st.integers(-3, 6), min_size=1))
def test_ids_out_of_range_are_refused_by_the_worst(device: str, ids: list[int]) -> None:
    layer = nn.Embedding(4, 3).to(device)
    outside = [i for i in ids if not 0 <= i < 4]
    if not outside:
        layer(np.array(ids))
        return
    with pytest.raises(IndexError, match=r"embedding: input: expected integers in 0\.\.3, got (-?\d+)") as caught:
        layer(mg.tensor(np.array(ids), device=device))
    distance = {i: -i if i < 0 else i - 3 for i in outside}
    assert distance[int(str(caught.value).split()[-1])] == max(distance.values())


@pytest.mark.parametrize("ids", [[0.0], [True]])
def test_ids_that_are_not_integers_are_refused(ids: list[Any]) -> None:
    with pytest.raises(TypeError, match="expected integers, got dtype"):
        nn.Embedding(4, 3)(np.array(ids))


# ---- layer norm


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), st.data())
def test_layer_norm_gives_mean_0_and_variance_1(shape: tuple[int, ...], data: Any) -> None:
    axes = tuple(range(data.draw(st.integers(0, len(shape) - 1)), len(shape)))
    x = np.random.default_rng(0).normal(3, 5, shape)
    y = nn.LayerNorm([shape[axis] for axis in axes], eps=1e-12)(x).data
    np.testing.assert_allclose(y.mean(axis=axes), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(axis=axes), x.var(axis=axes) > 0, atol=1e-6)


def test_layer_norm_of_constants_is_its_bias_and_stays_float32() -> None:
    layer = nn.LayerNorm(3)
    layer.load_state_dict({"weight": [1.0, 2.0, 3.0], "bias": [4.0, 5.0, 6.0]})
    x = mg.tensor(np.full((2, 3), 7, "f4"), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.data.tolist() == [[4, 5, 6]] * 2
    assert y.dtype == x.grad.dtype == np.float32
    assert np.isfinite(x.grad.data).all()


def test_layer_norm_leaves_out_what_it_is_told_to() -> None:
    assert list(nn.LayerNorm(3).state_dict()) == ["weight", "bias"]
    assert list(nn.LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert not nn.LayerNorm(3, elementwise_affine=False).state_dict()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LayerNorm(3)(np.zeros((3, 2))), r"input of shape .*\(3,\), got \(3, 2\)"),
        (lambda: nn.LayerNorm((2, 3))(np.zeros(3)), r"\(2, 3\), got \(3,\)"),
        (lambda: nn.functional.layer_norm(np.zeros(3), ()), "expected input of shape"),
        (lambda: nn.functional.layer_norm(np.zeros((2, 3)), (2, 3), np.zeros(3)), r"weight of .* got \(3,\)"),
        (lambda: nn.functional.layer_norm(np.zeros(3), (3,), None, np.zeros(1)), r"bias of .* got \(1,\)"),
    ],
)
def test_layer_norm_refuses_other_shapes(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ---- dropout


@given(probabilities, shapes)
def test_dropout_zeroes_or_scales(device: str, p: float, shape: tuple[int, ...]) -> None:
    x = mg.tensor(np.ones(shape), requires_grad=True, device=device)
    y = nn.Dropout(p)(x)
    assert y.shape == shape
    values = y.numpy()
    assert np.isin(values, [0.0, 1 / (1 - p) if p < 1 else 0.0]).all()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)  # the mask is a constant factor


@given(probabilities, shapes)
def test_dropout_in_evaluation_is_the_identity(p: float, shape: tuple[int, ...]) -> None:
    x = mg.tensor(np.ones(shape))
    assert nn.Dropout(p).eval()(x) is x


def test_dropout_keeps_the_share_it_should_and_the_dtype() -> None:
    mg.seed(0)
    y = nn.Dropout(0.2)(mg.tensor(np.ones(10_000, "f4")))
    assert y.dtype == np.float32
    assert abs((y.data > 0).mean() - 0.8) < 5 * (0.2 * 0.8 / 10_000) ** 0.5
    assert not nn.Dropout(1.0)(y).data.any()


def test_dropout_draws_from_the_generator_it_is_given(device: str) -> None:
    x = mg.tensor(np.ones(50), device=device)
    first, second = (nn.Dropout(0.5, generator=mg.generator(3))(x) for _ in range(2))
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    mg.seed(4)
    third = nn.Dropout(0.5)(x)
    mg.seed(4)
    assert (third.numpy() == nn.Dropout(0.5)(x).numpy()).all()
    assert (third.numpy() != first.numpy()).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_dropout_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r"p: expected a probability in \[0, 1\], got"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match="probability"):
        nn.functional.dropout(mg.tensor([1.0]), p)


# ---- the rest


def test_activations_and_flatten() -> None:
    x = mg.tensor([[-1.0, 0.0], [2.0, 3.0]])
    for layer, expected in [
        (nn.ReLU(), np.maximum(x.data, 0)),
        (nn.Tanh(), np.tanh(x.data)),
        (nn.Sigmoid(), 1 / (1 + np.exp(-x.data))),
        (nn.Flatten(), x.data),
    ]:
        np.testing.assert_allclose(layer(x).data, expected, rtol=1e-6)
    assert nn.Flatten()(np.zeros((3, 0, 2))).shape == (3, 0)


def test_sequential_is_a_row_of_modules() -> None:
    first, second = nn.Linear(2, 3), nn.Tanh()
    model = nn.Sequential(first, second)
    assert list(model) == [model[0], model[-1]] == [first, second]
    assert len(model) == 2
    x = np.ones((1, 2), "f4")
    assert (model(x) == np.tanh(first(x).data)).all()
    assert nn.Sequential()(x) is x
    with pytest.raises(IndexError):
        model[2]


def test_a_module_list_is_a_list_whose_parameters_are_found() -> None:
    first, second, third = nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1, bias=False)
    layers = nn.ModuleList([first])
    assert layers.append(second).extend(iter([third])) is layers
    assert list(layers) == [layers[0], layers[1], layers[-1]] == [first, second, third]
    assert len(layers) == 3

    class Model(nn.Module):
        def __init__(self) -> None:
            self.layers = layers

    assert list(Model().state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.2.weight"]
    assert not list(nn.ModuleList())
    with pytest.raises(IndexError):
        layers[3]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(np.zeros(2))


@given(st.integers(0, 3), st.integers(0, 3))
def test_a_row_refuses_what_is_no_module_and_stays_as_it_was(before: int, good: int) -> None:
    for row in (nn.ModuleList(nn.Tanh() for _ in range(before)), nn.Sequential(*[nn.Tanh()] * before)):
        with pytest.raises(TypeError, match=rf"{type(row).__name__}: expected modules, got function at place {good}"):
            row.extend([nn.Tanh()] * good + [mg.tanh])
        assert len(row) == before


def test_reprs_are_pytorchs() -> None:
    assert repr(nn.LayerNorm(3)) == "LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)"
    assert repr(nn.ModuleList([nn.Tanh()])) == "ModuleList(\n  (0): Tanh()\n)"
    assert repr(nn.Embedding(4, 3)) == "Embedding(4, 3)"
    assert repr(nn.Dropout(0.1)) == "Dropout(p=0.1)"
    assert repr(nn.Linear(2, 1, bias=False)) == "Linear(in_features=2, out_features=1, bias=False)"
    assert repr(nn.LSTM(3, 4, 2, batch_first=True)) == "LSTM(3, 4, num_layers=2, batch_first=True)"
    assert repr(nn.RNNCell(3, 4, bias=False, nonlinearity="relu")) == "RNNCell(3, 4, bias=False, nonlinearity=relu)"
