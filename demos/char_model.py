"""The character language model of `demos.char_lm`: what it computes, how good it is, and how it writes."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

import minigrad as mg
import nn
from nn import functional as F
from nn.generation import generate
from nn.streams import IGNORED, Chunk
from nn.text import ByteVocabulary, Vocabulary

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class CharModel(nn.Module):
    """ids (T, B) -> logits (T, B, V) of the next character, and the state to go on from.

    Dropout as in Zaremba, Sutskever, Vinyals, Recurrent neural network regularization, 2014: on the way up, never
    from step to step.
    """

    def __init__(self, V: int, cell: str, hidden: int, layers: int, embedding: int, dropout: float) -> None:
        self.V = V
        self.embedding = nn.Embedding(V, embedding) if embedding else None
        self.dropout = nn.Dropout(dropout)
        self.rnn = CELLS[cell](embedding or V, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.output = nn.Linear(hidden, V)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "CharModel":
        """The model of a run's config."""
        embedding = 0 if config["one_hot"] else config["embedding"]
        names = ("cell", "hidden", "layers", "dropout")
        return cls(len(config["characters"]), embedding=embedding, **{name: config[name] for name in names})

    def forward(self, ids: np.ndarray, state: Any = None, lengths: Any = None) -> tuple[mg.Tensor, Any]:
        # (T, B, D)
        x = self.embedding(ids) if self.embedding else F.one_hot(ids, self.V).to(self.output.weight.dtype)
        h, state = self.rnn(self.dropout(x), state, lengths)  # (T, B, H)
        return self.output(self.dropout(h)), state  # (T, B, V)


def vocabulary_of(config: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a run's config: of characters, or of bytes."""
    return (ByteVocabulary if config["bytes"] else Vocabulary)(config["characters"])


def loss_of(model: CharModel, chunk: Chunk, state: Any) -> tuple[mg.Tensor, Any]:
    """Mean nats a character of a chunk, and the state after it; the state of fresh streams begins at zero."""
    state = each(lambda s: mg.where(chunk.fresh[:, None], 0.0, s), state)  # (L, B, H)
    logits, state = model(chunk.x, state, chunk.lengths)
    return F.cross_entropy(logits.reshape(-1, model.V), chunk.y.reshape(-1)), state


def each(f: Callable[[Any], Any], state: Any) -> Any:
    """A function of every tensor of a state: None, one tensor, or a tuple of them."""
    if state is None:
        return None
    return tuple(map(f, state)) if isinstance(state, tuple) else f(state)


def by_documents(model: CharModel, separator: np.ndarray) -> Callable[..., tuple[mg.Tensor, Any]]:
    """The model for sampling: one that, behind a separator (S,), forgets all but the separator's last character."""
    recent = deque([np.array([-1])] * len(separator), maxlen=len(separator))  # S of (B,)

    def read(ids: np.ndarray, state: Any) -> tuple[mg.Tensor, Any]:
        for row in ids:
            recent.append(row)
            ended = functools.reduce(np.logical_and, map(np.equal, recent, separator))  # (B,)
            state = each(lambda s, ended=ended: mg.where(ended[:, None], 0.0, s), state)
            logits, state = model(row[None], state)
        return logits, state

    return read


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, no dropout and no graph."""
    training = model.training
    model.eval()
    with mg.no_grad():
        yield
    model.train(training)


def validate(model: CharModel, chunks: Iterable[Chunk]) -> float:
    """Mean nats a character over a text, the state carried from chunk to chunk."""
    state, total, count = None, 0.0, 0
    with evaluating(model):
        for chunk in chunks:
            loss, state = loss_of(model, chunk, state)
            targets = int((chunk.y != IGNORED).sum())
            total, count = total + float(loss) * targets, count + targets
    return total / count


def continuations(
    model: CharModel,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    temperature: float,
    generator: np.random.Generator,
    separator: str | None = None,
    count: int = 1,
) -> list[str]:
    """Texts that begin with the prompt and that the model continues, drawn as one batch.

    After a separator the state begins anew, as it did in training.
    """
    ids = np.repeat(vocabulary.encode(prompt)[:, None], count, axis=1)  # (T, B)
    reader = model if separator is None else by_documents(model, vocabulary.encode(separator))
    with evaluating(model):
        drawn = generate(reader, ids, length, temperature=temperature, generator=generator)
    return [vocabulary.decode(column) for column in np.concatenate([ids, drawn]).T]
