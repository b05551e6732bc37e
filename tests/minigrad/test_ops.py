"""Every registered op, by the calls that its own `cases` draw: values, dtypes and gradients, on every device."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backend import generator, move
from minigrad.graph import Node
from minigrad.methods import functions
from minigrad.registry import OPS, Op
from minigrad.testing import check_grads
from minigrad.testing.gradients import Function, as_tuple, flat
from minigrad.testing.strategies import Call, op_calls

NAMES = sorted(name for name, op in OPS.items() if op.forward.__module__.startswith("minigrad."))
ELEMENTWISE = [name for name in NAMES if OPS[name].proof.cases is None]
BINARY = ["matmul", *[name for name in ELEMENTWISE if len(OPS[name].operands) == 2]]
NO_METHOD = {
    "to_device": "Tensor.to calls it",
    "scatter": "only the gradient of getitem needs it",
    "scatter_along_axis": "only the gradient of take_along_axis needs it",
}

every_op = pytest.mark.parametrize("name", NAMES)
few = settings(max_examples=settings.default.max_examples // 5)


@every_op
def test_op_is_complete(name: str) -> None:
    op = OPS[name]
    assert op.forward.__doc__, "a docstring"
    assert op.proof.reference or hasattr(np, name), "a reference, where NumPy has no function of the op's name"
    first = next(iter(inspect.signature(functions[name]).parameters.values()))
    if first.name in op.operands and first.kind is not first.VAR_POSITIONAL and name not in NO_METHOD:
        assert callable(getattr(mg.Tensor, name, None)), "a method of Tensor"


@every_op
@few
@given(data=st.data())
def test_op(name: str, device: str, data: st.DataObject) -> None:
    op = OPS[name]
    call = data.draw(op_calls(op, device), label="call")
    operands = call.operands()
    check_values(op, call, device, np.float64, accuracy=1e-11)
    check_values(op, call, device, np.float32, accuracy=1e-4)

    # some operands vary; the others are constants of any kind
    varies = data.draw(st.lists(st.booleans(), min_size=len(operands), max_size=len(operands)).filter(any))
    kind = data.draw(st.sampled_from(["tensor", "array", "number"]), label="constants")

    def f_on(device: str) -> Callable[..., tuple[mg.Tensor, ...]]:
        constants = [constant(op, x, kind, device) for x in operands]

        def f(*variables: mg.Tensor) -> tuple[mg.Tensor, ...]:
            rest = iter(variables)
            mixed = [next(rest) if v else c for v, c in zip(varies, constants, strict=True)]
            return as_tuple(call.of(functions[name], *mixed))

        return f

    variables = [x for x, v in zip(operands, varies, strict=True) if v]
    if device == "cpu":
        check_grads(f_on("cpu"), *variables)
    else:
        expected = derivatives(f_on("cpu"), variables, "cpu")
        for got, wanted in zip(derivatives(f_on(device), variables, device), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def constant(op: Op, x: np.ndarray, kind: str, device: str) -> Any:
    if kind == "number" and op.name in ELEMENTWISE and not x.ndim:
        return float(x)
    return move(x, device) if kind == "array" else mg.as_tensor(x, device=device)


def check_values(op: Op, call: Call, device: str, dtype: Any, accuracy: float) -> None:
    """An op's outputs, also as a method's, and the dtypes of all that is computed."""
    xs = [mg.as_tensor(move(x.astype(dtype, copy=False), device)) for x in call.operands()]
    outputs = flat(call.of(functions[op.name], *xs))
    reference = op.proof.reference or getattr(np, op.name)
    expected = reference(*call.args, **call.kwargs)
    expected = expected if isinstance(expected, tuple | list) else (expected,)
    assert len(outputs) == len(expected)
    for y, wanted in zip(outputs, expected, strict=True):
        assert y.device == device
        assert y.dtype == (call.kwargs.get("dtype", dtype) if np.asarray(wanted).dtype.kind == "f" else np.int64)
        assert y.shape == np.shape(wanted)
        np.testing.assert_allclose(y.numpy(), wanted, rtol=accuracy, atol=accuracy)
    if hasattr(mg.Tensor, op.name):
        for y, same in zip(outputs, flat(call.of(getattr(mg.Tensor, op.name), *xs)), strict=True):
            np.testing.assert_array_equal(y.numpy(), same.numpy())
    if "dtype" not in call.kwargs:
        check_accumulation(op, call, xs, accuracy)


def check_accumulation(op: Op, call: Call, xs: list[mg.Tensor], accuracy: float) -> None:
    """Gradients stay on the device and in the dtype, and are twice as large where a tensor is used twice."""
    leaves = [x.detach().requires_grad_() for x in xs]
    outputs = [y for _ in range(2) for y in as_tuple(call.of(functions[op.name], *leaves))]
    ones = [mg.as_tensor(np.ones(y.shape, y.dtype), requires_grad=True, device=y.device) for y in outputs]
    half = len(outputs) // 2
    once = mg.grad(outputs[:half], leaves, ones[:half], create_graph=True)
    twice = mg.grad(outputs, leaves, ones)
    for x, g, g2 in zip(xs, once, twice, strict=True):
        assert g.device == x.device
        assert floating_dtypes(g) == {x.dtype}
        np.testing.assert_allclose(g2.numpy(), 2 * g.numpy(), rtol=accuracy, atol=accuracy)


def floating_dtypes(tensor: mg.Tensor) -> set[np.dtype[Any]]:
    """The floating-point dtypes in the graph that a tensor was computed by."""
    seen: set[Node] = set()
    stack: list[Any] = [tensor.node]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack += node.parents
    several = [node.dtype if isinstance(node.dtype, tuple) else (node.dtype,) for node in seen]
    return {dtype for dtypes in several for dtype in dtypes if dtype.kind == "f"}


def derivatives(f: Callable[..., Any], points: Sequence[np.ndarray], device: str) -> list[np.ndarray]:
    """Outputs, first and second derivatives, weighted by the same random numbers on every device."""
    function = Function(f, [move(x, device) for x in points], [""] * len(points))
    found = [function.y]
    for order in 1, 2:
        function = function.gradient(generator(order))
        found.append(function.y)
    return found


# ---- what is peculiar


@pytest.mark.parametrize("name", BINARY)
@given(n=st.integers(2, 5), m=st.integers(2, 5), constant=st.booleans())
def test_shapes_that_do_not_fit_are_named(name: str, device: str, n: int, m: int, constant: bool) -> None:
    """The op, and both shapes."""
    m += m == n
    x = mg.as_tensor(np.ones((n, n)), requires_grad=True, device=device)
    y = mg.as_tensor(np.ones((m, m)), requires_grad=not constant, device=device)
    with pytest.raises(ValueError, match=f"^{name}: ") as error:
        functions[name](x, y)
    assert str(x.shape) in str(error.value)
    assert str(y.shape) in str(error.value)


@pytest.mark.parametrize("index", [[2], [-3]])
@pytest.mark.parametrize(
    "read",
    [
        lambda x, i: x[i],
        lambda x, i: x[1:, ..., None, i],
        lambda x, i: x[x.data[:, 0] > 0, i],
        lambda x, i: mg.take(x, i, axis=0),
        lambda x, i: mg.take_along_axis(x, i[:, None], 1),
        lambda x, i: mg.index_add(x, i, x[:1]),
    ],
)
def test_an_index_out_of_range_raises(read: Callable[..., Any], index: list[int], device: str) -> None:
    """On every device; CuPy's own functions wrap around, and say nothing."""
    x = mg.as_tensor([[1.0, -1.0], [-1.0, -1.0]], device=device)
    with pytest.raises(IndexError):
        read(x, np.array(index))


@pytest.mark.parametrize(
    "read", [lambda x: x[[0, 1, 0]], lambda x: x[[0, 1], [1, -1]], lambda x: mg.take(x, [1, 1], axis=1)]
)
def test_a_list_is_an_index_too(read: Callable[..., Any], device: str) -> None:
    x = np.arange(4.0).reshape(2, 2)
    found = derivatives(lambda x: as_tuple(read(x)), [x], device)
    for got, expected in zip(found, derivatives(lambda x: as_tuple(read(x)), [x], "cpu"), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (mg.absolute, [-1, 0, 1], [-1, 0, 1]),
        (mg.sign, [-1, 0, 1], [0, 0, 0]),
        (mg.relu, [-1, 0, 1], [0, 0, 1]),
        (lambda x: mg.clip(x, -1, 1), [-2, -1, 0, 1, 2], [0, 1, 1, 1, 0]),
        (lambda x: mg.maximum(x, 1), [0, 1, 2], [0, 0.5, 1]),
        (lambda x: mg.minimum(1, x), [0, 1, 2], [1, 0.5, 0]),
        (lambda x: mg.maximum(x, x), [0, 1], [1, 1]),
        (mg.max, [3, 1, 3], [0.5, 0, 0.5]),
        (mg.min, [3, 1, 3], [0, 1, 0]),
        (lambda x: x**2, [0, 1], [0, 2]),
        (lambda x: x**1, [0, 1], [1, 1]),
        (lambda x: x**0, [0, 1], [0, 0]),
        (lambda x: x ** mg.as_tensor(np.array([2.0, 1.0, 0.0]), device=x.device), [0, 0, 0], [0, 1, 0]),
        (lambda x: mg.as_tensor(np.zeros(2), device=x.device) ** x, [1, 2], [0, 0]),
    ],
)
def test_gradients_at_kinks_and_ties_are_the_documented_ones(
    f: Callable[..., Any], x: list[float], expected: list[float], device: str
) -> None:
    leaf = mg.as_tensor(np.array(x, float), requires_grad=True, device=device)
    f(leaf).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_array_equal(leaf.grad.numpy(), expected)


@given(n=st.integers(-3, 4), as_array=st.booleans())
def test_a_negative_base_has_whole_powers(n: int, as_array: bool) -> None:
    check_grads(lambda x: x ** (np.full(3, float(n)) if as_array else n), np.array([-2.5, -1.0, 0.5]))


@given(low=st.booleans(), high=st.booleans())
def test_bounds_of_clip_may_be_arrays(low: bool, high: bool) -> None:
    bounds = np.array([[-1.0], [0.2]])
    check_grads(lambda x: mg.clip(x, bounds if low else None, bounds + 1 if high else None), np.array([-2, 0.5, 2]))


def test_gradients_come_back_across_devices(device: str) -> None:
    check_grads(lambda x, y: mg.exp(x.to(device)) * y, np.array([-1.0, 2.0]), mg.as_tensor(np.ones(2), device=device))


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ([1], ValueError), ([[0, 1, 2]], ValueError), (1, ValueError),
        ([0, 1, 4], IndexError), ([-1, 0, 1], IndexError), ([-100, 0, 1], IndexError), ([0.0, 1.0, 2.0], TypeError),
    ],
)  # fmt: skip
def test_targets_of_another_shape_or_out_of_range_are_refused(target: Any, error: type, device: str) -> None:
    x = mg.as_tensor(np.arange(12.0).reshape(3, 4), requires_grad=True, device=device)
    with pytest.raises(error, match="cross_entropy: expected target"):
        mg.cross_entropy(x, move(np.array(target), device))


@pytest.mark.parametrize("often", [1, 40])
@pytest.mark.parametrize("width", [0, 1, 3])
def test_rows_that_are_read_rarely_or_often_add_up_their_gradients(often: int, width: int, device: str) -> None:
    x = mg.as_tensor(np.zeros((5, width)), requires_grad=True, device=device)
    indices = np.tile([0, 3, -2, 1], often)  # 3 and -2 are one row
    values = np.arange(4.0 * often * width).reshape(4 * often, width)
    (g,) = mg.grad((mg.take(x, indices, axis=0) * mg.as_tensor(values, device=device)).sum(), x)
    expected = np.zeros((5, width))
    np.add.at(expected, indices, values)
    np.testing.assert_array_equal(g.numpy(), expected)  # whole numbers: no rounding


@every_op
@few
@given(data=st.data())
def test_a_wrong_call_is_refused_by_an_error_that_begins_with_the_ops_name(name: str, data: st.DataObject) -> None:
    """Operands that are no numbers, also without a tensor beside; none; too many; a word nobody knows; no such axis."""
    op, function = OPS[name], functions[name]
    call = data.draw(op_calls(op).filter(lambda call: bool(call.operands())))
    xs = [data.draw(st.sampled_from([np.asarray, mg.as_tensor]))(x) for x in call.operands()]
    strange = data.draw(st.sampled_from(["text", object(), {}]))
    k = data.draw(st.integers(0, len(xs) - 1))
    wrong: list[Callable[[], Any]] = [
        lambda: call.of(function, *xs[:k], strange, *xs[k + 1 :]),
        lambda: call.of(function, *[strange] * len(xs)),
        lambda: function(),
        lambda: call.of(lambda *args, **kwargs: function(*args, **kwargs, nonsense=1), *xs),
        lambda: call.of(lambda *args, **kwargs: function(*args, *[xs[0]] * 12, **kwargs), *xs),
    ]
    if "axis" in op.metadata:
        wrong.append(lambda: call.of(lambda *args, **kwargs: function(*args, **{**kwargs, "axis": 99}), *xs))
    for number, attempt in enumerate(wrong):
        if number == 4 and op.variadic:
            continue  # there is no end of operands
        with pytest.raises((TypeError, ValueError, IndexError), match=rf"^{name}\b"):
            attempt()


@pytest.mark.parametrize("name", [name for name in NAMES if {"x", "axis"} == {*OPS[name].names} - {"keepdims", "ddof"}])
@pytest.mark.parametrize("axis", [0, -1, (0,)])
def test_an_axis_of_a_number_is_refused_or_has_a_gradient(name: str, axis: Any, device: str) -> None:
    x = mg.as_tensor(np.array(3.0), requires_grad=True, device=device)
    try:
        y = functions[name](x, axis=axis)
    except (ValueError, TypeError):
        return
    y.sum().backward()
