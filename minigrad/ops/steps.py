"""The equations of recurrent networks, one step of each, and the loop that runs a step over a sequence.

A step is a plain function: what the input adds to the gates, the state and the recurrent weights, to the next
state and the gates. What is computed here step by step, `.recurrent` computes as one op.

    T steps   B batch   D input   H hidden   G H rows of the weights: H for each gate
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ..backend import Array
from ..graph import Tensor, scope
from .elementwise import relu, sigmoid, tanh, where
from .shapes import split, unstack

__all__ = ["rnn_step", "lstm_step", "gru_step", "gru_step_chung", "run"]

State: TypeAlias = tuple[Tensor, ...]  # (h,) or (h, c)
Gates: TypeAlias = tuple[Tensor, ...]  # after their sigmoid or tanh, in the order of the weights


def rnn_step(
    x: Tensor, state: State, W: Tensor, nonlinearity: Callable[[Tensor], Tensor] = tanh
) -> tuple[State, Gates]:
    """One step of a vanilla recurrent network.

        h' = tanh(W_xh x + W_hh h + b)

    Source: Elman, Finding structure in time, 1990.

    Args:
        x: W_xh x + b, of shape (B, H).
        state: (h,), of shape (B, H).
        W: W_hh transposed, of shape (H, H).
    """
    (h,) = state
    return (nonlinearity(x + h @ W),), ()


def lstm_step(x: Tensor, state: State, W: Tensor) -> tuple[State, Gates]:
    """One step of a long short-term memory.

        i = sigmoid(W_xi x + W_hi h + b_i)          input gate
        f = sigmoid(W_xf x + W_hf h + b_f)          forget gate
        g = tanh(W_xg x + W_hg h + b_g)             candidate
        o = sigmoid(W_xo x + W_ho h + b_o)          output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Source: Hochreiter, Schmidhuber, Long short-term memory, 1997; the forget gate: Gers et al., 2000.

    Args:
        x: W_x x + b, of shape (B, 4 H).
        state: (h, c), each of shape (B, H).
        W: W_h transposed, of shape (H, 4 H).
    """
    h, c = state
    i, f, g, o = split(x + h @ W, 4, axis=-1)  # (B, 4 H) -> (B, H) each
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c = f * c + i * g
    return (o * tanh(c), c), (i, f, g, o)


def gru_step(x: Tensor, state: State, W: Tensor, b: Tensor | None = None) -> tuple[State, Gates]:
    """One step of a gated recurrent unit as cuDNN and PyTorch have it: r multiplies the recurrent product.

        r = sigmoid(W_xr x + W_hr h + b_r)          reset gate
        z = sigmoid(W_xz x + W_hz h + b_z)          update gate
        n = tanh(W_xn x + b_xn + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    Args:
        x: W_x x + b_x for r, z, n, of shape (B, 3 H).
        state: (h,), of shape (B, H).
        W: W_h transposed, of shape (H, 3 H).
        b: b_h, of shape (3 H,), or None.
    """
    (h,) = state
    H = h.shape[-1]
    recurrent = h @ W if b is None else h @ W + b  # (B, 3 H)
    x_rz, x_n = split(x, [2 * H], axis=-1)
    h_rz, h_n = split(recurrent, [2 * H], axis=-1)
    r, z = split(sigmoid(x_rz + h_rz), 2, axis=-1)
    n = tanh(x_n + r * h_n)
    return (n + z * (h - n),), (r, z, n)


def gru_step_chung(x: Tensor, state: State, W_rz: Tensor, W_n: Tensor) -> tuple[State, Gates]:
    """One step of a gated recurrent unit as the lecture has it: r multiplies h before the product.

        r = sigmoid(W_xr x + W_hr h + b_r)          reset gate
        z = sigmoid(W_xz x + W_hz h + b_z)          update gate
        n = tanh(W_xn x + W_hn (r * h) + b_n)       the lecture's h~
        h' = (1 - z) * h + z * n

    Source: Chung et al., Empirical evaluation of gated recurrent neural networks on sequence modeling, 2014.

    Args:
        x: W_x x + b for r, z, n, of shape (B, 3 H).
        state: (h,), of shape (B, H).
        W_rz, W_n: W_h transposed, of shapes (H, 2 H) and (H, H).
    """
    (h,) = state
    x_rz, x_n = split(x, [2 * h.shape[-1]], axis=-1)
    r, z = split(sigmoid(x_rz + h @ W_rz), 2, axis=-1)
    n = tanh(x_n + (r * h) @ W_n)
    return (h + z * (n - h),), (r, z, n)


# ------------------------------------------------------------------------------------------------ the table of them


class Weights(NamedTuple):
    """What one layer learns, as PyTorch keeps it."""

    weight_ih: Tensor  # (G H, D)
    weight_hh: Tensor  # (G H, H)
    bias_ih: Tensor | None = None  # (G H,)
    bias_hh: Tensor | None = None


def biases_joined(weights: Weights) -> tuple[Tensor | None, Tensor]:
    """Both biases added to the input's product, and W_hh as a step takes it."""
    return joined(weights.bias_ih, weights.bias_hh), weights.weight_hh.T


def joined(b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor | None:
    """The sum of two biases, each of which may be missing."""
    if b_ih is None or b_hh is None:
        return b_hh if b_ih is None else b_ih
    return b_ih + b_hh


def biases_apart(weights: Weights) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The recurrent bias left to the step, which multiplies it."""
    return weights.bias_ih, weights.weight_hh.T, weights.bias_hh


def candidate_apart(weights: Weights) -> tuple[Tensor | None, Tensor, Tensor]:
    """The recurrent weights of the gates and of the candidate, for two products."""
    bias, W = biases_joined(weights)
    W_rz, W_n = split(W, [2 * W.shape[0]], axis=-1)
    return bias, W_rz, W_n


class Kind(NamedTuple):
    """What tells one recurrent network from another."""

    step: Callable[..., tuple[State, Gates]]
    prepare: Callable[[Weights], tuple[Any, ...]]  # the bias of the input's product, then what `step` takes
    states: str  # a letter for each part
    gates: str

    @property
    def blocks(self) -> int:
        """How many blocks of H rows the weights have."""
        return len(self.gates) or 1


RNN = {
    "tanh": Kind(rnn_step, biases_joined, "h", ""),
    "relu": Kind(partial(rnn_step, nonlinearity=relu), biases_joined, "h", ""),
}
LSTM = Kind(lstm_step, biases_joined, "hc", "ifgo")
GRU = {
    "cudnn": Kind(gru_step, biases_apart, "h", "rzn"),
    "chung": Kind(gru_step_chung, candidate_apart, "h", "rzn"),
}


# ------------------------------------------------------------------------------------------------ a sequence of them


def run(
    kind: Kind, x: Tensor, state: State, weights: Weights, reverse: bool, running: Array | None
) -> tuple[list[tuple[Tensor, ...]], State]:
    """Run the steps of a kind over a sequence, each with the product of its own input.

    Args:
        x: the inputs, of shape (T, B, D).
        state: before the first step, each part of shape (B, H).
        reverse: from the last step to the first.
        running: where a sequence is not over yet, of shape (T, B, 1); elsewhere its state stays as it is, so that
            its last state comes out at the end, and in reverse its first step finds the initial one. None: everywhere.

    Returns:
        (*state, *gates) after each step, in the order of x, and the state after the last step run.
    """
    bias, *recurrent = kind.prepare(weights)
    trace = []
    steps = list(enumerate(unstack(x)))
    for t, x_t in reversed(steps) if reverse else steps:
        with scope(f"t={t}"):
            a = x_t @ weights.weight_ih.T  # (B, G H)
            new, gates = kind.step(a if bias is None else a + bias, state, *recurrent)
            if running is not None:
                new = tuple(where(running[t], after, before) for after, before in zip(new, state, strict=True))
            state = new
        trace.append((*state, *gates))
    return trace[::-1] if reverse else trace, state
