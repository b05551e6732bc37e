"""nn.module: finding, naming, saving, loading and moving parameters, buffers and parts."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import nn


class Block(nn.Module):
    """A part with a parameter on either side of a child, and a buffer."""

    def __init__(self) -> None:
        self.first = nn.Parameter([1.0, 2.0])
        self.inner = nn.Linear(2, 3)
        self.register_buffer("count", np.array([7]))
        self.last = nn.Parameter([[3.0]])

    def forward(self, x: Any) -> Any:
        return mg.sum(self.inner(x * self.first) * self.last)


class Model(nn.Module):
    """Two blocks, and a weight that belongs to the first one too."""

    def __init__(self) -> None:
        self.a = Block()
        self.b = Block()
        self.tied = self.a.first

    def forward(self, x: Any) -> Any:
        return self.a(x) + self.b(x * self.tied)


BLOCK_KEYS = ["first", "last", "count", "inner.weight", "inner.bias"]
KEYS = ["tied", *(f"{block}.{key}" for block in "ab" for key in BLOCK_KEYS)]


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {key: array.copy() for key, array in model.state_dict().items()}


def assert_same(model: nn.Module, values: dict[str, Any]) -> None:
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, values[key])
        assert array.dtype == values[key].dtype


# ---- walking


def test_own_parameters_come_first_and_shared_ones_once() -> None:
    names = [name for name, _ in Model().named_parameters()]
    assert names == [key for key in KEYS if "count" not in key and key != "a.first"]


def test_state_has_shared_parameters_under_each_name() -> None:
    model = Model()
    state = model.state_dict()
    assert list(state) == KEYS
    assert state["tied"] is state["a.first"] is model.tied.data
    assert state["b.count"].dtype == np.int64


def test_modules_and_buffers() -> None:
    model = Model()
    assert [name for name, _ in model.named_modules()] == ["", "a", "a.inner", "b", "b.inner"]
    assert list(model.modules()) == [model, model.a, model.a.inner, model.b, model.b.inner]
    assert list(model.children()) == [model.a, model.b]
    assert [b.item() for b in model.buffers()] == [7, 7]


def test_a_module_used_twice_is_walked_once() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, layer)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert list(model.children()) == [layer]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert layer(np.ones((1, 2), "f4")).node.scope == ("0",)


def test_parameters_take_the_name_of_their_attribute_and_keep_it() -> None:
    model = Model()
    assert model.tied.name == "first"
    assert model.a.inner.weight.requires_grad_(False).requires_grad_(True).name == "weight"
    assert model.to("float64").b.last.name == "last"


def test_calls_are_scoped_by_the_names_parents_gave() -> None:
    model = nn.Sequential(Model())
    assert model[0].a(np.ones((1, 2), "f4")).node.scope == ("a",)
    assert model(np.ones((1, 2), "f4")).node.scope == ("Sequential", "0")


def test_replacing_a_parameter_by_a_mere_tensor_is_refused() -> None:
    model = Block()
    with pytest.raises(TypeError, match=r"Block\.first.*Parameter"):
        model.first = mg.tensor([1.0, 2.0])
    model.first = None
    assert "first" not in model.state_dict()


def test_buffers_are_set_anew_but_registered_once() -> None:
    model = Block()
    model.count = mg.tensor([8])
    assert model.state_dict()["count"] == 8
    with pytest.raises(KeyError, match="'count'"):
        model.register_buffer("count", [1])


def test_parameters_own_their_memory() -> None:
    array = np.ones(2)
    parameter = nn.Parameter(array)
    array[0] = 5
    assert parameter.data.tolist() == [1, 1]


def test_a_copied_module_has_parameters_of_its_own() -> None:
    model = Model()
    twin = copy.deepcopy(model)
    assert twin.tied is twin.a.first
    (model(np.ones((1, 2), "f4")) * twin(np.ones((1, 2), "f4"))).backward()
    np.testing.assert_array_equal(model.tied.grad.data, twin.tied.grad.data)
    nn.init.zeros_(twin.tied)
    assert model.tied.data.all()


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()()


def test_repr_is_a_tree() -> None:
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh()))) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): Tanh()\n"
        "  )\n"
        ")"
    )


# ---- load_state_dict


def test_loading_copies_arrays_and_tensors_of_other_dtypes() -> None:
    model, source = Model(), Model()
    state = {key: mg.tensor(array).to("float64") if array.dtype == "f4" else array for key, array in
             snapshot(source).items()}  # fmt: skip
    assert model.load_state_dict(state) == ([], [])
    assert_same(model, source.state_dict())
    source.tied.data += 1
    assert (model.tied.data != source.tied.data).all()


def test_loading_integers_into_floats() -> None:
    model = nn.Linear(2, 1)
    model.load_state_dict({"weight": np.array([[1, 2]]), "bias": [True]})
    assert model.weight.data.tolist() == [[1, 2]]
    assert model.bias.dtype == np.float32


def test_loading_a_models_own_arrays_in_another_order() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before, state = snapshot(model), model.state_dict()
    swapped = {f"{1 - int(key[0])}{key[1:]}": array for key, array in state.items()}
    model.load_state_dict(swapped)
    np.testing.assert_array_equal(model[0].weight.data, before["1.weight"])
    np.testing.assert_array_equal(model[1].weight.data, before["0.weight"])


@given(st.data())
def test_a_state_that_does_not_fit_changes_nothing_and_is_explained_whole(data: st.DataObject) -> None:
    model = Model()
    before, state = snapshot(model), {key: array + 1 for key, array in snapshot(model).items()}
    faults = data.draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["missing", "shape", "dtype"])))
    extra = data.draw(st.lists(st.sampled_from(["c.weight", "a.bias"]), min_size=not faults, unique=True))
    for key, fault in faults.items():
        if fault == "missing":
            del state[key]
        elif fault == "shape":
            state[key] = np.zeros((*before[key].shape, 2))
        else:
            state[key] = state[key] * 1j
    state |= {key: np.zeros(1) for key in extra}
    with pytest.raises(ValueError, match="load_state_dict: the state is not one of this Model") as caught:
        model.load_state_dict(state)
    assert_same(model, before)
    message = str(caught.value)
    for key, fault in faults.items():
        if fault == "shape":
            assert f"{key}: expected shape {before[key].shape}, got {state[key].shape}" in message
        elif fault == "dtype":
            assert f"{key}: expected dtype {before[key].dtype}, got {state[key].dtype}" in message
    missing = [key for key in KEYS if faults.get(key) == "missing"]
    assert (f"missing keys: {', '.join(missing)}\n" in message) == bool(missing)
    assert (f"unexpected keys: {', '.join(extra)}\n" in message) == bool(extra)


def test_not_strict_passes_over_keys_but_not_over_shapes() -> None:
    model = nn.Linear(2, 1)
    bias = model.bias.data.copy()
    keys = model.load_state_dict({"weight": np.zeros((1, 2)), "other": np.zeros(1)}, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["bias"], ["other"])
    assert not model.weight.data.any()
    assert (model.bias.data == bias).all()
    with pytest.raises(ValueError, match=r"weight: expected shape \(1, 2\), got \(2, 1\)"):
        model.load_state_dict({"weight": np.zeros((2, 1))}, strict=False)


@pytest.mark.parametrize("write", ["load", "init", "optimizer"])
def test_a_graph_that_saved_what_is_overwritten_refuses_to_go_backward(write: str) -> None:
    model = Model()
    loss = model(np.ones((1, 2), "f4"))
    loss.backward(retain_graph=True)
    if write == "load":
        model.load_state_dict(snapshot(model))
    elif write == "init":
        nn.init.zeros_(model.b.last)
    else:
        nn.optim.SGD(model.parameters()).step()
    with pytest.raises(mg.GraphError, match="overwritten"):
        loss.backward()


# ---- modes


def test_train_and_eval_reach_every_module() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert all(module.training for module in model.modules())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())


def test_gradients_are_dropped_and_parameters_frozen() -> None:
    model = Model()
    model(np.ones((1, 2), "f4")).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert not model.requires_grad_(False)(np.ones((1, 2), "f4")).requires_grad
    assert model.requires_grad_()(np.ones((1, 2), "f4")).requires_grad


def test_to_keeps_the_parameters_and_changes_their_arrays() -> None:
    model = Model()
    model.b.last.requires_grad_(False)
    model(np.ones((1, 2), "f4")).backward()
    before, values = list(model.parameters()), snapshot(model)
    assert model.to("float64") is model
    assert all(p is q for p, q in zip(model.parameters(), before, strict=True))
    for key, array in model.state_dict().items():
        assert array.dtype == ("i8" if "count" in key else "f8")
        np.testing.assert_array_equal(array, values[key])
    assert all(p.grad is None for p in model.parameters())
    assert not model.b.last.requires_grad
    assert model.b.last.graph_node().dtype == np.float64
    model(np.ones((1, 2))).backward()
    assert model.tied.grad.dtype == np.float64


def test_to_where_the_model_is_already_changes_nothing() -> None:
    model = Model()
    model(np.ones((1, 2), "f4")).backward()
    arrays, grads = model.state_dict(), [p.grad for p in model.parameters()]
    model.to("float32").to("cpu")
    assert all(array is arrays[key] for key, array in model.state_dict().items())
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))


@pytest.mark.parametrize("target", ["int64", "bool", "nowhere", 3.5])
def test_to_refuses_what_is_neither_a_device_nor_a_floating_dtype(target: Any) -> None:
    model = Model()
    before = snapshot(model)
    with pytest.raises(TypeError, match="to: expected"):
        model.to(target)
    assert_same(model, before)
