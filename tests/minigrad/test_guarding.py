"""guard(): a saved value that was changed, through any alias, never makes a gradient."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.backend import to_numpy
from minigrad.graph import Node
from minigrad.methods import functions
from minigrad.registry import OPS
from minigrad.testing.gradients import as_tuple
from minigrad.testing.strategies import Call, op_calls

NAMES = sorted(name for name, op in OPS.items() if op.forward.__module__.startswith("minigrad."))
few = settings(max_examples=settings.default.max_examples // 10)

# Ways to write to an array that a tensor was made of, or that it shows.
WRITES: dict[str, Callable[[np.ndarray], Any]] = {
    "the array": lambda a: a.__setitem__(..., 1 - 2 * a),
    "a view": lambda a: a[::-1].T.__setitem__(..., 7.5) if a.ndim else a.fill(7.5),
    "one element": lambda a: np.put(a, a.size // 2, 7.5),
    "signs": lambda a: np.negative(a, out=a),
    "order": lambda a: np.copyto(a, np.roll(a.copy(), 1)),
    "out=": lambda a: np.add(a, 1, out=a),
    "by memory": lambda a: np.frombuffer(a.data, a.dtype).__setitem__(0, 7.5) if a.flags.c_contiguous else a.fill(7.5),
}


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data(), way=st.sampled_from(sorted(WRITES)))
def test_no_write_to_what_an_op_was_given_or_gave_makes_a_wrong_gradient(
    name: str, data: st.DataObject, way: str
) -> None:
    """Either backward raises, or the gradients are those without the write."""
    call = data.draw(op_calls(OPS[name]))
    expected = gradients_after(name, call, lambda array: None, None)
    exposed = len(call.operands()) + 1
    place = data.draw(st.integers(0, exposed - 1), label="which array, the result last")
    message, found = "", expected
    try:
        found = gradients_after(name, call, WRITES[way], place)
    except mg.GraphError as error:
        message = str(error)
    assert not message or (f"backward through {name}" in message and "has changed since it was recorded" in message)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def gradients_after(name: str, call: Call, write: Callable[[np.ndarray], Any], place: int | None) -> Any:
    """The gradients of a call, with something done to one of its arrays in between."""
    arrays = [x.copy() if x.flags.owndata else like(x) for x in call.operands()]
    xs = [mg.as_tensor(a, requires_grad=True) for a in arrays]
    with mg.guard():
        outputs = as_tuple(call.of(functions[name], *xs))
    seeds = [np.ones(y.shape) for y in outputs]
    if place is not None:
        exposed = [*arrays, outputs[0].data][place]
        if exposed.size and exposed.flags.writeable:
            write(exposed)
    live = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if y.requires_grad]
    found = mg.grad([y for y, _ in live], xs, [seed for _, seed in live], allow_unused=True)
    return [None if g is None else g.numpy() for g in found]


def like(x: np.ndarray) -> np.ndarray:
    """A copy whose memory is laid out in the same way."""
    copy = np.empty_like(x)
    copy[...] = x
    return copy


def test_the_message_names_the_op_the_operand_and_the_line() -> None:
    data = np.array([1.0, 2.0])
    x = mg.as_tensor(data, requires_grad=True)
    view = data[1:]
    with mg.guard():
        y = mg.exp(x) * x  # recorded here
    view += 1
    with pytest.raises(mg.GraphError) as error:
        y.sum().backward()
    message = str(error.value)
    assert "backward through multiply: its saved value y, of shape (2,), has changed" in message
    assert "test_guarding.py" in message
    assert "in test_the_message_names_the_op_the_operand_and_the_line: y = mg.exp(x) * x  # recorded here" in message


class Foreign:
    """An array of another library, which shows its memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self.array


@pytest.mark.parametrize(
    ("index", "read"),
    [
        (np.array([0, 2]), lambda x, i: mg.take(x, i)),
        (np.array([0, 2]), lambda x, i: x[i]),
        (np.array([0, 2]), lambda x, i: x[None, i]),
        (np.array([0, 2]), lambda x, i: x[(i, np.array([0, 0])), 0]),
        (np.array([0, 2]), lambda x, i: mg.take(x, Foreign(i))),
        (np.array([True, False, True, False]), lambda x, i: x[i]),
        (np.array([True, False, True, False]), lambda x, i: mg.where(i, x, 0.0)),
    ],
)
def test_indices_and_masks_are_watched_too(index: np.ndarray, read: Callable[..., mg.Tensor]) -> None:
    index = index.copy()
    x = mg.as_tensor(np.arange(16.0).reshape(4, 4), requires_grad=True)
    with mg.guard():
        y = read(x, index)
    index[0] = not index[0]
    with pytest.raises(mg.GraphError, match="has changed since"):
        y.sum().backward()


@pytest.mark.parametrize("layer", [nn.RNN(2, 3), nn.LSTM(2, 3, num_layers=2), nn.GRU(2, 3)])
def test_weights_of_layers_are_watched(layer: Any) -> None:
    x = np.ones((4, 1, 2), np.float32)
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            continue  # no gradient reads a bias
        for guarded in True, False:
            with mg.guard() if guarded else mg.scope("unguarded"):
                y, _ = layer(x)
            parameter.data[-1, 0] *= 2  # not dated, as an optimizer's write is
            if guarded:
                with pytest.raises(mg.GraphError, match="has changed since"):
                    y.sum().backward()
            else:
                y.sum().backward()  # this is what the guard is for


def test_a_kept_graph_is_looked_at_each_time(device: str) -> None:
    x = mg.as_tensor(np.array([1.0, 2.0]), requires_grad=True, device=device)
    with mg.guard():
        y = mg.square(x).sum()
    for _ in range(2):
        y.backward(retain_graph=True)
    x._data += 1
    with pytest.raises(mg.GraphError, match="square: its saved value x"):
        y.backward()


def test_what_is_left_alone_gives_the_same_bits_and_second_derivatives_too(device: str) -> None:
    def derivatives() -> list[bytes]:
        x = mg.as_tensor(np.array([0.3, 0.7]), requires_grad=True, device=device)
        (dx,) = mg.grad((mg.tanh(x) * x).sum(), x, create_graph=True)
        return [to_numpy(g.data).tobytes() for g in (dx, *mg.grad(dx.sum(), x))]

    plain = derivatives()
    with mg.guard():
        assert derivatives() == plain


def test_a_graph_of_the_backward_pass_is_watched_too() -> None:
    data = np.array([0.3, 0.7])
    with mg.guard():
        x = mg.as_tensor(data, requires_grad=True)
        (dx,) = mg.grad((x**3).sum(), x, create_graph=True)
    data += 1
    with pytest.raises(mg.GraphError, match="has changed since"):
        mg.grad(dx.sum(), x)


def test_without_it_nothing_is_noted_and_each_thread_has_its_own() -> None:
    x = mg.tensor([1.0], requires_grad=True)
    nodes: list[Node | None] = []
    with mg.guard():
        thread = threading.Thread(target=lambda: nodes.append((x * 2).node))
        thread.start()
        thread.join()
        guarded = (x * 2).node
    assert nodes[0] is not None
    assert nodes[0].witness is None
    assert guarded is not None
    assert guarded.witness is not None
    assert (x * 2).node.witness is None  # type: ignore[union-attr]
