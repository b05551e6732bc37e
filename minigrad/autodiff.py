"""The walk: gradients flow from outputs back to the leaves, through each node once, youngest node first.

A node is younger than all it was computed from, so when its turn comes every gradient that flows into it has
arrived. First-order gradients are plain arrays. With `create_graph` the same formulas run on Tensors instead, and
so record the graph of the backward pass: higher orders need no code of their own.
"""

import contextlib
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from .adding import add_at
from .backend import backend_of
from .creation import as_tensor
from .graph import RECORDED, WATCHED, GraphError, Node, Tensor, output_node, recording, refuse_stale, within, written
from .guarding import refuse_changed
from .pending import Part, Product
from .registry import Op, Rule
from .watching import visiting, watchers


@contextlib.contextmanager
def set_recording(on: bool) -> Iterator[None]:
    """Record a graph inside, or none."""
    before = recording.get() & RECORDED
    recording.set(recording.get() & WATCHED | (RECORDED if on else 0))
    try:
        yield
    finally:
        recording.set(recording.get() & WATCHED | before)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Record nothing inside.

    >>> import minigrad as mg
    >>> w = mg.tensor(1.0, requires_grad=True)
    >>> with mg.no_grad():
    ...     (w * 2).requires_grad
    False
    """
    return set_recording(False)


# ------------------------------------------------------------------------------------------------ the walk


class Walk:
    """One backward pass: what has arrived at each node, which node is next, and which nodes matter."""

    def __init__(self, create_graph: bool, retain_graph: bool, path: set[Node] | None = None) -> None:
        self.create_graph = create_graph
        self.retain_graph = retain_graph
        self.path = path  # the only nodes to visit; None: all
        self.pending: dict[Node, Any] = {}  # the sum of what arrived; for several outputs, a list of sums
        self.owned: set[Node] = set()  # where that sum is an array of our own, to be added to in place
        self.heap: list[tuple[int, Node]] = []  # the pending nodes, youngest first
        self.outputs: list[Tensor] = []  # where it began
        self.watchers = watchers.get()

    def run(self, targets: set[Node] | None = None) -> dict[Node, Any]:
        """Visit every pending node; give the gradients of the wanted ones, each an array of its own."""
        found = {}
        while self.heap:
            node = heappop(self.heap)[1]
            g = self.summed(node)
            del self.pending[node]
            for watcher in self.watchers:
                watcher.arrived(self, node, g)
            if node.keeps_grad if targets is None else node in targets:
                found[node] = g if node in self.owned else own_copy(g)
            if self.path is not None and self.path.isdisjoint(node.parents):
                continue  # a target: what it was computed from stays as it is
            if node.op is not None and self.watchers:
                with visiting(node):
                    self.visit(node, node.op, g)
            elif node.op is not None:
                self.visit(node, node.op, g)
            elif node.parents:
                self.arrive_output(node, g)
        return found

    def visit(self, node: Node, op: Op, g: Any) -> None:
        """Run the node's gradient formulas, and pass each result on to the parent it belongs to."""
        if node.saved is None:
            raise GraphError(
                f"backward through {op.name}: an earlier backward pass freed this graph; "
                "give that one retain_graph=True to go backward again"
            )
        if node.index < written[0]:
            refuse_stale(node, op)
        if node.witness is not None:
            refuse_changed(node, op)
        if type(g) is list:
            g = fill_in(g, node)
        if self.create_graph and op.steps is not None:
            self.arrive_at_all(node, op, g, gradients_in_steps(node, op, g))
            rules: tuple[Rule, ...] = ()
        else:
            rules = node.rules
        saved = saved_tensors(node, op) if self.create_graph and rules else node.saved
        for rule in rules:
            if rule.position is None:
                self.arrive_at_all(node, op, g, list(rule.gradient(node, g, saved)))
                continue
            parent = node.parents[rule.position]
            if self.path is None or parent in self.path:
                gradient = rule.gradient(node, g, saved)
                if self.watchers:
                    gradient = self.watched(node, op, rule.position, g, gradient)
                if getattr(gradient, "shape", None) != parent.shape or gradient.dtype is not parent.dtype:
                    gradient = fit(gradient, node, rule.position)
                self.arrive(parent, gradient)
        if not self.retain_graph:
            node.saved = None

    def arrive_at_all(self, node: Node, op: Op, g: Any, gradients: list[Any]) -> None:
        """Pass on the gradients of all operands, None where there is none."""
        if len(gradients) != len(node.parents):
            raise GraphError(
                f"{op.name}: backward gave {len(gradients)} gradients for {len(node.parents)} operands; "
                "it must give one for each, None where there is none"
            )
        for i, (parent, gradient) in enumerate(zip(node.parents, gradients, strict=True)):
            if gradient is None or not isinstance(parent, Node) or not parent.varies:
                continue
            if self.path is None or parent in self.path:
                if self.watchers:
                    gradient = self.watched(node, op, i, g, gradient)
                if getattr(gradient, "shape", None) != parent.shape or gradient.dtype is not parent.dtype:
                    gradient = fit(gradient, node, i)
                self.arrive(parent, gradient)

    def watched(self, node: Node, op: Op, operand: int, g: Any, gradient: Any) -> Any:
        """The gradient of an operand, shown to all who watch."""
        for watcher in self.watchers:
            gradient = watcher.gave(self, node, op, operand, g, gradient)
        return gradient

    def arrive(self, node: Node, gradient: Any) -> None:
        """Add a gradient to what is pending at a node.

        The first is kept as it is, the second makes a sum of our own, and the rest is added to that in place.
        """
        kind = type(gradient)
        if node not in self.pending:
            heappush(self.heap, (-node.index, node))
            if kind is Part:
                gradient = gradient.dense()
                self.owned.add(node)
            self.pending[node] = gradient
        elif kind is Product:
            self.pending[node] = gradient.joined(self.pending[node])
        elif kind is Part and node.shape and node in self.owned:
            add_at(self.summed(node), gradient.index, gradient.values)
        else:
            before, gradient = self.summed(node), gradient.dense() if kind is Part else gradient
            if node in self.owned:
                before += gradient
                self.pending[node] = before
            else:
                self.pending[node] = before + gradient
                if not self.create_graph:
                    self.owned.add(node)

    def summed(self, node: Node) -> Any:
        """What is pending at a node, worked out."""
        g = self.pending[node]
        if type(g) is Product:
            g = self.pending[node] = g.dense()
            self.owned.add(node)
        return g

    def arrive_output(self, output: Node, g: Any) -> None:
        """Put the gradient of one output among those of the node that has several."""
        (node,) = output.parents
        if node not in self.pending:
            self.pending[node] = [None] * len(node.shape)
            heappush(self.heap, (-node.index, node))
        self.pending[node][output.metadata["output"]] = g


def own_copy(g: Any) -> Any:
    """A gradient that shares its memory with nothing else."""
    return Tensor(g.data.copy(), g.node) if isinstance(g, Tensor) else g.copy()


def fill_in(parts: list[Any], node: Node) -> list[Any]:
    """The gradients of all outputs of a node, zeros where nothing arrived."""
    one = next(part for part in parts if part is not None)
    xp = backend_of(one.data if isinstance(one, Tensor) else one).xp
    return [
        xp.zeros(shape, dtype) if part is None else part
        for part, shape, dtype in zip(parts, node.shape, node.dtype, strict=True)
    ]


def saved_tensors(node: Node, op: Op) -> tuple[Any, ...]:
    """What a node saved, back in its graph: each operand at its parent, `out` at the node itself or at its outputs."""
    *arrays, out = node.saved or (None,)
    operands = [
        Tensor(array, parent if parent.varies else None) if isinstance(parent, Node) and array is not None else array
        for array, parent in zip(arrays, node.parents, strict=True)
    ]
    if type(out) is not list:
        return (*operands, None if out is None else Tensor(out, node))
    several = [Tensor(o, output_node(node, i, o)) if o.dtype.kind in "fc" else o for i, o in enumerate(out)]
    return (*operands, several)  # an integer output, the place of a maximum, say, is a constant


def gradients_in_steps(node: Node, op: Op, g: Any, create_graph: bool = True) -> list[Any]:
    """The gradients of an op that stands for several, by its steps: a graph that can be differentiated in turn.

    The steps are taken again, on an alias of each operand: what one operand may owe to another is not the op's.
    """
    assert op.steps is not None
    assert node.saved is not None
    aliases = [
        Tensor(array, parent if parent.varies else None).reshape(array.shape) if isinstance(parent, Node) else array
        for array, parent in zip(node.saved[:-1], node.parents, strict=True)
    ]
    with within(node.scope):
        outputs = op.steps(*aliases, **node.metadata)
        outputs, g = (outputs, g) if isinstance(g, list) else ([outputs], [g])
        wanted = [i for i, alias in enumerate(aliases) if isinstance(alias, Tensor) and alias.requires_grad]
        live = [(out, part) for out, part in zip(outputs, g, strict=True) if out.requires_grad]
        found = grad(
            [out for out, _ in live],
            [aliases[i] for i in wanted],
            [part for _, part in live],
            create_graph=create_graph,
            allow_unused=True,
        )
    gradients: list[Any] = [None] * len(aliases)
    for i, gradient in zip(wanted, found, strict=True):
        gradients[i] = gradient
    return gradients


def fit(gradient: Any, node: Node, operand: int) -> Any:
    """A gradient in its operand's shape and dtype: summed where the forward pass broadcast, then cast."""
    parent = node.parents[operand]
    if type(gradient) is Product:
        gradient = gradient.dense()
    if not hasattr(gradient, "shape"):
        raise misfit(type(gradient).__name__, node, operand)
    if gradient.shape != parent.shape:
        extra = len(gradient.shape) - len(parent.shape)
        stretched = tuple(i for i, n in enumerate(gradient.shape) if i < extra or parent.shape[i - extra] != n)
        if extra < 0 or any(i >= extra and parent.shape[i - extra] != 1 for i in stretched):
            raise misfit(f"shape {gradient.shape}", node, operand)
        if any(gradient.shape[i] != 1 for i in stretched):
            gradient = gradient.sum(axis=stretched, keepdims=True)
        gradient = gradient.reshape(parent.shape)
    return gradient if gradient.dtype == parent.dtype else gradient.astype(parent.dtype)


def misfit(given: str, node: Node, operand: int) -> GraphError:
    """What to raise where a formula gave something that is no gradient of an operand."""
    assert node.op is not None
    name = node.op.operand_names(len(node.parents))[operand]
    shape = node.parents[operand].shape
    return GraphError(f"{node.op.name}: a gradient formula gave {given} for operand {name}, an array of shape {shape}")


# ------------------------------------------------------------------------------------------------ gradients


def start(walk: Walk, output: Tensor, gradient: Any, argument: str) -> None:
    """Begin a walk at an output, with the gradient given for it."""
    if output.node is None:
        raise GraphError(
            f"{argument}: expected a tensor with a graph; this one of shape {output.shape} has none: nothing it was "
            "computed from requires gradients, or it was made under no_grad() or detached"
        )
    if gradient is None:
        if output.size != 1:
            raise GraphError(
                f"{argument}: expected a scalar, got shape {output.shape}; reduce it (.sum(), .mean()) "
                "or give the gradient that flows into it"
            )
        gradient = backend_of(output.data).xp.ones(output.shape, output.dtype)
    seed = as_tensor(gradient)
    if seed.shape != output.shape or seed.device != output.device:
        raise ValueError(
            f"{argument}: expected a gradient of shape {output.shape} on {output.device}, "
            f"got shape {seed.shape} on {seed.device}"
        )
    walk.outputs.append(output)
    walk.arrive(output.node, seed.astype(output.dtype) if walk.create_graph else seed.data.astype(output.dtype))


def backward(tensor: Tensor, gradient: Any, retain_graph: bool | None, create_graph: bool) -> None:
    """Add the gradient of `tensor` to `grad` of the leaves it was computed from; see `Tensor.backward`."""
    walk = Walk(create_graph, create_graph if retain_graph is None else retain_graph)
    start(walk, tensor, gradient, "backward")
    with set_recording(create_graph):
        found = walk.run()
        sums = [(node, as_tensor(g) if node.grad is None else node.grad + as_tensor(g)) for node, g in found.items()]
    for node, total in sums:  # only now, so that a pass that failed has changed no gradient
        node.grad = total


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Gradients of (the sum of) outputs with respect to inputs; nobody's `grad` is touched.

    Args:
        outputs: one tensor or several, scalars unless `grad_outputs` says what flows into them.
        inputs: one tensor or several, leaves or computed, that the outputs were computed from.
        grad_outputs: a gradient for each output, of its shape (None: 1 for a scalar).
        retain_graph: keep the graph for another walk; None: as `create_graph`.
        create_graph: record the walk, so that the gradients can be differentiated in turn.
        allow_unused: give None for an input that no output depends on, rather than raise.

    Returns:
        A tuple with one Tensor for each input, of its shape and dtype.

    Raises:
        GraphError: no graph, a freed one, an overwritten saved value, or an input that is not used.

    >>> import minigrad as mg
    >>> x = mg.tensor(2.0, requires_grad=True)
    >>> (dx,) = mg.grad(x**3, x, create_graph=True)
    >>> mg.grad(dx, x)
    (Tensor(12., dtype=float32),)
    """
    outputs = [outputs] if isinstance(outputs, Tensor) or not isinstance(outputs, Sequence) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) or not isinstance(inputs, Sequence) else list(inputs)
    for i, y in enumerate(outputs):
        if not isinstance(y, Tensor):
            raise TypeError(f"grad: outputs[{i}]: expected a tensor, got {type(y).__name__}")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or x.node is None:
            raise GraphError(f"grad: inputs[{i}]: expected a tensor that requires gradients, got {x!r}")
    seeds = [None] * len(outputs) if grad_outputs is None else grad_outputs
    seeds = list(seeds) if isinstance(seeds, list | tuple) else [seeds]
    if len(seeds) != len(outputs):
        raise ValueError(f"grad: expected {len(outputs)} grad_outputs, one for each output, got {len(seeds)}")
    nodes = [x.node for x in inputs if x.node is not None]  # all of them: it was checked above
    targets = set(nodes)
    path = path_to(targets, outputs)
    walk = Walk(create_graph, create_graph if retain_graph is None else retain_graph, path)
    for i, (output, seed) in enumerate(zip(outputs, seeds, strict=True)):
        start(walk, output, seed, f"grad: outputs[{i}]")
    for i, x in enumerate(inputs):  # before the walk, which frees the graph
        if x.node not in path and not allow_unused:
            raise GraphError(f"grad: no output depends on inputs[{i}] of shape {x.shape}; allow_unused=True gives None")
    with set_recording(create_graph):
        found = walk.run(targets)
        twice = [node in nodes[:i] for i, node in enumerate(nodes)]
        pairs = [(found.get(node), again) for node, again in zip(nodes, twice, strict=True)]
        return tuple(None if g is None else as_tensor(own_copy(g) if again else g) for g, again in pairs)


def path_to(targets: set[Node], outputs: Sequence[Tensor]) -> set[Node]:
    """The nodes between the outputs and the targets: a gradient that leaves them is of no use."""
    seen: set[Node] = set()
    stack = [output.node for output in outputs if output.node is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent in node.parents if isinstance(parent, Node))
    path = targets & seen
    for node in sorted(seen, key=lambda node: node.index):  # parents first
        if not path.isdisjoint(node.parents):
            path.add(node)
    return path
