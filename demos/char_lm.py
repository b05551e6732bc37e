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
from nn.text import CORPORA, Streams, Vocabulary, load_corpus, split

from .run_folder import RunFolder

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
STAGES = (0, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1)  # of the run: when to validate, save and sample


class CharModel(nn.Module):
    """ids (T, B) -> logits (T, B, V) of the next character, and the state to go on from."""

    def __init__(self, V: int, cell: str, hidden: int, layers: int, embedding: int) -> None:
        super().__init__()
        self.V = V
        self.embedding = nn.Embedding(V, embedding) if embedding else None
        self.rnn = CELLS[cell](embedding or V, hidden, layers)
        self.output = nn.Linear(hidden, V)

    def forward(self, ids: np.ndarray, state: Any = None) -> tuple[mg.Tensor, Any]:
        x = self.embedding(ids) if self.embedding else F.one_hot(ids, self.V)  # (T, B, D)
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


class Clock:
    """How far a run is, from 0 to 1, bounded by steps or by minutes of training."""

    def __init__(self, steps: int | None, minutes: float) -> None:
        self.steps, self.seconds, self.start = steps, 60 * minutes, time.perf_counter()

    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    def progress(self, step: int) -> float:
        return min(1.0, step / self.steps if self.steps is not None else self.elapsed() / self.seconds)


def train(args: argparse.Namespace) -> None:
    """Train as the command line says, and fill the run's folder on the way."""
    corpus = load_corpus(args.corpus)
    vocabulary = Vocabulary.of(corpus.text)
    train_ids, val_ids = split(vocabulary.encode(corpus.text))
    streams = Streams(train_ids, args.chunk, args.streams)
    prompt = args.prompt or ("\n" if "\n" in vocabulary.characters else corpus.text[0])
    vocabulary.encode(prompt)

    mg.seed(args.seed)
    shape = dict(cell=args.cell, hidden=args.hidden, layers=args.layers, embedding=0 if args.one_hot else args.embedding)
    model = CharModel(len(vocabulary), **shape).to(args.device)
    optimizer = nn.optim.Adam(model.parameters(), lr=args.lr)
    run = RunFolder(args.out or free_folder(args.corpus, args.cell), vars(args) | dict(model=shape, characters=vocabulary.characters))

    print(f"{corpus.label}: {len(train_ids):,} + {len(val_ids):,} characters, {len(vocabulary)} distinct")
    print(f"{model}\n{sum(p.size for p in model.parameters()):,} parameters; writing to {run.path}")
    baselines = ngram_baselines(train_ids, val_ids, len(vocabulary))
    x, y = streams.chunk(0)
    run.drawing(loss_of(model, x[:3, :1], y[:3, :1], None)[0])

    clock, stages = Clock(args.steps, args.minutes), list(STAGES)
    state, nats, average, val_nats = None, [], math.log(len(vocabulary)), math.nan
    with tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}") as bar:
        for step in itertools.count():
            progress = clock.progress(step)
            bar.update(progress - bar.n)
            characters = step * args.chunk * args.streams
            if progress >= stages[0]:
                val_nats = validate(model, val_ids)
                run.log(step=step, seconds=round(clock.elapsed(), 2), characters=characters, val_nats=val_nats)
                run.model(model)
                text = write(model, vocabulary, prompt, args.length, args.temperature, args.seed)
                run.sample(step, val_nats, text)
                bar.write(f"--- step {step:,}, validation {val_nats:.3f} nats ---\n{text[:200]}\n")
                stages = [stage for stage in stages if stage > progress]
                if not stages:
                    break
            if streams.starts_epoch(step):
                state = None
            x, y = streams.chunk(step)
            loss, state = loss_of(model, x, y, None if state is None else cut(state))
            if not math.isfinite(float(loss)):
                raise FloatingPointError(
                    f"the loss became {float(loss)} at step {step}; {run.path} keeps the model of the last stage; "
                    "a smaller --lr or --clip may help"
                )
            optimizer.zero_grad()
            loss.backward()
            nn.optim.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            nats.append(float(loss))
            average += 0.02 * (nats[-1] - average)
            if step % 10 == 9:
                run.log(step=step + 1, seconds=round(clock.elapsed(), 2), characters=characters, train_nats=np.mean(nats))
                nats.clear()
                speed = characters / clock.elapsed()
                bar.set_postfix_str(f"{average:.3f} nats {average / math.log(2):.3f} bits {speed:,.0f} characters/s")
    run.plot(baselines)
    for name, value in [*baselines.items(), (f"this {args.cell.upper()}", val_nats)]:
        print(f"{name:>12}  {value:.3f} nats  {value / math.log(2):.3f} bits a character")


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
    parser.set_defaults(run_command=train)
    parser.add_argument("--length", type=int, default=500, help="characters a sample has (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the likeliest character (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", help="what a sample begins with")
    if argv[:1] == ["sample"]:
        parser.add_argument("run", type=Path, help="the folder of a run")
        parser.set_defaults(run_command=sample, prompt="\n")
        return parser.parse_args(argv[1:])
    known = ", ".join(CORPORA)
    parser.add_argument("--corpus", default="stdlib", help=f"{known}, or the path of a text file (%(default)s)")
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--hidden", type=int, default=256, help="H (%(default)s)")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--embedding", type=int, default=64, help="size of a character's vector (%(default)s)")
    parser.add_argument("--one-hot", action="store_true", help="characters as one-hot vectors, as in the lecture")
    parser.add_argument("--chunk", type=int, default=64, help="T, the steps of truncated BPTT (%(default)s)")
    parser.add_argument("--streams", type=int, default=32, help="B, the parallel streams (%(default)s)")
    parser.add_argument("--lr", type=float, default=4e-3, help="Adam's learning rate (%(default)s)")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, validation included (%(default)s)")
    parser.add_argument("--steps", type=int, help="bound the run by steps rather than by minutes")
    parser.add_argument("--out", type=Path, help="the run's folder (runs/CORPUS-CELL)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> None:
    args = parse(argv)
    try:
        args.run_command(args)
    except (ValueError, OSError, FloatingPointError, mg.DeviceError, nn.CheckpointError) as error:
        sys.exit(f"char_lm: {error}")


if __name__ == "__main__":
    main()
