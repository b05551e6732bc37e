"""Values and gradients of a graph whose data are gone: the graph is computed again, from its leaves.

Nodes hold no values, and a backward pass frees what it needed of them. But leaves keep their arrays, and each op
its forward function. So a graph has a twin: the same ops on the same leaves, with nodes, saved values and
gradients of its own. The graph itself stays as it is.
"""

from typing import Any, TypeAlias

import numpy as np

from ..autodiff import Walk, set_recording, start
from ..backend import Array
from ..graph import Node, Tensor
from ..registry import Op, Proof
from ..watching import set_watchers

Place: TypeAlias = Node | tuple[Node, int]  # a node, or an operand of it by position


def _pass_on(xp: Any, x: Array) -> Array:
    return x


# Each operand of the twin goes through a tap, so that the walk shows what comes back along each edge by itself.
_tap = Op(_pass_on, None, {"x": lambda g: g}, Proof(None, (0.0, 0.0), (), True, None))


class Replay:
    """The twin of a graph.

    Args:
        nodes: all nodes of the graph, parents first.
        record: whether `gradients` will be asked for.
    """

    def __init__(self, nodes: list[Node], record: bool) -> None:
        self.twins: dict[Node, Any] = {}  # the Tensor that stands for a node; of several results a tuple of them
        self.taps: dict[tuple[Node, int], Tensor] = {}  # by the reading node and the operand's position
        with set_recording(record), set_watchers(), np.errstate(all="ignore"):  # the forward pass has warned already
            for node in nodes:
                self.twins[node] = self._compute(node)

    def _compute(self, node: Node) -> Any:
        if node.op is not None:
            operands = tuple([self._operand(node, i, parent) for i, parent in enumerate(node.parents)])
            return node.op.apply(operands, node.metadata)
        if node.parents:
            return self.twins[node.parents[0]][node.metadata["output"]]
        assert node.saved is not None  # only the nodes of ops are ever freed
        return Tensor(node.saved[0]).requires_grad_(node.keeps_grad)

    def _operand(self, node: Node, position: int, parent: Any) -> Any:
        if not isinstance(parent, Node):
            return parent
        tap = self.taps[node, position] = _tap.apply((self.twins[parent],), {})
        return tap

    def gradients(self, outputs: list[Node]) -> dict[Place, list[Array]]:
        """What the sum of the outputs sends back to each place: a list, one array for each result of the node.

        What no gradient reaches is left out.
        """
        with set_watchers():
            walk = Walk(create_graph=False, retain_graph=False)
        for output in outputs:
            start(walk, self.twins[output], None, "draw: gradients")
        at: list[tuple[Place, Any]] = [*self.twins.items(), *self.taps.items()]
        places = {node: place for place, twin in at if (node := _node_of(twin)) is not None}
        with set_recording(False), np.errstate(all="ignore"):
            found = walk.run(set(places))
        arrays = {places[node]: g if isinstance(g, list) else [g] for node, g in found.items()}
        return {place: [g for g in several if g is not None] for place, several in arrays.items()}


def _node_of(twin: Any) -> Node | None:
    """The node of a twin, None for a constant; of several results the node that they share."""
    if isinstance(twin, tuple):
        return next((result.node.parents[0] for result in twin if result.node is not None), None)
    node: Node | None = twin.node
    return node
