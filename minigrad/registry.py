"""The op registry: how an op is declared, what it does to tensors, and what it leaves in the graph.

`@op` (at the end) makes a public function of a forward function and its gradients. The function sorts its arguments
(`Op.bind`), computes (`Op.apply`), and records a node with what the gradients will read (`Op.record`).
"""

import array
import contextlib
import copy
import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np

from .backend import Array, backend_of, is_array
from .graph import RECORDED, Node, Tensor, leaf, new_node, output_node, recording, unrolling
from .methods import functions
from .operands import alike, as_array, check_operand, common_backend, describe, follow, settle
from .watching import muted, watchers

P = ParamSpec("P")
R = TypeVar("R")

MANY = 8  # operands of a variadic op

OPS: dict[str, "Op"] = {}  # every op by its name: what methods, the walk, tests and drawings look up


class Proof(NamedTuple):
    """What the property tests need to know of an op."""

    cases: Callable[[Any], Any] | None  # draws a call; None: arrays of shapes that broadcast, within the domain
    domain: tuple[float, float]  # where the elements of drawn arrays lie
    kinks: tuple[float, ...]  # values that they keep away from
    analytic: bool  # whether it goes on to complex numbers by the same formula, off kinks: for complex steps
    reference: Callable[..., Any] | None  # what it should compute; None: NumPy's function of its name


class Rule(NamedTuple):
    """One gradient formula of an op, and what it asks for after g."""

    position: int | None  # the operand whose gradient it gives; None: a list, one for each operand
    formula: Callable[..., Any]
    reads: tuple[str, ...]  # saved values, by position: operands and "out", or "kept" ...
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]  # ... which this takes out of a node's `saved`
    extras: dict[str, Callable[[Node], Any]]  # then metadata, shapes and the like, each with what finds it at a node

    def gradient(self, node: Node, g: Any, saved: tuple[Any, ...]) -> Any:
        """What the formula gives at a node, for the gradient `g` of the node's output."""
        if not self.extras:
            return self.formula(g, *self.pick(saved))
        return self.formula(g, *self.pick(saved), *[find(node) for find in self.extras.values()])


class Op:
    """A registered op: its forward function, its gradient rules, and what the property tests need to know."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any] | None,
        formulas: dict[str, Callable[..., Any]],
        proof: "Proof",
        steps: Callable[..., Any] | None = None,
    ) -> None:
        self.name, self.forward, self.proof, self.steps = forward.__name__, forward, proof, steps
        every = list(inspect.signature(forward).parameters.values())[1:]  # the first is xp
        parameters = [p for p in every if p.name != "keep"]
        self.keeps = len(parameters) < len(every)  # whether it keeps more for its gradient than operands and results
        self.signature = inspect.Signature(parameters)
        self.names = tuple(p.name for p in parameters)
        self.positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)  # *operands
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        joint = (self.variadic,) if self.variadic else self.positional
        self.operands = joint if backward else tuple(name for name in self.names if name in formulas)
        self.metadata = tuple(name for name in self.names if name not in self.operands)  # all that is no operand
        self.presets = {name: value for name, value in self.defaults.items() if name in self.metadata}
        self.operands_first = self.names[: len(self.operands)] == self.operands and not self.variadic
        if not self.operands or set(formulas) - set(self.operands):
            raise TypeError(
                f"op {self.name}{self.signature}: expected a gradient for some of its parameters, got gradients for "
                f"{sorted(formulas) or 'none'}; name them as the parameters are named: @op(x=lambda g: ...)"
            )
        if self.keeps and not steps:
            raise TypeError(
                f"op {self.name}: expected steps=..., what is differentiated twice, with a `keep` parameter"
            )
        self.places: dict[str, Any] = {"kept" if self.keeps else "out": -1}  # where saved values lie: (*operands, out)
        self.places.update({name: i for i, name in enumerate(self.operands)})
        if self.variadic:
            self.places[self.variadic] = slice(0, -1)  # all operands, as one tuple
        if backward:
            self.rules: tuple[Rule, ...] = (self._rule(None, backward),)
        else:
            self.rules = tuple(self._rule(i, formulas[name]) for i, name in enumerate(self.operands))
        self._plans: dict[tuple[bool, ...], tuple[tuple[Rule, ...], tuple[bool, ...]]] = {}

    def _rule(self, position: int | None, formula: Callable[..., Any]) -> Rule:
        asked = tuple(inspect.signature(formula).parameters)[1:]  # the first is g
        reads = tuple(name for name in asked if name in self.places)
        extras = asked[len(reads) :]
        known = self._findable(position)
        if not set(extras) <= set(known):
            raise TypeError(
                f"op {self.name}: a gradient formula asks for {asked}; after g it may ask for any of "
                f"{tuple(self.places)}, then for any of {tuple(known)}"
            )
        places = [self.places[name] for name in reads]
        if len(places) > 1 and not self.variadic:
            pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(*places)
        elif len(places) == 1 and not self.variadic:
            pick = itemgetter(slice(places[0], places[0] + 1 or None))  # a tuple of one
        else:

            def pick(saved: tuple[Any, ...]) -> tuple[Any, ...]:
                return tuple([saved[place] for place in places])

        return Rule(position, formula, reads, pick, {name: known[name] for name in extras})

    def _findable(self, position: int | None) -> dict[str, Callable[[Node], Any]]:
        """What a formula may ask for beside saved values: by name, how it is found at a node."""

        def metadata(name: str) -> Callable[[Node], Any]:
            return lambda node: node.metadata[name]

        known = {name: metadata(name) for name in self.metadata}
        if position is not None:
            return {**known, f"{self.operands[position]}_shape": lambda node: node.parents[position].shape}
        return {
            **known,
            "shapes": lambda node: tuple([getattr(parent, "shape", ()) for parent in node.parents]),
            "needs": lambda node: tuple([isinstance(p, Node) and p.varies for p in node.parents]),
        }

    def plan(self, needs: tuple[bool, ...]) -> tuple[tuple[Rule, ...], tuple[bool, ...]]:
        """Which rules to run when these operands need gradients, and which of (*operands, out) they read."""
        plan = self._plans.get(needs)
        if plan is None:
            rules = tuple(rule for rule in self.rules if rule.position is None or needs[rule.position])
            read = {name for rule in rules for name in rule.reads}
            names = (self.variadic,) * len(needs) if self.variadic else self.operands
            operands = [name in read or self.steps is not None for name in names]  # all, to take the steps again
            plan = rules, (*operands, not read.isdisjoint(("out", "kept")))
            if len(needs) <= MANY:  # there is no end of calls with more
                self._plans[needs] = plan
        return plan

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort a call's arguments into operands and metadata."""
        n = len(self.operands) if self.operands_first else len(self.positional)
        first, rest = args[:n], args[n:]
        if self.operands_first:  # op(x, y, metadata...)
            operands, given = first, dict(zip(self.positional[n:], rest, strict=False))
            regular = len(first) == n and len(args) <= len(self.positional)
        else:  # op(metadata..., *operands), the operands one by one or in one list
            operands, given = rest, dict(zip(self.positional, first, strict=False))
            regular = len(first) == n and self.variadic is not None
            if len(rest) == 1 and isinstance(rest[0], list | tuple):
                operands = tuple(rest[0])
        metadata = {**self.presets, **given, **kwargs}
        if regular and len(metadata) == len(self.metadata) and given.keys().isdisjoint(kwargs):
            return operands, metadata
        return self._bind_by_name(args, kwargs)

    def _bind_by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`bind` for calls that name operands or mix them with metadata, and for those that are wrong."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None
        bound.apply_defaults()
        metadata = dict(bound.arguments)
        operands = tuple([metadata.pop(name) for name in self.operands])
        return (operands[0] if self.variadic else operands), metadata

    def apply(self, operands: tuple[Any, ...], metadata: dict[str, Any]) -> Any:
        """Run the op: arrays give arrays; with a Tensor among the operands, Tensors and a node of the graph."""
        tensors = [value for value in (*operands, *metadata.values()) if isinstance(value, Tensor)]
        if not tensors:
            if not alike(operands):
                self.check_operands(operands)
            return self.compute(operands, metadata, [])
        if self.steps and unrolling.get():
            return self.steps(*operands, **metadata)
        arrays = [value._data if isinstance(value, Tensor) else value for value in operands]
        if not alike(arrays):
            arrays = settle(self.name, self.operand_names(len(arrays)), arrays, self.defaults)
        if metadata:
            metadata = {name: self.settle_metadata(name, value, arrays) for name, value in metadata.items()}
        mode = recording.get()
        recorded = mode & RECORDED and any([t.node is not None for t in tensors])
        kept: list[Array] = []
        if mode > RECORDED:
            with muted():
                out = self.compute(arrays, metadata, kept)
        else:
            out = self.compute(arrays, metadata, kept)
        several = type(out) is tuple
        dtype = metadata.get("dtype")
        outs = [as_array(o, arrays, dtype) for o in (out if several else [out])]
        results = [Tensor(o) for o in outs]
        node = None
        if recorded:
            node = self.record(operands, arrays, metadata, outs if several else outs[0], kept)
            for i, (o, result) in enumerate(zip(outs, results, strict=True)):
                if o.dtype.kind in "fc":  # an integer output (the place of a maximum, say) is a constant
                    result.node = output_node(node, i, o) if several else node
        if mode > RECORDED:
            for watcher in watchers.get():
                watcher.ran(self, operands, metadata, results, node)
        return tuple(results) if several else results[0]

    def check_operands(self, operands: Sequence[Any]) -> None:
        """Raise TypeError or ValueError unless the operands are arrays and numbers, and there are some."""
        if not operands:
            raise ValueError(f"{self.name}: expected one of {self.variadic} at least, got none")
        for name, value in zip(self.operand_names(len(operands)), operands, strict=True):
            check_operand(self.name, name, value, self.defaults)

    def compute(self, arrays: Sequence[Any], metadata: dict[str, Any], kept: list[Array]) -> Any:
        """The forward function on plain arrays; in `kept` goes what it keeps for its gradient.

        Its errors name the op and what it was given.
        """
        xp = np if type(arrays[0]) is np.ndarray else common_backend(arrays).xp
        if self.keeps:
            metadata = {**metadata, "keep": kept}
        try:
            if self.operands_first:
                return self.forward(xp, *arrays, **metadata)
            if not self.variadic:
                return self.forward(xp, **dict(zip(self.operands, arrays, strict=True)), **metadata)
            named = dict(metadata)
            return self.forward(xp, *[named.pop(name) for name in self.positional], *arrays, **named)
        except (ValueError, TypeError, IndexError) as error:
            kind = next(k for k in (ValueError, TypeError, IndexError) if isinstance(error, k))
            given = [*zip(self.operand_names(len(arrays)), arrays, strict=True), *metadata.items()]
            shown = ", ".join(f"{name} {describe(value)}" for name, value in given)
            raise kind(f"{self.name}: {error}; got {shown}") from error

    def record(
        self, operands: tuple[Any, ...], arrays: list[Any], metadata: dict[str, Any], out: Any, kept: Any
    ) -> Node:
        """The node of one call: the rules that its operands need, and the values that these rules read."""
        needs = tuple([isinstance(value, Tensor) and value.node is not None for value in operands])
        rules, keeps = self.plan(needs)
        last = kept if self.keeps else out
        saved = tuple([value if keep else None for value, keep in zip((*arrays, last), keeps, strict=True)])
        parents = tuple([parent_of(value, array) for value, array in zip(operands, arrays, strict=True)])
        if type(out) is list:
            shape, dtype = tuple([o.shape for o in out]), tuple([o.dtype for o in out])
        else:
            shape, dtype = out.shape, out.dtype
        return new_node(self, parents, metadata, rules, saved, shape, dtype)

    def settle_metadata(self, name: str, value: Any, arrays: list[Any]) -> Any:
        """Metadata without Tensors: an index or a mask becomes an array on the operands' device."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, list):
            return copy.deepcopy(value)  # the caller may go on to change it
        if isinstance(value, Tensor):
            if value.requires_grad:
                raise TypeError(f"{self.name}: {name} is not differentiated; give a constant, {name}.detach()")
            value = value._data
        if isinstance(value, np.generic):
            return value.item()  # as weak here as among the operands
        if type(value) is tuple:
            return tuple([self.settle_metadata(name, item, arrays) for item in value])
        if not is_array(value) and (hasattr(value, "__array__") or isinstance(value, array.array | memoryview)):
            value = np.asarray(value)  # shows the memory of another library's array
        return follow(self.name, name, value, common_backend(arrays))

    def operand_names(self, count: int) -> tuple[str, ...]:
        """The operands as messages name them: x, y, or tensors[0], tensors[1]."""
        return tuple([f"{self.variadic}[{i}]" for i in range(count)]) if self.variadic else self.operands


def parent_of(value: Any, array: Any) -> Any:
    """What stands for an operand among a node's parents: its node, a new one for an array, a scalar itself."""
    if isinstance(value, Tensor):
        return value.graph_node()
    return leaf(array, keeps_grad=False) if is_array(array) else array


def short_way(op: Op, general: Callable[..., Any]) -> Callable[..., Any]:
    """`Op.apply` for the commonest calls, of one or two tensors of one dtype, at a fraction of its overhead.

    Whatever else comes, an error too, goes the general way.
    """
    if op.variadic or op.keeps or op.rules[0].position is None or len(op.operands) > 2:
        return general
    if set(op.defaults) != set(op.metadata):  # all that is no operand may be left out, and no operand may be
        return general
    presets, errors = op.presets, (ValueError, TypeError, IndexError)
    forward = functools.partial(op.forward, **presets) if presets else op.forward
    plans = {needs: op.plan(needs) for needs in itertools.product((False, True), repeat=len(op.operands))}

    def unary(x: Any, /) -> Any:
        if not isinstance(x, Tensor) or (mode := recording.get()) > RECORDED:
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
        if node is None or not mode:
            return Tensor(out)
        rules, (keep_x, keep_out) = plans[True,]
        saved = (a if keep_x else None, out if keep_out else None)
        return Tensor(out, new_node(op, (node,), presets, rules, saved, out.shape, out.dtype))

    def binary(x: Any, y: Any, /) -> Any:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            if type(x) is np.ndarray and type(y) is np.ndarray and x.dtype is y.dtype:  # in a gradient formula
                with contextlib.suppress(*errors):
                    return forward(np, x, y)
            return general(x, y)
        if (mode := recording.get()) > RECORDED:
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
        if (x_node is None and y_node is None) or not mode:
            return Tensor(out)
        rules, (keep_x, keep_y, keep_out) = plans[x_node is not None, y_node is not None]
        saved = (a if keep_x else None, b if keep_y else None, out if keep_out else None)
        parents = (x_node or x.graph_node(), y_node or y.graph_node())
        return Tensor(out, new_node(op, parents, presets, rules, saved, out.shape, out.dtype))

    short = unary if len(op.operands) == 1 else binary
    if not presets:
        return short

    def with_presets(*args: Any, **kwargs: Any) -> Any:
        if len(args) == len(op.operands) and all([value is presets.get(name, op) for name, value in kwargs.items()]):
            return short(*args)
        return general(*args, **kwargs)

    return with_presets


def in_arrays(steps: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives a Tensor or several, as one that gives arrays."""

    def reference(*args: Any, **kwargs: Any) -> Any:
        out = steps(*args, **kwargs)
        return out.data if isinstance(out, Tensor) else tuple(o.data for o in out)

    return reference


def op(
    *,
    backward: Callable[..., Any] | None = None,
    steps: Callable[..., Any] | None = None,
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
            for none). It may ask for the operands' `shapes`, and for which of them it is wanted (`needs`). Every
            positional parameter is an operand then.
        steps: the same in smaller ops, for an op that is one for the sake of speed: what runs under `unrolled()`, and
            is differentiated where gradients of gradients are wanted. The forward function may then have a last
            parameter `keep`, a list: what it puts there the gradient may ask for, as `kept`.
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
        proof = Proof(cases, domain, kinks, analytic, reference or (steps and in_arrays(steps)))
        registered = OPS[forward.__name__] = Op(forward, backward, formulas, proof, steps)

        def call(*args: Any, **kwargs: Any) -> Any:
            return registered.apply(*registered.bind(args, kwargs))

        function = functions[registered.name] = functools.update_wrapper(short_way(registered, call), forward)
        function.__signature__ = registered.signature  # type: ignore[attr-defined]
        return function

    return register
