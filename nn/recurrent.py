"""Recurrent cells and layers: RNN, LSTM and GRU.

A step is a plain function: what the input adds to the gates, the state and the recurrent weights, to the next
state. One loop runs any of them over a sequence. The state is passed in and returned, never kept.

    T steps   B batch   D input   H hidden   L layers   G gates
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import minigrad as mg
from minigrad import Tensor, as_tensor, scope
from minigrad.backend import backend_of

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module, Parameter

State: TypeAlias = tuple[Tensor, ...]  # (h,) or (h, c)

# ------------------------------------------------------------------------------------------------ steps


def rnn_step(x: Tensor, state: State, W: Tensor, nonlinearity: Callable[[Tensor], Tensor] = mg.tanh) -> State:
    """One step of a vanilla recurrent network.

        h' = tanh(W_xh x + W_hh h + b)

    Source: Elman, Finding structure in time, 1990.

    Args:
        x: W_xh x + b, of shape (B, H).
        state: (h,), of shape (B, H).
        W: W_hh transposed, of shape (H, H).
    """
    (h,) = state
    return (nonlinearity(x + h @ W),)


def lstm_step(x: Tensor, state: State, W: Tensor) -> State:
    """One step of a long short-term memory.

        i, f, g, o = W_x x + W_h h + b              input, forget and output gate; g, the candidate
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    Source: Hochreiter, Schmidhuber, Long short-term memory, 1997; the forget gate: Gers et al., 2000.

    Args:
        x: W_x x + b, of shape (B, 4 H).
        state: (h, c), each of shape (B, H).
        W: W_h transposed, of shape (H, 4 H).
    """
    h, c = state
    i, f, g, o = mg.split(x + h @ W, 4, axis=-1)  # (B, 4 H) -> (B, H) each
    c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
    return mg.sigmoid(o) * mg.tanh(c), c


def gru_step(x: Tensor, state: State, W: Tensor, b: Tensor | None = None) -> State:
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
    x_rz, x_n = mg.split(x, [2 * H], axis=-1)
    h_rz, h_n = mg.split(recurrent, [2 * H], axis=-1)
    r, z = mg.split(mg.sigmoid(x_rz + h_rz), 2, axis=-1)
    n = mg.tanh(x_n + r * h_n)
    return (n + z * (h - n),)


def gru_step_chung(x: Tensor, state: State, W_rz: Tensor, W_n: Tensor) -> State:
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
    x_rz, x_n = mg.split(x, [2 * h.shape[-1]], axis=-1)
    r, z = mg.split(mg.sigmoid(x_rz + h @ W_rz), 2, axis=-1)
    n = mg.tanh(x_n + (r * h) @ W_n)
    return (h + z * (n - h),)


# ------------------------------------------------------------------------------------------------ kinds


class Weights(NamedTuple):
    """What one layer learns, as PyTorch keeps it."""

    weight_ih: Parameter  # (G H, D)
    weight_hh: Parameter  # (G H, H)
    bias_ih: Parameter | None  # (G H,)
    bias_hh: Parameter | None


def biases_joined(weights: Weights) -> tuple[Tensor | None, Tensor]:
    """Both biases added to the input's product, which is one addition a sequence, not one a step."""
    if weights.bias_ih is None:
        return None, weights.weight_hh.T
    return weights.bias_ih + weights.bias_hh, weights.weight_hh.T


def biases_apart(weights: Weights) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The recurrent bias left to the step, which multiplies it."""
    return weights.bias_ih, weights.weight_hh.T, weights.bias_hh


def candidate_apart(weights: Weights) -> tuple[Tensor | None, Tensor, Tensor]:
    """The recurrent weights of the gates and of the candidate, for two products."""
    bias, W = biases_joined(weights)
    H = W.shape[0]
    W_rz, W_n = mg.split(W, [2 * H], axis=-1)
    return bias, W_rz, W_n


class Kind(NamedTuple):
    """What tells one recurrent network from another."""

    step: Callable[..., State]
    prepare: Callable[[Weights], tuple[Any, ...]]  # the bias of the input's product, then what `step` takes
    gates: int
    states: tuple[str, ...]


ELMAN = {
    "tanh": Kind(rnn_step, biases_joined, 1, ("h",)),
    "relu": Kind(partial(rnn_step, nonlinearity=mg.relu), biases_joined, 1, ("h",)),
}
LONG_SHORT_TERM_MEMORY = Kind(lstm_step, biases_joined, 4, ("h", "c"))
GATED_UNIT = {
    "cudnn": Kind(gru_step, biases_apart, 3, ("h",)),
    "chung": Kind(gru_step_chung, candidate_apart, 3, ("h",)),
}


def chosen(kinds: dict[str, Kind], argument: str, value: str) -> Kind:
    """The kind of a name; ValueError for another name."""
    if value not in kinds:
        raise ValueError(f"{argument}: expected {' or '.join(map(repr, kinds))}, got {value!r}")
    return kinds[value]


# ------------------------------------------------------------------------------------------------ cells and layers


class Recurrent(Module):
    """What cells and layers have in common: weights by PyTorch's names, and checks of what comes in."""

    def __init__(self, kind: Kind, input_size: int, hidden_size: int, bias: bool) -> None:
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if size < 1:
                raise ValueError(f"{type(self).__name__}: expected {name} of at least 1, got {size}")
        self.kind, self.input_size, self.hidden_size, self.bias = kind, input_size, hidden_size, bias

    def add_weights(self, D: int, suffix: str = "") -> None:
        """Make the parameters that take D inputs."""
        H, GH = self.hidden_size, self.kind.gates * self.hidden_size
        shapes = {"weight_ih": (GH, D), "weight_hh": (GH, H), "bias_ih": (GH,), "bias_hh": (GH,)}
        for name in Weights._fields if self.bias else Weights._fields[:2]:
            setattr(self, name + suffix, new_parameter(*shapes[name]))

    def weights(self, suffix: str = "") -> Weights:
        """The parameters of a layer, or of a cell."""
        parameters: list[Any] = [getattr(self, name + suffix, None) for name in Weights._fields]
        return Weights(*parameters)

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-k, k), k = 1 / sqrt(H), with minigrad's default generator."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def checked_input(self, given: Any, *expected: str) -> Tensor:
        """The input as a tensor; ValueError or TypeError unless its axes are as expected, and the last D long."""
        x = as_tensor(given)
        if x.ndim not in [axes.count(",") + 1 for axes in expected] or x.shape[-1] != self.input_size:
            shapes = " or ".join(f"({axes})".replace("D", f"D={self.input_size}") for axes in expected)
            raise ValueError(f"{type(self).__name__}: expected x of shape {shapes}, got {x.shape}")
        self._check_dtype("x", x)
        return x

    def checked_state(self, state: Any, shape: tuple[int, ...], x: Tensor) -> State:
        """The state as a tuple of tensors of a shape, zeros where there is none; ValueError or TypeError otherwise."""
        names = self.kind.states
        if state is None:
            zeros = as_tensor(backend_of(x.data).xp.zeros(shape, x.dtype))
            return (zeros,) * len(names)
        if len(names) == 1:
            state = (state,)
        elif not isinstance(state, tuple | list) or len(state) != len(names):
            got = f"a {type(state).__name__}" + (f" of {len(state)}" if isinstance(state, tuple | list) else "")
            raise TypeError(f"{type(self).__name__}: expected state to be a tuple ({', '.join(names)}), got {got}")
        tensors = tuple(map(as_tensor, state))
        for name, s in zip(names, tensors, strict=True):
            if s.shape != shape:
                raise ValueError(f"{type(self).__name__}: expected state {name} of shape {shape}, got {s.shape}")
            self._check_dtype(f"state {name}", s)
        return tensors

    def _check_dtype(self, name: str, x: Tensor) -> None:
        dtype = next(self.parameters()).dtype
        if x.dtype != dtype:
            raise TypeError(
                f"{type(self).__name__}: expected {name} of the parameters' dtype {dtype}, got {x.dtype}; "
                f"convert it with .to('{dtype}'), or the module"
            )

    def extra_repr(self) -> str:
        """The arguments that are not the defaults, as PyTorch shows them."""
        defaults = dict(num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, variant="cudnn")
        options = [(name, getattr(self, name, default), default) for name, default in defaults.items()]
        changed = [f", {name}={value}" for name, value, default in options if value != default]
        return f"{self.input_size}, {self.hidden_size}" + "".join(changed)


class RecurrentCell(Recurrent):
    """One step of a recurrent network as a module; the base of RNNCell, LSTMCell and GRUCell."""

    def __init__(self, kind: Kind, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__(kind, input_size, hidden_size, bias)
        self.add_weights(input_size)
        self.reset_parameters()

    def forward(self, x: Any, state: Any = None) -> Any:
        """One step.

        Args:
            x: the input, of shape (B, D) or (D,).
            state: h, of shape (B, H) or (H,); the LSTM's is (h, c). None: zeros.

        Returns:
            The next state.

        Raises:
            ValueError, TypeError: shapes or dtypes that are not these, or not the parameters'.
        """
        x = self.checked_input(x, "B, D", "D")
        state = self.checked_state(state, (*x.shape[:-1], self.hidden_size), x)
        weights = self.weights()
        bias, *recurrent = self.kind.prepare(weights)
        return bare(self.kind.step(F.linear(x, weights.weight_ih, bias), state, *recurrent))


class RecurrentLayers(Recurrent):
    """A recurrent network over whole sequences; the base of RNN, LSTM and GRU."""

    def __init__(
        self, kind: Kind, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool
    ) -> None:
        super().__init__(kind, input_size, hidden_size, bias)
        if num_layers < 1:
            raise ValueError(f"{type(self).__name__}: expected num_layers of at least 1, got {num_layers}")
        self.num_layers, self.batch_first = num_layers, batch_first
        for k in range(num_layers):
            self.add_weights(hidden_size if k else input_size, f"_l{k}")
        self.reset_parameters()

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        """A whole sequence.

        Args:
            x: the input, of shape (T, B, D), with `batch_first` (B, T, D), or of one sequence: (T, D). T >= 1.
            state: h before the first step, of shape (L, B, H) or (L, H); the LSTM's is (h, c). None: zeros.

        Returns:
            h of the last layer at every step, of shape (T, B, H), (B, T, H) or (T, H); and the state after the
            last step, which has the form of `state`.

        Raises:
            ValueError, TypeError: shapes or dtypes that are not these, or not the parameters'.
        """
        x = self.checked_input(x, "B, T, D" if self.batch_first else "T, B, D", "T, D")
        time = 1 if self.batch_first and x.ndim == 3 else 0
        if not x.shape[time]:
            raise ValueError(f"{type(self).__name__}: expected at least one step, got x of shape {x.shape}")
        batch = x.shape[:time] + x.shape[time + 1 : -1]  # (B,) or ()
        state = self.checked_state(state, (self.num_layers, *batch, self.hidden_size), x)
        finals = []
        for k, initial in enumerate(zip(*map(mg.unstack, state), strict=True)):
            weights = self.weights(f"_l{k}")
            bias, *recurrent = self.kind.prepare(weights)
            x, final = unroll(self.kind.step, F.linear(x, weights.weight_ih, bias), initial, recurrent, time)
            finals.append(final)
        return x, bare(tuple(map(mg.stack, zip(*finals, strict=True))))


def unroll(
    step: Callable[..., State], x: Tensor, state: State, recurrent: list[Any], time: int
) -> tuple[Tensor, State]:
    """Run a step over a sequence: h of every step, and the last state."""
    outputs = []
    for t, x_t in enumerate(mg.unstack(x, axis=time)):
        with scope(f"t={t}"):
            state = step(x_t, state, *recurrent)
        outputs.append(state[0])
    return mg.stack(outputs, axis=time), state


def bare(state: State) -> Any:
    """h alone where that is the whole state."""
    return state if len(state) > 1 else state[0]


class RNNCell(RecurrentCell):
    """One step of a vanilla recurrent network; the equation stands with `rnn_step`.

    Args:
        input_size, hidden_size: D and H.
        bias: False leaves both biases out.
        nonlinearity: "tanh" or "relu".

    >>> h = RNNCell(3, 4)(mg.tensor([[0.0, 1.0, 0.0]]))
    >>> h.shape
    (1, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        self.nonlinearity = nonlinearity
        super().__init__(chosen(ELMAN, "nonlinearity", nonlinearity), input_size, hidden_size, bias)


class LSTMCell(RecurrentCell):
    """One step of a long short-term memory; the equations stand with `lstm_step`.

    Args:
        input_size, hidden_size: D and H.
        bias: False leaves both biases out.

    >>> h, c = LSTMCell(3, 4)(mg.tensor([[0.0, 1.0, 0.0]]))
    >>> c.shape
    (1, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(LONG_SHORT_TERM_MEMORY, input_size, hidden_size, bias)


class GRUCell(RecurrentCell):
    """One step of a gated recurrent unit; the equations stand with `gru_step` and `gru_step_chung`.

    Args:
        input_size, hidden_size: D and H.
        bias: False leaves both biases out.
        variant: "cudnn", PyTorch's, or "chung", the lecture's.

    >>> h = GRUCell(3, 4, variant="chung")(mg.tensor([[0.0, 1.0, 0.0]]))
    >>> h.shape
    (1, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, variant: str = "cudnn") -> None:
        self.variant = variant
        super().__init__(chosen(GATED_UNIT, "variant", variant), input_size, hidden_size, bias)


class RNN(RecurrentLayers):
    """Layers of a vanilla recurrent network; the equation stands with `rnn_step`.

    Args:
        input_size, hidden_size: D and H.
        num_layers: L; each layer reads what the one below gives.
        nonlinearity: "tanh" or "relu".
        bias: False leaves both biases of each layer out.
        batch_first: sequences are (B, T, D), not (T, B, D); the state is (L, B, H) all the same.

    >>> outputs, h = RNN(3, 4)(mg.tensor([[[0.0, 1.0, 0.0]]] * 5))
    >>> outputs.shape, h.shape
    ((5, 1, 4), (1, 1, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        self.nonlinearity = nonlinearity
        kind = chosen(ELMAN, "nonlinearity", nonlinearity)
        super().__init__(kind, input_size, hidden_size, num_layers, bias, batch_first)


class LSTM(RecurrentLayers):
    """Layers of a long short-term memory; the equations stand with `lstm_step`, arguments with `RNN`.

    >>> outputs, (h, c) = LSTM(3, 4, num_layers=2)(mg.tensor([[[0.0, 1.0, 0.0]]] * 5))
    >>> outputs.shape, c.shape
    ((5, 1, 4), (2, 1, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        super().__init__(LONG_SHORT_TERM_MEMORY, input_size, hidden_size, num_layers, bias, batch_first)


class GRU(RecurrentLayers):
    """Layers of a gated recurrent unit; the equations stand with `gru_step` and `gru_step_chung`.

    Args:
        variant: "cudnn", PyTorch's, or "chung", the lecture's; the others stand with `RNN`.

    >>> outputs, h = GRU(3, 4)(mg.tensor([[0.0, 1.0, 0.0]] * 5))
    >>> outputs.shape, h.shape
    ((5, 4), (1, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        variant: str = "cudnn",
    ) -> None:
        self.variant = variant
        kind = chosen(GATED_UNIT, "variant", variant)
        super().__init__(kind, input_size, hidden_size, num_layers, bias, batch_first)
