"""The training run of `demos.char_lm`: a text, the model that learns it, and what it has to beat."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from nn.ngram import ngram_baselines
from nn.streams import IGNORED, Chunk, Documents, Streams, document_ends
from nn.text import ByteVocabulary, Vocabulary, split

from .char_model import CharModel, continuations, each, loss_of, validate
from .corpora import load_corpus
from .running import Run


class Training(Run):
    """A run that learns the next character of a text, by truncated BPTT."""

    data: "Data"
    model: CharModel
    mean: CharModel
    program, afterwards = "demos.char_lm", "to sample: {program} sample {path}"
    recurrent: Any = None  # the state after the last step

    @property
    def unit(self) -> str:
        """A character, or a byte."""
        return self.data.unit

    def new_model(self) -> CharModel:
        """The model of the config."""
        return CharModel.of(self.config)

    def learn(self) -> float:
        """One step of truncated BPTT; gives the loss before it."""
        chunk = self.data.chunks.chunk(self.step)
        loss, state = loss_of(self.model, chunk, self.recurrent)
        self.descend(loss, int((chunk.y != IGNORED).sum()))
        self.recurrent = each(mg.Tensor.detach, state)  # backpropagation is truncated here
        return float(loss)

    @property
    def validation(self) -> Streams | Documents:
        """The validation text, many streams of it at once: the first chunks are the beginning of each."""
        return self.data.val_chunks

    def validate(self, chunks: Iterable[Chunk]) -> float:
        """Mean nats a character of the mean model."""
        return validate(self.mean, chunks)

    def sample(self) -> str:
        """A text that the mean model writes."""
        config, generator = self.config, mg.generator(self.config["seed"])
        options = config["prompt"], config["length"], config["temperature"], generator, config["documents"]
        (text,) = continuations(self.mean, self.data.vocabulary, *options)
        return text

    def in_words(self, nats: float) -> str:
        """A loss in nats and in bits."""
        return f"{nats:.3f} nats, {nats / math.log(2):.3f} bits a {self.unit}"

    def state(self) -> dict[str, Any]:
        """The next step reads the recurrent state too."""
        return super().state() | {"recurrent": self.recurrent}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Take up a state that was saved."""
        super().load_state(saved)
        self.recurrent = each(lambda s: mg.as_tensor(s).to(self.config["device"]), saved["recurrent"])

    # ---- before and after

    def announce(self) -> None:
        """Say what will be trained, and draw it."""
        data = self.data
        documents = f" in {data.chunks.documents:,} documents" if isinstance(data.chunks, Documents) else ""
        size = f"{len(data.train):,}{documents} + {len(data.val):,} {data.unit}s"
        print(f"{data.label}: {size}, {len(data.vocabulary)} distinct")
        super().announce()
        chunk = Streams(data.train, T=min(3, len(data.train) - 1), B=1).chunk(0)
        self.model.eval()
        with mg.unrolled():
            loss, _ = loss_of(self.model, chunk, None)
        self.model.train()
        self.folder.draw(loss)

    def conclude(self) -> None:
        """Plot the losses, and put the last beside what it had to beat."""
        config, data, cell = self.config, self.data, self.config["cell"].upper()
        baselines = ngram_baselines(data.train, data.val, len(data.vocabulary))
        title = f"{cell}, {config['layers']} x {config['hidden']}, on {len(data.vocabulary)} different {data.unit}s"
        self.folder.plot(title, baselines, f"{data.unit}s read", data.unit)
        validated = [row["val_nats"] for row in self.folder.rows if "val_nats" in row]
        for name, value in [*baselines.items(), (f"this {cell}", validated[-1])]:
            print(f"{name:>12}  {self.in_words(value)}")
        if validated[-1] > min(validated):
            print("validation was better before: the model has begun to learn the text by heart")


class Data(NamedTuple):
    """The text of a run, as ids and in chunks."""

    label: str
    unit: str  # what the model reads: a character, or a byte
    sha256: str
    vocabulary: Vocabulary
    prompt: str  # what a sample begins with, where nothing else is asked for
    train: np.ndarray
    val: np.ndarray
    chunks: Streams | Documents
    val_chunks: Streams | Documents


def read(config: dict[str, Any], data_dir: str | None) -> Data:
    """The text that a config names, cut as it says; ValueError where that can't be."""
    corpus = load_corpus(config["corpus"], data_dir and Path(data_dir), config["bytes"])
    vocabulary = (ByteVocabulary if config["bytes"] else Vocabulary).of(corpus.text)
    ids = vocabulary.encode(corpus.text)
    train, val = split(ids)
    separator = config["documents"]
    if separator is not None and separator not in corpus.text:
        raise ValueError(f"--documents: expected what ends a document, but the text has no {separator!r}")
    prompt = config["prompt"] or ("\n" if "\n" in corpus.text else corpus.text[0])
    vocabulary.encode(prompt)  # or it raises, before anything is written

    def chunks(ids: np.ndarray, T: int, B: int) -> Streams | Documents:
        try:
            return Streams(ids, T, B) if separator is None else Documents(ids, T, B, vocabulary.encode(separator))
        except ValueError as error:
            raise ValueError(f"{error} (T is --chunk, B --streams; the text's last tenth is for validation)") from None

    B = max(1, min(32, (len(val) - 1) // 200))  # few streams, as they begin with no state; many, as they are fast
    if separator is not None:
        B = min(B, max(1, len(document_ends(val, vocabulary.encode(separator)))))
    val_chunks = chunks(val, max(1, min(100, (len(val) - 1) // 2)), B)
    sha256 = hashlib.sha256(corpus.text.encode("utf-8", "surrogatepass")).hexdigest()
    unit = "byte" if config["bytes"] else "character"
    training = chunks(train, config["chunk"], config["streams"])
    return Data(corpus.label, unit, sha256, vocabulary, prompt, train, val, training, val_chunks)
