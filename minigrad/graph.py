"""Tensor, Node and the op registry: what a value is, what a graph is, and how an op makes both.

    Tensor  a handle: an array and, where gradients are wanted, the node that made it.
    Node    one value of the graph: its op, its parents, and what the gradient formulas will read.
    Op      a forward function and the gradient of each operand, registered side by side by `@op`.

Tensors point at nodes and nodes at their parents, never back: a graph dies with its last handle.
"""

import contextlib
import contextvars
import copy
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np

from .backend import Array, add_at, backend_of, is_array, owner
from .methods import TensorMethods, functions
from .operands import alike, as_array, common_backend, describe, follow, settle

P = ParamSpec("P")
R = TypeVar("R")

tick = itertools.count(1).__next__  # one clock numbers the nodes and dates the writes to arrays
recording = contextvars.ContextVar("recording", default=True)
current_scope: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("scope", default=())


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
    token = current_scope.set((*current_scope.get(), name))
    try:
        yield
    finally:
        current_scope.reset(token)


# ------------------------------------------------------------------------------------------------ nodes


class Node:
    """One value of a graph. Without an op it is a leaf or, with a parent, one of its parent's several outputs."""

    __slots__ = (
        *("op", "parents", "metadata", "shape", "dtype", "rules", "saved"),
        *("index", "scope", "lands", "grad", "name"),
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
    lands: bool  # whether a gradient that arrives here is kept in `grad`
    grad: "Tensor | None"
    name: str | None

    @property
    def varies(self) -> bool:
        """Whether gradients flow here: a variable, or computed from one."""
        return self.lands or bool(self.parents)

    def __reduce__(self) -> Any:
        """How copy.deepcopy and pickle copy a leaf: as a node of its own age. A graph is not copied."""
        if self.parents or self.op is not None:
            raise GraphError("a computed tensor can't be copied or pickled with its graph; detach() it first")
        return leaf, (*(self.saved or ()), self.lands), (None, {"grad": self.grad, "name": self.name})


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
    node.lands = False
    node.grad = None
    node.name = None
    return node


_allocate = object.__new__


def leaf(array: Array, lands: bool) -> Node:
    """A value that no op made: a variable, whose gradient is kept (`lands`), or a constant. It saves its array."""
    node = new_node(None, (), {}, (), (array,), array.shape, array.dtype)
    node.lands = lands
    return node


def output_node(node: Node, number: int, out: Array) -> Node:
    """One of the several outputs of a node."""
    return new_node(None, (node,), {"output": number}, (), (), out.shape, out.dtype)


# A saved array that is overwritten before backward would give a wrong gradient. Writes through our own API are
# dated on the clock that numbers the nodes, by the array that owns the memory: views and aliases are seen, a node
# older than a write to what it saved is stale, and the forward pass pays nothing. An id used again does no harm:
# the nodes that saved the new array are younger than the last write to the old one.
written: dict[int, int] = {0: 0}  # by id; 0, nobody's, dates the last write of all


def mark_written(array: Array) -> None:
    """Say that the memory of `array` changed in place: graphs that saved it will refuse to go backward."""
    written[id(owner(array))] = written[0] = tick()


def last_write(leaf: Node) -> int:
    """When the array of a leaf was last written to or replaced, on the clock of `Node.index`; 0: never."""
    (array,) = leaf.saved or (None,)
    return max(written.get(id(leaf), 0), written.get(id(owner(array)), 0))


def refuse_stale(node: Node, op: "Op") -> None:
    """Raise GraphError if an array that `node` saved, or was called with, was written to after it was made."""
    names = (*op.operand_names(len(node.parents)), "out", *node.metadata)
    for name, value in zip(names, (*(node.saved or ()), *node.metadata.values()), strict=True):
        for array in value if isinstance(value, list | tuple) else (value,):
            if is_array(array) and written.get(id(owner(array)), 0) > node.index:
                raise GraphError(
                    f"backward through {op.name}: its saved value {name}, of shape {array.shape}, was overwritten "
                    "after the forward pass (an optimizer step, load_state_dict, .data = ...); go backward before "
                    "the write, or forward again after it"
                )


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
            self._constant = leaf(self._data, lands=False)
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
        node.lands = requires_grad
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
        self.node.lands = True

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


# ------------------------------------------------------------------------------------------------ ops

OPS: dict[str, "Op"] = {}  # every op by its name: what methods, the walk, tests and drawings look up


class Rule(NamedTuple):
    """One gradient formula of an op, and what it asks for after g."""

    position: int | None  # the operand whose gradient it gives; None: a list, one for each operand
    formula: Callable[..., Any]
    reads: tuple[str, ...]  # saved values, by position: operands and "out" ...
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]  # ... which this takes out of a node's `saved`
    extras: tuple[str, ...]  # then metadata and shapes, by name


class Part:
    """A gradient that is zero but at an index. The walk adds it in place: T steps x[t] cost T, not T * T."""

    def __init__(self, values: Array, index: Any, shape: tuple[int, ...]) -> None:
        self.values, self.index, self.shape, self.dtype = values, index, shape, values.dtype

    def dense(self) -> Array:
        """The whole gradient, an array of its own."""
        whole = backend_of(self.values).xp.zeros(self.shape, self.dtype)
        add_at(whole, self.index, self.values)
        return whole


class Op:
    """A registered op: its forward function, its gradient rules, and what the property tests need to know."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any] | None,
        formulas: dict[str, Callable[..., Any]],
        proof: "Proof",
    ) -> None:
        self.name, self.forward, self.proof = forward.__name__, forward, proof
        parameters = list(inspect.signature(forward).parameters.values())[1:]  # the first is xp
        self.signature = inspect.Signature(parameters)
        self.names = tuple(p.name for p in parameters)
        self.positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.star = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        joint = (self.star,) if self.star else self.positional
        self.operands = joint if backward else tuple(name for name in self.names if name in formulas)
        self.metadata = tuple(name for name in self.names if name not in self.operands)
        self.leads = self.names[: len(self.operands)] == self.operands and not self.star
        if not self.operands or set(formulas) - set(self.operands):
            raise TypeError(
                f"op {self.name}{self.signature}: expected a gradient for some of its parameters, got gradients for "
                f"{sorted(formulas) or 'none'}; name them as the parameters are named: @op(x=lambda g: ...)"
            )
        self.places: dict[str, Any] = {"out": -1}  # where a node's saved values lie: (*operands, out)
        self.places.update({name: i for i, name in enumerate(self.operands)})
        if self.star:
            self.places[self.star] = slice(0, -1)  # all operands, as one tuple
        if backward:
            self.rules: tuple[Rule, ...] = (self._rule(None, backward),)
        else:
            self.rules = tuple(self._rule(i, formulas[name]) for i, name in enumerate(self.operands))
        self._plans: dict[tuple[bool, ...], tuple[tuple[Rule, ...], tuple[bool, ...]]] = {}

    def _rule(self, position: int | None, formula: Callable[..., Any]) -> Rule:
        asked = tuple(inspect.signature(formula).parameters)[1:]  # the first is g
        reads = tuple(name for name in asked if name in self.places)
        extras = asked[len(reads) :]
        known = (*self.metadata, "shapes" if position is None else f"{self.operands[position]}_shape")
        if not set(extras) <= set(known):
            raise TypeError(
                f"op {self.name}: a gradient formula asks for {asked}; after g it may ask for any of "
                f"{tuple(self.places)}, then for any of {known}"
            )
        places = [self.places[name] for name in reads]
        if len(places) > 1 and not self.star:
            pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(*places)
        else:

            def pick(saved: tuple[Any, ...]) -> tuple[Any, ...]:
                return tuple([saved[place] for place in places])

        return Rule(position, formula, reads, pick, extras)

    def plan(self, needs: tuple[bool, ...]) -> tuple[tuple[Rule, ...], tuple[bool, ...]]:
        """Which rules to run when these operands need gradients, and which of (*operands, out) they read."""
        plan = self._plans.get(needs)
        if plan is None:
            rules = tuple(rule for rule in self.rules if rule.position is None or needs[rule.position])
            read = {name for rule in rules for name in rule.reads}
            names = (self.star,) * len(needs) if self.star else self.operands
            plan = rules, tuple(name in read for name in (*names, "out"))
            if not self.star:  # which would have no end of them
                self._plans[needs] = plan
        return plan

    def gradient(self, rule: Rule, node: Node, g: Any, saved: tuple[Any, ...]) -> Any:
        """A rule's result at one of this op's nodes, for the gradient `g` of the node's output."""
        if not rule.extras:
            return rule.formula(g, *rule.pick(saved))
        known = dict(node.metadata)
        if rule.position is None:
            known["shapes"] = tuple([getattr(parent, "shape", ()) for parent in node.parents])
        else:
            known[f"{self.operands[rule.position]}_shape"] = node.parents[rule.position].shape
        return rule.formula(g, *rule.pick(saved), **{name: known[name] for name in rule.extras})

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort a call's arguments into operands and metadata."""
        n = len(self.operands) if self.leads else len(self.positional)
        first, rest = args[:n], args[n:]
        if self.leads:  # op(x, y, metadata...)
            operands, given = first, dict(zip(self.positional[n:], rest, strict=False))
        elif self.star:  # op(metadata..., *operands), or the operands in one list
            operands, given = rest, dict(zip(self.positional, first, strict=False))
            if len(rest) == 1 and isinstance(rest[0], list | tuple):
                operands = tuple(rest[0])
        else:  # operands and metadata in any order
            given = dict(zip(self.positional, first, strict=False))
            operands = tuple([given.pop(name, None) for name in self.operands])
        metadata = {**self.defaults, **given, **kwargs}
        regular = len(first) == n and (self.star or len(args) <= len(self.positional))
        if not regular or len(metadata) != len(self.metadata) or not given.keys().isdisjoint(kwargs):
            return self._bind_by_name(args, kwargs)
        return operands, metadata

    def _bind_by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`bind` for calls that name their operands, and for those that are wrong."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None
        bound.apply_defaults()
        metadata = dict(bound.arguments)
        operands = [metadata.pop(name) for name in self.operands]
        return tuple(operands[0]) if self.star else tuple(operands), metadata

    def apply(self, operands: tuple[Any, ...], metadata: dict[str, Any]) -> Any:
        """Run the op: arrays give arrays; with a Tensor among the operands, Tensors and a node of the graph."""
        tensors = [value for value in (*operands, *metadata.values()) if isinstance(value, Tensor)]
        if not tensors:
            return self.compute(operands, metadata)
        arrays = [value._data if isinstance(value, Tensor) else value for value in operands]
        if not alike(arrays):
            arrays = settle(self.name, self.operand_names(len(arrays)), arrays, self.defaults)
        if metadata:
            metadata = {name: self.constant(name, value, arrays) for name, value in metadata.items()}
        out = self.compute(arrays, metadata)
        several = type(out) is tuple
        dtype = metadata.get("dtype")
        outs = [as_array(o, arrays, dtype) for o in (out if several else [out])]
        results = [Tensor(o) for o in outs]
        if recording.get() and any([t.node is not None for t in tensors]):
            node = self.record(operands, arrays, metadata, outs if several else outs[0])
            for i, (o, result) in enumerate(zip(outs, results, strict=True)):
                if o.dtype.kind in "fc":  # an integer output (the place of a maximum, say) is a constant
                    result.node = output_node(node, i, o) if several else node
        return tuple(results) if several else results[0]

    def compute(self, arrays: Sequence[Any], metadata: dict[str, Any]) -> Any:
        """The forward function on plain arrays. Its errors name the op and what it was given."""
        xp = common_backend(arrays).xp
        try:
            if self.leads:
                return self.forward(xp, *arrays, **metadata)
            if not self.star:
                return self.forward(xp, **dict(zip(self.operands, arrays, strict=True)), **metadata)
            named = dict(metadata)
            return self.forward(xp, *[named.pop(name) for name in self.positional], *arrays, **named)
        except (ValueError, TypeError, IndexError) as error:
            kind = next(k for k in (ValueError, TypeError, IndexError) if isinstance(error, k))
            given = [*zip(self.operand_names(len(arrays)), arrays, strict=True), *metadata.items()]
            shown = ", ".join(f"{name} {describe(value)}" for name, value in given)
            raise kind(f"{self.name}: {error}; got {shown}") from error

    def record(self, operands: tuple[Any, ...], arrays: list[Any], metadata: dict[str, Any], out: Any) -> Node:
        """The node of one call: the rules that its operands need, and the values that these rules read."""
        needs = tuple([isinstance(value, Tensor) and value.node is not None for value in operands])
        rules, keeps = self.plan(needs)
        saved = tuple([value if keep else None for value, keep in zip((*arrays, out), keeps, strict=True)])
        parents = tuple([
            value.graph_node() if isinstance(value, Tensor) else leaf(array, lands=False) if is_array(array) else array
            for value, array in zip(operands, arrays, strict=True)
        ])  # fmt: skip
        if type(out) is list:
            shape, dtype = tuple([o.shape for o in out]), tuple([o.dtype for o in out])
        else:
            shape, dtype = out.shape, out.dtype
        return new_node(self, parents, metadata, rules, saved, shape, dtype)

    def constant(self, name: str, value: Any, arrays: list[Any]) -> Any:
        """Metadata without Tensors: an index or a mask becomes an array on the operands' device."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is list:
            return copy.deepcopy(value)  # the caller may go on to change it
        if isinstance(value, Tensor):
            if value.requires_grad:
                raise TypeError(f"{self.name}: {name} is not differentiated; give a constant, {name}.detach()")
            value = value._data
        if isinstance(value, np.generic):
            return value.item()  # as weak here as among the operands
        if type(value) is tuple:
            return tuple([self.constant(name, item, arrays) for item in value])
        return follow(self.name, name, value, common_backend(arrays))

    def operand_names(self, count: int) -> tuple[str, ...]:
        """The operands as messages name them: x, y, or tensors[0], tensors[1]."""
        return tuple([f"{self.star}[{i}]" for i in range(count)]) if self.star else self.operands


def short_way(op: Op, general: Callable[..., Any]) -> Callable[..., Any]:
    """`Op.apply` for the commonest calls, of one or two tensors of one dtype, at a third of its overhead.

    Whatever else comes, an error too, goes the general way.
    """
    if op.metadata or op.defaults or op.star or op.rules[0].position is None or len(op.operands) > 2:
        return general
    forward, errors = op.forward, (ValueError, TypeError, IndexError)
    plans = {needs: op.plan(needs) for needs in itertools.product((False, True), repeat=len(op.operands))}

    def unary(x: Any, /) -> Any:
        if not isinstance(x, Tensor):
            return general(x)
        a, node = x._data, x.node
        try:
            out = forward(np if type(a) is np.ndarray else backend_of(a).xp, a)
        except errors:
            return general(x)
        if isinstance(out, np.generic):
            out = np.asarray(out)
        if type(out) is not type(a) or out.dtype is not a.dtype:
            return general(x)
        if node is None or not recording.get():
            return Tensor(out)
        rules, (keep_x, keep_out) = plans[True,]
        saved = (a if keep_x else None, out if keep_out else None)
        return Tensor(out, new_node(op, (node,), {}, rules, saved, out.shape, out.dtype))

    def binary(x: Any, y: Any, /) -> Any:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            return general(x, y)
        a, b, x_node, y_node = x._data, y._data, x.node, y.node
        if type(a) is not type(b) or a.dtype is not b.dtype:
            return general(x, y)
        try:
            out = forward(np if type(a) is np.ndarray else backend_of(a).xp, a, b)
        except errors:
            return general(x, y)
        if isinstance(out, np.generic):
            out = np.asarray(out)
        if type(out) is not type(a) or out.dtype is not a.dtype:
            return general(x, y)
        if (x_node is None and y_node is None) or not recording.get():
            return Tensor(out)
        rules, (keep_x, keep_y, keep_out) = plans[x_node is not None, y_node is not None]
        saved = (a if keep_x else None, b if keep_y else None, out if keep_out else None)
        parents = (x_node or x.graph_node(), y_node or y.graph_node())
        return Tensor(out, new_node(op, parents, {}, rules, saved, out.shape, out.dtype))

    return unary if len(op.operands) == 1 else binary


class Proof(NamedTuple):
    """What the property tests need to know of an op."""

    cases: Callable[[Any], Any] | None  # draws a call; None: arrays of shapes that broadcast, within the domain
    domain: tuple[float, float]  # where the elements of drawn arrays lie
    kinks: tuple[float, ...]  # values that they keep away from
    analytic: bool  # whether it continues to complex numbers, for derivatives by complex step
    reference: Callable[..., Any] | None  # what it should compute; None: NumPy's function of its name


def op(
    *,
    backward: Callable[..., Any] | None = None,
    cases: Callable[[Any], Any] | None = None,
    domain: tuple[float, float] = (-3.0, 3.0),
    kinks: tuple[float, ...] = (),
    analytic: bool = True,
    reference: Callable[..., Any] | None = None,
    **formulas: Callable[..., Any],
) -> Callable[[Callable[Concatenate[Any, P], R]], Callable[P, R]]:
    """Register a forward function as an op, with the gradient of each operand beside it.

    The forward function gets the array namespace `xp` (NumPy or CuPy), then operands, then metadata. An operand
    is a parameter that a gradient is given for; `*operands` takes any number. A gradient is a formula in `g`, the
    gradient of the result (a list of them for several results). It asks by name for what it reads: operands and
    `out`, and after these metadata and the operand's own shape, `x_shape`. It may use operators and ops only, so
    that on Tensors it records its own graph. The forward function's annotations are the public ones: it says
    that it returns a Tensor, though the array that it does return becomes one only when an operand is one.

    Args:
        backward: in place of formulas by name, one that gives a list with the gradient of each operand (None
            for none). It may ask for `shapes`. Every positional parameter is an operand then.
        cases, domain, kinks, analytic, reference: what the property tests draw and compare with; see `Proof`.

    Raises:
        TypeError: a formula for a parameter that is not there, or that asks for a name nobody knows.

    >>> import minigrad as mg
    >>> @mg.op(x=lambda g, x: g * (3 * x * x))
    ... def cube(xp, x):
    ...     return x**3
    >>> x = mg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    Tensor(12., dtype=float32)
    """

    def register(forward: Callable[Concatenate[Any, P], R]) -> Callable[P, R]:
        proof = Proof(cases, domain, kinks, analytic, reference)
        record = OPS[forward.__name__] = Op(forward, backward, formulas, proof)

        def call(*args: Any, **kwargs: Any) -> Any:
            return record.apply(*record.bind(args, kwargs))

        function = functions[record.name] = functools.update_wrapper(short_way(record, call), forward)
        function.__signature__ = record.signature  # type: ignore[attr-defined]
        return function

    return register
