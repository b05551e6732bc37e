"""Tensor and Node: what a value is, and what a graph is.

    Tensor  a handle: an array and, where gradients are wanted, the node that stands for it.
    Node    one value of the graph: the op that made it, from which parents, and what its gradients will read.

Tensors point at nodes and nodes at their parents, never back: a graph dies with its last handle.
"""

import contextlib
import contextvars
import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .backend import Array, is_array, owner
from .methods import TensorMethods
from .operands import describe

if TYPE_CHECKING:
    from .registry import Op, Rule
    from .watching import Witness

tick = itertools.count(1).__next__  # one clock numbers the nodes and dates the writes to arrays
RECORDED, WATCHED = 1, 2  # the bits of `recording`: whether ops leave nodes, whether a debugging mode looks on
recording = contextvars.ContextVar("recording", default=RECORDED)
current_scope: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("scope", default=())
unrolling = contextvars.ContextVar("unrolling", default=False)


class GraphError(RuntimeError):
    """A graph that can't be walked: there is none, it was freed, or a saved array was overwritten."""


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Name the part of the graph that is recorded inside; scopes nest, and drawings show them as clusters.

    >>> import minigrad as mg
    >>> with mg.scope("t=3"):
    ...     y = mg.tensor([1.0], requires_grad=True) * 2
    >>> y.node.scope
    ('t=3',)
    """
    with within((*current_scope.get(), name)):
        yield


@contextlib.contextmanager
def within(scopes: tuple[str, ...]) -> Iterator[None]:
    """Record in these scopes, whatever they are outside."""
    before = current_scope.get()
    current_scope.set(scopes)
    try:
        yield
    finally:
        current_scope.set(before)


@contextlib.contextmanager
def unrolled() -> Iterator[None]:
    """Let recurrent layers run cell by cell inside, so that the graph shows all of every step, as the lecture draws it.

    Each step then has the product of its own input; elsewhere that is one product of the whole sequence. The values
    are the same up to rounding.

    >>> import minigrad as mg, nn
    >>> layer, x = nn.RNN(2, 3), mg.tensor([[0.0, 1.0]] * 4)
    >>> with mg.unrolled():
    ...     drawing = mg.draw(layer(x)[0])
    >>> drawing.dot.count("matmul")  # for each of 4 steps W_xh x and W_hh h
    8
    """
    token = unrolling.set(True)
    try:
        yield
    finally:
        unrolling.reset(token)


# ------------------------------------------------------------------------------------------------ nodes


class Node:
    """One value of a graph. Without an op it is a leaf or, with a parent, one of its parent's several outputs."""

    __slots__ = (
        *("op", "parents", "metadata", "shape", "dtype", "rules", "saved"),
        *("index", "scope", "keeps_grad", "grad", "name", "witness"),
    )

    op: "Op | None"
    parents: tuple[Any, ...]  # for each operand its Node, or the scalar itself
    metadata: dict[str, Any]  # what else the op was called with: axis=0
    rules: "tuple[Rule, ...]"  # the gradient formulas to run in the backward pass
    saved: tuple[Any, ...] | None  # (*operands, out), None where no rule reads it; None altogether once freed
    shape: Any  # of the value; a tuple of shapes where the op has several outputs
    dtype: Any
    index: int  # the order of creation: greater than any parent's
    scope: tuple[str, ...]
    keeps_grad: bool  # whether a gradient that arrives here is kept in `grad`
    grad: "Tensor | None"
    name: str | None
    witness: "Witness | None"  # what a debugging mode noted of the call

    @property
    def varies(self) -> bool:
        """Whether gradients flow here: a variable, or computed from one."""
        return self.keeps_grad or bool(self.parents)

    def __reduce__(self) -> Any:
        """How copy.deepcopy and pickle copy a leaf: as a node of its own age. A graph is not copied."""
        if self.parents or self.op is not None:
            raise GraphError("a computed tensor can't be copied or pickled with its graph; detach() it first")
        return leaf, (*(self.saved or ()), self.keeps_grad), (None, {"grad": self.grad, "name": self.name})


def new_node(
    op: "Op | None",
    parents: tuple[Any, ...],
    metadata: dict[str, Any],
    rules: "tuple[Rule, ...]",
    saved: tuple[Any, ...],
    shape: Any,
    dtype: Any,
) -> Node:
    """A node, numbered and in the current scope; a function, because `__init__` would cost half as much again."""
    node = _allocate(Node)
    node.op = op
    node.parents = parents
    node.metadata = metadata
    node.rules = rules
    node.saved = saved
    node.shape = shape
    node.dtype = dtype
    node.index = tick()
    node.scope = current_scope.get()
    node.keeps_grad = False
    node.grad = None
    node.name = None
    node.witness = None
    return node


_allocate = object.__new__


def leaf(array: Array, keeps_grad: bool) -> Node:
    """A value that no op made: a variable, whose gradient is kept (`keeps_grad`), or a constant. It saves its array."""
    node = new_node(None, (), {}, (), (array,), array.shape, array.dtype)
    node.keeps_grad = keeps_grad
    return node


def output_node(node: Node, number: int, out: Array) -> Node:
    """One of the several outputs of a node."""
    return new_node(None, (node,), {"output": number}, (), (), out.shape, out.dtype)


# A saved array that is overwritten before backward would give a wrong gradient. Writes through our own API are
# dated on the clock that numbers the nodes, by the array that owns the memory: views and aliases are seen, a node
# older than a write to what it saved is stale, and the forward pass pays nothing. An id used again does no harm:
# the nodes that saved the new array are younger than the last write to the old one.
written: dict[int, int] = {0: 0}  # by id; 0, nobody's, dates the last write of all
writing = threading.Lock()  # an older date on top of a younger one would hide that one's write from backward


def mark_written(array: Array) -> None:
    """Say that the memory of `array` changed in place: graphs that saved it will refuse to go backward."""
    with writing:
        written[id(owner(array))] = written[0] = tick()


def last_write(leaf: Node) -> int:
    """When the array of a leaf was last written to or replaced, on the clock of `Node.index`; 0: never."""
    (array,) = leaf.saved or (None,)
    return max(written.get(id(leaf), 0), written.get(id(owner(array)), 0))


def refuse_stale(node: Node, op: "Op") -> None:
    """Raise GraphError if an array that `node` saved, or was called with, was written to after it was made."""
    for name, array in kept_arrays(node, op):
        if written.get(id(owner(array)), 0) > node.index:
            raise GraphError(
                f"backward through {op.name}: its saved value {name}, of shape {array.shape}, was overwritten "
                "after the forward pass (an optimizer step, load_state_dict, .data = ...); go backward before "
                "the write, or forward again after it"
            )


def kept_arrays(node: Node, op: "Op") -> Iterator[tuple[str, Array]]:
    """The arrays that the gradients of a node will read, by name: what it saved, and what it was called with."""
    names = (*op.operand_names(len(node.parents)), "out", *node.metadata)
    for name, value in zip(names, (*(node.saved or ()), *node.metadata.values()), strict=True):
        for array in arrays_in(value):
            yield name, array


def arrays_in(value: Any) -> Iterator[Array]:
    """The arrays in a value: itself, or those of a nested container."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from arrays_in(item)
    elif is_array(value):
        yield value


# ------------------------------------------------------------------------------------------------ tensors


class Tensor(TensorMethods):
    """An array that remembers how it was computed. `tensor`, `as_tensor` and ops make them.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4.], dtype=float32)
    """

    __slots__ = ("_constant", "_data", "node")
    _constant: Node  # stands for this tensor in graphs while it is a constant; made when first needed

    def __init__(self, data: Array, node: Node | None = None) -> None:
        self._data = data
        self.node = node

    def graph_node(self) -> Node:
        """The node that stands for this tensor in a graph; a constant gets one when a graph first needs it."""
        if self.node is not None:
            return self.node
        try:
            return self._constant
        except AttributeError:
            self._constant = leaf(self._data, keeps_grad=False)
            return self._constant

    @property
    def data(self) -> Array:
        """The array itself, outside any graph. Assigning to it, `t.data -= ...` too, dates a write."""
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        if not self.is_leaf:
            if array is self._data:  # `t.data -= ...` has written already
                mark_written(array)
            raise GraphError("data: a computed tensor can't be assigned to; assign to a leaf, or detach() first")
        if not is_array(array) or array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(f"data: expected an array {describe(self._data)}, got {describe(array)}")
        mark_written(self._data)
        self._data = array
        for node in (self.node, getattr(self, "_constant", None)):
            if node is not None:
                node.saved = (array,)
                written[id(node)] = written[0]

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made this tensor."""
        return self.node is None or not self.node.parents

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        return self.node is not None

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Make this leaf a variable (True) or a constant (False), and return it."""
        if not self.is_leaf:
            raise GraphError("requires_grad_: expected a leaf, got a computed tensor; detach() gives a constant")
        if requires_grad and self._data.dtype.kind != "f":
            raise TypeError(f"requires_grad: expected a floating-point tensor, got dtype {self._data.dtype}")
        node = self._constant = self.graph_node()  # the same node for good, with its name
        node.keeps_grad = requires_grad
        self.node = node if requires_grad else None
        return self

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that backward left here, or None."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, grad: "Tensor | None") -> None:
        if grad is not None and (not isinstance(grad, Tensor) or grad.shape != self.shape):
            raise ValueError(
                f"grad: expected None or a Tensor of shape {self.shape}, got {type(grad).__name__} {describe(grad)}"
            )
        if self.node is not None:
            self.node.grad = grad
        elif grad is not None:
            raise GraphError("grad: this tensor does not require gradients; call requires_grad_() first")

    def retain_grad(self) -> None:
        """Keep the gradient of this computed tensor too, in `grad`, when backward passes it."""
        if self.node is None:
            raise GraphError("retain_grad: this tensor records no graph: it does not require gradients")
        self.node.keeps_grad = True

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add the gradient of this tensor to `grad` of every leaf that it was computed from.

        Args:
            gradient: the gradient that flows in, of this tensor's shape; None: 1, for a scalar.
            retain_graph: keep what the graph saved for another backward; None: as `create_graph`.
            create_graph: record the backward pass too, so that the gradients can be differentiated. A leaf's
                `grad` then holds a graph that holds the leaf: reset it when done, or use `mg.grad`.

        Raises:
            GraphError: no graph, a freed one, a saved value overwritten, or no gradient for a non-scalar.

        >>> import minigrad as mg
        >>> x = mg.tensor(3.0, requires_grad=True)
        >>> (x**2).backward()
        >>> x.grad
        Tensor(6., dtype=float32)
        """
        from .autodiff import backward

        backward(self, gradient, retain_graph, create_graph)

    def detach(self) -> "Tensor":
        """The same memory as a constant: what follows is not recorded."""
        return Tensor(self._data)

    @property
    def name(self) -> str | None:
        """What drawings and messages call this value."""
        return self.graph_node().name

    @name.setter
    def name(self, name: str | None) -> None:
        self.graph_node().name = name
