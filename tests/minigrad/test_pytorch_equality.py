"""Every op's output, gradient and double gradient, against what PyTorch computed: tests/fixtures/make_ops.py."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import ops
from minigrad.methods import functions

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("ops_*.npz"))
WITHOUT_FIXTURE = {  # and why
    **dict.fromkeys(("rnn", "lstm", "gru"), "the layers made of them have theirs in tests/nn/fixtures"),
    "cross_entropy": "nn.functional's has its own",
    "gru_chung": "PyTorch has only the other variant",
}


def taken(numbers: np.ndarray, shapes: list[Any]) -> tuple[list[np.ndarray], np.ndarray]:
    """The next arrays, of these shapes, and the numbers after them."""
    arrays = []
    for shape in shapes:
        n = int(np.prod(shape))
        arrays.append(numbers[:n].reshape(shape).astype(np.float64))
        numbers = numbers[n:]
    return arrays, numbers


def recorded() -> Iterator[Any]:
    """For each case its call; inputs, cotangents g of outputs and v of gradients; outputs, gradients, double ones."""
    for path in FIXTURES:
        with np.load(path) as file:
            calls, given, computed = json.loads(str(file["calls"])), file["given"], file["computed"]
        for case in calls:
            x, y = case["inputs"], case["outputs"]
            (inputs, g, v), given = split(given, x, y, x)
            (outputs, gradients, double), computed = split(computed, y, x, x + y)
            yield pytest.param(case["call"], (inputs, g, v), (outputs, gradients, double), id=case["call"])
        assert given.size == computed.size == 0, f"{path.name}: numbers left over"


def split(numbers: np.ndarray, *groups: list[Any]) -> tuple[list[list[np.ndarray]], np.ndarray]:
    arrays = []
    for shapes in groups:
        group, numbers = taken(numbers, shapes)
        arrays.append(group)
    return arrays, numbers


CASES = list(recorded())


def assert_same(ours: list[mg.Tensor], theirs: list[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        # two libraries round differently; float64 leaves 16 digits, sums and cancellation cost some of them
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-9)
        assert a.shape == b.shape


@pytest.mark.parametrize(("call", "given", "computed"), CASES)
def test_an_op_and_its_first_two_derivatives_agree_with_pytorch(
    call: str, given: list[Any], computed: list[Any], device: str
) -> None:
    inputs, cotangents, directions = given
    x = [mg.tensor(array, requires_grad=True, device=device) for array in inputs]
    v = [mg.tensor(array, device=device) for array in directions]
    y = eval(call, {"np": np, **functions}, dict(zip("xyz", x, strict=False)))
    y = list(y) if isinstance(y, tuple) else [y]
    g = [mg.tensor(array, True, part.dtype, device) for array, part in zip(cotangents, y, strict=True)]

    dx = mg.grad(y, x, g, create_graph=True)
    product = mg.stack([(a * b).sum() for a, b in zip(dx, v, strict=True)]).sum()
    double = mg.grad(product, [*x, *g], allow_unused=True)

    assert_same(y, computed[0])
    assert_same(list(dx), computed[1])
    zeros = [mg.tensor(np.zeros(t.shape)) for t in (*x, *g)]
    assert_same([zero if d is None else d for d, zero in zip(double, zeros, strict=True)], computed[2])


def test_every_op_has_a_fixture() -> None:
    called = {case.id.partition("(")[0] for case in CASES}
    assert set(ops.__all__) - called == set(WITHOUT_FIXTURE)
