"""minigrad.graph and operands: what an op makes of its operands, what it records, and what goes stale."""

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.graph import Node
from minigrad.methods import functions
from minigrad.registry import OPS

FLOATS = ["float16", "float32", "float64"]
EXACT = ["bool", "int8", "int64", "uint8"]
floats, exact = st.sampled_from(FLOATS), st.sampled_from(EXACT)


def variable(data: Any, dtype: Any = None, device: str = "cpu") -> mg.Tensor:
    return mg.tensor(data, requires_grad=True, dtype=dtype, device=device)


@pytest.fixture
def own_ops() -> Iterator[None]:
    """Takes back the ops that a test registered."""
    ops, public = dict(OPS), dict(functions)
    yield
    for registry, before in ((OPS, ops), (functions, public)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


# ---- dtypes: scalars are weak, integers follow, floats promote


@given(floats, st.sampled_from([True, 2, 2.5, np.float64(2.5), np.float16(2), np.int64(2), np.bool_(True)]))
def test_scalars_are_weak(dtype: str, scalar: Any) -> None:
    x = mg.tensor([1.0, 2.0], dtype=dtype)
    for result in (x + scalar, scalar * x, x / scalar, mg.maximum(scalar, x), mg.where(x > 1, x, scalar), x**scalar):
        assert result.dtype == dtype
    assert x.clip(scalar, None).dtype == dtype
    assert mg.pad(x, 1, constant_values=scalar).dtype == dtype


@given(floats, exact)
def test_integers_and_booleans_take_the_dtype_of_the_floats(dtype: str, other: str) -> None:
    x, n = mg.tensor([1.0, 2.0], dtype=dtype), np.array([1, 1]).astype(other)
    for operand in (n, mg.tensor(n)):
        for result in (
            x * operand,
            operand + x,
            x**operand,
            mg.concatenate([operand, x]),
            mg.einsum("i,i->", x, operand),
        ):
            assert result.dtype == dtype


@given(floats, floats)
def test_two_float_arrays_promote_as_numpys_and_gradients_keep_each_ones_dtype(first: str, second: str) -> None:
    x, y = variable([1.0, 2.0], first), variable([3.0], second)
    z = x * y + mg.concatenate([y, y]) @ x
    assert z.dtype == np.result_type(np.dtype(first), np.dtype(second))
    z.backward(np.ones(2))
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.dtype, y.grad.dtype) == (first, second)
    for d in mg.grad(mg.sum(x * y), (x, y), create_graph=True):
        assert d.dtype in (first, second)


@given(exact, exact)
def test_integers_alone_stay_exact_or_become_the_default_dtype(first: str, second: str) -> None:
    x, y = mg.tensor(np.array([1, 1]).astype(first)), mg.tensor(np.array([1, 1]).astype(second))
    assert (x + y).dtype == np.result_type(np.dtype(first), np.dtype(second))
    for result in (x / y, x * 0.5, x.mean(), x.exp(), x.sqrt(), x.sigmoid(), mg.tanh(y), y + np.float64(1)):
        assert result.dtype == "float32"


def test_an_array_of_no_dimension_is_an_array_and_no_scalar() -> None:
    assert (mg.tensor(1.0) + np.array(1.0)).dtype == "float64"


@given(st.sampled_from(FLOATS))
def test_0_dimensional_results_are_arrays(dtype: str) -> None:
    x = variable(1.5, dtype)
    for result in (
        x * x,
        x + 1,
        2 / x,
        x**2,
        x.exp(),
        x.sum(),
        x.relu(),
        x.reshape(1)[0],
        mg.maximum(x, 1.0),
        x.softplus(),
    ):
        assert type(result.data) is np.ndarray
        assert (result.shape, result.dtype) == ((), dtype)
        (dx,) = mg.grad(result, x)
        assert type(dx.data) is np.ndarray
        assert (dx.shape, dx.dtype) == ((), dtype)


# ---- devices


def test_exact_host_arrays_move_to_the_device_by_themselves(device: str) -> None:
    x = variable([[1.0, 2.0], [3.0, 4.0]], device=device)
    ids, mask = np.array([1, 1]), np.array([True, False])
    for result in (
        x * ids,
        mask * x,
        x[ids],
        x[mask],
        mg.where(mask, x, 0.0),
        mg.take(x, ids, axis=0),
        x * mg.tensor(ids),
    ):
        assert result.device == device


def test_floats_of_two_devices_are_refused_by_name(device: str) -> None:
    if device == "cpu":
        pytest.skip("takes two devices")
    x, host = mg.tensor([1.0], device=device), np.array([1.0])
    for other in (host, mg.tensor(host)):
        for call in (lambda other=other: x + other, lambda other=other: other * x):
            with pytest.raises(mg.DeviceError, match=rf"expected [xy] on device '{device}'.*got it on 'cpu'"):
                call()
    with pytest.raises(mg.DeviceError, match=r"concatenate: expected tensors\[1\]"):
        mg.concatenate([x, host])


# ---- calls


def test_arrays_alone_give_arrays_and_a_tensor_anywhere_gives_tensors() -> None:
    array, mask = np.array([1.0, 2.0]), np.array([True, False])
    assert type(mg.add(array, array)) is np.ndarray
    assert type(mg.where(mask, array, 0.0)) is np.ndarray
    for result in (
        mg.add(array, mg.tensor(array)),
        mg.where(mg.tensor(mask), array, 0.0),
        mg.where(mg.tensor(mask), 1.0, 0.0),
        mg.take(array, mg.tensor([0, 0]), axis=0),
        mg.clip(array, mg.tensor(1.5), None),
    ):
        assert isinstance(result, mg.Tensor)


def test_metadata_is_not_differentiated() -> None:
    with pytest.raises(TypeError, match=r"clip: min is not differentiated; give a constant, min\.detach\(\)"):
        mg.clip(mg.tensor([1.0]), variable(0.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mg.sum(x, 0), r"sum\(.*too many positional arguments"),
        (lambda x: mg.sum(x, axes=0), r"sum\b.*'axes'"),
        (lambda x: mg.reshape(x), r"reshape\(.*'shape'"),
        (lambda x: mg.clip(x, 0.0, min=5.0), r"clip\(.*'min'"),
        (lambda x: mg.einsum(), r"einsum\(.*'subscripts'"),
        (lambda x: mg.exp(), r"exp"),
        (lambda x: mg.add(x), r"add"),
    ],
)
def test_a_call_that_does_not_fit_names_the_op_and_the_argument(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(mg.tensor([1.0]))


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda x, y: x + y, ((2,), (3,))),
        (lambda x, y: x * y, ((2, 2), (3, 2))),
        (lambda x, y: x @ y, ((2, 3), (2, 3))),
        (lambda x, y: mg.maximum(x, y), ((4,), (3,))),
        (lambda x, y: mg.concatenate([x, y]), ((2, 2), (2, 3))),
        (lambda x, y: mg.stack([x, y]), ((2,), (3,))),
        (lambda x, y: mg.einsum("ij,jk->ik", x, y), ((2, 3), (2, 3))),
        (lambda x, y: mg.tensordot(x, y, 1), ((2, 3), (2, 3))),
        (lambda x, y: mg.where(np.ones(2, bool), x, y), ((3,), (2,))),
    ],
)
def test_shapes_that_do_not_fit_are_both_in_the_error_with_the_ops_name(
    call: Callable[[Any, Any], Any], shapes: tuple[Any, Any]
) -> None:
    x, y = (variable(np.zeros(shape)) for shape in shapes)
    with pytest.raises(ValueError, match=r"^\w+: ") as caught:
        call(x, y)
    for shape in shapes:
        assert f"of shape {shape}" in str(caught.value)
    assert str(caught.value).partition(":")[0] in OPS


# ---- ops of the user


@pytest.mark.usefixtures("own_ops")
def test_a_users_op_is_an_op_like_the_engines() -> None:
    @mg.op(x=lambda g, x: g * (3 * x * x))
    def cube(xp: Any, x: Any) -> mg.Tensor:
        """The third power."""
        return x**3  # type: ignore[no-any-return]

    x = variable([1.0, 2.0])
    y = cube(x)
    assert (cube.__name__, cube.__doc__) == ("cube", "The third power.")
    assert y.node is not None
    assert y.node.op is OPS["cube"]
    (dx,) = mg.grad(y.sum(), x, create_graph=True)
    np.testing.assert_array_equal(dx.numpy(), [3, 12])
    np.testing.assert_array_equal(mg.grad(dx.sum(), x)[0].numpy(), [6, 12])
    assert type(cube(np.ones(2))) is np.ndarray


@pytest.mark.usefixtures("own_ops")
def test_a_users_op_may_have_several_operands_results_and_metadata() -> None:
    def scaled_back(g: Any, tensors: Any, factor: float, shapes: Any) -> list[Any]:
        assert shapes == ((2,), (1,))
        return [g[0] * factor, g[1] * tensors[1]]

    @mg.op(backward=scaled_back)
    def scaled(xp: Any, *tensors: Any, factor: float) -> tuple[mg.Tensor, ...]:
        return tensors[0] * factor, tensors[1] ** 2 / 2

    x, y = variable([1.0, 2.0]), variable([3.0])
    a, b = scaled(x, y, factor=10.0)
    dx, dy = mg.grad([a, b], [x, y], [np.ones(2), np.ones(1)], create_graph=True)
    np.testing.assert_array_equal(dx.numpy(), [10, 10])
    np.testing.assert_array_equal(dy.numpy(), [3])
    np.testing.assert_array_equal(mg.grad(dy, y)[0].numpy(), [1])
    assert mg.grad(a, [x, y], np.ones(2))[1].numpy() == 0  # what arrives at an unused output is 0


@pytest.mark.usefixtures("own_ops")
def test_a_formula_that_reads_several_results_gets_a_list_of_them() -> None:
    @mg.op(x=lambda g, out: g[0] * out[0] + g[1] * mg.take(out[0], out[2]))
    def several(xp: Any, x: Any) -> tuple[mg.Tensor, ...]:
        return xp.exp(x), xp.exp(x)[::-1][::-1], xp.arange(len(x))

    x = variable([0.0, 1.0])
    a, b, places = several(x)
    assert not places.requires_grad
    (dx,) = mg.grad([a, b], x, [np.ones(2), np.ones(2)], retain_graph=True)
    np.testing.assert_allclose(dx.numpy(), 2 * np.exp([0, 1]), rtol=1e-6)
    (dx,) = mg.grad([a, b], x, [np.ones(2), np.ones(2)], create_graph=True)
    np.testing.assert_allclose(mg.grad(dx, x, np.ones(2))[0].numpy(), 2 * np.exp([0, 1]), rtol=1e-6)
    a, b, _ = several(x)
    a.detach().data += 1.0
    with pytest.raises(mg.GraphError, match="several: its saved value out"):
        b.sum().backward()


@pytest.mark.usefixtures("own_ops")
@pytest.mark.parametrize(
    "formulas",
    [
        dict(z=lambda g: g),
        dict(x=lambda g, z: g),
        dict(x=lambda g, y_shape: g),
        dict(x=lambda g, scale, x: g),  # metadata come after what is saved
        dict(),
    ],
)
def test_a_formula_with_a_wrong_name_is_refused_at_registration(formulas: dict[str, Any]) -> None:
    def doubled(xp: Any, x: Any, *, scale: float = 2.0) -> Any:
        return x * scale

    with pytest.raises(TypeError, match="op doubled"):
        mg.op(**formulas)(doubled)
    assert "doubled" not in OPS
    assert "doubled" not in functions


@pytest.mark.usefixtures("own_ops")
def test_a_formula_of_a_wrong_shape_is_named() -> None:
    @mg.op(x=lambda g: g)
    def total(xp: Any, x: Any) -> mg.Tensor:
        return xp.sum(x)  # type: ignore[no-any-return]

    @mg.op(x=lambda g, x_shape: mg.broadcast_to(g, (3, 3)))
    def first(xp: Any, x: Any) -> mg.Tensor:
        return x[0]  # type: ignore[no-any-return]

    for op, x in ((total, [1.0, 2.0]), (first, [1.0, 2.0])):
        leaf = variable(x)
        with pytest.raises(mg.GraphError, match=rf"{op.__name__}: a gradient formula gave .* of shape \(2,\)"):
            op(leaf).backward()
        assert leaf.grad is None


# ---- what a graph records


def test_a_graph_is_recorded_only_where_something_requires_gradients() -> None:
    x, c = variable([1.0]), mg.tensor([1.0])
    assert (x + c).requires_grad
    assert not (c + c).requires_grad
    assert (c + c).is_leaf
    assert not (x + c).is_leaf
    with mg.no_grad():
        assert not (x + c).requires_grad
        assert x.requires_grad


def test_leaves_become_variables_and_constants_on_request() -> None:
    x = mg.tensor([1.0])
    assert x.requires_grad_() is x
    y = x * 2
    with pytest.raises(mg.GraphError, match="requires_grad_: expected a leaf"):
        y.requires_grad_(False)
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(TypeError, match="got dtype int64"):
        mg.tensor([1]).requires_grad_()


def test_only_gradients_of_the_right_shape_can_be_assigned() -> None:
    x = variable([1.0, 2.0])
    x.grad = mg.tensor([1.0, 1.0])
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 5])
    for wrong in (mg.tensor([1.0]), np.ones(2), 0):
        with pytest.raises(ValueError, match=r"grad: expected None or a Tensor of shape \(2,\)"):
            x.grad = wrong
    np.testing.assert_array_equal(x.grad.numpy(), [3, 5])
    x.grad = None
    assert x.grad is None
    constant = mg.tensor([1.0])
    constant.grad = None
    with pytest.raises(mg.GraphError, match="does not require gradients"):
        constant.grad = mg.tensor([1.0])


def test_names_stay_with_the_value() -> None:
    x, c = variable([1.0]), mg.tensor([1.0])
    x.name, c.name = "w", "x"
    assert ((x * c).node or Node()).parents == (x.graph_node(), c.graph_node())
    assert (x.name, c.name, mg.tensor([1.0]).name) == ("w", "x", None)


# ---- scopes


def test_scopes_nest_and_end_with_their_block_also_when_it_raises() -> None:
    x = variable([1.0])
    with mg.scope("a"):
        with mg.scope("b"):
            inner = x * 2
        outer = x * 2
    with pytest.raises(RuntimeError, match="stop"), mg.scope("c"):
        raise RuntimeError("stop")
    after = x * 2
    assert [t.node.scope for t in (inner, outer, after) if t.node] == [("a", "b"), ("a",), ()]


def test_each_thread_has_scopes_and_a_recording_mode_of_its_own() -> None:
    x = variable([1.0])
    seen = []
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with mg.scope("other"), mg.no_grad():
            inside.set()
            leave.wait(10)
            seen.append((x * 2).requires_grad)

    thread = threading.Thread(target=other)
    with mg.scope("mine"), mg.no_grad():
        thread.start()  # a new thread starts with no scope, and records
        assert inside.wait(10)
    mine = x * 2
    leave.set()
    thread.join()
    assert mine.node is not None
    assert mine.node.scope == ()
    assert seen == [False]

    def fresh() -> None:
        seen.append((x * 2).requires_grad)

    with mg.no_grad():
        thread = threading.Thread(target=fresh)
        thread.start()
        thread.join()
    assert seen == [False, True]


# ---- writes to what a graph saved

VIEWS: dict[str, Callable[[mg.Tensor], mg.Tensor]] = {
    "itself": lambda p: p,
    "detach": lambda p: p.detach(),
    "transposed": lambda p: p.detach().T,
    "reshaped": lambda p: p.detach().reshape(-1),
    "a part": lambda p: p.detach()[0:1],
    "as_tensor": lambda p: mg.as_tensor(p.data),
    "a view of a view": lambda p: p.detach().T.reshape(2, 2)[:, 1:].detach(),
}


@pytest.mark.parametrize("alias", VIEWS)
def test_a_saved_value_overwritten_before_backward_is_an_error(alias: str, device: str) -> None:
    p = variable([[1.0, 2.0], [3.0, 4.0]], device=device)
    loss = (p * p).sum()
    written = VIEWS[alias](p)
    written.data -= 1.0
    with pytest.raises(mg.GraphError, match=r"multiply: its saved value x, of shape \(2, 2\), was overwritten"):
        loss.backward()
    assert p.grad is None
    (p * p).sum().backward()  # forward again, and all is well


def test_views_computed_in_the_graph_share_the_memory_too() -> None:
    p = variable([[1.0, 2.0], [3.0, 4.0]])
    loss = p.T.exp().sum() + (p.reshape(-1) * 2.0).sum() + (p[0] * p[0]).sum()
    p.data *= 2
    with pytest.raises(mg.GraphError, match="multiply: its saved value"):
        loss.backward()


def test_a_value_replaced_before_backward_is_an_error_too() -> None:
    p = variable([1.0, 2.0])
    loss = (p * p).sum()
    p.data = np.zeros(2, np.float32)
    with pytest.raises(mg.GraphError, match="overwritten"):
        loss.backward()


def test_a_saved_output_and_a_saved_constant_are_watched_as_well() -> None:
    x, c = variable([1.0]), mg.tensor([2.0])
    y, z = x.tanh(), x * c
    y.detach().data += 1.0
    c.data += 1.0
    with pytest.raises(mg.GraphError, match="tanh: its saved value out"):
        y.backward()
    with pytest.raises(mg.GraphError, match="multiply: its saved value y"):
        z.backward()


def test_writing_to_a_computed_tensor_is_refused_and_not_forgotten() -> None:
    y = variable([1.0]).tanh()
    with pytest.raises(mg.GraphError, match="data: a computed tensor"):
        y.data -= 1.0
    with pytest.raises(mg.GraphError, match="tanh: its saved value out"):  # the array was written all the same
        y.backward()
    y = variable([1.0]).tanh()
    with pytest.raises(mg.GraphError, match="data: a computed tensor"):
        y.data = np.zeros(1, np.float32)
    y.backward()


def test_a_write_to_what_no_formula_reads_is_harmless() -> None:
    p, q = variable([1.0, 2.0]), variable([1.0, 2.0])
    loss = (p + q).sum() + (p * 2.0).sum() + p.mean()
    p.data -= 1.0
    loss.backward()


def test_a_write_after_backward_is_harmless(device: str) -> None:
    p = variable([1.0, 2.0], device=device)
    losses = []
    for _ in range(5):
        p.grad = None
        loss = (p * p).sum()
        loss.backward()
        assert p.grad is not None
        p.data -= 0.25 * p.grad.data
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


def test_a_write_to_one_array_raises_no_alarm_for_others() -> None:
    w = variable([1.0, 2.0])
    kept = [(variable([1.0, float(i)]).tanh(), i) for i in range(20)]
    for i in range(500):  # arrays come and go, and their ids with them
        p = variable([1.0, 2.0])
        graph = (mg.tensor([i / 500, 1.0]) * w).exp().sum()
        p.data -= 1.0
        p.data = np.ones(2, np.float32)
        mg.tensor([1.0, 2.0]).data += 1.0
        del p
        (mg.tensor([i / 500, 1.0]) * w).tanh().sum().backward()
        del graph
    for y, _ in kept:
        y.sum().backward()


def test_the_second_derivative_watches_too() -> None:
    x = variable([1.0, 2.0])
    (dx,) = mg.grad((x**3).sum(), x, create_graph=True)
    x.data += 1.0
    with pytest.raises(mg.GraphError, match="overwritten"):
        mg.grad(dx.sum(), x)


def test_data_take_arrays_of_the_same_shape_and_dtype_only() -> None:
    p = variable([1.0, 2.0])
    for wrong in (np.zeros(3, np.float32), np.zeros(2), [1.0, 2.0], 1.0, mg.tensor([1.0, 2.0])):
        with pytest.raises(ValueError, match=r"data: expected an array of shape \(2,\) and dtype float32"):
            p.data = wrong
    np.testing.assert_array_equal(p.numpy(), [1, 2])


# ---- copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
def test_a_copied_leaf_is_a_leaf_of_its_own(copied: Callable[[Any], Any]) -> None:
    p = variable([1.0, 2.0])
    p.name = "w"
    (p * p).sum().backward()
    q = copied(p)
    assert (q.requires_grad, q.is_leaf, q.name) == (True, True, "w")
    np.testing.assert_array_equal(q.grad.numpy(), [2, 4])
    loss = (p * q).sum()  # both in one graph
    dp, dq = mg.grad(loss, [p, q], retain_graph=True)
    np.testing.assert_array_equal(dp.numpy(), q.numpy())
    np.testing.assert_array_equal(dq.numpy(), p.numpy())
    q.data -= 1.0
    np.testing.assert_array_equal(p.numpy(), [1, 2])
    with pytest.raises(mg.GraphError, match="overwritten"):
        loss.backward()
    assert not copied(mg.tensor([1, 2])).requires_grad


def test_a_graph_is_not_copied() -> None:
    y = variable([1.0]) * 2
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(mg.GraphError, match="detach"):
            copied(y)
        copied(y.detach())


# ---- life and death


def nodes() -> int:
    return sum(type(thing) is Node for thing in gc.get_objects())


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only reference counts free anything inside."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("use", ["nothing", "backward", "retained", "grad", "second order", "error", "no_grad"])
def test_graphs_die_with_their_last_handle(use: str) -> None:
    p = variable([[1.0, 2.0], [3.0, 4.0]])
    before = nodes()

    def step() -> weakref.ref[Any]:
        h = (p @ mg.tensor([[0.5], [1.0]])).tanh()
        first, second = mg.stack([h, h * 2]).unstack()
        second.retain_grad()
        loss = (first * second).sum() + p[0, 1] + mg.einsum("ij->", p)
        if use == "backward":
            loss.backward()
            p.grad = None
        elif use == "retained":
            loss.backward(retain_graph=True)
            loss.backward()
            p.grad = None
        elif use == "grad":
            mg.grad(loss, [p, h])
        elif use == "second order":
            (dp,) = mg.grad(loss, p, create_graph=True)
            mg.grad((dp * dp).sum(), p)
            mg.hvp(lambda x: (x**3).sum(), p, p)
            mg.jacobian(lambda x: x * p, p)
        elif use == "error":
            with pytest.raises(ValueError, match="add"):
                loss + mg.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]) + h.reshape(2)
            loss.backward()
            p.grad = None
        elif use == "no_grad":
            with mg.no_grad():
                loss = loss + h.sum()
        return weakref.ref(h.data)

    alive = step()
    assert alive() is None
    assert nodes() == before


@pytest.mark.usefixtures("no_collector")
def test_backward_frees_what_the_graph_saved_at_once() -> None:
    x = variable([1.0])
    h = x.exp()
    kept = weakref.ref(h.data)
    y = h * h
    del h
    assert kept() is not None
    y.backward()
    assert kept() is None
    assert y.requires_grad


@pytest.mark.usefixtures("no_collector")
def test_backward_with_create_graph_is_the_one_documented_cycle() -> None:
    before = nodes()
    x = variable([2.0])
    (x**3).backward(create_graph=True)
    assert x.grad is not None
    x.grad = None  # resetting it breaks the cycle
    del x
    assert nodes() == before
