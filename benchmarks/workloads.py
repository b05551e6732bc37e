"""What is measured. A workload's `build(contestant)` makes model and data, and gives a function that takes one step.

T steps, B batch, H hidden, L layers; the characters are random, V of them. All contestants get the same ones and
begin from the same weights, so that their losses are the same numbers too.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from . import eager, lecture
from .libraries import LIBRARIES, Library

V = 65

Step = Callable[[], Any]


class Workload(Protocol):
    """What a workload is to those who measure it."""

    contestants: tuple[str, ...]  # ours, and the peer if there is one
    device: str
    one_thread: bool
    units: int  # of work in a step: the time is for one

    @property
    def name(self) -> str:
        """Unlike any other's."""

    def build(self, contestant: str) -> Step:
        """What one step of a contestant is."""


@dataclass(frozen=True)
class Training:
    """A step of truncated BPTT: forward, backward, clipping, the optimizer; the state is carried on, detached.

    The model is an embedding, recurrent layers and a linear one; Adam, the gradients' norm at most 5. With `lecture` it
    is the lecture's: one-hot characters, the sum of the losses, Adagrad, each element of a gradient at most 5.
    """

    cell: str  # "RNN", "LSTM", "GRU", or "unrolled": an RNN op by op
    L: int
    H: int
    T: int
    B: int
    dtype: str = "float32"
    device: str = "cpu"
    lecture: bool = False

    units: ClassVar = 1

    @property
    def name(self) -> str:
        """As in "LSTM 2x512, T 100, B 64, cuda"."""
        special = [word for word in (self.dtype, self.device) if word not in ("float32", "cpu")]
        return ", ".join([f"{self.cell} {self.L}x{self.H}", f"T {self.T}", f"B {self.B}", *special])

    @property
    def contestants(self) -> tuple[str, ...]:
        """The lecture's script is in float64, PyTorch's default is float32."""
        return "minigrad", "lecture" if self.dtype == "float64" else "torch"

    @property
    def one_thread(self) -> bool:
        """The lecture's network is too small for a second thread: where others use the machine, waiting costs most."""
        return self.lecture

    def build(self, contestant: str) -> Step:
        """Training by a library, or by the lecture's script."""
        ids = np.random.default_rng(0).integers(0, V, (self.T + 1, self.B))
        if contestant == "lecture":
            H, D = self.H, V
            shapes = {
                "rnn.weight_ih_l0": (H, D), "rnn.weight_hh_l0": (H, H), "rnn.bias_ih_l0": (H,), "rnn.bias_hh_l0": (H,),
                "output.weight": (V, H), "output.bias": (V,),
            }  # fmt: skip
            return lecture.training(initial(shapes), ids[:-1, 0], ids[1:, 0])
        library = LIBRARIES[contestant]()
        return training(self, library, model_of(self, library), ids)

    def flop(self) -> int:
        """Floating-point operations of a step's matrix products; all else is a few percent.

        A product of (m, k) and (k, n) is m k n multiplications and as many additions. Each time step and sequence
        takes a product with W_ih and one with W_hh in each layer (with an embedding, D = H) and one with the last
        layer's. The way back has two products of that size for each: the gradients of the weights and of the input.
        """
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[self.cell] * self.H
        weights = self.L * gates * (self.H + self.H) + V * self.H
        return 3 * 2 * self.T * self.B * weights


def initial(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The same weights for everyone."""
    rng = np.random.default_rng(1)
    return {name: rng.uniform(-0.1, 0.1, shape) for name, shape in sorted(shapes.items())}


def model_of(work: Any, library: Library) -> Any:
    """A character model: ids (T, B) and a state -> logits (T, B, V) and the next state."""
    model = (unrolled_rnn if work.cell == "unrolled" else layered)(work, library).to(library.dtype(work.dtype))
    weights = initial({name: tuple(p.shape) for name, p in model.state_dict().items()})
    model.load_state_dict({name: library.tensor(array, "cpu") for name, array in weights.items()})
    return model.to(work.device)


def layered(work: Any, library: Library) -> Any:
    """The model of the library's layers."""
    nn = library.nn

    class CharModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = None if work.lecture else nn.Embedding(V, work.H)
            self.rnn = getattr(nn, work.cell)(V if work.lecture else work.H, work.H, work.L)
            self.output = nn.Linear(work.H, V)
            if work.lecture:
                self.rnn.bias_hh_l0.requires_grad_(False)  # the lecture has one bias

        def forward(self, ids: Any, state: Any = None) -> tuple[Any, Any]:
            if self.embedding is None:
                x = nn.functional.one_hot(ids, V).to(self.output.weight.dtype)
            else:
                x = self.embedding(ids)  # (T, B, H)
            h, state = self.rnn(x, state)  # (T, B, H)
            return self.output(h), state

    return CharModel()


def unrolled_rnn(work: Any, library: Library) -> Any:
    """The model of a loop of ops."""
    nn, xp = library.nn, library.xp

    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shapes = {"W_xh": (V, work.H), "W_hh": (work.H, work.H), "b_h": work.H, "W_hy": (work.H, V), "b_y": V}
            for name, shape in shapes.items():
                setattr(self, name, nn.Parameter(library.tensor(np.zeros(shape), "cpu")))

        def forward(self, ids: Any, h: Any = None) -> tuple[Any, Any]:
            if h is None:
                h = library.tensor(np.zeros((work.B, work.H), work.dtype), work.device)
            hs = []
            for x_t in self.W_xh[ids]:  # (B, H)
                h = xp.tanh(x_t + h @ self.W_hh + self.b_h)
                hs.append(h)
            return xp.stack(hs) @ self.W_hy + self.b_y, h

    return Unrolled()


def training(work: Training, library: Library, model: Any, ids: np.ndarray) -> Step:
    """A function that takes one training step on ids (T + 1, B), and returns the loss before it."""
    x, y = library.tensor(ids[:-1], work.device), library.tensor(ids[1:].reshape(-1), work.device)
    parameters = list(model.parameters())
    if work.lecture:
        # Begun like this, the root of the sum is the lecture's sqrt(sum of g^2 + 1e-8).
        optimizer = library.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=1e-8, eps=0.0)
    else:
        optimizer = library.optim.Adam(parameters)
    clip = library.clip_grad_value_ if work.lecture else library.clip_grad_norm_
    reduction = "sum" if work.lecture else "mean"
    state = None

    def step() -> Any:
        nonlocal state
        logits, state = model(x, state)
        loss = library.nn.functional.cross_entropy(logits.reshape(-1, V), y, reduction=reduction)
        optimizer.zero_grad()
        loss.backward()
        clip(parameters, 5.0)
        optimizer.step()
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        library.wait(work.device)
        return loss

    return step


@dataclass(frozen=True)
class Sampling:
    """Characters drawn one after the other, each fed back as the next input: one stream."""

    L: int
    H: int
    units: int  # characters a step

    contestants: ClassVar = ("minigrad", "torch")
    cell: ClassVar = "LSTM"
    lecture: ClassVar = False
    dtype: ClassVar = "float32"
    device: ClassVar = "cpu"
    one_thread: ClassVar = False

    @property
    def name(self) -> str:
        """As in "sampling, LSTM 2x256"."""
        return f"sampling, {self.cell} {self.L}x{self.H}"

    def build(self, contestant: str) -> Step:
        """`nn.generation.generate`, or the loop that a user of PyTorch writes."""
        library = LIBRARIES[contestant]()
        model = model_of(self, library).eval()
        if contestant == "minigrad":
            from nn.generation import generate

            return lambda: generate(model, [[0]], self.units)
        torch = library.xp

        def step() -> Any:
            ids, state, drawn = torch.zeros(1, 1, dtype=torch.int64), None, []
            with torch.no_grad():
                for _ in range(self.units):
                    logits, state = model(ids, state)
                    ids = torch.multinomial(torch.softmax(logits[-1], -1), 1).T  # (1, B)
                    drawn.append(ids)
                return torch.cat(drawn)

        return step


@dataclass(frozen=True)
class Chain:
    """The chain of `benchmarks.eager`: nothing but the overhead of an op, forward and backward."""

    name: ClassVar = "4x4 chain"
    contestants: ClassVar = ("minigrad", "torch")
    device: ClassVar = "cpu"
    one_thread: ClassVar = True
    units: ClassVar = eager.OPS

    def build(self, contestant: str) -> Step:
        """One pass over the chain."""
        forward, gradient = eager.CHAINS[contestant]()
        return lambda: forward().backward(gradient)


@dataclass(frozen=True)
class Import:
    """`import minigrad, nn` in a fresh process, the start of the interpreter included."""

    name: ClassVar = "import"
    contestants: ClassVar = ("minigrad",)
    device: ClassVar = "cpu"
    one_thread: ClassVar = False
    units: ClassVar = 1

    def build(self, contestant: str) -> Step:
        """Import in a new process, which finds the modules compiled, as users do."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return lambda: subprocess.run([sys.executable, "-c", "import minigrad, nn"], env=environment, check=True)


@dataclass(frozen=True)
class Product:
    """One product of two float32 matrices: the machine's peak."""

    n: int

    contestants: ClassVar = ("minigrad",)
    device: ClassVar = "cpu"
    one_thread: ClassVar = False
    units: ClassVar = 1

    @property
    def name(self) -> str:
        """As in "product of 2048x2048"."""
        return f"product of {self.n}x{self.n}"

    def build(self, contestant: str) -> Step:
        """NumPy's, into memory that is there."""
        a, b = np.random.default_rng(0).normal(size=(2, self.n, self.n)).astype(np.float32)
        c = np.empty_like(a)
        return lambda: np.matmul(a, b, out=c)

    def flop(self) -> int:
        """As many multiplications as additions."""
        return 2 * self.n**3


def tiny(work: Any) -> Any:
    """The same work at a size that costs nothing."""
    sizes = {field.name: getattr(work, field.name) for field in fields(work) if field.type is int}
    return replace(work, **{name: min(size, 4) for name, size in sizes.items()})
