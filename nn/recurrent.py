"""Recurrent cells and layers: RNN, LSTM and GRU.

A layer is one op over the whole sequence, of those in `minigrad.ops.recurrent`; a cell is one step of
`minigrad.ops.steps`. The state is passed in and returned, never kept.

    T steps   B batch   D input   H hidden   L layers   N layers, or directions of layers
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor, as_tensor
from minigrad.backend import Array, DeviceError, backend_of, move, to_numpy
from minigrad.creation import to_array
from minigrad.ops import steps
from minigrad.ops.steps import Kind, State, Weights

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module


class Recurrent(Module):
    """What cells and layers have in common: weights by PyTorch's names, and checks of what comes in."""

    def __init__(self, kind: Kind, input_size: int, hidden_size: int, bias: bool) -> None:
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if size < 1:
                raise ValueError(f"{type(self).__name__}: expected {name} of at least 1, got {size}")
        self.kind, self.input_size, self.hidden_size, self.bias = kind, input_size, hidden_size, bias

    def _add_weights(self, D: int, suffix: str = "") -> None:
        """Make the parameters that take D inputs."""
        H, GH = self.hidden_size, self.kind.blocks * self.hidden_size
        shapes = {"weight_ih": (GH, D), "weight_hh": (GH, H), "bias_ih": (GH,), "bias_hh": (GH,)}
        for name in Weights._fields if self.bias else Weights._fields[:2]:
            setattr(self, name + suffix, new_parameter(*shapes[name]))

    def _weights(self, suffix: str = "") -> Weights:
        """The parameters of a layer, or of a cell."""
        parameters: list[Any] = [getattr(self, name + suffix, None) for name in Weights._fields]
        return Weights(*parameters)

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-k, k), k = 1 / sqrt(H), with minigrad's default generator."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _checked_input(self, given: Any, *expected: str) -> Tensor:
        """The input as a tensor; ValueError or TypeError unless its axes are as expected, and the last D long."""
        x = as_tensor(given)
        if x.ndim not in [axes.count(",") + 1 for axes in expected] or x.shape[-1] != self.input_size:
            shapes = " or ".join(f"({axes})".replace("D", f"D={self.input_size}") for axes in expected)
            raise ValueError(f"{type(self).__name__}: expected x of shape {shapes}, got {x.shape}")
        self._check_fits("x", x)
        return x

    def _checked_state(self, state: Any, shape: tuple[int, ...], x: Tensor) -> State:
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
            self._check_fits(f"state {name}", s)
        return tensors

    def _check_fits(self, name: str, x: Tensor) -> None:
        own = next(self.parameters())
        if x.dtype != own.dtype:
            raise TypeError(
                f"{type(self).__name__}: expected {name} of the parameters' dtype {own.dtype}, got {x.dtype}; "
                f"convert it with .to('{own.dtype}'), or the module"
            )
        if x.device != own.device:
            raise DeviceError(
                f"{type(self).__name__}: expected {name} on the parameters' device {own.device}, got {x.device}; "
                f"move it with .to('{own.device}'), or the module"
            )

    def describe_element(self, name: str, place: tuple[int, ...]) -> str:
        """An element of a parameter in words, for messages; "" where there are none.

        >>> LSTM(2, 3).describe_element("weight_hh_l0", (4, 0))
        'gate f, unit 1, by unit 0 of h'
        """
        stem, _, layer = name.partition("_l")
        if stem not in Weights._fields:
            return ""
        gate, unit = divmod(place[0], self.hidden_size)
        below = "input {}" if layer[:1] in ("", "0") else "output {} of the layer below"
        by = {"weight_ih": f", by {below}", "weight_hh": ", by unit {} of h"}.get(stem, "").format(*place[1:])
        return (f"gate {self.kind.gates[gate]}, " if self.kind.gates else "") + f"unit {unit}{by}"

    def extra_repr(self) -> str:
        """The arguments that are not the defaults, as PyTorch shows them."""
        arguments = inspect.signature(type(self)).parameters.values()
        changed = [f", {p.name}={getattr(self, p.name)}" for p in arguments
                   if p.default is not p.empty and getattr(self, p.name) != p.default]  # fmt: skip
        return f"{self.input_size}, {self.hidden_size}" + "".join(changed)


class RecurrentCell(Recurrent):
    """One step of a recurrent network as a module; the base of RNNCell, LSTMCell and GRUCell."""

    def __init__(self, kind: Kind, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__(kind, input_size, hidden_size, bias)
        self._add_weights(input_size)
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
        x = self._checked_input(x, "B, D", "D")
        state = self._checked_state(state, (*x.shape[:-1], self.hidden_size), x)
        weights = self._weights()
        bias, *recurrent = self.kind.prepare(weights)
        state, _ = self.kind.step(F.linear(x, weights.weight_ih, bias), state, *recurrent)
        return bare(state)


class RecurrentLayers(Recurrent):
    """A recurrent network over whole sequences; the base of RNN, LSTM and GRU."""

    def __init__(
        self,
        kind: Kind,
        sequence: Callable[..., Any],
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__(kind, input_size, hidden_size, bias)
        if num_layers < 1:
            raise ValueError(f"{type(self).__name__}: expected num_layers of at least 1, got {num_layers}")
        F.check_probability(f"{type(self).__name__}: dropout", dropout)
        if dropout and num_layers == 1:
            warnings.warn(
                f"{type(self).__name__}: dropout={dropout} acts between layers, and there is only one", stacklevel=3
            )
        self.num_layers, self.batch_first = num_layers, batch_first
        self.dropout, self.bidirectional = dropout, bidirectional
        self.sequence = sequence  # the op: of x, a state and the weights
        for k in range(num_layers):
            for direction in self._directions:
                self._add_weights(len(self._directions) * hidden_size if k else input_size, f"_l{k}{direction}")
        self.reset_parameters()

    @property
    def _directions(self) -> tuple[str, ...]:
        """What the names of each direction's weights end in."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def forward(self, x: Any, state: Any = None, lengths: Any = None, return_gates: bool = False) -> tuple[Any, ...]:
        """A whole sequence, or a batch of them.

        Args:
            x: the input, of shape (T, B, D), with `batch_first` (B, T, D), or of one sequence: (T, D). T >= 1.
            state: h before the first step, of shape (N, B, H) or (N, H); the LSTM's is (h, c). N counts the layers,
                or, where bidirectional, the layers' directions: 0 forward, 0 reverse, 1 forward, ... None: zeros.
            lengths: how many steps of each sequence count, integers in 1..T of shape (B,), in any order; None: all.
                What x holds beyond them changes nothing; the outputs there are zeros.
            return_gates: whether to return what each gate and state was at every step.

        Returns:
            h of the last layer at every step, of shape (T, B, H), (B, T, H) or (T, H), where bidirectional 2 H long,
            forward and reverse; the state after each sequence's last step, which has the form of `state`; and with
            `return_gates` a dict by letter, the LSTM's "h", "c", "i", "f", "g", "o", the GRU's "h", "r", "z", "n",
            of tensors of shape (N, T, B, H), (N, B, T, H) or (N, T, H).

        Raises:
            ValueError, TypeError, DeviceError: shapes, dtypes or devices that are not these, or not the parameters'.
        """
        x = self._checked_input(x, "B, T, D" if self.batch_first else "T, B, D", "T, D")
        single, time = x.ndim == 2, 1 if self.batch_first and x.ndim == 3 else 0
        T, batch = x.shape[time], x.shape[:time] + x.shape[time + 1 : -1]  # (B,) or ()
        if not T:
            raise ValueError(f"{type(self).__name__}: expected at least one step, got x of shape {x.shape}")
        state = self._checked_state(state, (self.num_layers * len(self._directions), *batch, self.hidden_size), x)
        running = None if lengths is None else move(self._mask(lengths, T, batch), x.device)  # (T, B, 1)

        def turned(x: Tensor) -> Tensor:  # (..., T, B, H), into the form of the input
            return mg.squeeze(x, axis=-2) if single else mg.swapaxes(x, -3, -2) if time else x

        def kept(x: Tensor) -> Tensor:  # zeros beyond the lengths, whatever was there, and no gradient
            return x if running is None else mg.where(running, x, 0.0)

        if single:
            x, state = x[:, None], tuple(s[:, None] for s in state)
        x = kept(mg.swapaxes(x, 0, 1) if time else x)  # (T, B, D)
        initials = zip(*map(rows, state), strict=True)  # for each direction (h,) or (h, c)
        finals, gates = [], []
        for k in range(self.num_layers):
            if k:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for direction in self._directions:
                run = self._run_with_gates if return_gates else self._run
                h, final, *more = run(f"_l{k}{direction}", x, next(initials), running)
                outputs.append(h)
                finals.append(final)
                gates += more
            x = kept(outputs[0] if len(outputs) == 1 else mg.concatenate(outputs, axis=-1))
        state = tuple(map(mg.stack, zip(*finals, strict=True)))
        final = bare(tuple(mg.squeeze(s, axis=1) for s in state) if single else state)
        if not return_gates:
            return turned(x), final
        letters, histories = self.kind.states + self.kind.gates, map(mg.stack, zip(*gates, strict=True))
        return turned(x), final, {name: turned(kept(h)) for name, h in zip(letters, histories, strict=True)}

    def describe_element(self, name: str, place: tuple[int, ...]) -> str:
        """An element of a parameter, of x, a state or a result in words, for messages; "" where there are none.

        >>> GRU(2, 3, bidirectional=True).describe_element("outputs[0]", (1, 0, 5))
        'step 1, sequence 0, unit 2 in reverse'
        """
        *places, last = place
        direction, unit = divmod(last, self.hidden_size)
        words = f"unit {unit}" + " in reverse" * (name == "outputs[0]" and direction)
        if name in ("x", "outputs[0]"):
            axes = ["step"] if len(places) == 1 else ["sequence", "step"] if self.batch_first else ["step", "sequence"]
            said = [f"{axis} {i}" for axis, i in zip(axes, places, strict=True)]
            return ", ".join([*said, f"input {last}" if name == "x" else words])
        letters = dict(zip(("state[0]", "state[1]", "outputs[1]", "outputs[2]"), "hchc", strict=True)) | {"state": "h"}
        if name in letters:
            layer, direction = divmod(places[0], len(self._directions))
            said = [f"{letters[name]} of layer {layer}" + " in reverse" * direction]
            return ", ".join([*said, *[f"sequence {b}" for b in places[1:]], words])
        return super().describe_element(name, place)

    def _run(self, suffix: str, x: Tensor, state: State, running: Array | None) -> tuple[Any, ...]:
        """One direction of one layer over a sequence, (T, B, D): h of each step, and the last state."""
        h, *final = self.sequence(
            x, *state, *self._weights(suffix), reverse=suffix.endswith("_reverse"), running=running
        )
        return h, tuple(final)

    def _run_with_gates(self, suffix: str, x: Tensor, state: State, running: Array | None) -> tuple[Any, ...]:
        """The same step by step, and the states and gates of each step, (T, B, H) each."""
        trace, final = steps.run(self.kind, x, state, self._weights(suffix), suffix.endswith("_reverse"), running)
        histories = tuple(map(mg.stack, zip(*trace, strict=True)))
        return histories[0], final, histories

    def _mask(self, lengths: Any, T: int, batch: tuple[int, ...]) -> np.ndarray:
        """Where the sequences are not over yet, of shape (T, B, 1); ValueError or TypeError for wrong lengths."""
        name, counts = type(self).__name__, to_numpy(to_array(lengths))
        if counts.size and counts.dtype.kind not in "iu":
            raise TypeError(f"{name}: expected lengths to be integers, got dtype {counts.dtype}")
        if not batch or counts.shape != batch:
            expected = f"of shape {batch}, one for each sequence" if batch else "None for a single sequence"
            raise ValueError(f"{name}: expected lengths {expected}, got shape {counts.shape}")
        for i, n in enumerate(counts):
            if not 1 <= n <= T:
                mend = "" if n else "; leave empty sequences out of the batch"
                raise ValueError(f"{name}: expected lengths in 1..T, T = {T}, got {n} for sequence {i}{mend}")
        return np.arange(T)[:, None, None] < counts[:, None]


def rows(state: Tensor) -> Any:
    """A part of the state for each direction of each layer; no op where none is needed."""
    return mg.unstack(state) if state.requires_grad else map(as_tensor, state.data)


def bare(state: State) -> Any:
    """h alone where that is the whole state."""
    return state if len(state) > 1 else state[0]


class RNNCell(RecurrentCell):
    """One step of a vanilla recurrent network; the equation stands with `minigrad.ops.steps.rnn_step`.

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
        super().__init__(chosen(steps.RNN, "nonlinearity", nonlinearity), input_size, hidden_size, bias)


class LSTMCell(RecurrentCell):
    """One step of a long short-term memory; the equations stand with `minigrad.ops.steps.lstm_step`.

    Args:
        input_size, hidden_size: D and H.
        bias: False leaves both biases out.
        forget_bias: as in `LSTM`.

    >>> h, c = LSTMCell(3, 4)(mg.tensor([[0.0, 1.0, 0.0]]))
    >>> c.shape
    (1, 4)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, forget_bias: float | None = None
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(steps.LSTM, input_size, hidden_size, bias)

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-k, k), k = 1 / sqrt(H), and set the forget gate's bias."""
        super().reset_parameters()
        set_forget_bias(self, self.forget_bias)


class GRUCell(RecurrentCell):
    """One step of a gated recurrent unit; the equations stand with `GRU`, and `repr` shows them.

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
        super().__init__(chosen(steps.GRU, "variant", variant), input_size, hidden_size, bias)

    def extra_repr(self) -> str:
        """The arguments that are not the defaults, and the variant's equations."""
        return f"{super().extra_repr()}\n{equations(self.kind.step)}"


class RNN(RecurrentLayers):
    """Layers of a vanilla recurrent network; the equation stands with `minigrad.ops.steps.rnn_step`.

    Args:
        input_size, hidden_size: D and H.
        num_layers: L; each layer reads what the one below gives.
        nonlinearity: "tanh" or "relu".
        bias: False leaves both biases of each layer out.
        batch_first: sequences are (B, T, D), not (T, B, D); the state is (L, B, H) all the same.
        dropout: probability with which, in training, an element that goes from one layer to the next is zeroed.
        bidirectional: each layer has a second set of weights, which reads the sequence from its end; the next layer
            gets both.

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
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self.nonlinearity = nonlinearity
        kind, sequence = chosen(steps.RNN, "nonlinearity", nonlinearity), partial(mg.rnn, nonlinearity=nonlinearity)
        super().__init__(kind, sequence, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)


class LSTM(RecurrentLayers):
    """Layers of a long short-term memory; the equations stand with `minigrad.ops.steps.lstm_step`.

    Args:
        forget_bias: b_f at first, before anything is learned: 1 keeps the memory open, so that gradients reach far
            back. None: drawn as all parameters are. The other arguments stand with `RNN`.

    The forget gate's bias: Jozefowicz, Zaremba, Sutskever, An empirical exploration of recurrent network
    architectures, 2015.

    >>> outputs, (h, c) = LSTM(3, 4, num_layers=2)(mg.tensor([[[0.0, 1.0, 0.0]]] * 5))
    >>> outputs.shape, c.shape
    ((5, 1, 4), (2, 1, 4))
    >>> short_and_long = mg.tensor([[[0.0, 1.0, 0.0]] * 2] * 5)  # (T, B, D) = (5, 2, 3)
    >>> outputs, _, gates = LSTM(3, 4)(short_and_long, lengths=[2, 5], return_gates=True)
    >>> gates["f"].shape, outputs.data[2:, 0].any()
    ((1, 5, 2, 4), np.False_)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        forget_bias: float | None = None,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(
            steps.LSTM, mg.lstm, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-k, k), k = 1 / sqrt(H), and set the forget gate's bias."""
        super().reset_parameters()
        set_forget_bias(self, self.forget_bias)


class GRU(RecurrentLayers):
    """Layers of a gated recurrent unit, in either of its variants; `repr` shows the variant's equations.

        r = sigmoid(W_xr x + W_hr h + b_r)                 reset gate
        z = sigmoid(W_xz x + W_hz h + b_z)                 update gate

    "cudnn", as PyTorch has it: r multiplies the recurrent product, and z keeps h.

        n = tanh(W_xn x + b_xn + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    "chung", as the lecture has it: r multiplies h before the product, and z lets n in.

        n = tanh(W_xn x + W_hn (r * h) + b_n)              the lecture's h~
        h' = (1 - z) * h + z * n

    Source: Chung et al., Empirical evaluation of gated recurrent neural networks on sequence modeling, 2014.

    Args:
        variant: "cudnn" or "chung"; the other arguments stand with `RNN`.

    >>> outputs, h = GRU(3, 4)(mg.tensor([[0.0, 1.0, 0.0]] * 5))
    >>> outputs.shape, h.shape
    ((5, 4), (1, 4))
    >>> GRU(3, 4, variant="chung")
    GRU(
      3, 4, variant=chung
      r = sigmoid(W_xr x + W_hr h + b_r)          reset gate
      z = sigmoid(W_xz x + W_hz h + b_z)          update gate
      n = tanh(W_xn x + W_hn (r * h) + b_n)       the lecture's h~
      h' = (1 - z) * h + z * n
    )
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        variant: str = "cudnn",
    ) -> None:
        self.variant = variant
        kind, sequence = chosen(steps.GRU, "variant", variant), {"cudnn": mg.gru, "chung": mg.gru_chung}[variant]
        super().__init__(kind, sequence, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def extra_repr(self) -> str:
        """The arguments that are not the defaults, and the variant's equations."""
        return f"{super().extra_repr()}\n{equations(self.kind.step)}"


def chosen(kinds: dict[str, Kind], argument: str, value: str) -> Kind:
    """The kind of a name; ValueError for another name."""
    if value not in kinds:
        raise ValueError(f"{argument}: expected {' or '.join(map(repr, kinds))}, got {value!r}")
    return kinds[value]


def equations(step: Callable[..., Any]) -> str:
    """The equations in a step's docstring: its indented lines."""
    description, _, _ = (inspect.getdoc(step) or "").partition("Args:")
    return inspect.cleandoc("\n".join(line for line in description.splitlines() if line.startswith("    ")))


def set_forget_bias(module: Recurrent, value: float | None) -> None:
    """Make b_f one value, all of it in `bias_ih`; ValueError where there are no biases."""
    if value is None:
        return
    if not module.bias:
        raise ValueError(f"{type(module).__name__}: expected bias=True with forget_bias={value}, got bias=False")
    forget = slice(module.hidden_size, 2 * module.hidden_size)  # i f g o
    for name, parameter in module.named_parameters():
        if name.startswith("bias"):
            bias = parameter.numpy().copy()
            bias[forget] = value if name.startswith("bias_ih") else 0.0
            init.copy_(parameter, bias)
