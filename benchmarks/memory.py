"""Resident memory after 50 and after 1,000 training steps of a character RNN: a graph that lived on would show.

    python -m benchmarks.memory

The lecture's network on this file's own text: H 100, T 25, B 8, Adagrad. The garbage collector is off, so that only
reference counts free anything.
"""

import gc
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .turns import machine, take_turns

EARLY, LATE, TOLERANCE = 50, 1000, 0.02
T, B, H = 25, 8, 100

Ids = np.ndarray
text = np.frombuffer(Path(__file__).read_bytes(), np.uint8)
V = 128


def resident() -> int:
    """Bytes of this process in memory now; where the system does not say, the most there ever were."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def op_by_op() -> Callable[[Ids, Ids], float]:
    """A training step written in minigrad's ops."""
    import minigrad as mg

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> mg.Tensor:
        return mg.tensor(rng.normal(size=shape) * 0.01, requires_grad=True, dtype="float32")

    W_xh, W_hh, W_hy, b_h, b_y = parameters = weights(V, H), weights(H, H), weights(H, V), weights(H), weights(V)
    squares = [np.zeros(p.shape, np.float32) for p in parameters]

    def step(ids: Ids, targets: Ids) -> float:
        h, outputs = mg.tensor(np.zeros((B, H), np.float32)), []
        for x_t in W_xh[ids].unstack():  # (T, B, H)
            h = mg.tanh(x_t + h @ W_hh + b_h)
            outputs.append(h)
        logits = mg.stack(outputs) @ W_hy + b_y  # (T, B, V)
        loss = -mg.take_along_axis(logits.log_softmax(), targets[..., None], 2).mean()
        for p, dp, square in zip(parameters, mg.grad(loss, parameters), squares, strict=True):
            square += dp.data**2
            p.data -= 0.1 * dp.data / np.sqrt(square + 1e-8)
        return loss.item()

    return step


def with_nn() -> Callable[[Ids, Ids], float]:
    """A training step written with nn's layers and optimizers."""
    import minigrad as mg
    import nn

    mg.seed(0)
    embedding, rnn, head = nn.Embedding(V, H), nn.RNN(H, H), nn.Linear(H, V)
    parameters = [p for module in (embedding, rnn, head) for p in module.parameters()]
    optimizer = nn.optim.Adagrad(parameters, lr=0.1)

    def step(ids: Ids, targets: Ids) -> float:
        h, _ = rnn(embedding(ids))  # (T, B, H)
        loss = nn.functional.cross_entropy(head(h).reshape(-1, V), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def peak(reset: bool = False) -> int:
    """The most bytes there ever were, or since a reset; where the system can't reset it, the peak is the process's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resident()
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024  # "VmHWM:    1234 kB"


STEPS = {"op by op": op_by_op, "nn": with_nn}


def measured(name: str) -> dict[str, float]:
    """Megabytes after the early and the late step, and the loss, to see that something was trained."""
    step = STEPS[name]()
    rng = np.random.default_rng(0)
    figures = {}
    gc.disable()
    for i in range(1, LATE + 1):
        starts = rng.integers(0, text.size - T - 1, B)
        window = text[starts + np.arange(T + 1)[:, None]].astype(np.int64)  # (T + 1, B)
        loss = step(window[:-1], window[1:])
        if i in (EARLY, LATE):
            figures[f"MB after {i}"] = resident() / 2**20
            figures[f"loss after {i}"] = loss
    return figures


def main() -> None:
    """Measure each way of writing the step in a process of its own, and compare early with late."""
    print(machine())
    grew = []
    for name, (figures,) in take_turns("benchmarks.memory", list(STEPS), rounds=1).items():
        early, late = figures[f"MB after {EARLY}"], figures[f"MB after {LATE}"]
        growth = late / early - 1
        losses = f"loss {figures[f'loss after {EARLY}']:.2f}, then {figures[f'loss after {LATE}']:.2f}"
        print(f"  {name:<10}{early:.1f} MB after {EARLY} steps, {late:.1f} MB after {LATE}: {growth:+.1%} ({losses})")
        if abs(growth) > TOLERANCE:
            grew.append(name)
    if grew:
        sys.exit(f"memory must stay within {TOLERANCE:.0%}; it did not: {', '.join(grew)}")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measured(sys.argv[1])))
    else:
        main()
