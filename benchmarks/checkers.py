"""The same wrong gradients before the gradient checkers of several libraries; the table goes into benchmarks/README.md.

    python -m benchmarks.checkers

Each has its default tolerances, and checks first order, backward.

A case is an operation and its gradient, written once for all: `xp` is the library's NumPy-like namespace.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .report import keep

Gradient = Callable[..., Any]  # of (xp, g, *operands): the gradient of each operand


class Case(NamedTuple):
    """An operation with a gradient that is right or wrong."""

    title: str
    forward: Callable[..., Any]  # of (xp, *operands)
    gradient: Gradient
    points: tuple[np.ndarray, ...]
    writes: bool = False  # into arrays, which JAX's can't be
    twice: bool = False  # called for each of two points, and the results added up


# ------------------------------------------------------------------------------------------------ operations


def tanh(xp: Any, x: Any) -> Any:
    """The activation that most cases break."""
    return xp.tanh(x)


def d_tanh(xp: Any, g: Any, x: Any) -> Any:
    """Its gradient, which is right."""
    return (g * (1 - xp.tanh(x) ** 2),)


def add(xp: Any, x: Any, b: Any) -> Any:
    """A bias added to every row."""
    return x + b


def rnn(xp: Any, x: Any, W: Any) -> Any:
    """The last state of h = tanh(x_t + W h); x is (T, H)."""
    h = xp.tanh(x[0])
    for t in range(1, len(x)):
        h = xp.tanh(x[t] + W @ h)
    return h


def d_rnn(drop: int | None) -> Gradient:
    """Its gradient; what a step adds to the gradient of W may be dropped."""

    def gradient(xp: Any, g: Any, x: Any, W: Any) -> Any:
        hs = [xp.tanh(x[0])]
        for t in range(1, len(x)):
            hs.append(xp.tanh(x[t] + W @ hs[-1]))
        dW, das = W * 0, []
        for t in reversed(range(len(x))):
            da = g * (1 - hs[t] ** 2)
            das.append(da)
            if t and t != drop:
                dW = dW + da[:, None] * hs[t - 1][None, :]
            g = W.T @ da
        return xp.stack(das[::-1]), dW

    return gradient


# ------------------------------------------------------------------------------------------------ what breaks them


def times(factor: Any) -> Gradient:
    """The gradient of tanh, multiplied."""
    return lambda xp, g, x: (d_tanh(xp, g, x)[0] * xp.asarray(np.asarray(factor, "float64")),)


def one_of(n: int, k: int, value: float) -> np.ndarray:
    """Ones, but for one element."""
    factors = np.ones(n)
    factors[k] = value
    return factors


def rounded(xp: Any, g: Any, x: Any) -> Any:
    """Computed in float32."""
    g, x = (a.astype(xp.float32) if hasattr(a, "astype") else a.to(xp.float32) for a in (g, x))
    return d_tanh(xp, g, x)


def writing(xp: Any, g: Any, x: Any) -> Any:
    """Right, but what flowed in is doubled for whoever reads it next."""
    dx = d_tanh(xp, g, x)
    g *= 2
    return dx


def buffered() -> Gradient:
    """Right, but in memory that the next call writes to as well."""
    buffers: list[Any] = []

    def gradient(xp: Any, g: Any, x: Any) -> Any:
        (dx,) = d_tanh(xp, g, x)
        buffers.append(dx)
        buffers[0][...] = dx
        return (buffers[0],)

    return gradient


def scaled(scale: float, gradient: Gradient) -> tuple[Callable[..., Any], Gradient]:
    """scale * tanh, and its gradient."""
    return lambda xp, x: scale * xp.tanh(x), gradient


def cases() -> list[Case]:
    """The cases, the first of them right."""
    rng = np.random.default_rng(0)
    small, large = (rng.normal(size=6),), (rng.normal(size=1000),)
    sequence = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))

    def zero(xp: Any, g: Any, x: Any) -> Any:
        return (g * 0,)

    return [
        Case("right: tanh", tanh, d_tanh, small),
        Case("right: tanh, 1,000 elements", tanh, d_tanh, large),
        Case("right: a bias", add, lambda xp, g, x, b: (g, g.sum(0)), (rng.normal(size=(2, 3)), rng.normal(size=3))),
        Case("right: an RNN", rnn, d_rnn(None), sequence),
        Case("scaled by 1.001", tanh, times(1.001), small),
        Case("sign", tanh, times(-1.0), small),
        Case("one of 6 elements zero", tanh, times(one_of(6, 2, 0.0)), small),
        Case("one of 1,000 elements zero", tanh, times(one_of(1000, 432, 0.0)), large),
        Case("a dropped time step", rnn, d_rnn(2), sequence),
        Case("not summed over the batch", add, lambda xp, g, x, b: (g, g[0]), (small[0].reshape(2, 3), sequence[0][0])),
        Case("computed in float32", tanh, rounded, small),
        Case("upstream gradient written to", tanh, writing, small, writes=True),
        Case("memory used again", tanh, buffered(), (*small, rng.normal(size=6)), writes=True, twice=True),
        Case("one NaN", tanh, times(one_of(6, 2, np.nan)), small),
        Case("zero, of 1e-5 tanh", *scaled(1e-5, zero), small),
        Case("zero, of 1e-8 tanh", *scaled(1e-8, zero), small),
        Case("zero, float32, 1,000 elements", tanh, zero, (rng.normal(size=1000).astype("float32"),)),
    ]


# ------------------------------------------------------------------------------------------------ checkers


def called(op: Callable[..., Any], case: Case) -> Callable[..., Any]:
    """The function to check."""
    return (lambda x, y: op(x) + op(y)) if case.twice else op


def minigrad(case: Case) -> None:
    """minigrad.testing.check_grads."""
    import minigrad as mg
    from minigrad.methods import functions
    from minigrad.registry import OPS
    from minigrad.testing import check_grads

    def backward(g: Any, operands: Any) -> list[Any]:
        return list(case.gradient(np, g, *operands))

    def mutant(xp: Any, *operands: Any) -> Any:
        return case.forward(xp, *operands)

    op = mg.op(backward=backward)(mutant)
    del OPS["mutant"], functions["mutant"]
    check_grads(called(op, case), *case.points, order=1)


def torch(case: Case, fast: bool = False) -> None:
    """torch.autograd.gradcheck."""
    import torch

    class Op(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *operands: Any) -> Any:
            ctx.save_for_backward(*operands)
            return case.forward(torch, *operands)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tuple(case.gradient(torch, g, *ctx.saved_tensors))

    points = tuple(torch.tensor(x, requires_grad=True) for x in case.points)
    torch.autograd.gradcheck(called(Op.apply, case), points, fast_mode=fast)


def torch_fast(case: Case) -> None:
    """torch.autograd.gradcheck with fast_mode."""
    torch(case, fast=True)


def jax(case: Case) -> None:
    """jax.test_util.check_grads, backward, first order."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    with jax.enable_x64(case.points[0].dtype == np.float64):
        op = jax.custom_vjp(lambda *operands: case.forward(jnp, *operands))
        op.defvjp(
            lambda *operands: (case.forward(jnp, *operands), operands),
            lambda operands, g: tuple(case.gradient(jnp, g, *operands)),
        )
        check_grads(called(op, case), tuple(map(jnp.asarray, case.points)), order=1, modes=["rev"])


def autograd(case: Case) -> None:
    """autograd.test_util.check_grads, backward, first order."""
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    op = primitive(lambda *operands: case.forward(np, *operands))
    operands = 1 if case.twice else len(case.points)
    ways = [lambda out, *operands, i=i: lambda g: case.gradient(np, g, *operands)[i] for i in range(operands)]
    defvjp(op, *ways)
    check_grads(called(op, case), tuple(range(len(case.points))), modes=["rev"], order=1)(*case.points)


CHECKERS: dict[str, Callable[[Case], None]] = {
    "minigrad check_grads": minigrad,
    "torch gradcheck": torch,
    "torch gradcheck, fast mode": torch_fast,
    "jax check_grads": jax,
    "autograd check_grads": autograd,
}


def outcome(checker: Callable[[Case], None], case: Case) -> str:
    """What a checker says of a case: "passes" or "fails"."""
    if case.writes and checker is jax:
        return "—"
    try:
        checker(case)
    except (AssertionError, RuntimeError):  # torch's GradcheckError is one of the latter
        return "fails"
    return "passes"


def table(found: dict[str, dict[str, str]]) -> str:
    """A row for each case, a column for each checker."""
    lines = ["| gradient | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for case in cases():
        right = case.title.startswith("right")
        says = {"fails": "**false alarm**" if right else "caught", "passes": "passes" if right else "**missed**"}
        cells = [says.get(column[case.title], column[case.title]) for column in found.values()]
        lines.append(f"| {case.title} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "jax", "autograd"))
    return "\n".join([*lines, "", f"{versions}; — : its arrays can't be written to."])


def main() -> None:
    """Print the table and keep it."""
    found = {name: {case.title: outcome(checker, case) for case in cases()} for name, checker in CHECKERS.items()}
    print(table(found))
    keep("python -m benchmarks.checkers", table(found))


if __name__ == "__main__":
    main()
