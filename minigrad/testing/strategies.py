"""Hypothesis strategies for the calls of ops: shapes, indices and arrays that an op's `cases` puts together.

Shapes shrink; values don't need to. They follow a sequence that fills the op's domain evenly and never repeats, so
that no two elements tie, none lies near a kink, and finite differences step over neither.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ..registry import Op, Proof

V = TypeVar("V")
Shape = tuple[int, ...]

SIDE, SIZE = 3, 12  # the longest side of a drawn shape, and the most elements: a whole Jacobian stays small
MARGIN = 0.1  # how far values keep from a kink
GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 fill [0, 1] evenly and never meet

EINSUMS = (
    *("ij,jk->ik", "ij,jk", "bij,bjk->bik", "ij,jk,kl->il"),  # products of matrices, one with its result implied
    *("ij->ji", "ij->i", "ij,k->i", "ij->", ",i->i", "i,j->ji"),  # labels moved, summed alone, scalars, outer products
    *("ii->i", "ii->", "iij->j", "ii,ij->j", "ba,ab"),  # diagonals and traces
    *("...ij,...jk->...ik", "...i,...i", "i...->...", "...,...->..."),  # ellipses
)


class Call(NamedTuple):
    """The arguments of one call of an op, arrays in NumPy's."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def operands(self) -> list[np.ndarray]:
        """The floating-point arrays among the arguments, those in lists included."""
        found: list[np.ndarray] = []
        self.replaced(lambda array: found.append(array))
        return found

    def replaced(self, replace: Callable[[np.ndarray], Any]) -> "Call":
        """The same call with something else for each operand."""

        def visit(value: Any) -> Any:
            if isinstance(value, list):
                return [visit(item) for item in value]
            return replace(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

        return Call(tuple(visit(value) for value in self.args), self.kwargs)

    def of(self, function: Callable[..., Any], *operands: Any) -> Any:
        """`function` called so, on these operands in place of the drawn ones."""
        rest: Iterator[Any] = iter(operands)
        args, kwargs = self.replaced(lambda _: next(rest))
        return function(*args, **kwargs)


class Drawer:
    """What an op's `cases` draws its arguments from.

    Args:
        draw: Hypothesis's draw function of a composite strategy.
        proof: the op's domain and kinks.
        device: the name of the device that the call will run on.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], proof: Proof, device: str) -> None:
        self.draw, self.proof, self.device = draw, proof, device
        self.used = draw(st.integers(0, 999))  # how far the sequence of values has run

    def call(self, *args: Any, **kwargs: Any) -> Call:
        """The drawn call; what a `cases` function returns."""
        return Call(args, kwargs)

    # ---- choices

    def one_of(self, *values: V) -> V:
        """One of some values, the first when shrunk."""
        return values[self.integer(0, len(values) - 1)]

    def boolean(self) -> bool:
        return bool(self.draw(st.booleans()))

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.draw(st.integers(low, high)))

    # ---- shapes and axes

    # Each is one choice from the list of all, the simplest first: so few examples reach much, and shrink well.

    def shape(self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = SIDE) -> Shape:
        """A shape; also of no axes and, now and then, with a side of 0."""
        sides = range(max(min_side, 1), max_side + 1)
        shapes = [s for n in range(min_dims, max_dims + 1) for s in itertools.product(sides, repeat=n)]
        shape = self.one_of(*[s for s in shapes if math.prod(s) <= SIZE])
        if min_side or not shape or self.integer(0, 9) < 9:  # gradients of empty arrays prove little
            return shape
        empty = self.integer(0, len(shape) - 1)
        return (*shape[:empty], 0, *shape[empty + 1 :])

    def broadcastable(self, n: int, max_dims: int = 3) -> tuple[Shape, ...]:
        """Shapes of n arrays that broadcast together: of one shape, but for axes that are 1 or left out in front."""
        whole = self.shape(max_dims=max_dims)
        if n == 1:
            return (whole,)
        lesser = [s for i in range(len(whole) + 1) for s in itertools.product(*[(side, 1) for side in whole[i:]])]
        return tuple(self.one_of(*lesser) for _ in range(n))

    def axis(self, ndim: int) -> int:
        """One of ndim axes, counted from either end."""
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim: int) -> Any:
        """The axes of a reduction: None, one, or a tuple of different ones."""
        several = [axes for n in range(ndim + 1) for axes in itertools.permutations(range(ndim), n)]
        from_behind = [tuple(axis - ndim for axis in axes) for axes in several]
        return self.one_of(None, *range(-ndim, ndim), *several, *from_behind)

    def reduction(self, min_side: int) -> tuple[Shape, Any]:
        """A shape, and axes to reduce, each of them at least `min_side` long; other axes may be empty."""
        shape = list(self.shape())
        axes = self.axes(len(shape))
        for axis in range(len(shape)) if axes is None else np.atleast_1d(axes).tolist():
            shape[axis] = max(shape[axis], min_side)
        return tuple(shape), axes

    def permutation(self, n: int) -> tuple[int, ...]:
        """The numbers below n in some order."""
        return self.one_of(*itertools.permutations(range(n)))

    # ---- arrays

    def array(self, shape: Shape) -> np.ndarray:
        """An array within the op's domain: its values distinct, its memory laid out in any way, maybe read-only."""
        values = self._values(math.prod(shape)).reshape(shape)
        array = laid_out(values, self.one_of("contiguous", "transposed", "strided", "reversed"))
        array.flags.writeable = self.boolean()
        return array

    def _values(self, count: int) -> np.ndarray:
        """The next values of the sequence, spread over the domain less its kinks."""
        (low, high), kinks = self.proof.domain, sorted(self.proof.kinks)
        starts = np.array([low, *[kink + MARGIN for kink in kinks]])
        lengths = np.array([*[kink - MARGIN for kink in kinks], high]) - starts
        ends = np.cumsum(lengths)
        along = (np.arange(self.used, self.used + count) * GOLDEN % 1) * ends[-1]
        self.used += count
        piece = np.searchsorted(ends, along)
        values: np.ndarray = starts[piece] + along - (ends - lengths)[piece]
        return values

    def mask(self, shape: Shape) -> np.ndarray:
        """A boolean array."""
        return np.asarray(self.draw(hnp.arrays(np.bool_, shape)))

    # ---- indices

    def indices(self, n: int, shape: Shape) -> np.ndarray:
        """An array of indices into an axis of length n, from either end; some come twice."""
        return np.asarray(self.draw(hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1))))

    def index(self, shape: Shape) -> Any:
        """What x of a shape may be indexed with: numbers, slices, None, ..., masks, integer arrays, and mixtures."""
        kind = self.one_of("basic", "mask", "masks", "integers", "mixed")
        if kind == "basic":
            return self.draw(hnp.basic_indices(shape, allow_newaxis=True))
        if kind == "mask":
            return self.mask(shape[: self.integer(1, len(shape))])
        if kind == "masks":
            return (slice(None), self.mask(shape[1:]))
        if kind == "integers":
            places = self.broadcastable(self.integer(1, len(shape)), max_dims=2)
            return tuple(self.indices(n, place) for n, place in zip(shape, places, strict=False))
        return tuple(self.one_of(slice(None, None, -1), self.indices(n, (2,)), 0) for n in shape)

    # ---- operands that belong together

    def arrays_to_join(self, axis: int) -> list[np.ndarray]:
        """One to three arrays of one shape but for its length along an axis: 0, 1 or -1."""
        shape = list(self.shape(2, 3))
        arrays = []
        for _ in range(self.integer(1, 3)):
            shape[axis] = self.integer(0, SIDE)
            arrays.append(self.array(tuple(shape)))
        return arrays

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Two operands of a matrix product: matrices or vectors, and stacks of matrices that broadcast."""
        rows, inner, columns = self.shape(3, 3)
        batch_x, batch_y = self.broadcastable(2, max_dims=2)
        x = self.one_of((*batch_x, rows, inner), (inner,))
        return self.array(x), self.array(self.one_of((*batch_y, inner, columns), (inner,)))

    def sequence_call(self, blocks: int, states: int, **options: Any) -> Call:
        """A recurrent network over a sequence: its operands, with biases or without, either way, over or not."""
        T, B, D, H = (self.integer(1, most) for most in (3, 2, 2, 2))
        rows = blocks * H
        biases = [self.array((rows,)) if self.boolean() else None for _ in range(2)]
        running = None
        if self.boolean():
            running = np.arange(T)[:, None, None] < np.array([[self.integer(1, T)] for _ in range(B)])
        states_before = [self.array((B, H)) for _ in range(states)]
        operands = self.array((T, B, D)), *states_before, self.array((rows, D)), self.array((rows, H)), *biases
        return self.call(*operands, reverse=self.boolean(), running=running, **options)

    def einsum_call(self) -> Call:
        """Subscripts of some kind, and their operands."""
        subscripts = self.one_of(*EINSUMS)
        terms = subscripts.partition("->")[0].split(",")
        labels = sorted(set(subscripts) - set(",->."))
        lengths = dict(zip(labels, self.shape(len(labels), len(labels)), strict=True))
        operands = []
        for term, batch in zip(terms, self.broadcastable(len(terms), max_dims=2), strict=True):
            before, dots, after = term.partition("...")
            sides = [*[lengths[c] for c in before], *(batch if dots else ()), *[lengths[c] for c in after]]
            operands.append(self.array(tuple(sides)))
        return self.call(subscripts, *operands)


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values in memory that is contiguous, transposed, with gaps, or backwards."""
    if layout == "transposed":
        return values.T.copy().T
    if layout == "contiguous":
        return values.copy()
    step = 2 if layout == "strided" else -1
    view: Any = (..., *[slice(None, None, step)] * values.ndim)
    array: np.ndarray = np.zeros(tuple(abs(step) * n for n in values.shape))[view]
    array[...] = values
    return array


def arrays(
    shape: Shape, domain: tuple[float, float] = (-2.0, 2.0), kinks: tuple[float, ...] = ()
) -> st.SearchStrategy[np.ndarray]:
    """Arrays of distinct floats within a domain, none within 0.1 of a kink; laid out in memory in any way.

    >>> from hypothesis import find
    >>> find(arrays((2, 3), domain=(0.0, 1.0)), lambda x: True).shape
    (2, 3)
    """
    proof = Proof(None, domain, kinks, False, None)
    return st.composite(lambda draw: Drawer(draw, proof, "cpu").array(shape))()


def op_calls(op: Op, device: str = "cpu") -> st.SearchStrategy[Call]:
    """Calls of an op: those of its `cases`, or else operands of shapes that broadcast.

    >>> import minigrad as mg
    >>> isinstance(op_calls(mg.registry.OPS["tanh"]), st.SearchStrategy)
    True
    """

    @st.composite
    def calls(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Call:
        d = Drawer(draw, op.proof, device)
        if op.proof.cases is None:
            return d.call(*[d.array(shape) for shape in d.broadcastable(len(op.operands))])
        call = op.proof.cases(d)
        assert isinstance(call, Call), f"op {op.name}: cases must return d.call(...), got {call!r}"
        return call

    return calls()
