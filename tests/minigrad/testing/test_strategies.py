"""The drawer that ops' `cases` use: what it draws, and that it shrinks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from minigrad.registry import OPS, Proof
from minigrad.testing.strategies import MARGIN, Drawer, laid_out, op_calls

PLAIN = Proof(cases=None, domain=(-3.0, 3.0), kinks=(), analytic=True, reference=None)


def drawn(f: Callable[[Drawer], Any], proof: Proof = PLAIN) -> st.SearchStrategy[Any]:
    return st.composite(lambda draw: f(Drawer(draw, proof, "cpu")))()


def exists(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool]) -> bool:
    find(strategy, condition, settings=settings(max_examples=2000, database=None, derandomize=True))  # or raises
    return True


domains = st.tuples(st.floats(-100, 0), st.floats(10, 100))


@given(data=st.data(), domain=domains, kinks=st.lists(st.floats(1, 9), max_size=3, unique=True))
def test_values_are_distinct_within_the_domain_and_off_the_kinks(
    data: st.DataObject, domain: tuple[float, float], kinks: list[float]
) -> None:
    proof = PLAIN._replace(domain=domain, kinks=tuple(kinks))
    arrays = data.draw(drawn(lambda d: [d.array(d.shape()) for _ in range(3)], proof))
    values = np.concatenate([array.ravel() for array in arrays])
    assert len(set(values.tolist())) == len(values)
    assert np.all((domain[0] <= values) & (values <= domain[1]))
    for kink in kinks:
        assert np.all(np.abs(values - kink) >= MARGIN * (1 - 1e-9))


@given(
    values=st.integers(0, 3).flatmap(lambda n: st.lists(st.integers(0, 3), min_size=n, max_size=n)),
    layout=st.sampled_from(["contiguous", "transposed", "strided", "reversed"]),
)
def test_a_layout_changes_no_value(values: list[int], layout: str) -> None:
    x = np.random.default_rng(0).normal(size=values)
    y = laid_out(x, layout)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(x, y)


def test_arrays_come_in_every_layout() -> None:
    arrays = drawn(lambda d: d.array((2, 3)))
    assert exists(arrays, lambda x: x.flags.c_contiguous and x.flags.writeable)
    assert exists(arrays, lambda x: x.flags.f_contiguous)
    assert exists(arrays, lambda x: not x.flags.c_contiguous and not x.flags.f_contiguous and min(x.strides) > 0)
    assert exists(arrays, lambda x: min(x.strides) < 0)
    assert exists(arrays, lambda x: not x.flags.writeable)


def test_shapes_come_in_every_kind() -> None:
    shapes = drawn(lambda d: d.shape())
    for shape in [(), (1,), (2, 3), (3, 1, 2)]:
        assert exists(shapes, shape.__eq__)
    assert exists(shapes, lambda s: len(s) == 1 and 0 in s)
    assert exists(shapes, lambda s: len(s) == 3 and 0 in s)
    pairs = drawn(lambda d: d.broadcastable(2))
    assert exists(pairs, lambda p: len(p[0]) < len(p[1]) and 0 not in p[1] and len(p[0]) > 0)
    assert exists(pairs, lambda p: any((a, b) == (1, 3) for a, b in zip(*p, strict=False)))
    assert exists(pairs, lambda p: p[0] == p[1] == ())


@given(drawn(lambda d: (d.broadcastable(3), d.factors(), d.arrays_to_join(-1), d.reduction(1), d.permutation(3))))
def test_what_belongs_together_fits(drawn: Any) -> None:
    shapes, (x, y), joined, (shape, axes), permutation = drawn
    np.broadcast_shapes(*shapes)
    np.matmul(x, y)
    np.concatenate(joined, axis=-1)
    np.max(np.ones(shape), axis=axes)
    assert sorted(permutation) == [0, 1, 2]


@given(drawn(lambda d: d.index((3, 2, 2))))
def test_an_index_fits(index: Any) -> None:
    assert np.ones((3, 2, 2))[index].dtype == float


@given(drawn(lambda d: d.einsum_call()))
def test_einsum_operands_fit(call: Any) -> None:
    call.of(np.einsum, *call.operands())


def test_cases_shrink() -> None:
    assert find(drawn(lambda d: d.shape()), lambda s: len(s) > 1, settings=settings(database=None)) == (1, 1)
    call = find(op_calls(OPS["add"]), lambda c: c.operands()[0].size > 3, settings=settings(database=None))
    assert [x.shape for x in call.operands()] == [(2, 2), (2, 2)]


def test_operands_are_the_floating_point_arrays_and_can_be_replaced() -> None:
    call = Drawer(lambda strategy: 0, PLAIN, "cpu").call([np.ones(2), np.zeros(3)], np.arange(3), 1.5, axis=0)
    assert [x.shape for x in call.operands()] == [(2,), (3,)]
    counter = itertools.count()
    assert call.replaced(lambda x: next(counter)).args[0] == [0, 1]
    args, kwargs = call.of(lambda *args, **kwargs: (args, kwargs), "first", "second")
    assert args[0] == ["first", "second"]
    assert args[2] == 1.5
    assert kwargs == {"axis": 0}


def test_cases_that_return_no_call_are_named() -> None:
    op = OPS["tanh"]
    wrong = type("", (), {"name": "tanh", "proof": PLAIN._replace(cases=lambda d: d.shape()), "operands": op.operands})
    with pytest.raises(AssertionError, match=r"op tanh: cases must return d\.call"):
        find(op_calls(wrong), lambda call: True, settings=settings(database=None))  # type: ignore[arg-type]
