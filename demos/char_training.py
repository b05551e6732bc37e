"""The training run of `demos.char_lm`: it can be stopped at any moment, and goes on to the same bits."""

import copy
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
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

import minigrad as mg
import nn
from nn.ngram import ngram_baselines
from nn.optim import CosineAnnealingLR, ExponentialLR
from nn.streams import IGNORED, Chunk, Documents, Streams, document_ends
from nn.text import ByteVocabulary, Vocabulary, split

from .char_model import CharModel, continuations, each, loss_of, validate
from .corpora import load_corpus
from .run_folder import RunFolder

BAR = "{percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left{postfix}"
STAGES = (0, 0.02, 0.1, 0.25, 0.5, 1)  # of the run: when to validate and sample
ON_THE_WAY = 0.25  # of the validation text, spread over all of it, tells enough before the last stage
LOG_EVERY = 10  # steps
SAVE_EVERY = 20.0  # seconds
AVERAGED = 0.995  # of the mean of the weights stays at each step, so that it is of about the last 200
REHEARSAL = 0.03  # of the minutes: how long to try what a step costs

SCHEDULES = {  # what becomes of the learning rate in a number of steps
    "cosine": lambda optimizer, lr, steps: CosineAnnealingLR(optimizer, steps, eta_min=lr / 20),
    "constant": lambda optimizer, lr, steps: ExponentialLR(optimizer, gamma=1.0),
}


class Training:
    """One run: a text, a model that learns it, and the folder where it leaves its traces.

    Args:
        config: the options of the command line, `steps` among them, and what the text adds to them.
        data: the text.
        folder: where checkpoint, log and samples go.
    """

    def __init__(self, config: dict[str, Any], data: "Data", folder: RunFolder) -> None:
        self.config, self.data, self.folder = config, data, folder
        mg.seed(config["seed"])
        self.model = CharModel.of(config).to(config["device"])
        decay = config["weight_decay"]
        self.optimizer = nn.optim.AdamW(self.model.parameters(), lr=config["lr"], weight_decay=decay)
        self.schedule = SCHEDULES[config["schedule"]](self.optimizer, config["lr"], config["steps"])
        self.mean = copy.deepcopy(self.model)  # of the last steps' weights: better than each of them
        self.recurrent: Any = None
        self.step, self.characters = 0, 0
        self.nats: list[float] = []  # of the steps since the last row of the log
        self.seconds_before, self.start = 0.0, time.perf_counter()
        self.saved_at = self.start

    def learn(self) -> float:
        """One step of truncated BPTT; gives the loss before it. FloatingPointError where that is not finite."""
        chunk = self.data.chunks.chunk(self.step)
        loss, state = loss_of(self.model, chunk, self.recurrent)
        if not math.isfinite(float(loss)):
            raise FloatingPointError(f"the loss became {float(loss)}")
        self.optimizer.zero_grad()
        loss.backward()
        nn.optim.clip_grad_norm_(self.model.parameters(), self.config["clip"])
        self.optimizer.step()
        self.schedule.step()
        self.take_mean()
        self.recurrent = each(mg.Tensor.detach, state)  # backpropagation is truncated here
        self.step += 1
        self.characters += int((chunk.y != IGNORED).sum())
        return float(loss)

    def take_mean(self) -> None:
        """Move the mean of the weights towards those of this step: quickly at first, when it is of a few steps.

        Source: Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992.
        """
        share = 1 - min(AVERAGED, self.step / (self.step + 10))
        for mean, weights in zip(self.mean.state_dict().values(), self.model.state_dict().values(), strict=True):
            mean += share * (weights - mean)

    # ---- the run

    def run(self) -> bool:
        """Learn, and at every stage show how far it got; gives whether it came to the end, not to Ctrl-C."""
        steps = self.config["steps"]
        bar = tqdm(total=steps, initial=self.step, bar_format=BAR, mininterval=0.5)
        with blas_on(self.config["threads"]), bar, noticed_interrupts() as interrupted:
            self.stage(bar)
            while self.step < steps:
                self.learn_and_log(bar)
                self.stage(bar)
                if interrupted():
                    self.save()
                    return False
                if time.perf_counter() - self.saved_at > SAVE_EVERY:
                    self.save()
        return True

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
            speed = f"{self.characters / self.seconds():,.0f} {self.data.unit}s/s"
            bar.set_postfix_str(f"{self.data.in_words(nats)}, {speed}")

    def stage(self, bar: Any) -> None:
        """If the run is at a stage that it has not passed yet: validate, write a sample, save, and show it."""
        config, rungs = self.config, self.folder.rungs
        stages = {math.ceil(fraction * config["steps"]) for fraction in STAGES}
        if self.step not in stages or (rungs and rungs[-1]["step"] == self.step):
            return
        generator = mg.generator(config["seed"])
        options = config["prompt"], config["length"], config["temperature"], generator, config["documents"]
        nats = validate(self.mean, self.data.validation(1 if self.step == config["steps"] else ON_THE_WAY))
        (text,) = continuations(self.mean, self.data.vocabulary, *options)
        self.folder.write_model(self.mean)
        self.folder.log(**self.progress(), val_nats=nats)
        self.folder.rung(step=self.step, title=f"step {self.step:,}: {self.data.in_words(nats)}", text=text)
        self.save()
        bar.write(f"--- step {self.step:,}, validation {self.data.in_words(nats)} ---\n{text[:200]}\n")

    def progress(self) -> dict[str, Any]:
        """Where the run is: the first columns of the log."""
        return dict(step=self.step, seconds=round(self.seconds(), 2), characters=self.characters)

    def seconds(self) -> float:
        """How long the run has been learning, interruptions not counted."""
        return self.seconds_before + time.perf_counter() - self.start

    # ---- stopping and going on

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "recurrent": self.recurrent,
            "generator": mg.default_generator().bit_generator.state,
            "progress": (self.step, self.characters, self.nats, self.seconds()),
        }
        self.folder.save(self.config, state)
        self.saved_at = time.perf_counter()

    def load_state(self, saved: dict[str, Any]) -> None:
        """Take up what a checkpoint holds."""
        self.model.load_state_dict(saved["model"])
        self.mean.load_state_dict(saved["mean"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.recurrent = each(lambda s: mg.as_tensor(s).to(self.config["device"]), saved["recurrent"])
        mg.default_generator().bit_generator.state = saved["generator"]
        self.step, self.characters, self.nats, self.seconds_before = saved["progress"]

    # ---- before and after

    def announce(self) -> None:
        """Say what will be trained, and draw it."""
        data = self.data
        documents = f" in {data.chunks.documents:,} documents" if isinstance(data.chunks, Documents) else ""
        size = f"{len(data.train):,}{documents} + {len(data.val):,} {data.unit}s"
        print(f"{data.label}: {size}, {len(data.vocabulary)} distinct")
        parameters = sum(p.size for p in self.model.parameters())
        print(f"{self.model}\n{parameters:,} parameters, {self.config['steps']:,} steps, into {self.folder.path}")
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
        self.folder.plot(title, baselines, data.unit)
        validated = [row["val_nats"] for row in self.folder.rows if "val_nats" in row]
        for name, value in [*baselines.items(), (f"this {cell}", validated[-1])]:
            print(f"{name:>12}  {data.in_words(value)}")
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

    def validation(self, part: float) -> Iterator[Chunk]:
        """A part of the validation text, from 0 to 1: of each of its streams the beginning."""
        return itertools.islice(self.val_chunks, math.ceil(part * len(self.val_chunks)))

    def in_words(self, nats: float) -> str:
        """A loss in nats and in bits."""
        return f"{nats:.3f} nats, {nats / math.log(2):.3f} bits a {self.unit}"


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


def rehearsed(config: dict[str, Any], data: Data, folder: RunFolder) -> dict[str, int]:
    """How many threads BLAS is fastest with, and how many steps fill the minutes then.

    Two threads save about a fifth of a step on an idle machine. Where anything else runs beside they make it several
    times as long, since they wait for each other by spinning.
    """
    seconds = 60 * config["minutes"]
    choices = [config["threads"]] if config["threads"] else sorted({1, most_threads()})
    tries = [rehearsal(config, data, folder, threads, REHEARSAL * seconds / len(choices)) for threads in choices]
    best = min(tries, key=lambda found: found.step)
    left = seconds - sum(found.seconds for found in tries) - (ON_THE_WAY * (len(STAGES) - 1) + 1) * best.validation
    return {"threads": best.threads, "steps": max(1, round(left / best.step))}


class Rehearsal(NamedTuple):
    """What was found out with so many threads, in seconds."""

    threads: int
    step: float
    validation: float  # of the whole text
    seconds: float  # that the steps took


def rehearsal(config: dict[str, Any], data: Data, folder: RunFolder, threads: int, seconds: float) -> Rehearsal:
    """Try a part of a validation, and steps for some seconds; they leave no trace."""
    training = Training(config | {"steps": 1_000_000}, data, folder)  # more than are rehearsed
    part = list(data.validation(0.1))
    tried: list[float] = []
    with blas_on(threads):
        validation = timed(lambda: validate(training.model, part)) / len(part) * len(data.val_chunks)
        while len(tried) < 3 or sum(tried) < seconds:
            tried.append(timed(training.learn))
    return Rehearsal(threads, statistics.median(tried), validation, sum(tried))


def most_threads() -> int:
    """How many threads NumPy's BLAS takes unless it is told."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def blas_on(threads: int) -> threadpool_limits:
    """Within, BLAS takes so many threads."""
    return threadpool_limits(threads, user_api="blas")


def timed(f: Callable[[], Any]) -> float:
    """How many seconds a call takes."""
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


@contextmanager
def noticed_interrupts() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C only makes what this gives return True, so that a loop can end well; a second one interrupts."""
    noticed = threading.Event()

    def notice(*_: Any) -> None:
        tqdm.write("stopping after this step; Ctrl-C again stops at once")
        noticed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield noticed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
