"""minigrad.drawing.replay: the twin's values and gradients are the engine's, and the graph does not notice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.drawing.op_level import reachable
from minigrad.drawing.replay import Replay
from minigrad.graph import Node

OPERATIONS = {
    "product": lambda a, b: [a * b],
    "twice": lambda a, b: [a + a],
    "sine": lambda a, b: [mg.sin(a)],
    "scalar": lambda a, b: [2.0 - a],
    "integers": lambda a, b: [a * mg.tensor([1, 2, 3])],
    "joined": lambda a, b: [mg.concatenate([a, b, a])[::3]],
    "parts": lambda a, b: [part + b for part in mg.unstack(a)[:2]],
}


@st.composite
def programs(draw: st.DrawFn) -> list[mg.Tensor]:
    """All values of a random program over vectors of length 3; the last is a scalar."""
    values = [mg.tensor(np.linspace(-1, i, 3), requires_grad=True) for i in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(1, 8))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        values += OPERATIONS[draw(st.sampled_from(sorted(OPERATIONS)))](a, b)
    return [*values, values[-1].sum()]


def twin_of(output: mg.Tensor) -> Replay:
    assert output.node is not None
    return Replay(reachable([output.node]), record=True)


@given(programs(), st.booleans())
def test_values_and_gradients_are_the_engines(values: list[mg.Tensor], is_freed: bool) -> None:
    loss = values[-1]
    for value in values:
        value.retain_grad()
    loss.backward(retain_graph=not is_freed)
    replay = twin_of(loss)
    found = replay.gradients([loss.node])
    for value in values:
        if value.node in replay.twins:
            np.testing.assert_array_equal(replay.twins[value.node].data, value.data)
            (gradient,) = found[value.node]
            assert value.grad is not None
            # the order in which contributions are added may differ
            np.testing.assert_allclose(gradient, value.grad.data, rtol=1e-12, atol=1e-12)
        else:
            assert value.grad is None


@given(programs())
def test_a_nodes_gradient_is_the_sum_of_what_its_arrows_carry(values: list[mg.Tensor]) -> None:
    loss = values[-1]
    replay = twin_of(loss)
    found = replay.gradients([loss.node])
    arrived: dict[Node, Any] = {}
    for place, arrays in found.items():
        if isinstance(place, tuple):
            node, position = place
            arrived[node.parents[position]] = arrived.get(node.parents[position], 0) + arrays[0]
    for node, (total, *more) in found.items():
        if isinstance(node, Node) and node is not loss.node and not isinstance(node.dtype, tuple):
            np.testing.assert_allclose(total, arrived.pop(node), rtol=1e-12, atol=1e-12)
            assert not more
    assert not arrived


def state(nodes: list[Node]) -> list[Any]:
    return [(n.saved, n.saved and tuple(map(id, n.saved)), n.grad, n.scope, n.keeps_grad) for n in nodes]


def test_the_graph_and_its_gradients_stay_as_they_are() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    (x * 3.0).sum().backward()
    before = x.grad
    loss = (x * x).sum()
    assert loss.node is not None
    nodes = reachable([loss.node])
    was = repr(state(nodes))
    mg.draw(loss, values=True, gradients=True)
    assert repr(state(nodes)) == was
    assert x.grad is before
    loss.backward()  # not freed
    np.testing.assert_array_equal(x.grad.data, [5.0, 7.0])


def test_it_works_without_recording_and_warns_of_nothing_again() -> None:
    x = mg.tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        loss = mg.log(x).sum()
    with mg.no_grad():
        (first, *_) = mg.draw(loss, values=True, gradients=True).picture.boxes
    assert first.gradient == float("inf")


def test_gradients_of_several_outputs_add_up() -> None:
    x = mg.tensor(2.0, requires_grad=True)
    (first, *_) = mg.draw([x * 3.0, x * 4.0, x], gradients=True).picture.boxes
    assert first.gradient == 8


def test_values_on_every_device(device: str) -> None:
    x = mg.tensor([3.0, 4.0], requires_grad=True, device=device)
    parts = mg.split(x * x, 2)
    drawn = mg.draw((parts[1] / parts[0]).sum(), values=True, gradients=True).picture
    assert [box.value for box in drawn.boxes] == ["[3, 4]", "[9, 16]", "[9], [16]", "[1.78]", "1.778"]
    assert drawn.boxes[0].gradient == pytest.approx(np.hypot(2 * 3 * -16 / 81, 2 * 4 / 9), rel=1e-6)  # float32
