"""Small training runs, with whatever could differ from one run to the next; as a script it prints their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import minigrad as mg
import nn
from nn.functional import cross_entropy
from nn.streams import Streams

T, B, V, D, H = 4, 3, 5, 4, 6

# A layer, an optimizer and its options.
RUNS: list[tuple[Any, Any, dict[str, Any]]] = [
    (nn.RNN, nn.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (nn.LSTM, nn.optim.Adam, {"lr": 0.1, "amsgrad": True}),
    (nn.GRU, nn.optim.RMSprop, {"lr": 0.1, "momentum": 0.5, "centered": True}),
    (nn.LSTM, nn.optim.Adagrad, {"lr": 0.1}),
    (nn.GRU, nn.optim.AdamW, {"lr": 0.1}),
]


class Model(nn.Module):
    """Guesses the next character."""

    def __init__(self, layer: Any) -> None:
        self.embedding = nn.Embedding(V, D)
        self.layers = layer(D, H, num_layers=2, dropout=0.3)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(H, V)

    def forward(self, ids: Any) -> mg.Tensor:
        """Ids, of shape (T, B), to logits, of shape (T, B, V)."""
        return self.out(self.dropout(self.layers(self.embedding(ids))[0]))


def training(run: int, seed: int | None) -> Iterator[str]:
    """Train one of RUNS, from a seed or as seeded; where others may come in it yields, in every mode, digests."""
    layer, optim, options = RUNS[run]
    if seed is not None:
        mg.seed(seed)
    text = Streams(mg.default_generator().integers(V, size=B * 4 * T + 1), T, B)
    model = Model(layer)
    optimizer = optim(model.parameters(), **options)
    for k in mg.default_generator().permutation(len(text)):
        chunk = text.chunk(int(k))
        with mg.scope(f"chunk {k}"):
            yield ""
            loss = cross_entropy(model(chunk.x).reshape(T * B, V), chunk.y.reshape(-1))
        yield digest(loss, loss.node.scope)  # type: ignore[union-attr]
        optimizer.zero_grad()
        loss.backward()
        yield digest([p.grad for p in model.parameters()])
        clipped = nn.optim.clip_grad_norm_(model.parameters(), 0.1)
        nn.optim.clip_grad_value_(model.parameters(), 0.05)
        optimizer.step()
        yield digest(clipped, model.state_dict(), optimizer.state_dict())
        with mg.no_grad():
            yield ""
            logits = model.eval()(chunk.x)
            assert not logits.requires_grad
        with mg.unrolled():
            yield digest(logits)
            yield digest(model.train()(chunk.x))


def digest(*values: Any) -> str:
    """Of every bit of nested values."""

    def plain(value: Any) -> Any:
        return mg.as_tensor(value).numpy().tolist()  # Python's floats, whose text is exact

    return hashlib.sha256(json.dumps(values, default=plain).encode()).hexdigest()


if __name__ == "__main__":
    for run in range(len(RUNS)):
        print(run, *training(run, seed=run), sep="\n")
