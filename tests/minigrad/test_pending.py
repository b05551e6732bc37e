"""Gradients that the walk holds before it works them out: they sum to what they would sum to at once."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import pending
from minigrad.pending import Product
from minigrad.testing import check_grads

n, k = 3, 16
rng = np.random.default_rng(0)
ROWS, COLUMNS = rng.normal(size=(1, n, n)), rng.normal(size=(1, k, 1))

USES: dict[str, Callable[[mg.Tensor], mg.Tensor]] = {  # of x (1, n, k): each owes it a gradient of another kind
    "a product": lambda x: x @ COLUMNS,
    "a product from the left": lambda x: ROWS[:, :1] @ x,
    "a part": lambda x: x[:, 1:],
    "rows that are read twice": lambda x: x[:, [0, 2, 0]],
    "an array": lambda x: x * 2.0,
    "itself": lambda x: x + 0.0,
    "a large product": lambda x: ROWS @ x,
}


@given(st.lists(st.sampled_from(sorted(USES)), min_size=1, max_size=12))
def test_whatever_arrives_in_whatever_order_is_added_up(names: list[str]) -> None:
    value = np.arange(n * k, dtype=float).reshape(1, n, k)
    alone = []
    for name in names:
        x = mg.tensor(value, requires_grad=True)
        mg.square(USES[name](x)).sum().backward()
        alone.append(x.grad.numpy())
    x = mg.tensor(value, requires_grad=True)
    mg.stack([mg.square(USES[name](x)).sum() for name in names]).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), sum(alone), rtol=1e-12)


def test_steps_that_read_one_matrix_cost_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, calls = Product.dense, []
    monkeypatch.setattr(Product, "dense", lambda self: calls.append(len(self.xs)) or dense(self))
    v = mg.tensor(np.ones((2, 50, 40)), requires_grad=True)
    a = np.ones((2, 1, 50)) / 50
    mg.stack([(t * a) @ v for t in range(10)]).sum().backward()
    assert calls == [10]
    np.testing.assert_allclose(v.grad.numpy(), 45 / 50)


def test_factors_are_held_until_they_are_as_large_as_their_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MOST", 0)
    held = Product(np.ones((5, 1)), np.ones((1, 6)))
    for _ in range(20):
        held = Product(np.ones((5, 1)), np.ones((1, 6))).joined(held)
        assert sum(x.size + y.size for x, y in zip(held.xs, held.ys, strict=True)) <= 30
    np.testing.assert_array_equal(held.dense(), np.full((5, 6), 21.0))


def test_products_of_a_wider_operand_are_cast() -> None:
    x = mg.tensor(np.ones((8, 9), np.float32), requires_grad=True)
    (x @ mg.tensor(np.ones((9, 1)))).sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("name", USES)
def test_each_kind_is_right_alone_and_twice_differentiated(name: str) -> None:
    check_grads(lambda x: mg.tanh(USES[name](x) + USES["a product"](x).sum()), rng.normal(size=(1, n, k)))
