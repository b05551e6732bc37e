"""minigrad.creation: what data become, who copies, who shares memory."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool"]
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))


@given(arrays)
def test_arrays_keep_their_values_shape_and_dtype(array: np.ndarray) -> None:
    for make in (mg.tensor, mg.as_tensor):
        t = make(array)
        assert (t.shape, t.ndim, t.size, t.dtype) == (array.shape, array.ndim, array.size, array.dtype)
        assert not t.requires_grad
        np.testing.assert_array_equal(t.numpy(), array)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.0, "float32"),
        ([1.0, 2], "float32"),
        ([[]], "float32"),
        ((1, 2), "int64"),
        (range(3), "int64"),
        (True, "bool"),
        (np.float64(1), "float64"),
        (np.float16(1), "float16"),
        ([np.float64(1), 2.0], "float64"),
        ([np.zeros(2), np.ones(2)], "float64"),
    ],
)
def test_python_numbers_take_the_default_dtype_and_numpy_ones_keep_theirs(data: Any, dtype: str) -> None:
    assert mg.tensor(data).dtype == dtype
    assert mg.as_tensor(data).dtype == dtype


@given(arrays)
def test_tensor_copies_and_as_tensor_shares(array: np.ndarray) -> None:
    assert mg.as_tensor(array).data is array
    assert not np.shares_memory(mg.tensor(array).data, array)
    assert mg.tensor(array).data.flags.writeable


def test_a_tensor_made_of_a_tensor_copies_its_values_and_leaves_its_graph() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    copied = mg.tensor(y)
    assert not copied.requires_grad
    assert not np.shares_memory(copied.data, y.data)
    assert mg.as_tensor(y) is y
    leaf = mg.as_tensor(y, requires_grad=True)
    assert leaf.is_leaf
    assert leaf.data is y.data


def test_as_tensor_of_a_tensor_converts_it_within_its_graph(device: str) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = mg.as_tensor(x, dtype=np.dtype("float64"), device=device)
    assert (y.dtype, y.device) == ("float64", device)
    (y * y).sum().backward()
    assert x.grad is not None
    assert (x.grad.dtype, x.grad.device) == ("float32", "cpu")
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4])


def test_dtype_and_device_are_as_asked(device: str) -> None:
    t = mg.tensor([[1, 2]], requires_grad=True, dtype="float64", device=device)
    assert (t.dtype, t.device, t.shape, t.requires_grad) == ("float64", device, (1, 2), True)


def test_other_libraries_arrays_come_through_dlpack_or_the_array_protocol() -> None:
    class OverDLPack:
        def __init__(self, array: np.ndarray) -> None:
            self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    class OverArray:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            return array

    array = np.arange(3.0)
    for other in (OverDLPack(array), OverArray()):
        assert np.shares_memory(mg.as_tensor(other).data, array)
        assert not np.shares_memory(mg.tensor(other).data, array)


@pytest.mark.parametrize(
    "data",
    ["abc", None, {}, 2**70, [1, None], object(), b"a", np.array(["a"]), np.array([None]), np.datetime64("2020")],
)
def test_data_that_are_not_numbers_are_refused(data: Any) -> None:
    for make in (mg.tensor, mg.as_tensor):
        with pytest.raises(TypeError, match="data: expected numbers, got"):
            make(data)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        mg.tensor([[1], [1, 2]])


def test_a_list_of_tensors_is_refused_in_favour_of_stack() -> None:
    with pytest.raises(TypeError, match=r"mg\.stack"):
        mg.tensor([mg.tensor(1.0), mg.tensor(2.0)])


@pytest.mark.parametrize("data", [1, [1, 2], True, np.arange(2), 1j])
def test_only_floating_point_data_can_require_gradients(data: Any) -> None:
    for make in (mg.tensor, mg.as_tensor):
        with pytest.raises(TypeError, match="requires_grad: expected a floating-point tensor, got dtype"):
            make(data, requires_grad=True)
