"""The drawer that ops' `cases` use: what it draws, and that it shrinks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.registry import OPS, Proof
from minigrad.testing import strategies
from minigrad.testing.strategies import MARGIN, Drawer, laid_out, layer_calls, op_calls

PLAIN = Proof(cases=None, domain=(-3.0, 3.0), kinks=(), analytic=True, reference=None)


def drawn(f: Callable[[Drawer], Any], proof: Proof = PLAIN) -> st.SearchStrategy[Any]:
    return st.composite(lambda draw: f(Drawer(draw, proof, "cpu")))()


def smallest(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool] = lambda drawn: True) -> Any:
    """What is left of a drawn value that meets a condition when Hypothesis has shrunk it."""
    return find(strategy, condition, settings=settings(max_examples=2000, database=None, derandomize=True))


def exists(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool]) -> bool:
    smallest(strategy, condition)  # or raises
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
    assert smallest(drawn(lambda d: d.shape()), lambda s: len(s) > 1) == (1, 1)
    call = smallest(op_calls(OPS["add"]), lambda c: c.operands()[0].size > 3)
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
        smallest(op_calls(wrong))  # type: ignore[arg-type]


# ---- what anyone may draw


@given(
    x=strategies.arrays(strategies.shapes(), domain=(1, 7), kinks=(3,), dtype="float32"),
    ids=strategies.arrays((3,), domain=(2, 4), dtype="uint8"),
    flags=strategies.arrays((2, 2), dtype=bool),
    t=strategies.tensors((2,), dtype="float32", requires_grad=True, device="strict"),
    mask=strategies.masks(strategies.shapes(2, 2)),
)
def test_arrays_are_of_the_dtype_and_domain(x: Any, ids: Any, flags: Any, t: Any, mask: Any) -> None:
    assert x.dtype == np.float32
    assert len(np.unique(x)) == x.size
    assert np.all((x >= 1) & (x <= 7) & (np.abs(x - 3) >= MARGIN * (1 - 1e-6)))
    assert ids.dtype == np.uint8
    assert np.isin(ids, [2, 3, 4]).all()
    assert flags.dtype == mask.dtype == bool
    assert mask.ndim == 2
    assert (t.shape, t.dtype, t.device, t.requires_grad) == ((2,), np.float32, "strict", True)


@given(strategies.broadcastable_shapes(3), strategies.matmul_operands(), strategies.einsum_operands())
def test_operands_that_belong_together_fit(shapes: Any, factors: Any, einsum: Any) -> None:
    np.broadcast_shapes(*shapes)
    np.matmul(*factors)
    np.einsum(*einsum)


@given(strategies.ragged_batches(2, T=4, B=3), strategies.token_sequences(5, T=4, B=3))
def test_sequences_are_within_their_bounds(batch: Any, ids: np.ndarray) -> None:
    T, B, D = batch.x.shape
    assert 1 <= T <= 4
    assert 1 <= B <= 3
    assert D == 2
    assert batch.lengths.shape == (B,)
    assert np.all((batch.lengths >= 1) & (batch.lengths <= T))
    assert 1 <= len(ids) <= 4
    assert np.isin(ids, range(5)).all()


def test_sequences_shrink_to_one_step_of_one_sequence() -> None:
    x, lengths = smallest(strategies.ragged_batches(2))
    assert (x.shape, lengths.tolist()) == ((1, 1, 2), [1])
    x, lengths = smallest(strategies.ragged_batches(1), lambda batch: len(set(batch.lengths.tolist())) > 1)
    assert (x.shape, sorted(lengths)) == ((2, 2, 1), [1, 2])
    assert smallest(strategies.token_sequences(9), lambda ids: ids.max() > 6).tolist() == [[7]]


every_layer = pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])


@every_layer
@settings(max_examples=50)
@given(data=st.data())
def test_a_drawn_layer_runs_as_drawn(make: Any, data: st.DataObject) -> None:
    layer, x, state, lengths, options = data.draw(layer_calls(make))
    assert type(layer) is make
    assert all(p.dtype == np.float64 and p.data.std() > 0 for p in layer.parameters() if p.size > 1)
    assert {name: getattr(layer, name) for name in options} == options
    outputs, last = layer(x, state, lengths=lengths)
    assert outputs.shape[:2] == x.shape[:2]
    for before, ended in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, last)), strict=False):
        assert before is None or before.shape == ended.shape


@every_layer
def test_layers_shrink_to_their_defaults_and_one_number(make: Any) -> None:
    calls = layer_calls(make)
    least = smallest(calls)
    assert least.x.shape == (1, 1, 1)
    assert (least.layer.hidden_size, least.state, least.lengths) == (1, None, None)
    defaults = make(1, 1)
    assert {name: getattr(defaults, name) for name in least.options} == least.options


def test_layers_shrink_to_what_a_condition_asks_for() -> None:
    calls = layer_calls(nn.LSTM)
    assert smallest(calls, lambda c: c.options["num_layers"] == 2 and c.state is not None).x.shape == (1, 1, 1)
    assert smallest(calls, lambda c: c.lengths is not None and len(set(c.lengths)) > 1).x.shape == (2, 2, 1)
    assert smallest(calls, lambda c: c.options["batch_first"] and c.x.shape[1] == 3).x.shape == (1, 3, 1)


@settings(max_examples=20)
@given(layer_calls(nn.GRU, variant="chung", hidden_size=st.sampled_from([3, 4])))
def test_options_of_a_layer_may_be_given_or_drawn_from_a_strategy(call: Any) -> None:
    assert call.layer.variant == "chung"
    assert call.layer.hidden_size in (3, 4)


class Plain:
    """A layer that is no module, takes no state and has an option that nobody knows."""

    def __init__(self, input_size: int, hidden_size: int, gain: float, leak: float = 0.5) -> None:
        self.gain, self.leak = gain, leak

    def __call__(self, x: Any) -> Any:
        return mg.as_tensor(x) * self.gain, mg.as_tensor(x)[-1:]


def test_a_layer_may_be_any_callable() -> None:
    call = smallest(layer_calls(Plain, gain=2.0))
    assert (call.layer.gain, call.layer.leak, call.state, call.lengths) == (2.0, 0.5, None, None)
    h = smallest(strategies.states(Plain(2, 2, 1.0), np.ones((3, 1, 2))))
    assert h.shape == (1, 1, 2)


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        (Plain, {}, r"got Plain\(input_size: .*; give layer_calls\(Plain, gain=\.\.\.\)"),
        (nn.Linear, {}, r"made of input_size and hidden_size, got Linear\(in_features"),
    ],
)
def test_what_makes_no_layer_is_refused(make: Any, options: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        layer_calls(make, **options)


@pytest.mark.parametrize("domain", [(1, 0), (1, 1), 3, (0, 1, 2)])
def test_a_domain_goes_from_low_to_high(domain: Any) -> None:
    with pytest.raises(ValueError, match=r"strategies: expected domain to be \(lowest, highest\), got"):
        strategies.arrays((2,), domain)


def test_a_number_is_a_shape_or_a_kink() -> None:
    assert smallest(strategies.arrays(3)).shape == (3,)
    assert (abs(smallest(strategies.arrays(40, kinks=0))) >= MARGIN).all()
