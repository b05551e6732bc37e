"""The laws of recurrence: a layer that breaks one is found out by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import laws

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


LAWS: dict[str, Callable[[Any], None]] = {
    "splits": lambda layer: laws.splits(layer, x, 2),
    "sequences_are_independent": lambda layer: laws.sequences_are_independent(layer, x),
    "padding_is_ignored": lambda layer: laws.padding_is_ignored(layer, x, [2, 4, 1]),
    "is_causal": lambda layer: laws.is_causal(layer, x),
    "keeps_no_state": lambda layer: laws.keeps_no_state(layer, x),
}
BREAKERS = {
    "splits": [forgets, foresees, counts_from_zero, hurries_at_the_end],
    "sequences_are_independent": [mixes, mixes_states, is_a_little_off],
    "padding_is_ignored": [reads_padding, shows_padding],
    "is_causal": [foresees, foresees_in_balance, sees_one_ahead],
    "keeps_no_state": [Remembers()],
}


@pytest.mark.parametrize("law", LAWS)
def test_a_layer_that_obeys_passes(law: str) -> None:
    LAWS[law](running_mean)


@pytest.mark.parametrize(("law", "layer"), [(law, layer) for law, layers in BREAKERS.items() for layer in layers])
def test_a_layer_that_breaks_a_law_is_found_out(law: str, layer: Any) -> None:
    with pytest.raises(AssertionError, match=f"^{law}: "):
        LAWS[law](layer)


def test_every_law_is_here() -> None:
    assert set(laws.__all__) == set(LAWS) == set(BREAKERS)
