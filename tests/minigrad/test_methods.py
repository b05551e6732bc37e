"""minigrad.methods: what a Tensor does beside being part of a graph, and what it refuses."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

OPERATORS: list[Callable[[Any, Any], Any]] = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul,
]  # fmt: skip
COMPARISONS: list[Callable[[Any, Any], Any]] = [
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip

small = st.integers(1, 4)


def variable(data: Any, device: str = "cpu") -> mg.Tensor:
    return mg.tensor(data, requires_grad=True, device=device)


# ---- operators


@pytest.mark.parametrize("operate", OPERATORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("left", ["tensor", "array"])
@pytest.mark.parametrize("right", ["tensor", "array"])
def test_operators_with_tensors_and_arrays_on_either_side(
    operate: Callable[[Any, Any], Any], left: str, right: str
) -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([2.0, 0.5])
    x = variable(a) if left == "tensor" else a
    y = variable(b) if right == "tensor" else b
    result = operate(x, y)
    np.testing.assert_array_equal(np.asarray(getattr(result, "data", result)), operate(a, b))
    if (left, right) != ("array", "array"):
        assert isinstance(result, mg.Tensor)
        assert result.requires_grad


@given(st.floats(0.5, 4), small)
def test_operators_with_python_and_numpy_scalars_on_either_side(number: float, whole: int) -> None:
    x = mg.tensor([1.0, 2.0, 4.0])
    for operate in OPERATORS[:-1]:
        for scalar in (number, whole, np.float64(number), np.int8(whole), np.float16(number)):
            for result, expected in (
                (operate(x, scalar), operate(x.numpy(), float(scalar))),
                (operate(scalar, x), operate(float(scalar), x.numpy())),
            ):
                assert isinstance(result, mg.Tensor)
                assert result.dtype == "float32"
                np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)  # float32's seven digits


def test_signs_and_powers() -> None:
    x = mg.tensor([1.0, -2.0])
    assert (+x) is x
    np.testing.assert_array_equal((-x).numpy(), [-1, 2])
    np.testing.assert_array_equal(abs(x).numpy(), [1, 2])
    np.testing.assert_array_equal((x**2).numpy(), [1, 4])
    np.testing.assert_array_equal((2**x).numpy(), [2, 0.25])


def test_augmented_assignment_rebinds_and_leaves_the_old_tensor_alone() -> None:
    x = variable([1.0, 2.0])
    y = x
    y += 1
    y *= x
    assert y is not x
    np.testing.assert_array_equal(x.numpy(), [1, 2])
    np.testing.assert_array_equal(y.numpy(), [2, 6])
    (dx,) = mg.grad(y, x, np.ones(2))
    np.testing.assert_array_equal(dx.numpy(), [3, 5])


def test_an_array_is_not_added_to_in_place() -> None:
    array = np.zeros(2)
    with pytest.raises(TypeError, match=r"np\.add on a Tensor"):
        array += variable([1.0, 2.0])
    np.testing.assert_array_equal(array, [0, 0])


def test_operands_that_are_neither_arrays_nor_numbers_are_refused() -> None:
    x = mg.tensor([1.0])
    for other in ([1.0], "1", {}, object()):
        with pytest.raises(TypeError, match="add: expected y to be a tensor, an array or a number"):
            x + other
    with pytest.raises(TypeError):
        x + None


def test_the_matrix_product_refuses_numbers_by_name() -> None:
    for number in (2.0, mg.tensor(2.0)):
        with pytest.raises(ValueError, match="matmul"):
            mg.tensor([1.0]) @ number


# ---- comparisons


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda f: f.__name__)
def test_comparisons_give_plain_boolean_arrays(compare: Callable[[Any, Any], Any], device: str) -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([1.0, 2.0])
    x, y = variable(a, device), variable(b, device)
    result = compare(x, y)
    assert type(result) is type(x.data)
    assert result.dtype == bool
    np.testing.assert_array_equal(mg.as_tensor(result).numpy(), compare(a, b))
    np.testing.assert_array_equal(mg.as_tensor(compare(x, 2)).numpy(), compare(a, 2))
    np.testing.assert_array_equal(mg.as_tensor(compare(2, x)).numpy(), compare(2, a))


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda f: f.__name__)
def test_arrays_compare_with_tensors(compare: Callable[[Any, Any], Any]) -> None:
    a, b = np.array([1.0, 2.0]), np.array([2.0, 2.0])
    result = compare(a, variable(b))
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, compare(a, b))


def test_tensors_hash_by_identity() -> None:
    x, y = mg.tensor([1.0]), mg.tensor([1.0])
    assert len({x, y, x}) == 2
    assert {x: 1}[x] == 1


# ---- conversions


def test_one_element_converts_to_python_numbers() -> None:
    x = variable([[2.5]])
    assert float(x) == x.item() == 2.5
    assert int(x) == 2
    assert bool(x)
    assert not mg.tensor(0.0)
    assert ["a", "b"][mg.tensor(1)] == "b"
    assert list(range(mg.tensor([3]))) == [0, 1, 2]


@pytest.mark.parametrize("convert", [float, int, bool, operator.index])
def test_several_elements_do_not(convert: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"size 1|ambiguous"):
        convert(mg.tensor([1, 2]))


def test_a_float_is_no_index() -> None:
    with pytest.raises(TypeError, match="expected an integer tensor as an index, got dtype float32"):
        operator.index(mg.tensor(1.0))


@given(st.lists(small, min_size=1, max_size=3))
def test_length_and_iteration_are_over_the_first_axis(shape: list[int]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    x = variable(array)
    assert len(x) == len(array)
    rows = list(x)
    assert all(row.requires_grad for row in rows)
    for row, expected in zip(rows, array, strict=True):
        np.testing.assert_array_equal(row.numpy(), expected)
    first, *_ = x
    (dx,) = mg.grad(first, x, np.ones(first.shape))
    np.testing.assert_array_equal(dx.numpy()[0], 1)
    np.testing.assert_array_equal(dx.numpy()[1:], 0)


def test_a_number_has_no_length() -> None:
    for ask in (len, list):
        with pytest.raises(TypeError, match="0-d tensor"):
            ask(mg.tensor(1.0))


def test_numpy_gives_the_values_and_shares_the_hosts_memory(device: str) -> None:
    x = variable([1.0, 2.0], device)
    array = x.numpy()
    assert type(array) is np.ndarray
    np.testing.assert_array_equal(array, [1, 2])
    if device == "cpu":
        assert array is x.data


def test_detach_shares_memory_and_has_no_graph() -> None:
    y = variable([1.0]) * 2
    constant = y.detach()
    assert constant.data is y.data
    assert not constant.requires_grad
    assert not (constant * 2).requires_grad


def test_to_changes_device_or_dtype_inside_the_graph(device: str) -> None:
    x = variable([1.0, 2.0])
    assert x.to("cpu") is x
    assert x.to("float32") is x
    y = x.to(device).to("float64").to(np.float16)
    assert (y.device, y.dtype) == (device, "float16")
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad.device, x.grad.dtype) == ("cpu", "float32")


@pytest.mark.parametrize("target", [None, "cuda:0", "complicated", 3.5])
def test_to_refuses_what_is_neither_device_nor_dtype(target: Any) -> None:
    with pytest.raises(TypeError, match="to: expected a dtype or a device"):
        mg.tensor([1.0]).to(target)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("source", ["float64", "int64", "bool"])
def test_astype_gives_the_dtype_that_was_asked_for(source: str, dtype: str) -> None:
    assert mg.tensor(np.array([0, 1]).astype(source)).astype(dtype).dtype == dtype


def test_integers_of_a_variable_are_constants() -> None:
    assert not variable([1.5]).astype("int64").requires_grad


def test_repr_shows_values_dtype_and_the_graph(device: str) -> None:
    shown = repr(variable([[1.0, 2.5]], device))
    where = "" if device == "cpu" else f", device={device!r}"
    assert shown == f"Tensor([[1. , 2.5]], dtype=float32{where}, requires_grad=True)"
    assert repr(mg.tensor([1, 2])) == "Tensor([1, 2], dtype=int64)"


# ---- to other libraries: the graph is never cut silently


def test_dlpack_shares_memory() -> None:
    x = mg.tensor([1.0, 2.0])
    assert np.shares_memory(np.from_dlpack(x), x.data)


def test_asarray_of_a_constant_shares_memory() -> None:
    x = mg.tensor([1.0, 2.0])
    assert np.asarray(x) is x.data
    assert np.array(x, dtype=np.float16).dtype == np.float16


@pytest.mark.parametrize(
    "leave",
    [
        np.asarray,
        np.array,
        np.from_dlpack,
        lambda t: np.asarray(t, np.float32),
        lambda t: np.array([t, t]),
        lambda t: np.zeros(2).__setitem__(slice(None), t),
        lambda t: np.testing.assert_allclose(t, t),
        lambda t: np.random.default_rng(0).normal(t),
    ],
)
def test_what_requires_gradients_does_not_become_an_array_unasked(leave: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"would cut its graph; say \.detach\(\) or \.data"):
        leave(variable([1.0, 2.0]))


def test_asarray_does_not_fetch_from_a_device(device: str) -> None:
    x = mg.tensor([1.0], device=device)
    if device == "cpu":
        np.asarray(x)
    else:
        with pytest.raises(TypeError, match=r"copy it to the host first, with \.numpy\(\)"):
            np.asarray(x)


# ---- NumPy's functions


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (np.exp, ()), (np.abs, ()), (np.negative, ()), (np.square, ()), (np.sum, ()), (np.mean, ()), (np.max, ()),
        (np.var, ()), (np.transpose, ()), (np.squeeze, ()), (np.multiply, (2.0,)), (np.power, (2,)),
        (np.maximum, (1.5,)), (np.true_divide, (2.0,)), (np.matmul, (np.eye(2),)), (np.clip, (0, 2)),
        (np.reshape, (4,)), (np.tile, (2,)), (np.pad, (1,)),
        (np.swapaxes, (0, 1)), (np.broadcast_to, ((3, 2, 2),)), (np.expand_dims, (0,)), (np.outer, ([1.0],)),
        (np.tensordot, (np.eye(2),)), (np.take_along_axis, (np.zeros((1, 2), int), 0)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_numpy_function_becomes_the_op_of_its_name(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    arguments = tuple(np.array(a) if isinstance(a, list) else a for a in arguments)
    result = function(variable(array), *arguments)
    assert isinstance(result, mg.Tensor)
    assert result.requires_grad
    np.testing.assert_allclose(result.numpy(), function(array, *arguments))


def test_numpy_functions_pass_keywords_and_lists_on() -> None:
    x = variable([[1.0, 2.0], [3.0, 4.0]])
    assert np.sum(x, axis=1, keepdims=True).shape == (2, 1)
    assert np.concatenate([x, x], axis=-1).shape == (2, 4)
    assert np.stack([x, x]).shape == (2, 2, 2)
    assert np.einsum("ij->j", x).shape == (2,)
    assert np.where(np.array([True, False]), x, 0.0).requires_grad
    assert [part.shape for part in np.split(x, 2)] == [(1, 2), (1, 2)]
    assert type(np.equal(x, x)) is np.ndarray
    assert type(np.less(x, 2)) is np.ndarray


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (np.isnan, "np.isnan"),
        (np.std, "np.std"),
        (np.sort, "np.sort"),
        (np.zeros_like, "np.zeros_like"),
        (np.linalg.norm, "np.norm"),
        (lambda t: np.mod(t, 2), "np.remainder"),
        (lambda t: np.dot(t, t), "np.dot"),
        (lambda t: np.add(t, t, out=np.zeros(2)), r"np\.add .* with \['out'\]"),
        (np.add.reduce, r"np\.add\.reduce"),
        (lambda t: np.sum(t, out=np.zeros(())), r"sum\(.*'out'"),
        (lambda t: np.sum(t, 0), r"sum\("),
        (lambda t: np.pad(t, 1, mode="edge"), r"pad\(.*'mode'"),
    ],
)
def test_a_numpy_function_that_is_no_op_raises_and_is_named(call: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(TypeError, match=name):
        call(variable([1.0, 2.0]))


# ---- indexing


def test_assignment_to_elements_raises_and_says_what_to_use() -> None:
    x = variable([1.0, 2.0])
    with pytest.raises(TypeError, match=r"mg\.where.*mg\.index_add"):
        x[0] = 5.0
    with pytest.raises(TypeError, match=r"mg\.where"):
        x[0] += 5.0
    np.testing.assert_array_equal(x.numpy(), [1, 2])


@pytest.mark.parametrize(
    "index",
    [
        0, -1, np.int64(1), slice(None, None, -1), ..., None, True, (0, 1), (..., 0), (None, slice(1), ...),
        [0, 1, 0], [True, False], [], [[0, 1], [1, 1]], np.array(1), np.array([0, -1, 0]), np.array([True, False]),
        ([0, 0], [1, -1]), (np.array([True, True]), np.array([0, 0])), (slice(None), [0, 0], None),
        np.ones((2, 2), bool), (),
    ],
    ids=repr,
)  # fmt: skip
def test_every_kind_of_numpy_index_and_its_gradient(index: Any) -> None:
    array = np.arange(12.0).reshape(2, 2, 3)
    x = variable(array)
    y = x[index]
    np.testing.assert_array_equal(y.numpy(), array[index])
    (dx,) = mg.grad(y, x, np.ones(y.shape))
    counted = np.zeros(array.shape)
    np.add.at(counted, index, 1)
    np.testing.assert_array_equal(dx.numpy(), counted)


def test_tensors_are_indices(device: str) -> None:
    x = variable([1.0, 2.0, 3.0], device)
    for index in (mg.tensor([2, 2]), mg.tensor([2, 2], device=device), np.array([2, 2])):
        np.testing.assert_array_equal(x[index].numpy(), [3, 3])
    assert x[mg.tensor(1)].item() == 2
    np.testing.assert_array_equal(x[x > 1].numpy(), [2, 3])
    with pytest.raises(IndexError, match="getitem"):
        x[mg.tensor([0.5], device=device)]


def test_a_bad_index_names_the_op_the_shape_and_the_index() -> None:
    x = variable([1.0, 2.0])
    with pytest.raises(IndexError, match=r"getitem: .*5 is out of bounds.*x of shape \(2,\).*index 5"):
        x[5]
    with pytest.raises(IndexError, match=r"getitem: .*index 1\.0"):
        x[1.0]


# ---- ops as methods


def test_a_shape_is_given_as_numbers_or_as_a_tuple() -> None:
    x = mg.tensor(np.zeros((2, 3, 4)))
    assert x.reshape(4, 6).shape == x.reshape((4, 6)).shape == (4, 6)
    assert x.reshape(-1).shape == (24,)
    assert x[0, 0, 0].reshape().shape == ()
    assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == (4, 2, 3)
    assert x.transpose().shape == x.T.shape == (4, 3, 2)
