"""Hypothesis strategies for gradient tests: arrays, operands that fit together, sequences, whole recurrent layers.

Shapes shrink; values don't need to. They follow a sequence that fills the domain evenly and never repeats, so that no
two elements tie, none lies near a kink, and finite differences step over neither. Where a strategy wants a shape, a
strategy of shapes will do.

    T steps   B batch   D input   H hidden   V vocabulary

Each strategy is a method of `Drawer`, which an op's `cases` draws from too.

>>> from hypothesis import given
>>> import minigrad as mg
>>> from minigrad.testing import check_grads
>>> @given(arrays(shapes(min_side=1), domain=(0.5, 2.0)))
... def test_log(x):
...     check_grads(mg.log, x)
>>> test_log()
"""

import inspect
import itertools
import math
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ..backend import DTypeLike
from ..creation import as_tensor
from ..graph import Tensor
from ..registry import Op, Proof

V = TypeVar("V")
Shape: TypeAlias = tuple[int, ...]
Strategy: TypeAlias = st.SearchStrategy[Any]

SIZES = ("input_size", "hidden_size")
STEPS, BATCH = 3, 2  # the most that are drawn
SIDE, SIZE = 3, 12  # the longest side of a drawn shape, and the most elements: a whole Jacobian stays small
MARGIN = 0.1  # how far values keep from a kink
GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 fill [0, 1] evenly and never meet

EINSUMS = (
    *("ij,jk->ik", "ij,jk", "bij,bjk->bik", "ij,jk,kl->il"),  # products of matrices, one with its result implied
    *("ij->ji", "ij->i", "ij,k->i", "ij->", ",i->i", "i,j->ji"),  # labels moved, summed alone, scalars, outer products
    *("ii->i", "ii->", "iij->j", "ii,ij->j", "ba,ab"),  # diagonals and traces
    *("...ij,...jk->...ik", "...i,...i", "i...->...", "...,...->..."),  # ellipses
)


PLAIN = Proof(cases=None, domain=(-2.0, 2.0), kinks=(), analytic=False, reference=None)

# What the options of a recurrent layer are drawn from, by PyTorch's names; the simplest comes first.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "num_layers": (1, 2),
    "bias": (True, False),
    "batch_first": (False, True),
    "bidirectional": (False, True),
    "nonlinearity": ("tanh", "relu"),
    "variant": ("cudnn", "chung"),
}


class Call(NamedTuple):
    """The arguments of one call, arrays in NumPy's."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def operands(self) -> list[Any]:
        """The floating-point arrays, or tensors, among the positional arguments, those in lists and tuples included."""
        return [operand for _, operand in self.named_operands([""] * len(self.args))]

    def named_operands(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        """The same, each with what it is called where `names` are the arguments'."""
        return [pair for name, value in zip(names, self.args, strict=True) for pair in operands_in(name, value)]

    def replaced(self, replace: Callable[[Any], Any]) -> "Call":
        """The same call with something else for each operand."""

        def visit(value: Any) -> Any:
            if isinstance(value, tuple) and hasattr(value, "_fields"):
                return type(value)(*map(visit, value))
            if isinstance(value, list | tuple):
                return type(value)(map(visit, value))
            return replace(value) if is_operand(value) else value

        return Call(tuple(visit(value) for value in self.args), self.kwargs)

    def of(self, function: Callable[..., Any], *operands: Any) -> Any:
        """`function` called so, on these operands in place of the drawn ones."""
        rest: Iterator[Any] = iter(operands)
        args, kwargs = self.replaced(lambda _: next(rest))
        return function(*args, **kwargs)


def is_operand(value: Any) -> bool:
    """Whether a value is a floating-point array or tensor."""
    return isinstance(value, np.ndarray | Tensor) and value.dtype.kind == "f"


def operands_in(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The operands in a value, nested ones in order, each with its name: state[0]."""
    if is_operand(value):
        yield name, value
    elif isinstance(value, list | tuple):
        fields = getattr(value, "_fields", None)
        for i, item in enumerate(value):
            yield from operands_in(f"{name}.{fields[i]}" if fields else f"{name}[{i}]", item)


class RaggedBatch(NamedTuple):
    """Sequences of unequal length: what x holds beyond the lengths is no part of them."""

    x: np.ndarray  # (T, B, D)
    lengths: np.ndarray  # (B,), each in 1..T


class LayerCall(NamedTuple):
    """A recurrent layer, and what to call it with: layer(x, state, lengths=lengths)."""

    layer: Any  # float64
    x: np.ndarray  # (T, B, D); (B, T, D) for a layer made with batch_first
    state: Any  # None, or of the form in which the layer returns it
    lengths: np.ndarray | None  # (B,), each in 1..T; None too where forward takes none
    options: dict[str, Any]  # what the layer was made with


class Drawer:
    """What an op's `cases` draws its arguments from, and every strategy here.

    Args:
        draw: Hypothesis's draw function of a composite strategy.
        proof: the op's domain and kinks.
        device: the name of the device that the call will run on.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], proof: Proof, device: str) -> None:
        self.draw, self.proof, self.device = draw, proof, device
        self.used = draw(st.integers(0, 999))  # how far the sequence of values has run

    def drawn(self, value: Any) -> Any:
        """What a strategy draws; anything else is itself."""
        return self.draw(value) if isinstance(value, st.SearchStrategy) else value

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

    def array(self, shape: Shape | Strategy, dtype: DTypeLike = np.float64) -> np.ndarray:
        """An array within the domain, its floats distinct, its memory laid out in any way, maybe read-only."""
        sides: Shape = tuple(np.ravel(self.drawn(shape)).astype(int).tolist())  # 3 is (3,), as to NumPy
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return self.mask(sides)
        if dtype.kind in "iu":
            low, high = (int(bound) for bound in self.proof.domain)
            values = np.asarray(self.draw(hnp.arrays(dtype, sides, elements=st.integers(low, high))))
        else:
            values = self._values(math.prod(sides)).reshape(sides).astype(dtype)
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

    def mask(self, shape: Shape | Strategy) -> np.ndarray:
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

    # ---- sequences and layers

    def lengths(self, T: int, B: int) -> np.ndarray:
        """How many of T steps each of B sequences has: (B,)."""
        return np.array([self.integer(1, T) for _ in range(B)])

    def ragged_batch(self, D: int, T: int = STEPS, B: int = BATCH) -> RaggedBatch:
        """At most B sequences of at most T steps, D inputs each."""
        T, B = self.integer(1, T), self.integer(1, B)
        return RaggedBatch(self.array((T, B, D)), self.lengths(T, B))

    def tokens(self, V: int, T: int = STEPS, B: int = BATCH) -> np.ndarray:
        """Ids below V, (T, B), of at most T steps and B sequences."""
        shape = self.integer(1, T), self.integer(1, B)
        return np.asarray(self.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, V - 1))))

    def state(self, layer: Callable[..., Any], x: Any) -> Any:
        """A state for x, of the form in which the layer returns it."""
        _, last, *_ = layer(x)
        if isinstance(last, tuple | list):
            return type(last)(self.array(part.shape) for part in last)
        return self.array(last.shape)

    def module(self, make: Callable[..., Any], options: dict[str, Any]) -> Any:
        """A module in float64, its parameters drawn."""
        module = make(**options)
        if hasattr(module, "to"):
            module = module.to("float64")
        for parameter in module.parameters() if hasattr(module, "parameters") else ():
            parameter.data = self._values(parameter.size).reshape(parameter.shape)
        return module

    def layer_call(self, make: Callable[..., Any], given: dict[str, Any]) -> LayerCall:
        """A recurrent layer as its constructor's signature allows, and what it may be called with."""
        parameters = inspect.signature(make).parameters
        options = {name: self.one_of(*choices) for name, choices in OPTIONS.items() if name in parameters}
        options |= {name: self.drawn(value) for name, value in given.items()}
        D, H = self.integer(1, 2), self.integer(1, 2)
        several = options.get("num_layers", 1) > 1 or options.get("bidirectional", False)
        sizes = {"input_size": D, "hidden_size": 1 if several else H}  # few weights, for they are all proved
        options = sizes | options
        layer = self.module(make, options)
        x, lengths = self.ragged_batch(options["input_size"])
        if options.get("batch_first"):
            x = x.swapaxes(0, 1)
        takes = list(inspect.signature(getattr(layer, "forward", layer)).parameters)
        state = self.state(layer, x) if len(takes) > 1 and takes[1] != "lengths" and self.boolean() else None
        return LayerCall(layer, x, state, lengths if "lengths" in takes and self.boolean() else None, options)

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


def check_makes_layers(make: Callable[..., Any], given: Container[str]) -> None:
    """Raise TypeError unless `make` takes sizes, and what else it must be given is known."""
    parameters = inspect.signature(make).parameters
    name = getattr(make, "__name__", repr(make))
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    unknown = [name for name in required if name not in SIZES and name not in OPTIONS and name not in given]
    if unknown or not set(SIZES) <= set(parameters):
        mend = f"layer_calls({name}, {unknown[0]}=...)" if unknown else "a function of these that makes one"
        raise TypeError(
            f"layer_calls: expected a recurrent layer, made of {' and '.join(SIZES)}, got "
            f"{name}{inspect.signature(make)}; give {mend}"
        )


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values in memory that is contiguous, transposed, with gaps, or backwards."""
    if layout == "transposed":
        return values.T.copy().T
    if layout == "contiguous":
        return values.copy()
    step = 2 if layout == "strided" else -1
    view: Any = (..., *[slice(None, None, step)] * values.ndim)
    array: np.ndarray = np.zeros(tuple(abs(step) * n for n in values.shape), values.dtype)[view]
    array[...] = values
    return array


# ------------------------------------------------------------------------------------------------ strategies


def drawing(
    method: Callable[..., Any],
    *args: Any,
    domain: tuple[float, float] = (-2.0, 2.0),
    kinks: tuple[float, ...] = (),
    **kwargs: Any,
) -> Strategy:
    """What a method of Drawer draws, as a strategy."""
    bounds, bends = np.ravel(domain), np.ravel(kinks)  # an array of them, or a single kink, is as good
    if bounds.size != 2 or not bounds[0] < bounds[1]:
        raise ValueError(f"strategies: expected domain to be (lowest, highest), got {domain!r}")
    proof = PLAIN._replace(domain=(bounds[0], bounds[1]), kinks=tuple(bends))
    return st.composite(lambda draw: method(Drawer(draw, proof, "cpu"), *args, **kwargs))()


def arrays(
    shape: Shape | Strategy,
    domain: tuple[float, float] = (-2.0, 2.0),
    kinks: tuple[float, ...] = (),
    dtype: DTypeLike = "float64",
) -> st.SearchStrategy[np.ndarray]:
    """Arrays of distinct floats within a domain, none within 0.1 of a kink; laid out in memory in any way.

    Args:
        shape: a shape, or a strategy of shapes.
        domain: the lowest and the highest value.
        kinks: where the function to test has a bend or a jump.
        dtype: of integers and booleans, the values may come twice, and kinks don't matter.

    >>> from hypothesis import find
    >>> find(arrays((2, 3), domain=(0.0, 1.0)), lambda x: True).shape
    (2, 3)
    >>> find(arrays(shapes(), domain=(0, 9), dtype="int64"), lambda x: x.sum() == 7)
    array(7)
    """
    return drawing(Drawer.array, shape, dtype, domain=domain, kinks=kinks)


def tensors(
    shape: Shape | Strategy,
    domain: tuple[float, float] = (-2.0, 2.0),
    kinks: tuple[float, ...] = (),
    dtype: DTypeLike = "float64",
    requires_grad: bool = False,
    device: str = "cpu",
) -> st.SearchStrategy[Tensor]:
    """Tensors of what `arrays` draws.

    >>> from hypothesis import find
    >>> find(tensors((2,), dtype="float32", requires_grad=True), lambda x: True).requires_grad
    True
    """
    return arrays(shape, domain, kinks, dtype).map(lambda x: as_tensor(x, requires_grad, device=device))


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = SIDE) -> st.SearchStrategy[Shape]:
    """Shapes of at most 12 elements; with `min_side` 0, now and then, of none.

    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: len(shape) == 2)
    (1, 1)
    """
    return drawing(Drawer.shape, min_dims, max_dims, min_side, max_side)


def broadcastable_shapes(n: int, max_dims: int = 3) -> st.SearchStrategy[tuple[Shape, ...]]:
    """Shapes of n arrays that broadcast together: axes are 1 or left out in front.

    >>> from hypothesis import find
    >>> find(broadcastable_shapes(2), lambda pair: pair[0] != pair[1])
    ((1,), ())
    """
    return drawing(Drawer.broadcastable, n, max_dims)


def matmul_operands() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Two operands of a matrix product: matrices or vectors, and stacks of matrices that broadcast.

    >>> from hypothesis import find
    >>> x, y = find(matmul_operands(), lambda operands: operands[0].ndim == operands[1].ndim == 2)
    >>> x.shape, y.shape
    ((1, 1), (1, 1))
    """
    return drawing(Drawer.factors)


def einsum_operands() -> st.SearchStrategy[tuple[Any, ...]]:
    """Subscripts and the operands that fit them: products, diagonals, sums, outer products, ellipses.

    >>> from hypothesis import find
    >>> subscripts, *operands = find(einsum_operands(), lambda drawn: drawn[0] == "ij->ji")
    >>> operands[0].shape
    (1, 1)
    """
    return drawing(lambda d: d.einsum_call().args)


def masks(shape: Shape | Strategy) -> st.SearchStrategy[np.ndarray]:
    """Boolean arrays.

    >>> from hypothesis import find
    >>> find(masks((3,)), lambda mask: mask.sum() == 1)
    array([ True, False, False])
    """
    return drawing(Drawer.mask, shape)


def ragged_batches(D: int, T: int = STEPS, B: int = BATCH) -> st.SearchStrategy[RaggedBatch]:
    """Batches of sequences of unequal length, x (T, B, D) and lengths (B,), each in 1..T.

    What x holds beyond the lengths is drawn as the rest is, and must change nothing.

    Args:
        D: the length of an input.
        T, B: the most steps, and the most sequences.

    >>> from hypothesis import find
    >>> x, lengths = find(ragged_batches(2), lambda batch: min(batch.lengths) < len(batch.x))
    >>> x.shape, lengths
    ((2, 1, 2), array([1]))
    """
    return drawing(Drawer.ragged_batch, D, T, B)


def token_sequences(V: int, T: int = STEPS, B: int = BATCH) -> st.SearchStrategy[np.ndarray]:
    """Integer arrays (T, B) of ids below V, of at most T steps and B sequences.

    >>> from hypothesis import find
    >>> find(token_sequences(5), lambda ids: ids.max() == 4)
    array([[4]])
    """
    return drawing(Drawer.tokens, V, T, B)


def states(layer: Callable[..., Any], x: Any) -> Strategy:
    """Initial states for a recurrent layer: of the form of the one that it returns for x.

    >>> from hypothesis import find
    >>> import nn
    >>> h, c = find(states(nn.LSTM(2, 3).to("float64"), np.zeros((4, 1, 2))), lambda state: True)
    >>> h.shape, c.shape
    ((1, 1, 3), (1, 1, 3))
    """
    return drawing(Drawer.state, layer, x)


def layer_calls(make: Callable[..., Any], **options: Any) -> st.SearchStrategy[LayerCall]:
    """Recurrent layers, made in any way that their constructor's signature allows, and what to call them with.

    The constructor takes input_size and hidden_size. What else it takes by PyTorch's names (num_layers, bias,
    batch_first, bidirectional, nonlinearity, variant) is drawn; other arguments keep their defaults. The layer is
    float64, its parameters drawn too. Its forward takes x, (T, B, D) or with batch_first (B, T, D), then the state if
    it takes one, and `lengths`, if it does; it returns the outputs and the last state.

    Args:
        make: a class, or any function that makes a layer.
        options: arguments of the constructor: a strategy is drawn from, any other value is given as it is.

    Raises:
        TypeError: the constructor takes no sizes, or asks for more than these.

    >>> from hypothesis import find
    >>> import nn
    >>> call = find(layer_calls(nn.GRU, variant="chung"), lambda call: call.lengths is not None)
    >>> call.x.shape, call.lengths, call.options["variant"]
    ((1, 1, 1), array([1]), 'chung')
    """
    check_makes_layers(make, options)
    return drawing(Drawer.layer_call, make, options)


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
