"""A function of tensors as a map of vectors, f: R^n -> R^m: its value, its backward pass v -> v J, its gradient."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..autodiff import grad
from ..backend import Array, backend_of, generator, move, to_numpy
from ..graph import Tensor
from .differences import Vector, measure_noise

TINY = float(np.finfo(np.float64).tiny)

Describe: TypeAlias = Callable[
    [str, tuple[int, ...]], str
]  # the name of an array and a place in it to words, "" for none


ROLES = re.compile("^((gradient|cotangent) of )+")  # what an array is to the one that the rest of its name names


class Slots:
    """Several arrays as the parts of one vector."""

    def __init__(self, names: Sequence[str], arrays: Sequence[Array], describe: Describe) -> None:
        self.names, self.describe = names, describe
        self.shapes = [a.shape for a in arrays]
        self.dtypes = [a.dtype for a in arrays]
        self.devices = [backend_of(a).device for a in arrays]
        self.ends = np.cumsum([0, *[a.size for a in arrays]])
        self.size = int(self.ends[-1])

    def pack(self, arrays: Sequence[Array]) -> Vector:
        return np.concatenate([np.zeros(0), *[to_numpy(a).ravel() for a in arrays]])

    def unpack(self, vector: Vector) -> list[Array]:
        parts = np.split(vector, self.ends[1:-1])
        slots = zip(parts, self.shapes, self.dtypes, self.devices, strict=True)
        return [move(part.reshape(shape).astype(dtype), device) for part, shape, dtype, device in slots]

    def rounding(self, vector: Vector) -> Vector:
        """How far each element may be rounded: as far as the largest of its array, an epsilon of that."""
        parts = np.split(np.abs(vector), self.ends[1:-1])
        largest = [np.finfo(dtype).eps * part.max(initial=0.0) for part, dtype in zip(parts, self.dtypes, strict=True)]
        return np.repeat(largest, np.diff(self.ends))

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
    ) -> None:
        self.f, self.points, self.describe = f, points, describe
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
        return measure_noise(self.value, self.x, u) + self.outputs.rounding(self.y)

    @property
    def coarseness(self) -> float:
        """The largest rounding in f(x), relative to the largest element."""
        return float(self.noise.max(initial=0.0) / max(np.abs(self.y).max(initial=0.0), TINY))

    def value(self, x: Vector) -> Vector:
        """f(x); nothing is recorded."""
        with np.errstate(all="ignore"):  # a step may leave the domain; the next is shorter
            return self.outputs.pack([y.data for y in self.f(*map(Tensor, self.inputs.unpack(x)))])

    def pullback(self) -> Callable[[Vector], Vector]:
        """v -> v J, each by a backward pass over one recorded graph."""
        xs = [Tensor(p).requires_grad_() for p in self.points]
        ys = self.f(*xs)
        return lambda v: self.inputs.pack(
            [g.data for g in gradients(ys, xs, self.outputs.unpack(v), retain_graph=True)]
        )

    def gradient(self, rng: np.random.Generator) -> "Function":
        """The gradient of <cotangents, f>, as a function of the arguments and the cotangents."""
        n = len(self.points)

        def f(*tensors: Tensor) -> tuple[Tensor, ...]:
            record = any(t.requires_grad for t in tensors)
            xs = [t if record else t.detach().requires_grad_() for t in tensors[:n]]
            return tuple(gradients(self.f(*xs), xs, tensors[n:], create_graph=record))

        cotangents = self.outputs.unpack(signed(rng, self.outputs.size))
        return Function(
            f,
            [*self.points, *cotangents],
            [*self.inputs.names, *[f"cotangent of {name}" for name in self.outputs.names]],
            [f"gradient of {name}" for name in self.inputs.names],
            self.describe,
        )


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


def signed(rng: np.random.Generator, size: int) -> Vector:
    """Weights of both signs, none of them small: what is wrong anywhere weighs in."""
    weights: Vector = rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)
    return weights
