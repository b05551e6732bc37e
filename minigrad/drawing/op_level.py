"""Level "op": a box for every op, parameter and input of a graph, an arrow for every operand."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from ..graph import Node, Tensor, last_write
from . import wording
from .picture import Arrow, Box, Picture
from .replay import Place, Replay

SYMMETRIC = {"add", "multiply", "maximum", "minimum"}  # it does not matter which operand is which


def op_level(outputs: Sequence[Tensor], values: bool, gradients: bool) -> Picture:
    """The picture of the graph that ends in the outputs.

    Args:
        outputs: tensors with a graph.
        values: whether boxes show values: small arrays as they are, larger ones by their norm.
        gradients: whether boxes and arrows show the norms of the outputs' gradients; the outputs are scalars then.
    """
    ends = list(dict.fromkeys(output.graph_node() for output in outputs))
    nodes = reachable(ends)
    drawn = [node for node in nodes if not is_one_of_several(node)]
    ids = {node: i for i, node in enumerate(drawn)}
    numbers = Numbers(nodes, ends, values, gradients)
    usual = Counter(dtype for node in drawn for dtype in dtypes(node)).most_common(1)[0][0]
    scopes = scopes_of(drawn)
    last = {origin(end) for end in ends}
    boxes = tuple(box(node, ids[node], scopes[node], usual, node in last, numbers) for node in drawn)
    arrows = tuple(arrow for node in drawn for arrow in arrows_into(node, ids, numbers))
    return Picture(boxes, arrows, caption(drawn, len(arrows), usual, numbers), gradients)


# ---------------------------------------------------------------------- the graph


def reachable(ends: list[Node]) -> list[Node]:
    """The ends and all nodes that they were computed from, parents first."""
    seen = set(ends)
    stack = list(ends)
    while stack:
        for parent in stack.pop().parents:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.index)


def is_one_of_several(node: Node) -> bool:
    """Whether a node is one result of its parent: it has no box, its number stands on the arrows."""
    return node.op is None and bool(node.parents)


def origin(node: Node) -> Node:
    """The node whose box shows this one."""
    parent: Node = node.parents[0] if is_one_of_several(node) else node
    return parent


def is_parameter(node: Node) -> bool:
    """Whether a node is a variable, named or not."""
    return node.keeps_grad and not node.parents


def dtypes(node: Node) -> tuple[Any, ...]:
    """The dtype of a node, or of each of its several results."""
    return node.dtype if isinstance(node.dtype, tuple) else (node.dtype,)


def scopes_of(drawn: list[Node]) -> dict[Node, tuple[str, ...]]:
    """The scope that shows each node: its own, or for a parameter, made before, the one that all its readers share."""
    readers: dict[Node, list[tuple[str, ...]]] = {}
    for node in drawn:
        for parent in node.parents:
            if isinstance(parent, Node) and is_parameter(parent):
                readers.setdefault(parent, []).append(node.scope)
    return {node: shared(readers[node]) if node in readers else node.scope for node in drawn}


def shared(scopes: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The scope inside which all the scopes lie."""
    levels = zip(*scopes, strict=False)
    return tuple(names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels))


# ---------------------------------------------------------------------- boxes and arrows


class Numbers:
    """Values and gradients, where they are asked for."""

    def __init__(self, nodes: list[Node], ends: list[Node], values: bool, gradients: bool) -> None:
        self.replay = Replay(nodes, record=gradients) if values or gradients else None
        self.shows_values = values
        self.found = self.replay.gradients(ends) if self.replay and gradients else {}

    def value(self, node: Node) -> str | None:
        """What a box says of its value."""
        if self.replay is None or not self.shows_values:
            return None
        twin = self.replay.twins[node]
        if isinstance(twin, tuple):
            return wording.shortened(", ".join(wording.of_array(result.data) for result in twin))
        return wording.of_array(twin.data)

    def gradient(self, place: Place) -> float | None:
        """The norm of the gradient at a node, or at an operand of it; None: none came there."""
        return math.hypot(*map(wording.norm, self.found[place])) if place in self.found else None


def box(node: Node, id: int, scope: tuple[str, ...], usual: str, is_output: bool, numbers: Numbers) -> Box:
    """The box of a node."""
    form = " ".join([wording.of_shape(node.shape), *sorted(map(str, {*dtypes(node)} - {usual}))])
    anomaly = node.witness.anomaly if node.witness else ""
    rest = form, scope, is_output, numbers.value(node), numbers.gradient(node), anomaly
    if node.op is not None:
        return Box(id, "op", node.op.name, node.name, arguments(node), *rest)
    if is_parameter(node):
        return Box(id, "parameter", node.name or "variable", None, (), *rest)
    return Box(id, "input", node.name or "constant", None, (), *rest)


def arguments(node: Node) -> tuple[str, ...]:
    """What a node's op was called with beside arrays of the graph, but for defaults: "axis=0", "y=2.0"."""
    op = node.op
    assert op is not None
    given = {
        name.removeprefix(op.variadic or ""): operand
        for name, operand in zip(op.operand_names(len(node.parents)), node.parents, strict=True)
        if operand is not None and not isinstance(operand, Node)
    }
    given |= {name: node.metadata[name] for name in op.metadata}
    written = {name: wording.of_argument(value) for name, value in given.items()}
    defaults = {name: wording.of_argument(value) for name, value in op.defaults.items()}
    return tuple(f"{name}={text}" for name, text in written.items() if text != defaults.get(name))


def arrows_into(node: Node, ids: dict[Node, int], numbers: Numbers) -> list[Arrow]:
    """One arrow for each operand that is part of the graph, however often it comes."""
    operands = [(i, parent) for i, parent in enumerate(node.parents) if isinstance(parent, Node)]
    if node.op is None or len(operands) == 1 or node.op.name in SYMMETRIC:
        names = dict.fromkeys(range(len(node.parents)), "")
    else:
        names = {i: str(i) if node.op.variadic else node.op.operands[i] for i, _ in operands}
    return [
        Arrow(ids[origin(parent)], ids[node], names[i], result_name(parent), numbers.gradient((node, i)))
        for i, parent in operands
    ]


def result_name(node: Node) -> str:
    """Which of several results a node is."""
    return node.name or str(node.metadata["output"]) if is_one_of_several(node) else ""


# ---------------------------------------------------------------------- the caption


def caption(drawn: list[Node], edges: int, usual: Any, numbers: Numbers) -> tuple[str, ...]:
    """How large the graph is, its usual dtype, and what to know about the numbers shown."""
    parameters = [node for node in drawn if is_parameter(node)]
    elements = sum(math.prod(node.shape) for node in parameters)
    size = f"{plural(len(drawn), 'node')} · {plural(edges, 'edge')}"
    lines = [f"{size} · {plural(len(parameters), 'parameter')} of {plural(elements, 'element')} · {usual}"]
    stale = written_since(drawn) if numbers.replay else []
    if stale:
        more = f" and {len(stale) - 3} more" if len(stale) > 3 else ""
        lines.append(f"written to after the forward pass: {', '.join(stale[:3])}{more}")
        lines.append("so the numbers are those of a forward pass made now")
    return tuple(lines)


def written_since(drawn: list[Node]) -> list[str]:
    """The names of the leaves whose arrays changed after an op had read them."""
    changed = {
        parent: parent.name or ("variable" if is_parameter(parent) else "constant")
        for node in drawn
        for parent in node.parents
        if isinstance(parent, Node) and not parent.parents and last_write(parent) > node.index
    }
    return list(changed.values())


def plural(count: int, noun: str) -> str:
    """A number of things: "1 node", "2,000 nodes"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
