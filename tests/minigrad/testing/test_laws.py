"""The laws of recurrence: a layer that breaks one is found out by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.graph import unrolling
from minigrad.testing import laws

few = settings(max_examples=settings.default.max_examples // 10)
x = np.random.default_rng(0).normal(size=(4, 3, 2))


def running_mean(x: Any, state: Any = None, lengths: Any = None) -> tuple[mg.Tensor, Any]:
    """A recurrence without weights, h' = (h + x) / 2, that obeys every law."""
    x = mg.as_tensor(x)
    T, B, _ = x.shape
    running = np.arange(T)[:, None] < np.array([T] * B if lengths is None else lengths)  # (T, B)
    h = mg.as_tensor(np.zeros(x.shape[1:])) if state is None else state[0]
    outputs = []
    for t, x_t in enumerate(mg.where(running[..., None], x, 0.0)):
        h = mg.where(running[t, :, None], (h + x_t) / 2, h)
        outputs.append(h)
    outputs = mg.where(running[..., None], mg.stack(outputs), 0.0)
    return outputs, mg.stack([h])


def forgets(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Passes the state it was given over."""
    return running_mean(x, None, lengths)


def counts_from_zero(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Has a count of steps in its state, which begins anew with each call."""
    outputs, last = running_mean(x, None if state is None else state[0], lengths)
    return outputs, [last, mg.tensor(np.full(last.shape, float(len(x))))]


def hurries_at_the_end(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Treats the last step of what it is given in another way, but for the state."""
    outputs, last = running_mean(x, state, lengths)
    return mg.concatenate([outputs[:-1], outputs[-1:] * 2]), last


def sees_one_ahead(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Lets each output see the next input."""
    outputs, last = running_mean(x, state, lengths)
    return mg.concatenate([outputs[:-1] + mg.as_tensor(x)[1:], outputs[-1:]]), last


def mixes_states(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Mixes the last states of a batch, though not the outputs."""
    outputs, last = running_mean(x, state, lengths)
    return outputs, last - mg.mean(last, axis=1, keepdims=True)


def is_a_little_off(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Depends on the size of the batch by one part in a million."""
    outputs, last = running_mean(x, state, lengths)
    return outputs * (1 + 1e-6 * outputs.shape[1]), last


def mixes(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Subtracts the mean of the batch."""
    outputs, last = running_mean(x, state, lengths)
    return outputs - mg.mean(outputs, axis=1, keepdims=True), last


def reads_padding(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Takes no notice of lengths."""
    return running_mean(x, state)


def shows_padding(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Leaves something beyond the lengths."""
    outputs, last = running_mean(x, state, lengths)
    return mg.where(outputs.data == 0, 1.0, outputs), last


def foresees(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Lets every output see the whole sequence."""
    outputs, last = running_mean(x, state, lengths)
    return outputs + mg.sum(mg.as_tensor(x)), last


def foresees_in_balance(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Lets outputs see the whole sequence, by effects whose sum is zero."""
    outputs, last = running_mean(x, state, lengths)
    return outputs + mg.sum(mg.as_tensor(x)) * np.array([1.0, -1.0]), last


class Remembers:
    """Keeps the state."""

    state: Any = None

    def __call__(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        outputs, self.state = running_mean(x, self.state if state is None else state, lengths)
        return outputs, self.state


def numbers_its_sequences(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Treats sequences by their place in the batch, in the state alone."""
    outputs, last = running_mean(x, state, lengths)
    return outputs, last + np.arange(3.0)[: last.shape[1], None]


def adds_the_next_sequence(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Adds the next sequence of the batch, in a circle."""
    outputs, last = running_mean(x, state, lengths)
    B = outputs.shape[1]
    return outputs + outputs[:, [*range(1, B), 0]], last


def swaps_the_first_two(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Swaps the first two sequences of a batch, which swapping them once more does not show."""
    outputs, last = running_mean(x, state, lengths)
    return outputs[:, [*range(outputs.shape[1])[1::-1], *range(2, outputs.shape[1])]], last


def is_another_unrolled(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Gives a little more under `unrolled()`."""
    outputs, last = running_mean(x, state, lengths)
    return outputs * (1 + 1e-6 * unrolling.get()), last


def has_another_gradient_unrolled(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Cuts a graph under `unrolled()`, and changes no value."""
    outputs, last = running_mean(x, state, lengths)
    return outputs, last.detach() if unrolling.get() else last


def cuts_the_graph(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Reads the values of x alone."""
    return running_mean(mg.as_tensor(x).data, state, lengths)


def knows_rows(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Treats the rows of a table in another way."""
    outputs, last = running_mean(x, state, lengths)
    is_row = x.node is not None and x.node.op is not None and x.node.op.name == "getitem"
    return outputs * (1 + is_row), last


def knows_rows_going_back(x: Any, state: Any = None, lengths: Any = None) -> Any:
    """Has another gradient for the rows of a table."""
    is_row = x.node is not None and x.node.op is not None and x.node.op.name == "getitem"
    return running_mean(x * 2 - x.detach() if is_row else x, state, lengths)


class Weighted(nn.Module):
    """A recurrence with weights, h' = tanh(u h + w x), that obeys every law."""

    def __init__(self, bidirectional: bool = False) -> None:
        self.w, self.u = (nn.Parameter(np.linspace(0.2, 0.9, 2) + k) for k in (0.0, 0.1))
        self.bidirectional = bidirectional

    def forward(self, x: Any, state: Any = None) -> Any:
        x = mg.as_tensor(x)
        h, outputs = mg.as_tensor(np.zeros(x.shape[1:])) if state is None else state[0], []
        for t in range(len(x)):
            h = self.step(t, h, x[t])
            outputs.append(h)
        return mg.stack(outputs), mg.stack([h])

    def step(self, t: int, h: Any, x_t: Any) -> Any:
        return mg.tanh(self.u * h + self.w * x_t)


class Truncates(Weighted):
    """Lets no gradient flow from step 2 to step 1."""

    def step(self, t: int, h: Any, x_t: Any) -> Any:
        return super().step(t, h.detach() if t == 2 else h, x_t)


class DropsAStep(Weighted):
    """Forgets what step 1 adds to the gradient of a weight."""

    def step(self, t: int, h: Any, x_t: Any) -> Any:
        return mg.tanh((self.u.detach() if t == 1 else self.u) * h + self.w * x_t)


def both_ways(x: Any, state: Any = None) -> Any:
    """A running mean of both directions."""
    (there, end), (back, start) = running_mean(x), running_mean(x[::-1])
    return mg.concatenate([there, back[::-1]], axis=-1), mg.concatenate([end, start])


def leaves_the_reverse_half_reversed(x: Any, state: Any = None) -> Any:
    outputs, last = both_ways(x)
    return mg.concatenate([outputs[..., :2], outputs[::-1, ..., 2:]], axis=-1), last


def takes_the_state_at_the_wrong_end(x: Any, state: Any = None) -> Any:
    outputs, last = both_ways(x)
    return outputs, mg.concatenate([last[:1], outputs[-1:, ..., 2:]])


def runs_there_twice(x: Any, state: Any = None) -> Any:
    there, end = running_mean(x)
    return mg.concatenate([there, there], axis=-1), mg.concatenate([end, end])


E = np.random.default_rng(1).normal(size=(5, 2))
LAWS: dict[str, Callable[[Any], None]] = {
    "hold": lambda layer: laws.hold(layer, x),
    "splits": lambda layer: laws.splits(layer, x, 2),
    "goes_step_by_step": lambda layer: laws.goes_step_by_step(layer, x),
    "unrolls": lambda layer: laws.unrolls(layer, x),
    "is_causal": lambda layer: laws.is_causal(layer, x),
    "keeps_no_state": lambda layer: laws.keeps_no_state(layer, x),
    "sequences_are_independent": lambda layer: laws.sequences_are_independent(layer, x),
    "may_be_permuted": lambda layer: laws.may_be_permuted(layer, x),
    "padding_is_ignored": lambda layer: laws.padding_is_ignored(layer, x, [2, 4, 1]),
    "reverses": lambda layer: laws.reverses(layer, running_mean, x),
    "embeds": lambda layer: laws.embeds(layer, E, np.array([[0, 1, 0], [4, 3, 3]])),
    "gradients_add_up": lambda layer: laws.gradients_add_up(layer, x),
}
OBEYS = dict.fromkeys(LAWS, running_mean) | {"reverses": both_ways, "gradients_add_up": Weighted()}
BREAKERS: dict[str, list[Any]] = {
    "splits": [forgets, foresees, counts_from_zero, hurries_at_the_end],
    "goes_step_by_step": [forgets, foresees, counts_from_zero, hurries_at_the_end],
    "unrolls": [is_another_unrolled, has_another_gradient_unrolled],
    "is_causal": [foresees, foresees_in_balance, sees_one_ahead],
    "keeps_no_state": [Remembers()],
    "sequences_are_independent": [mixes, mixes_states, is_a_little_off],
    "may_be_permuted": [numbers_its_sequences, adds_the_next_sequence, swaps_the_first_two],
    "padding_is_ignored": [reads_padding, shows_padding],
    "reverses": [leaves_the_reverse_half_reversed, takes_the_state_at_the_wrong_end, runs_there_twice],
    "embeds": [cuts_the_graph, knows_rows, knows_rows_going_back],
    "gradients_add_up": [Truncates(), DropsAStep()],
}


@pytest.mark.parametrize("law", LAWS)
def test_a_layer_that_obeys_passes(law: str) -> None:
    LAWS[law](OBEYS[law])


@pytest.mark.parametrize(("law", "layer"), [(law, layer) for law, layers in BREAKERS.items() for layer in layers])
def test_a_layer_that_breaks_a_law_is_found_out(law: str, layer: Any) -> None:
    with pytest.raises(AssertionError, match=f"^{law}: "):
        LAWS[law](layer)


def test_every_law_is_here() -> None:
    assert set(laws.__all__) == set(LAWS) == {"hold", *BREAKERS}


@pytest.mark.parametrize("layer", [layer for law, layers in BREAKERS.items() for layer in layers if law != "reverses"])
def test_one_call_holds_a_layer_to_all_laws_of_one_layer(layer: Any) -> None:
    with pytest.raises(AssertionError, match=r"^\w+: "):
        laws.hold(layer, x)


def test_one_call_leaves_out_what_does_not_apply(device: str) -> None:
    on_device = mg.as_tensor(x, device=device)
    laws.hold(nn.LSTM(2, 3).to("float64").to(device), on_device)
    two = nn.GRU(2, 3, bidirectional=True).to("float64").to(device)
    laws.hold(two, on_device)
    with pytest.raises(AssertionError, match=r"^is_causal: output t=0 depends on inputs after it"):
        laws.hold(lambda x, state=None, lengths=None: two(x, state, lengths), on_device)
    with pytest.raises(TypeError, match="gradients_add_up: expected a layer with named_parameters"):
        laws.gradients_add_up(running_mean, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
@given(gain=st.floats(0.5, 8.0), T=st.integers(2, 20), seed=st.integers(0, 2**32), bidirectional=st.booleans())
@few
def test_what_is_forgiven_is_a_matter_of_the_dtype(
    make: Any, dtype: str, gain: float, T: int, seed: int, bidirectional: bool
) -> None:
    layer = make(2, 3, bidirectional=bidirectional).to(dtype)
    for p in layer.parameters():
        p.data = (p.data * gain).astype(dtype)
    laws.hold(layer, np.random.default_rng(seed).normal(size=(T, 3, 2)).astype(dtype))


@pytest.mark.parametrize("off", [1e-3, 1e-4])
def test_float32_forgives_rounding_alone(off: float) -> None:
    layer = nn.GRU(2, 3)

    def is_off(x: Any, state: Any = None) -> Any:
        outputs, last = layer(x, state)
        return outputs + off * outputs.shape[1], last

    laws.hold(layer, x.astype("float32"))
    with pytest.raises(AssertionError, match=r"^sequences_are_independent: "):
        laws.hold(is_off, x.astype("float32"))


@pytest.mark.parametrize("few_of_them", [x[:1], x[:, :1], x[:, 0]], ids=["step", "sequence", "axes"])
def test_a_batch_by_which_no_law_can_be_broken_is_refused(few_of_them: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^hold: expected x of shape \(T, B, D\) with T >= 2 and B >= 2, got \(\d"):
        laws.hold(running_mean, few_of_them)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (nn.LSTM, TypeError, r"^laws: expected a layer, got the class LSTM; make one"),
        (lambda x, state=None: running_mean(x, state)[0], TypeError, "and the last state, got Tensor"),
        (lambda x, state=None: (x, x[-1]), ValueError, r"a state \(N, 3, \.\.\.\), .*got \(4, 3, 2\) and \(3, 2\)"),
        (lambda x, state=None: (x.swapaxes(0, 1), x[-1:]), ValueError, r"outputs \(4, 3, .*second axis"),
    ],
)
def test_what_is_no_layer_is_refused(layer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        laws.hold(layer, x)


def test_a_message_says_where_and_by_how_much() -> None:
    def is_off_at_one_place(x: Any, state: Any = None) -> Any:
        outputs, last = running_mean(x, state)
        return mg.index_add(outputs, [len(x) - 1], np.full((1, 3, 2), 1e-3) * [[[0], [0], [1]]]), last

    expected = r"^splits: cut before step 2: the outputs before differ by up to 1\.00e-03, at \[1, 2, [01]\]$"
    with pytest.raises(AssertionError, match=expected):
        laws.splits(is_off_at_one_place, x, 2)
