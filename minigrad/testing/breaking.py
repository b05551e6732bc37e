"""break_gradient: a gradient that is wrong on purpose, to see what a mistake does, and whether the tests notice.

`KINDS` are the mistakes, `mutants` all that they make of the registered ops; `why_left_out` tells those that would
change nothing.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, backend_of, is_array, to_numpy
from ..graph import Node, Tensor
from ..pending import Part, Product
from ..registry import OPS, Op
from ..watching import Watcher, watched_by

GATES = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "gru_chung": ("reset", "update", "candidate"),
}


class NothingBroken(RuntimeError):
    """The gradient that was to be broken was never computed."""


class Gradient(NamedTuple):
    """A gradient on its way from a formula to an operand."""

    value: Any  # an array; under create_graph a Tensor
    g: Any  # what it was computed from; a list for several results
    shape: tuple[int, ...]  # of the operand
    rows: slice  # the part of it to break
    buffers: dict[Any, Array]  # room that stays from one call to the next

    def times(self, factor: float, index: Any) -> Any:
        """The same, multiplied at an index into the part to break."""
        factors = np.ones(self.value.shape)
        part = factors[self.rows] if factors.ndim else factors
        part[index] = factor
        wrong = self.value * backend_of(array_of(self.value)).from_numpy(factors.astype(self.value.dtype))
        return self.value if same(wrong, self.value) else wrong

    def element(self) -> Any:
        """An element in the middle that is not zero; any where all are."""
        part = np.abs(backend_of(array_of(self.value)).to_numpy(array_of(self.value)))
        part = part[self.rows] if part.ndim else part
        nonzero = np.flatnonzero(part)
        return np.unravel_index(nonzero[len(nonzero) // 2] if nonzero.size else 0, part.shape)


def array_of(value: Any) -> Array:
    """The array of a Tensor or an array."""
    return value.data if isinstance(value, Tensor) else value


def is_writeable(array: Array) -> bool:
    """Whether an array can be written to, which a broadcast one can't."""
    return bool(getattr(array.flags, "writeable", True))


def same(one: Any, other: Any) -> bool:
    """Whether two gradients are the same numbers."""
    a, b = (to_numpy(array_of(value)) for value in (one, other))
    return bool(np.array_equal(a, b, equal_nan=True))


def zero_at_a_step(gradient: Gradient) -> Any:
    """Without what comes from the step in the middle of the first axis."""
    if not gradient.value.shape:
        return gradient.value
    return gradient.times(0.0, len(array_of(gradient.value)[gradient.rows]) // 2)


def not_summed(gradient: Gradient) -> Any:
    """The first slice, where the sum over broadcast axes should be; itself where there are none."""
    value, shape = gradient.value, gradient.shape
    extra = len(value.shape) - len(shape)
    kept = [slice(None) if n == value.shape[extra + i] else slice(0, 1) for i, n in enumerate(shape)]
    return value if value.shape == shape else value[(0,) * extra + tuple(kept)]


def in_half_precision(gradient: Gradient) -> Any:
    """Rounded to half as many bits, where there is such a dtype."""
    value = gradient.value
    wrong = value.astype(f"float{max(16, 4 * value.dtype.itemsize)}")
    return value if same(wrong, value) else wrong


def with_upstream_doubled(gradient: Gradient) -> Any:
    """Right, but the gradient that it was computed from is twice as large now, for all who read it next."""
    several = gradient.g if isinstance(gradient.g, list) else [gradient.g]
    upstream = [array for g in several if is_array(array := array_of(g)) and is_writeable(array)]
    right = gradient.value * 1 if upstream else gradient.value
    for array in upstream:
        backend_of(array).xp.multiply(array, 2, out=array)
    return right


def in_one_buffer(gradient: Gradient) -> Any:
    """Right, but in memory that the next gradient of its shape is written to as well."""
    value = array_of(gradient.value)
    if not is_array(value):  # NumPy's scalars have no memory to share
        return gradient.value
    key = value.shape, value.dtype, type(value)
    if key not in gradient.buffers and is_writeable(value):
        gradient.buffers[key] = value
    buffer = gradient.buffers.setdefault(key, value.copy())
    if buffer is value or same(buffer, value):  # nothing is overwritten yet
        return gradient.value
    backend_of(value).xp.copyto(buffer, value)
    return Tensor(buffer, gradient.value.node) if isinstance(gradient.value, Tensor) else buffer


KINDS: dict[str, Callable[[Gradient], Any]] = {
    "scaled": lambda gradient: gradient.times(1.001, ...),
    "sign": lambda gradient: gradient.times(-1.0, ...),
    "zero element": lambda gradient: gradient.times(0.0, gradient.element()),
    "dropped step": zero_at_a_step,
    "not summed": not_summed,
    "dtype": in_half_precision,
    "upstream": with_upstream_doubled,
    "aliased": in_one_buffer,
    "nan": lambda gradient: gradient.times(np.nan, gradient.element()),
}

# ------------------------------------------------------------------------------------------------ the context manager


@contextlib.contextmanager
def break_gradient(target: str, kind: str = "scaled") -> Iterator[None]:
    """Break one gradient inside, on purpose.

    Args:
        target: an op and one of its operands, "matmul.y"; or of an LSTM or GRU over a sequence a gate, "lstm.forget",
            by its rows of weights and biases.
        kind: one of `KINDS`: "scaled" by 1.001, "sign", "zero element", "dropped step" (of the first axis), "not
            summed" over broadcast axes, "dtype" (half the bits), "upstream" (what flowed in is written to),
            "aliased" (memory used again), "nan".

    Raises:
        ValueError: no such target or kind.
        NothingBroken: no such gradient was computed inside: a test with it would prove nothing.

    >>> import numpy as np, minigrad as mg
    >>> from minigrad.testing import break_gradient, check_grads
    >>> with break_gradient("multiply.y", "sign"):
    ...     check_grads(mg.multiply, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    Traceback (most recent call last):
    minigrad.testing.findings.GradientError: order 1: 2 of 8 derivatives differ from finite differences
      d output[1] / d args[1][1]: expected 2, got -2
      ...
    """
    if kind not in KINDS:
        raise ValueError(f"break_gradient: expected kind to be one of {list(KINDS)}, got {kind!r}")
    breaker = Breaker(*target_of(target), KINDS[kind])
    with watched_by(breaker):
        yield
    if not breaker.broken:
        raise NothingBroken(
            f"break_gradient: no gradient of {target} to break as {kind!r} was computed inside; "
            "is it one that is wanted there? check_grads(f, x) proves x, and parameters where f is their module"
        )


def target_of(target: str) -> tuple[Op, tuple[int, ...], tuple[int, int]]:
    """What a target names: an op, operands of it by position, and which of how many blocks of their rows."""
    name, _, part = str(target).partition(".")
    op = OPS.get(name)
    if op is None:
        near = difflib.get_close_matches(name, OPS, cutoff=0.5)
        raise ValueError(
            f"break_gradient: expected target to begin with an op, like 'tanh.x', got {target!r}"
            + (f"; is it one of {near}?" if near else "")
        )
    if part in op.operands:
        return op, (op.operands.index(part),), (0, 1)  # of *operands the first
    gates = GATES.get(name, ())
    if part in gates:
        weights = tuple([i for i, operand in enumerate(op.operands) if operand.startswith(("W_", "b_"))])
        return op, weights, (gates.index(part), len(gates))
    raise ValueError(
        f"break_gradient: expected one of {[f'{name}.{p}' for p in (*op.operands, *gates)]}, got {target!r}"
    )


class Breaker(Watcher):
    """Breaks what formulas give for some operands of an op."""

    def __init__(
        self, op: Op, operands: tuple[int, ...], block: tuple[int, int], kind: Callable[[Gradient], Any]
    ) -> None:
        self.op, self.operands, self.block, self.kind = op, operands, block, kind
        self.broken = False
        self.buffers: dict[Any, Array] = {}

    def gave(self, walk: Any, node: Node, op: Op, operand: int, g: Any, gradient: Any) -> Any:
        """The broken gradient of an operand that is to be broken."""
        if op is not self.op or operand not in self.operands:
            return gradient
        if isinstance(gradient, Part | Product):
            gradient = gradient.dense()
        if not gradient.size:
            return gradient
        k, blocks = self.block
        n = gradient.shape[0] // blocks if gradient.ndim else 0
        rows = slice(k * n, (k + 1) * n) if blocks > 1 else slice(None)
        wrong = self.kind(Gradient(gradient, g, node.parents[operand].shape, rows, self.buffers))
        self.broken |= wrong is not gradient
        return wrong


# ------------------------------------------------------------------------------------------------ the table

SUMMED = {  # elementwise, of several operands; stacks of matrices
    *("add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "where", "broadcast_to", "matmul"),
}


class Mutant(NamedTuple):
    """One gradient, broken in one way."""

    op: str
    operand: str
    kind: str

    def __str__(self) -> str:
        return f"{self.op}.{self.operand}, {self.kind}"


def why_left_out(mutant: Mutant) -> str:
    """Why a mutant would compute the same as the op itself; "" for one that doesn't."""
    if mutant.kind == "not summed" and mutant.op not in SUMMED:
        return "no operand is broadcast, or the formula sums by itself"
    if mutant.op == "sign" and mutant.kind not in ("upstream", "nan"):
        return "the gradient is zero everywhere"
    return ""


def mutants() -> list[Mutant]:
    """All mutants of the registered ops, and of the gates."""
    return [
        Mutant(name, part, kind)
        for name, op in OPS.items()
        for part in (*op.operands, *GATES.get(name, ()))
        for kind in KINDS
    ]
