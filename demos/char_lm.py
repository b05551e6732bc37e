"""A character language model learns a text, and writes its own: RNN, LSTM or GRU by truncated BPTT.

python -m demos.char_lm                                   train on the Python standard library's sources
python -m demos.char_lm --corpus hello --cell rnn --one-hot --minutes 0.1
python -m demos.char_lm sample runs/stdlib-lstm --prompt "def "
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import minigrad as mg
import nn
from nn import functional as F
from nn.generation import generate
from nn.ngram import ngram_baselines
from nn.text import Streams, Vocabulary, split

from .corpora import NAMES, load_corpus
from .run_folder import RunFolder

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
BAR = "{percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left{postfix}"
STAGES = (0, 0.02, 0.1, 0.25, 0.5, 1)  # of the run: when to validate, save and sample


class CharModel(nn.Module):
    """ids (T, B) -> logits (T, B, V) of the next character, and the state to go on from."""

    def __init__(self, V: int, cell: str, hidden: int, layers: int, embedding: int) -> None:
        super().__init__()
        self.V = V
        self.embedding = nn.Embedding(V, embedding) if embedding else None
        self.rnn = CELLS[cell](embedding or V, hidden, layers)
        self.output = nn.Linear(hidden, V)

    def forward(self, ids: np.ndarray, state: Any = None) -> tuple[mg.Tensor, Any]:
        # (T, B, D)
        x = self.embedding(ids) if self.embedding else F.one_hot(ids, self.V).to(self.output.weight.dtype)
        h, state = self.rnn(x, state)  # (T, B, H)
        return self.output(h), state  # (T, B, V)


def loss_of(model: CharModel, x: np.ndarray, y: np.ndarray, state: Any) -> tuple[mg.Tensor, Any]:
    """Mean nats a character of a chunk x, y (T, B), and the state after it."""
    logits, state = model(x, state)
    return F.cross_entropy(logits.reshape(-1, model.V), y.reshape(-1)), state


def cut(state: Any) -> Any:
    """The same state as a constant: backpropagation is truncated here."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def validate(model: CharModel, ids: np.ndarray) -> float:
    """Mean nats a character over a text, read in a few long streams with the state carried along."""
    streams = Streams(ids, T=min(100, (len(ids) - 1) // 2), B=max(1, min(32, (len(ids) - 1) // 200)))
    state, total = None, 0.0
    model.eval()
    with mg.no_grad():
        for x, y in streams:
            loss, state = loss_of(model, x, y, state)
            total += float(loss)
    model.train()
    return total / len(streams)


def write(model: CharModel, vocabulary: Vocabulary, prompt: str, length: int, temperature: float, seed: int) -> str:
    """A text that begins with the prompt and that the model continues."""
    ids = vocabulary.encode(prompt)[:, None]  # (T, 1)
    model.eval()
    drawn = generate(model, ids, length, temperature=temperature, generator=mg.generator(seed))
    model.train()
    return prompt + vocabulary.decode(drawn[:, 0])


class Training:
    """One training run: a text, a model that learns it, and the folder where it leaves its traces."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        corpus = load_corpus(args.corpus, args.data_dir)
        self.vocabulary = Vocabulary.of(corpus.text)
        train_ids, self.val_ids = split(self.vocabulary.encode(corpus.text))
        self.streams = Streams(train_ids, args.chunk, args.streams)
        self.prompt = args.prompt or ("\n" if "\n" in corpus.text else corpus.text[0])
        self.vocabulary.encode(self.prompt)  # before anything is written

        mg.seed(args.seed)
        embedding = 0 if args.one_hot else args.embedding
        shape = dict(cell=args.cell, hidden=args.hidden, layers=args.layers, embedding=embedding)
        self.model = CharModel(len(self.vocabulary), **shape).to(args.device)
        self.optimizer = nn.optim.Adam(self.model.parameters(), lr=args.lr)
        self.state: Any = None
        config = vars(args) | dict(model=shape, characters=self.vocabulary.characters)
        self.folder = RunFolder(args.out or free_folder(args.corpus, args.cell), config)

        print(f"{corpus.label}: {len(train_ids):,} + {len(self.val_ids):,} characters, {len(self.vocabulary)} distinct")
        print(f"{self.model}\n{sum(p.size for p in self.model.parameters()):,} parameters, into {self.folder.path}")
        self.baselines = ngram_baselines(train_ids, self.val_ids, len(self.vocabulary))
        x, y = self.streams.chunk(0)
        self.folder.drawing(loss_of(self.model, x[:3, :1], y[:3, :1], None)[0])
        self.start = time.perf_counter()

    def progress(self, step: int) -> float:
        """How much of the run is over, from 0 to 1, by steps or by time."""
        done, whole = (step, self.args.steps) if self.args.steps else (self.seconds(), 60 * self.args.minutes)
        return min(1.0, done / whole)

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def run(self) -> None:
        """Learn, and at every stage show how far it got."""
        stages, nats = list(STAGES), []
        with tqdm(total=1.0, bar_format=BAR, mininterval=0.5) as bar:
            for step in itertools.count():
                progress = self.progress(step)
                bar.update(progress - bar.n)
                if progress >= stages[0]:
                    bar.write(self.stage(step))
                    stages = [stage for stage in stages if stage > progress]
                if not stages:
                    break
                try:
                    nats.append(self.learn(step))
                except FloatingPointError as error:
                    raise FloatingPointError(
                        f"step {step}: {error}. {self.folder.path} keeps the model of the last stage before; "
                        "a smaller --lr or --clip may help"
                    ) from None
                if len(nats) == 10:
                    bar.set_postfix_str(self.log(step + 1, sum(nats) / len(nats)))
                    nats.clear()
        self.folder.plot(self.baselines)
        for name, value in [*self.baselines.items(), (f"this {self.args.cell.upper()}", self.val_nats)]:
            print(f"{name:>12}  {in_words(value)}")

    def learn(self, step: int) -> float:
        """One step of truncated BPTT; gives the loss before it. FloatingPointError where that is not finite."""
        if self.streams.starts_epoch(step):
            self.state = None
        x, y = self.streams.chunk(step)
        loss, state = loss_of(self.model, x, y, self.state)
        if not math.isfinite(float(loss)):
            raise FloatingPointError(f"the loss became {float(loss)}")
        self.optimizer.zero_grad()
        loss.backward()
        nn.optim.clip_grad_norm_(self.model.parameters(), self.args.clip)
        self.optimizer.step()
        self.state = cut(state)
        return float(loss)

    def log(self, step: int, train_nats: float) -> str:
        """Log the training loss; gives it in words."""
        characters = step * self.args.chunk * self.args.streams
        self.folder.log(step=step, seconds=self.seconds(), characters=characters, train_nats=train_nats)
        return f"{in_words(train_nats)}, {characters / self.seconds():,.0f} characters/s"

    def stage(self, step: int) -> str:
        """Validate, save the model, and write a sample; gives a report."""
        self.val_nats = validate(self.model, self.val_ids)
        characters = step * self.args.chunk * self.args.streams
        self.folder.log(step=step, seconds=self.seconds(), characters=characters, val_nats=self.val_nats)
        self.folder.model(self.model)
        options = self.args.length, self.args.temperature, self.args.seed
        text = write(self.model, self.vocabulary, self.prompt, *options)
        self.folder.sample(f"step {step:,}: {in_words(self.val_nats)}", text)
        return f"--- step {step:,}, validation {in_words(self.val_nats)} ---\n{text[:200]}\n"


def in_words(nats: float) -> str:
    """A loss in nats and in bits."""
    return f"{nats:.3f} nats, {nats / math.log(2):.3f} bits a character"


def sample(args: argparse.Namespace) -> None:
    """Print a text by the model of a run folder."""
    path = args.run / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: expected the folder of a finished run, as runs/stdlib-lstm")
    config = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = Vocabulary(config["characters"])
    model = CharModel(len(vocabulary), **config["model"])
    model.load_state_dict(nn.load(args.run / "model.safetensors"))
    print(write(model, vocabulary, args.prompt, args.length, args.temperature, args.seed))


def free_folder(corpus: str, cell: str) -> Path:
    """The first of runs/NAME, runs/NAME-2, ... that holds no run yet."""
    name = f"{Path(corpus).stem}-{cell}"
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(path for n in candidates if not (path := Path("runs") / n).exists())


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line: `sample RUN ...`, or else the options of a training run."""
    parser = argparse.ArgumentParser(prog="python -m demos.char_lm", description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=500, help="characters a sample has (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the likeliest character (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", help="what a sample begins with")
    if argv[:1] == ["sample"]:
        parser.add_argument("run", type=Path, help="the folder of a run")
        parser.set_defaults(prompt="\n")
        return parser.parse_args(argv[1:])
    corpora = ", ".join(NAMES)
    parser.add_argument("--corpus", default="stdlib", help=f"{corpora}, or the path of a text file (%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="where the books lie, if they are not to be downloaded")
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--hidden", type=int, default=256, help="H (%(default)s)")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--embedding", type=int, default=64, help="size of a character's vector (%(default)s)")
    parser.add_argument("--one-hot", action="store_true", help="characters as one-hot vectors, as in the lecture")
    parser.add_argument("--chunk", type=int, default=64, help="T, the steps of truncated BPTT (%(default)s)")
    parser.add_argument("--streams", type=int, default=32, help="B, the parallel streams (%(default)s)")
    parser.add_argument("--lr", type=float, default=4e-3, help="Adam's learning rate (%(default)s)")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, validation included (%(default)s)")
    parser.add_argument("--steps", type=int, help="bound the run by steps rather than by minutes")
    parser.add_argument("--out", type=Path, help="the run's folder (runs/CORPUS-CELL)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; what is wrong with it ends in one line on stderr."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        sample(args) if "run" in args else Training(args).run()
    except (ValueError, OSError, FloatingPointError, mg.DeviceError, nn.CheckpointError) as error:
        sys.exit(f"char_lm: {error}")


if __name__ == "__main__":
    main()
