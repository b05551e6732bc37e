"""The training run of `demos.char_lm`: it can be stopped at any moment, and goes on to the same bits."""

import hashlib
import itertools
import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import minigrad as mg
import nn
from nn.ngram import ngram_baselines
from nn.optim import CosineAnnealingLR, ExponentialLR
from nn.streams import IGNORED, Documents, Streams
from nn.text import ByteVocabulary, Vocabulary, split

from .char_model import CharModel, cut, loss_of, validate, write
from .corpora import load_corpus
from .run_folder import RunFolder

BAR = "{percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left{postfix}"
STAGES = (0, 0.02, 0.1, 0.25, 0.5, 1)  # of the run: when to validate and sample
LOG_EVERY = 10  # steps
SAVE_EVERY = 20.0  # seconds
REHEARSAL = 0.05  # of the minutes: how long to try what a step costs

SCHEDULES = {  # what becomes of the learning rate in a number of steps
    "cosine": lambda optimizer, lr, steps: CosineAnnealingLR(optimizer, steps, eta_min=lr / 20),
    "constant": lambda optimizer, lr, steps: ExponentialLR(optimizer, gamma=1.0),
}


class Training:
    """One run: a text, a model that learns it, and the folder where it leaves its traces.

    Args:
        config: the options of the command line; a run that goes on has those of its config.json.
        folder: the run's; a new run begins it here.
        resume: whether the folder has the run already.
        data_dir: where the books lie; None: where the config says.
    """

    def __init__(self, config: dict[str, Any], folder: RunFolder, resume: bool, data_dir: str | None = None) -> None:
        self.config, self.folder = config, folder
        self.read(data_dir or config["data_dir"], resume)
        self.build()
        if not config["steps"]:
            config["steps"] = self.rehearsed_steps()
            self.build()
        self.stages = {math.ceil(fraction * config["steps"]) for fraction in STAGES}
        saved = folder.load(config) if resume else folder.begin(config)
        self.announce()
        if saved:
            self.load_state(saved)
            print(f"goes on at step {self.step:,} of {config['steps']:,}")
        self.start = self.saved_at = time.perf_counter()

    def read(self, data_dir: str | None, resume: bool) -> None:
        """Read the text, and cut it into chunks."""
        config = self.config
        corpus = load_corpus(config["corpus"], data_dir and Path(data_dir), config["bytes"])
        digest = hashlib.sha256(corpus.text.encode("utf-8", "surrogatepass")).hexdigest()
        if resume and digest != config["text_sha256"]:
            raise ValueError(f"--resume: {config['corpus']} is not the text any more that this run began with")
        self.vocabulary = (ByteVocabulary if config["bytes"] else Vocabulary).of(corpus.text)
        if config["documents"] is not None and config["documents"] not in corpus.text:
            raise ValueError(f"--documents: expected what ends a document, but the text has no {config['documents']!r}")
        config |= dict(text_sha256=digest, characters=self.vocabulary.characters)
        ids = self.vocabulary.encode(corpus.text)
        self.label, self.unit = corpus.label, "byte" if config["bytes"] else "character"
        self.train_ids, self.val_ids = split(ids)
        self.prompt = config["prompt"] or ("\n" if "\n" in corpus.text else self.vocabulary.decode(ids[:1]))
        self.vocabulary.encode(self.prompt)  # before anything is written
        self.chunks = self.cut(self.train_ids, config["chunk"], config["streams"])
        n = len(self.val_ids)
        self.val_chunks = self.cut(self.val_ids, min(100, (n - 1) // 2), max(1, min(32, (n - 1) // 200)))

    def cut(self, ids: np.ndarray, T: int, B: int) -> Streams | Documents:
        """A text as chunks; with --documents, each document on its own."""
        if self.config["documents"] is None:
            return Streams(ids, T, B)
        return Documents(ids, T, B, self.vocabulary.encode(self.config["documents"]))

    def build(self) -> None:
        """Make all that the training changes, as it is before the first step."""
        config = self.config
        mg.seed(config["seed"])
        self.model = CharModel.of(config).to(config["device"])
        self.optimizer = nn.optim.Adam(self.model.parameters(), lr=config["lr"])
        self.schedule = SCHEDULES[config["schedule"]](self.optimizer, config["lr"], config["steps"] or 1_000_000)
        self.recurrent: Any = None
        self.step, self.characters, self.seconds_before = 0, 0, 0.0
        self.nats: list[float] = []  # of the steps since the last row of the log

    def rehearsed_steps(self) -> int:
        """How many steps fill the minutes, by what a validation and some steps take; they leave no trace."""
        seconds = 60 * self.config["minutes"]
        part = list(itertools.islice(self.val_chunks, math.ceil(len(self.val_chunks) / 10)))
        start = time.perf_counter()
        validate(self.model, part)
        validation = (time.perf_counter() - start) / len(part) * len(self.val_chunks)
        steps: list[float] = []
        while len(steps) < 3 or sum(steps) < REHEARSAL * seconds:
            start = time.perf_counter()
            self.learn()
            steps.append(time.perf_counter() - start)
        left = seconds - sum(steps) - len(STAGES) * validation
        return max(1, round(left / statistics.median(steps)))

    def announce(self) -> None:
        """Say what will be trained, draw it, and find what it has to beat."""
        print(f"{self.label}: {len(self.train_ids):,} + {len(self.val_ids):,} {self.unit}s, "
              f"{len(self.vocabulary)} distinct")  # fmt: skip
        parameters = sum(p.size for p in self.model.parameters())
        print(f"{self.model}\n{parameters:,} parameters, {self.config['steps']:,} steps, into {self.folder.path}")
        self.baselines = ngram_baselines(self.train_ids, self.val_ids, len(self.vocabulary))
        chunk = Streams(self.train_ids, T=min(3, len(self.train_ids) - 1), B=1).chunk(0)
        self.model.eval()
        with mg.unrolled():
            loss, _ = loss_of(self.model, chunk, None)
        self.model.train()
        self.folder.drawing(loss)

    # ---- the run

    def run(self) -> bool:
        """Learn, and at every stage show how far it got; gives whether it came to the end, not to Ctrl-C."""
        steps = self.config["steps"]
        bar = tqdm(total=steps, initial=self.step, bar_format=BAR, mininterval=0.5)
        with bar, noticed_interrupts() as interrupted:
            self.stage(bar)
            while self.step < steps:
                self.learn_and_log(bar)
                self.stage(bar)
                if interrupted():
                    self.save()
                    return False
                if time.perf_counter() - self.saved_at > SAVE_EVERY:
                    self.save()
        self.conclude()
        return True

    def learn(self) -> float:
        """One step of truncated BPTT; gives the loss before it. FloatingPointError where that is not finite."""
        chunk = self.chunks.chunk(self.step)
        loss, state = loss_of(self.model, chunk, self.recurrent)
        if not math.isfinite(float(loss)):
            raise FloatingPointError(f"the loss became {float(loss)}")
        self.optimizer.zero_grad()
        loss.backward()
        nn.optim.clip_grad_norm_(self.model.parameters(), self.config["clip"])
        self.optimizer.step()
        self.schedule.step()
        self.recurrent = cut(state)
        self.step += 1
        self.characters += int((chunk.y != IGNORED).sum())
        return float(loss)

    def learn_and_log(self, bar: Any) -> None:
        """One step, and every few a row of the log with their mean loss."""
        try:
            self.nats.append(self.learn())
        except FloatingPointError as error:
            raise FloatingPointError(
                f"step {self.step}: {error}. {self.folder.path} keeps the model of the last stage before; "
                "a smaller --lr or --clip may help"
            ) from None
        bar.update()
        if len(self.nats) == LOG_EVERY:
            nats, self.nats = statistics.fmean(self.nats), []
            self.folder.log(**self.progress(), train_nats=nats)
            bar.set_postfix_str(f"{self.in_words(nats)}, {self.characters / self.seconds():,.0f} {self.unit}s/s")

    def stage(self, bar: Any) -> None:
        """If the run is at a stage that it has not passed yet: validate, write a sample, save, and show it."""
        rungs = self.folder.rungs
        if self.step not in self.stages or (rungs and rungs[-1]["step"] == self.step):
            return
        config, generator = self.config, mg.generator(self.config["seed"])
        nats = validate(self.model, self.val_chunks)
        options = dict(length=config["length"], temperature=config["temperature"], generator=generator)
        (text,) = write(self.model, self.vocabulary, self.prompt, **options)
        self.folder.log(**self.progress(), val_nats=nats)
        self.folder.rung(step=self.step, title=f"step {self.step:,}: {self.in_words(nats)}", text=text)
        self.folder.model(self.model)
        self.save()
        bar.write(f"--- step {self.step:,}, validation {self.in_words(nats)} ---\n{text[:200]}\n")

    def conclude(self) -> None:
        """Plot the losses, and put the last beside what it had to beat."""
        config, cell = self.config, self.config["cell"].upper()
        title = f"{cell}, {config['layers']} x {config['hidden']}, on {len(self.vocabulary)} different {self.unit}s"
        self.folder.plot(title, self.baselines, self.unit)
        validated = [row["val_nats"] for row in self.folder.rows if "val_nats" in row]
        for name, value in [*self.baselines.items(), (f"this {cell}", validated[-1])]:
            print(f"{name:>12}  {self.in_words(value)}")

    def progress(self) -> dict[str, Any]:
        """Where the run is: the first columns of the log."""
        return dict(step=self.step, seconds=round(self.seconds(), 2), characters=self.characters)

    def seconds(self) -> float:
        """How long the run has been learning, interruptions not counted."""
        return self.seconds_before + time.perf_counter() - self.start

    def in_words(self, nats: float) -> str:
        """A loss in nats and in bits."""
        return f"{nats:.3f} nats, {nats / math.log(2):.3f} bits a {self.unit}"

    # ---- stopping and going on

    def save(self) -> None:
        """Write the checkpoint."""
        recurrent = self.recurrent
        self.folder.save(
            self.config,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "recurrent": tuple(recurrent) if isinstance(recurrent, tuple) else recurrent,
                "generator": mg.default_generator().bit_generator.state,
                "run": dict(step=self.step, characters=self.characters, seconds_before=self.seconds(), nats=self.nats),
            },
        )
        self.saved_at = time.perf_counter()

    def load_state(self, saved: dict[str, Any]) -> None:
        """Take up what a checkpoint holds."""
        for name, part in (("model", self.model), ("optimizer", self.optimizer), ("schedule", self.schedule)):
            part.load_state_dict(saved[name])
        device, recurrent = self.config["device"], saved["recurrent"]
        if isinstance(recurrent, tuple):
            self.recurrent = tuple(mg.as_tensor(s).to(device) for s in recurrent)
        elif recurrent is not None:
            self.recurrent = mg.as_tensor(recurrent).to(device)
        mg.default_generator().bit_generator.state = saved["generator"]
        for name, value in saved["run"].items():
            setattr(self, name, value)


@contextmanager
def noticed_interrupts() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C only makes what this gives return True, so that a loop can end well; a second one interrupts."""
    noticed = threading.Event()

    def notice(*_: Any) -> None:
        noticed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield noticed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
