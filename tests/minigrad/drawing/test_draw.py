"""minigrad.draw: what it refuses, and the text it gives, against goldens.

python -m tests.minigrad.drawing.test_draw      writes the goldens again; read the difference before it is kept
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.drawing.export import Drawing

GOLDENS = Path(__file__).with_name("goldens")


def named(name: str, data: Any, requires_grad: bool = True) -> mg.Tensor:
    x = mg.tensor(data, requires_grad=requires_grad, dtype="float32")
    x.name = name
    return x


# ---- goldens


def twice() -> Drawing:
    x = named("x", 3.0)
    return mg.draw((x + x) * 2.0, values=True, gradients=True)


def rnn() -> Drawing:
    """Many to many: two steps of a vanilla RNN, a loss at each."""
    W_xh, W_hh, W_hy = named("W_xh", np.ones((3, 4))), named("W_hh", np.ones((4, 4))), named("W_hy", np.ones((4, 3)))
    h, loss = named("h_0", np.zeros((1, 4)), False), 0.0
    for t in (1, 2):
        with mg.scope(f"t={t}"):
            x = named(f"x_{t}", np.eye(3)[[t]], False)
            h = mg.tanh(x @ W_xh + h @ W_hh)
            h.name = f"h_{t}"
            loss = loss - mg.log_softmax(h @ W_hy)[0, 0]
    return mg.draw(loss)


def operands() -> Drawing:
    """Several operands and results, arguments of all kinds, a name that needs escaping, two dtypes, two outputs."""
    a, b = named('<a> "&" \\n é', np.ones((2, 3))), named("b", np.ones((2, 3)))
    c = mg.einsum("ij,kj,kl->il", mg.concatenate([a, b, a]), b, b)
    first, *_, last = mg.unstack(c)
    last.name = "last"
    with mg.scope("outer"), mg.scope('odd "scope" <\\N>'):
        y = mg.where(np.array([True, False, True]), first, last) / first + mg.take(last, np.array([2, 0, 0]))
        y.name = "y"
        return mg.draw([mg.clip(y[1:], 0.0) ** 2, (1 - y).astype("float64").mean(axis=0)])


def gradients() -> Drawing:
    """A gradient that is a number, one that vanishes, zero, infinite, and none."""
    x, y = named("x", [1.0, 2.0]), named("y", 0.0)
    mask = named("mask", [0.0, 0.0], False)
    return mg.draw([(x * mask).sum() + mg.sqrt(y), (x * 1e-9).sum()], gradients=True)


PROGRAMS: list[Callable[[], Drawing]] = [twice, rnn, operands, gradients]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_text_is_the_golden_one(program: Callable[[], Drawing]) -> None:
    assert program().dot == (GOLDENS / f"{program.__name__}.gv").read_text(encoding="utf-8")


# ---- what is refused


@pytest.mark.parametrize(
    ("output", "got"),
    [(3.0, "float"), (np.ones(2), "ndarray"), ([mg.tensor(1.0), 2], r"list of Tensor, int"), (None, "NoneType")],
)
def test_what_is_not_a_tensor(output: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"expected output to be a tensor or a list of tensors, got {got}$"):
        mg.draw(output)


def test_no_output() -> None:
    with pytest.raises(ValueError, match="at least one output"):
        mg.draw([])


@pytest.mark.parametrize("how", ["constant", "no_grad", "detached"])
def test_a_tensor_without_a_graph(how: str) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=how != "constant")
    with mg.no_grad():
        y = x * 2.0 if how == "no_grad" else x.detach()
    with pytest.raises(mg.GraphError, match=r"shape \(2,\) has none"):
        mg.draw([y])


def test_a_variable_alone_is_a_graph_of_one_box() -> None:
    assert repr(mg.draw(mg.tensor(1.0, requires_grad=True))) == "Drawing(1 nodes, 0 edges)"


def test_an_unknown_level_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"expected level to be one of \['op'\], got 'cell'"):
        mg.draw(mg.tensor(1.0, requires_grad=True), level="cell")


def test_gradients_of_what_is_not_a_scalar() -> None:
    with pytest.raises(ValueError, match=r"expected a scalar where gradients are drawn, got shape \(2,\)"):
        mg.draw(mg.tensor([1.0, 2.0], requires_grad=True) * 2.0, gradients=True)


if __name__ == "__main__":
    for program in PROGRAMS:
        (GOLDENS / f"{program.__name__}.gv").write_text(program().dot, encoding="utf-8", newline="\n")
