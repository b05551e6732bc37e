"""Laws of recurrence, as assertions on any recurrent layer: nn's, or your own.

A layer is called as `layer(x, state)` and gives the outputs and the next state; x is (T, B, D), the outputs
(T, B, ...), a state a tensor (N, B, H) or a tuple of them. A law raises AssertionError where the layer breaks it, with
the largest difference. Make the layer and x float64: differences of rounding, up to 1e-9, are forgiven.

>>> import numpy as np, nn
>>> from minigrad.testing import laws
>>> x = np.random.default_rng(0).normal(size=(4, 3, 2))
>>> laws.is_causal(nn.LSTM(2, 5).to("float64"), x)
>>> laws.is_causal(nn.LSTM(2, 5, bidirectional=True).to("float64"), x)
Traceback (most recent call last):
AssertionError: is_causal: output t=0 depends on inputs after it, as the gradient there says: up to ...
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autodiff import grad
from ..backend import generator
from ..creation import as_tensor
from ..graph import Tensor
from .functions import signed

__all__ = ["splits", "sequences_are_independent", "padding_is_ignored", "is_causal", "keeps_no_state"]

TOLERANCE = 1e-9
Layer = Callable[..., tuple[Tensor, Any]]


def splits(layer: Layer, x: Any, at: int, state: Any = None) -> None:
    """A sequence may be cut before step `at`, if the state is carried over: truncated BPTT computes the same."""
    outputs, last = layer(x, state)
    head, middle = layer(x[:at], state)
    tail, end = layer(x[at:], middle)
    name = f"splits: cut before step {at}"
    same(name, "the outputs before", outputs[:at], head)
    same(name, "the outputs after", outputs[at:], tail)
    same(name, "the last state", last, end)


def sequences_are_independent(layer: Layer, x: Any) -> None:
    """The sequences of a batch know nothing of each other: each gives what it gives alone."""
    outputs, last = layer(x)
    for b in range(x.shape[1]):
        alone(layer, x, b, len(x), outputs, last, f"sequences_are_independent: sequence {b}")


def padding_is_ignored(layer: Layer, x: Any, lengths: Sequence[int]) -> None:
    """What lies beyond the lengths of a batch changes nothing: each sequence gives what it gives alone."""
    beyond = np.arange(len(x))[:, None] >= np.asarray(lengths)  # (T, B)
    padded = np.where(beyond[..., None], np.nan, as_tensor(x).numpy())
    outputs, last = layer(as_tensor(padded), lengths=lengths)
    if np.isnan(outputs.numpy()).any():
        raise AssertionError("padding_is_ignored: what was put beyond the lengths, nan, came out; is x read there?")
    for b, n in enumerate(lengths):
        name = f"padding_is_ignored: sequence {b} of length {n}"
        alone(layer, x, b, n, outputs, last, name)
        if np.any(outputs.numpy()[n:, b]):
            raise AssertionError(f"{name}: the outputs beyond it are not zeros")


def is_causal(layer: Layer, x: Any) -> None:
    """No output depends on inputs after it."""
    x, rng = as_tensor(as_tensor(x).data, requires_grad=True), generator(0)
    outputs, _ = layer(x)
    for t in range(len(x)):
        weights = signed(rng, outputs[t].size).reshape(outputs.shape[1:])  # ones would let effects cancel
        (dx,) = grad(outputs[t], x, weights, retain_graph=True)
        if np.any(dx.numpy()[t + 1 :]):
            largest = np.abs(dx.numpy()[t + 1 :]).max()
            raise AssertionError(
                f"is_causal: output t={t} depends on inputs after it, as the gradient there says: up to {largest:.2e}"
            )


def keeps_no_state(layer: Layer, x: Any) -> None:
    """Called twice, a layer gives the same bits: the state is passed in and returned, not kept."""
    for first, second in zip(map(parts, layer(x)), map(parts, layer(x)), strict=True):
        for one, other in zip(first, second, strict=True):
            if one.numpy().tobytes() != other.numpy().tobytes():
                raise AssertionError("keeps_no_state: the second call gives something else; does the layer keep state?")


def alone(layer: Layer, x: Any, b: int, n: int, outputs: Tensor, last: Any, name: str) -> None:
    """Raise AssertionError unless sequence b of a batch, n steps long, gives the same when it is run by itself."""
    own, end = layer(x[:n, b : b + 1])
    same(name, "the outputs", own, outputs[:n, b : b + 1])
    same(name, "the last state", end, [part[:, b : b + 1] for part in parts(last)])


def parts(state: Any) -> list[Tensor]:
    """The tensors of a state."""
    return list(state) if isinstance(state, tuple | list) else [state]


def same(law: str, what: str, expected: Any, got: Any) -> None:
    """Raise AssertionError unless two states, or outputs, are equal up to rounding."""
    for one, other in zip(parts(expected), parts(got), strict=True):
        a, b = one.numpy(), other.numpy()
        if a.shape != b.shape:
            raise AssertionError(f"{law}: {what}: expected shape {a.shape}, got {b.shape}")
        if not np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE):
            raise AssertionError(f"{law}: {what} differ by up to {np.abs(a - b).max():.2e}")
