"""A function of tensors as a map of vectors, f: R^n -> R^m: its value, its backward pass v -> v J, its gradient."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..autodiff import grad
from ..backend import Array, backend_of, generator, move, to_numpy
from ..graph import Node, Tensor, leaf
from .differences import EPSILON, Vector, measure_noise

TINY = float(np.finfo(np.float64).tiny)

Describe: TypeAlias = Callable[[str, tuple[int, ...]], str]  # words for an element of the array of a name, or ""

NEARBY = 6  # points to tell by how far rounding moves a gradient
ROLES = re.compile("^((gradient|cotangent) of )+")  # what an array is to the one that the rest of its name names


class Slots:
    """Several arrays as the parts of one vector."""

    def __init__(self, names: Sequence[str], arrays: Sequence[Array], describe: Describe) -> None:
        self.names, self.describe = names, describe
        self.shapes = [a.shape for a in arrays]
        self.dtypes = [a.dtype for a in arrays]
        self.devices = [backend_of(a).device for a in arrays]
        self.ends = [0, *itertools.accumulate(a.size for a in arrays)]
        self.size = self.ends[-1]

    def pack(self, arrays: Sequence[Array]) -> Vector:
        return np.concatenate([np.zeros(0), *[to_numpy(a).ravel() for a in arrays]])

    def parts(self, vector: Vector) -> list[Vector]:
        return [vector[start:end] for start, end in itertools.pairwise(self.ends)]

    def unpack(self, vector: Vector) -> list[Array]:
        """The parts of a vector, in their dtypes; those of a complex one stay complex."""
        slots = zip(self.parts(vector), self.shapes, self.dtypes, self.devices, strict=True)
        return [
            move(part.reshape(shape).astype(dtype if part.dtype.kind == "f" else part.dtype), device)
            for part, shape, dtype, device in slots
        ]

    def largest(self, vector: Vector) -> Vector:
        """For each element the size of the largest in its array."""
        sizes = [part.max(initial=0.0) for part in self.parts(np.abs(vector))]
        return np.repeat(sizes, np.diff(self.ends))

    def rounding(self, vector: Vector) -> Vector:
        """How far each element may be rounded: as far as the largest of its array, an epsilon of that."""
        epsilons = [np.finfo(dtype).eps for dtype in self.dtypes]
        return np.repeat(epsilons, np.diff(self.ends)) * self.largest(vector)

    def element(self, k: int) -> str:
        """What place k of the vector is called: `args[0][2, 1]`, with the words there are for it in parentheses."""
        i = int(np.searchsorted(self.ends, k, side="right")) - 1
        place = tuple(int(p) for p in np.unravel_index(k - self.ends[i], self.shapes[i]))
        words = self.describe(ROLES.sub("", self.names[i]), place)
        return self.names[i] + (f"[{', '.join(map(str, place))}]" if place else "") + (words and f" ({words})")


class Function:
    """A function of tensors, at a point: its value, its backward pass, and its gradient, a function again."""

    def __init__(
        self,
        f: Callable[..., tuple[Tensor, ...]],
        points: Sequence[Array],
        names: Sequence[str],
        results: Sequence[str] | None = None,
        describe: Describe = lambda name, place: "",
        gradient_of: Function | None = None,
    ) -> None:
        self.f, self.points, self.describe, self.gradient_of = f, points, describe, gradient_of
        outputs = [y.data for y in f(*map(Tensor, points))]
        if results is None:
            several = len(outputs) > 1
            results = [f"outputs[{i}]" if several else "output" for i in range(len(outputs))]
        self.inputs, self.outputs = Slots(names, points, describe), Slots(results, outputs, describe)
        self.x, self.y = self.inputs.pack(points), self.outputs.pack(outputs)
        # how far a step of 1 goes: absolute near zero, and for large elements between absolute and relative
        self.scale = np.sqrt(np.maximum(1.0, np.abs(self.x)))

    @functools.cached_property
    def noise(self) -> Vector:
        """How far rounding moves each element of f(x)."""
        u = signed(generator(0), self.x.size) * self.scale
        return measure_noise(self.value, self.x, u) + self.outputs.rounding(self.y) + self.coarse_rounding()

    @functools.cached_property
    def epsilon(self) -> float:
        """That of the smallest dtype that f computes in. A gradient may use none that f does not."""
        if self.gradient_of:
            return self.gradient_of.epsilon
        _, ys = self.record()
        return max([float(np.finfo(dtype).eps) for dtype in computed_in(ys)], default=EPSILON)

    def coarse_rounding(self) -> Vector:
        """How far a dtype smaller than float64, in which f computes, rounds f(x); 0 where there is none.

        Over short distances f stays where it is then, and shows nothing of it.
        """
        if self.epsilon <= EPSILON:
            return np.zeros_like(self.y)
        moved = np.max([np.abs(self.value(x) - self.y) for x in self.nearby(self.epsilon)], axis=0)
        return np.asarray(self.epsilon * self.size + moved)

    @property
    def coarseness(self) -> float:
        """The largest rounding in f(x), relative to the largest element."""
        return float(self.noise.max(initial=0.0) / max(np.abs(self.y).max(initial=0.0), TINY))

    @property
    def size(self) -> float:
        """The largest result. For a gradient what it is the gradient of counts too: 1 - tanh^2 is rounded as 1 is."""
        own = float(np.abs(self.y).max(initial=0.0))
        return max(own, self.gradient_of.size) if self.gradient_of else own

    def value(self, x: Vector) -> Vector:
        """f(x), of complex numbers for complex x; nothing is recorded."""
        with np.errstate(all="ignore"):  # a step may leave the domain; the next is shorter
            return self.outputs.pack([y.data for y in self.f(*map(Tensor, self.inputs.unpack(x)))])

    def nearby(self, epsilon: float) -> Iterator[Vector]:
        """Points that rounding moves the argument to: each element by an epsilon of the largest of its array."""
        for i in range(NEARBY):
            yield self.x + epsilon * signed(generator(i), self.x.size) * self.inputs.largest(self.x)

    def record(self) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The arguments as variables, and the results with their graph."""
        xs = [variable(p) for p in self.points]
        return xs, self.f(*xs)

    def pullback(self) -> Callable[[Vector], Vector]:
        """v -> v J, each by a backward pass over one recorded graph."""
        xs, ys = self.record()
        return lambda v: self.inputs.pack(
            [g.data for g in gradients(ys, xs, self.outputs.unpack(v), retain_graph=True)]
        )

    def gradient(self, rng: np.random.Generator) -> Function:
        """The gradient of <cotangents, f>, as a function of the arguments and the cotangents."""
        n = len(self.points)

        def f(*tensors: Tensor) -> tuple[Tensor, ...]:
            record = any(t.requires_grad for t in tensors)
            xs = [t if record else variable(t.data) for t in tensors[:n]]
            return tuple(gradients(self.f(*xs), xs, tensors[n:], create_graph=record))

        cotangents = self.outputs.unpack(signed(rng, self.outputs.size))
        return Function(
            f,
            [*self.points, *cotangents],
            [*self.inputs.names, *[f"cotangent of {name}" for name in self.outputs.names]],
            [f"gradient of {name}" for name in self.inputs.names],
            self.describe,
            self,
        )


def variable(array: Array) -> Tensor:
    """A leaf whose gradient is wanted; unlike the public ones it may be complex, for complex steps."""
    return Tensor(array, leaf(array, keeps_grad=True))


def gradients(ys: Sequence[Tensor], xs: Sequence[Tensor], seeds: Sequence[Any], **options: bool) -> list[Tensor]:
    """As `grad` gives them, with zeros where nothing depends."""
    live = [(y, seed) for y, seed in zip(ys, seeds, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(xs)
    if live:
        found = grad([y for y, _ in live], xs, [v for _, v in live], allow_unused=True, **options)
    return [
        Tensor(backend_of(x.data).xp.zeros(x.shape, x.dtype)) if g is None else g
        for x, g in zip(xs, found, strict=True)
    ]


def ops_of(ys: Sequence[Tensor]) -> set[Any]:
    """The ops in the graph that tensors were computed by."""
    return {node.op for node in nodes_of(ys) if node.op is not None}


def computed_in(ys: Sequence[Tensor]) -> set[Any]:
    """The floating-point dtypes that tensors were computed in."""
    nodes = [node for node in nodes_of(ys) if node.op is not None]
    found = {dtype for node in nodes for dtype in (node.dtype if isinstance(node.dtype, tuple) else (node.dtype,))}
    return {dtype for dtype in found if dtype.kind == "f"}


def nodes_of(ys: Sequence[Tensor]) -> set[Node]:
    """The graph that tensors were computed by."""
    seen: set[Node] = set()
    stack: list[Any] = [y.node for y in ys]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack += node.parents
    return seen


def signed(rng: np.random.Generator, size: int) -> Vector:
    """Weights of both signs, none of them small: what is wrong anywhere weighs in."""
    weights: Vector = rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)
    return weights
