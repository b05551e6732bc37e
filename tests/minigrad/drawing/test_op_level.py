"""minigrad.drawing.op_level: that a drawing shows the whole graph, and what its boxes, arrows and caption say."""

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.drawing.picture import Box, Picture
from minigrad.graph import Node, mark_written


def variable(data: Any, name: str | None = None) -> mg.Tensor:
    x = mg.tensor(data, requires_grad=True, dtype="float64")
    x.name = name
    return x


def picture(output: Any, **options: bool) -> Picture:
    return mg.draw(output, **options).picture


def arrows(drawn: Picture) -> list[tuple[str, str, str, str]]:
    titles = [box.title for box in drawn.boxes]
    return [(titles[a.source], titles[a.target], a.operand, a.output) for a in drawn.arrows]


def box(drawn: Picture, title: str) -> Box:
    (found,) = [box for box in drawn.boxes if box.title == title]
    return found


# ---- the whole graph

OPERATIONS = {
    "product": lambda a, b: [a * b],
    "twice": lambda a, b: [a + a],
    "scalar": lambda a, b: [2.0 - a],
    "constant": lambda a, b: [a * np.full(3, 0.5)],
    "joined": lambda a, b: [mg.concatenate([a, b, a])[::3]],
    "parts": lambda a, b: list(mg.split(mg.stack([a, b, a]), 3)[2].reshape(3).split(3)),
    "chosen": lambda a, b: [mg.where(np.array([True, False, True]), a, b)],
}


@st.composite
def outputs(draw: st.DrawFn) -> list[mg.Tensor]:
    """Some results of a random program over vectors of length 3, recorded in random scopes."""
    values = [variable([0.5, -1.0, 2.0]) for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 8))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        with mg.scope(draw(st.sampled_from("ab"))), mg.scope(draw(st.sampled_from("cd"))):
            values += [mg.broadcast_to(v, (3,)) for v in OPERATIONS[draw(st.sampled_from(sorted(OPERATIONS)))](a, b)]
    return draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))


def walk(node: Node, seen: dict[int, Node]) -> dict[int, Node]:
    """All nodes below one, by index, found by recursion."""
    if node.index not in seen:
        seen[node.index] = node
        for parent in node.parents:
            if isinstance(parent, Node):
                walk(parent, seen)
    return seen


@given(outputs())
def test_every_node_has_its_box_and_every_operand_its_arrow(ends: list[mg.Tensor]) -> None:
    nodes: dict[int, Node] = {}
    for end in ends:
        assert end.node is not None
        walk(end.node, nodes)
    several = {node.index: node.parents[0] for node in nodes.values() if node.op is None and node.parents}
    boxed = sorted(nodes.keys() - several.keys())
    expected = [
        (several.get(parent.index, parent).index, index)
        for index in boxed
        for parent in nodes[index].parents
        if isinstance(parent, Node)
    ]
    drawing = mg.draw(ends)
    found = drawing.picture
    assert [box.id for box in found.boxes] == list(range(len(boxed)))
    assert [box.scope for box in found.boxes if box.role == "op"] == [nodes[i].scope for i in boxed if nodes[i].op]
    assert Counter((boxed[a.source], boxed[a.target]) for a in found.arrows) == Counter(expected)
    # and the text shows them all
    assert sorted(map(int, re.findall(r"^\t+n(\d+) \[", drawing.dot, re.M))) == list(range(len(boxed)))
    drawn = [(boxed[int(a)], boxed[int(b)]) for a, b in re.findall(r"^\tn(\d+) -> n(\d+) ", drawing.dot, re.M)]
    assert Counter(drawn) == Counter(expected)


def test_a_long_chain_is_drawn_without_recursion() -> None:
    x = variable(1.0)
    y = x
    for _ in range(10_000):
        y = y + x
    drawn = picture(y, gradients=True)
    assert (len(drawn.boxes), len(drawn.arrows)) == (10_001, 20_000)
    assert drawn.boxes[0].gradient == 10_001
    assert mg.draw(y).dot.count(" -> ") == 20_000


def test_x_plus_x_has_two_arrows() -> None:
    x = variable(3.0, "x")
    assert arrows(picture(x + x)) == [("x", "add", "", "")] * 2


def test_a_variable_is_drawn_once_however_often_it_is_used() -> None:
    W = variable(np.eye(2), "W")
    drawn = picture((W @ W @ W).sum())
    assert [box.title for box in drawn.boxes] == ["W", "matmul", "matmul", "sum"]


# ---- words


def test_operands_are_named_where_it_matters() -> None:
    x, y = variable([1.0, 2.0], "x"), variable([3.0, 4.0], "y")
    assert arrows(picture(x / y)) == [("x", "divide", "x", ""), ("y", "divide", "y", "")]
    assert arrows(picture(x * y)) == [("x", "multiply", "", ""), ("y", "multiply", "", "")]
    assert arrows(picture(mg.concatenate([x, y, x]))) == [
        ("x", "concatenate", "0", ""),
        ("y", "concatenate", "1", ""),
        ("x", "concatenate", "2", ""),
    ]
    assert arrows(picture(mg.tanh(x))) == [("x", "tanh", "", "")]


def test_several_results_are_told_apart_by_number_or_name() -> None:
    x = variable([1.0, 2.0, 3.0], "x")
    a, b, c = mg.unstack(x)
    c.name = "last"
    drawn = picture(b - c * a)
    assert box(drawn, "unstack").form == "3 × ()"
    assert arrows(drawn)[1:] == [
        ("unstack", "multiply", "", "last"),
        ("unstack", "multiply", "", "0"),
        ("unstack", "subtract", "x", "1"),
        ("multiply", "subtract", "y", ""),
    ]


def test_numbers_and_metadata_are_arguments_and_defaults_are_left_out() -> None:
    x = variable([[1.0, 2.0], [3.0, 4.0]])

    def arguments(y: mg.Tensor) -> tuple[str, ...]:
        return picture(y).boxes[-1].arguments

    assert arguments(x.sum()) == ()
    assert arguments(x.sum(axis=0, keepdims=True)) == ("axis=0", "keepdims=True")
    assert arguments(x * 2.0) == ("y=2.0",)
    assert arguments(1.0 - x) == ("x=1.0",)
    assert arguments(mg.clip(x, None, 0.5)) == ("max=0.5",)
    assert arguments(x[0, ::2]) == ("index=(0, ::2)",)
    assert arguments(x[:, None]) == ("index=(:, None)",)
    assert arguments(mg.take(x, np.array([1, 0]), axis=1)) == ("indices=[1, 0]", "axis=1")
    assert arguments(mg.take(x, np.zeros((2, 3), int))) == ("indices=int64 (2, 3)",)
    assert arguments(mg.einsum("ij,jk->ik", x, x)) == ("subscripts=ij,jk->ik",)
    assert arguments(x.astype("float32")) == ("dtype=float32",)
    assert (
        arguments(mg.split(x, list(range(1, 90)), axis=1)[0])[0] == "indices_or_sections=[1, 2, 3, 4, 5, 6, 7, 8, 9,…"
    )


def test_a_dtype_is_written_where_it_is_not_the_usual_one() -> None:
    x = variable([1.0, 2.0])
    y = x.astype("float32")
    drawn = picture(mg.sum(x * 2.0) + y.sum())
    assert [box.form for box in drawn.boxes if box.title in ("variable", "astype")] == ["(2,)", "(2,) float32"]
    assert drawn.caption[0].endswith("float64")


def test_names_of_leaves_and_results() -> None:
    x, W = mg.tensor([1.0, 2.0]), mg.tensor([3.0, 4.0], requires_grad=True)
    y = x * W
    drawn = picture(y)
    assert [(b.role, b.title, b.name) for b in drawn.boxes] == [
        ("parameter", "variable", None),
        ("input", "constant", None),
        ("op", "multiply", None),
    ]
    x.name, W.name, y.name = "x", "W", "y"
    assert [(b.title, b.name) for b in picture(y).boxes] == [("W", None), ("x", None), ("multiply", "y")]


def test_scopes_are_clusters_and_a_parameter_lies_where_all_its_readers_do() -> None:
    W, b = variable(1.0, "W"), variable(1.0, "b")
    with mg.scope("model"):
        with mg.scope("t=0"):
            h = W * 2.0
        with mg.scope("t=1"):
            h = W * h + b
    scopes = {box.title: box.scope for box in picture(h * h).boxes if box.title in "Wb"}
    assert scopes == {"W": ("model",), "b": ("model", "t=1")}
    root = picture(h * h).clusters()
    assert [box.title for box in root.boxes] == ["multiply"]
    assert list(root.clusters) == ["model"]
    assert list(root.clusters["model"].clusters) == ["t=0", "t=1"]


def test_outputs_are_marked() -> None:
    x = variable([1.0, 2.0])
    y, z = x * 2.0, mg.unstack(x)[1]
    assert [box.title for box in picture([y, z, y]).boxes if box.is_output] == ["multiply", "unstack"]
    assert [(box.title, box.is_output) for box in picture(x).boxes] == [("variable", True)]


def test_the_caption_counts() -> None:
    x, W = mg.tensor(np.ones((5, 2), np.float32)), mg.tensor(np.ones((2, 1000), np.float32), requires_grad=True)
    assert picture(x @ W).caption == ("3 nodes · 2 edges · 1 parameter of 2,000 elements · float32",)


# ---- values that are no more those of the forward pass


@pytest.mark.parametrize("way", ["in place", "replaced", "marked"])
def test_the_caption_says_which_leaves_were_written_to(way: str) -> None:
    W, b = variable([1.0, 2.0], "W"), variable([0.0, 0.0], "b")
    y = (W * 2.0 + b).sum()
    if way == "in place":
        W.data -= 1.0
    elif way == "replaced":
        W.data = np.array([0.0, 1.0])
    else:
        W.data[:] = [0.0, 1.0]
        mark_written(W.data)
    drawn = picture(y, values=True)
    assert "written to after the forward pass: W" in drawn.caption
    assert box(drawn, "sum").value == "2"  # of the new W
    assert len(picture(y).caption) == 1  # where no numbers are shown none are wrong


def test_leaves_written_to_before_the_forward_pass_are_no_news() -> None:
    W = variable([1.0, 2.0], "W")
    (W * 2.0).sum().backward()
    W.data = W.data - 1.0
    W.data -= 1.0
    assert len(picture((W * 2.0).sum(), values=True).caption) == 1


# ---- what values and gradients look like


def test_small_arrays_are_written_out_and_large_ones_as_their_norm() -> None:
    x = variable([3.0, 4.0, 0.0, -0.0, 0.0])
    drawn = picture([x * 1.0, x[:4] / 3.0, x[0], mg.unstack(x)[1], x.sum() > 0 and x[1:2] * float("nan")], values=True)
    values = [(box.title, box.value) for box in drawn.boxes]
    assert values == [
        ("variable", "norm 5"),
        ("multiply", "norm 5"),
        ("getitem", "[3, 4, 0, 0]"),
        ("divide", "[1, 1.33, 0, 0]"),
        ("getitem", "3"),
        ("unstack", "3, 4, 0, 0, 0"),
        ("getitem", "[4]"),
        ("multiply", "[nan]"),
    ]


def test_integers_and_booleans_are_written_as_they_are() -> None:
    ids = mg.tensor([1, 2])
    ids.name = "ids"
    assert box(picture(variable([1.0, 2.0]) * ids, values=True), "ids").value == "[1, 2]"


def test_gradients_none_zero_infinite_and_tiny_are_kept_apart() -> None:
    x, y, z = variable([1.0, 2.0], "x"), variable(0.0, "y"), variable([1.0, 1.0], "z")
    drawn = picture((x * np.zeros(2)).sum() + mg.sqrt(y) + (z * 1e-300).sum(), gradients=True)
    assert box(drawn, "constant").gradient is None
    assert box(drawn, "x").gradient == 0
    assert box(drawn, "y").gradient == float("inf")
    assert box(drawn, "z").gradient == pytest.approx(2**0.5 * 1e-300, abs=0)  # its square is no float
    assert drawn.boxes[-1].gradient == 1
    by_ends = {(a.source, a.target): a.gradient for a in drawn.arrows}
    zeros, product = box(drawn, "constant").id, drawn.arrows[0].target
    assert by_ends[zeros, product] is None
    assert by_ends[box(drawn, "x").id, product] == 0
