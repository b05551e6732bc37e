"""Along which directions a gradient is compared: all unit vectors, or where these are too many, a few for all."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .comparison import Jacobian
from .differences import Vector
from .findings import GradientError, NonDifferentiable
from .functions import Function, signed
from .verdicts import Judge, Verdict, as_unit

FULL = 300  # up to so many elements, in and out, the whole Jacobian is compared
FEW = 16  # up to so many, all unit vectors are compared on one side
SHOWN = 5  # elements in a message
NAMES = {"differences": "finite differences", "complex": "complex steps"}


def check_values(function: Function, gradient: Function, modes: Sequence[str], rng: np.random.Generator) -> None:
    """Compare v J u for all unit vectors v and u, or where that is too much for chosen ones."""
    n, m = function.inputs.size, function.outputs.size
    if not n or not m:
        return
    full = n <= FULL and m <= FULL
    jacobian = Jacobian(function, gradient, modes)
    # No weight is 1: what a formula does to its g shows, like computing in too small a dtype, which takes 1 as it is.
    vs = np.diag(signed(rng, m)) if full or m <= FEW else probes(np.abs(function.y), rng)
    rows = jacobian.rows(vs)
    directions = np.eye(n) if full else probes(np.abs(rows[0]), rng)
    judge = Judge(jacobian)
    wrong: list[Verdict] = []
    excused: list[Verdict] = []
    for u in map(judge.unexcused, directions):
        for verdict in judge.judge(jacobian.compare(vs, rows, u), vs, rows, u):
            (wrong if verdict.mode else excused).append(verdict)
        if wrong and not full:
            break
    if wrong:
        raise GradientError(differ(function, wrong, len(wrong) if full else None))
    if excused:
        raise NonDifferentiable("\n".join(["there is no derivative here", *listing(function, excused)]))


def probes(sizes: Vector, rng: np.random.Generator) -> Any:
    """A few vectors that stand for all: over all elements, over blocks of elements of like size, over single ones.

    In a block of its own a small element is not drowned by the rounding of large ones.
    """
    n = sizes.size
    if n <= FEW:
        return np.eye(n)
    every = np.arange(n)
    blocks = [every, every, *np.array_split(np.argsort(sizes), 8), *np.array([[0], [n - 1], *rng.choice(n, (4, 1))])]
    vectors = np.zeros((len(blocks), n))
    for vector, block in zip(vectors, blocks, strict=True):
        vector[block] = signed(rng, n)[block]
    return np.stack([as_unit(vector) for vector in vectors])


def differ(function: Function, wrong: list[Verdict], count: int | None) -> str:
    """What a message says of wrong derivatives, the worst first."""
    wrong = sorted(wrong, key=lambda verdict: -verdict.apart)
    total = "some" if count is None else f"{count} of {function.inputs.size * function.outputs.size}"
    head = f"{total} derivatives differ from {NAMES[str(wrong[0].mode)]}"
    return "\n".join([head, *listing(function, wrong, count)])


def listing(function: Function, verdicts: list[Verdict], count: int | None = None) -> list[str]:
    """The first lines of a list of verdicts, each once."""
    lines = [*dict.fromkeys(verdict.told(function) for verdict in verdicts)]
    more = max(count or 0, len(lines)) - SHOWN
    return [*lines[:SHOWN], *([f"  and {more} more"] if more > 0 else [])]
