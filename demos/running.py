"""What every training run does: it can be stopped at any moment, and goes on to the same bits."""

import copy
import itertools
import math
import signal
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

import minigrad as mg
import nn
from nn.optim import CosineAnnealingLR, ExponentialLR

from .run_folder import RunFolder

BAR = "{percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left{postfix}"
STAGES = (0, 0.02, 0.1, 0.25, 0.5, 1)  # of the run: when to validate and sample
ON_THE_WAY = 0.25  # of the validation batches, the first, tell enough before the last stage
LOG_EVERY = 10  # steps
SAVE_EVERY = 20.0  # seconds
AVERAGED = 0.995  # of the mean of the weights stays at each step, so that it is of about the last 200
REHEARSAL = 0.03  # of the minutes: how long to try what a step costs

SCHEDULES = {  # what becomes of the learning rate in a number of steps
    "cosine": lambda optimizer, lr, steps: CosineAnnealingLR(optimizer, steps, eta_min=lr / 20),
    "constant": lambda optimizer, lr, steps: ExponentialLR(optimizer, gamma=1.0),
}


class Run(ABC):
    """One run: what is to be learned, a model that learns it, and the folder where it leaves its traces.

    A demo's run is a subclass. It writes the methods of the first part, and extends `state` and `load_state` where a
    step reads more than the weights.

    Args:
        config: what makes the run. Here are read `seed`, `device`, `lr`, `weight_decay`, `schedule`, `clip`, `steps`
            and `threads`.
        data: what the subclass learns from.
        folder: where checkpoint, log and samples go.
    """

    def __init__(self, config: dict[str, Any], data: Any, folder: RunFolder) -> None:
        self.config, self.data, self.folder = config, data, folder
        mg.seed(config["seed"])
        self.model = self.new_model().to(config["device"])
        decay = config["weight_decay"]
        self.optimizer = nn.optim.AdamW(self.model.parameters(), lr=config["lr"], betas=self.betas, weight_decay=decay)
        self.schedule = SCHEDULES[config["schedule"]](self.optimizer, config["lr"], config["steps"])
        self.mean = copy.deepcopy(self.model)  # of the last steps' weights: better than each of them
        self.step, self.seen = 0, 0  # how many steps, how many units
        self.nats: list[float] = []  # of the steps since the last row of the log
        self.seconds_before, self.start = 0.0, time.perf_counter()
        self.saved_at = self.start

    # ---- what a subclass writes

    betas = 0.9, 0.999  # AdamW's
    program: str  # the module of its command line
    afterwards: str  # what to do with a run that is over, of {program} and {path}

    @property
    @abstractmethod
    def unit(self) -> str:
        """What the model reads: a "character", an "image"."""

    @abstractmethod
    def new_model(self) -> nn.Module:
        """The model of the config, not trained yet."""

    @abstractmethod
    def learn(self) -> float:
        """One step: the loss of the next batch, given to `descend`; gives the nats for the log."""

    @property
    @abstractmethod
    def validation(self) -> Any:
        """The validation batches: they have a length, and the first few of them stand for all."""

    @abstractmethod
    def validate(self, batches: Iterable[Any]) -> float:
        """The mean nats of `self.mean` over some of the validation batches."""

    @abstractmethod
    def sample(self) -> str:
        """What `self.mean` makes: the same at each stage, but for what was learned between."""

    @abstractmethod
    def in_words(self, nats: float) -> str:
        """A loss with its unit, as "1.234 nats a character"."""

    @abstractmethod
    def conclude(self) -> None:
        """Show what came of a run that is over."""

    # ---- a step

    def descend(self, loss: mg.Tensor, units: int) -> None:
        """Step down the gradient of a loss, that of so many units. FloatingPointError where it is not finite."""
        if not math.isfinite(float(loss)):
            raise FloatingPointError(f"the loss became {float(loss)}")
        self.optimizer.zero_grad()
        loss.backward()
        nn.optim.clip_grad_norm_(self.model.parameters(), self.config["clip"])
        self.optimizer.step()
        self.schedule.step()
        self.take_mean()
        self.step += 1
        self.seen += units

    def take_mean(self) -> None:
        """Move the mean of the weights towards those of this step: quickly at first, when it is of a few steps.

        Source: Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992.
        """
        share = 1 - min(AVERAGED, self.step / (self.step + 10))
        for mean, weights in zip(self.mean.state_dict().values(), self.model.state_dict().values(), strict=True):
            mean[...] = mean + share * (weights - mean)  # [...]: batch norm's count of batches stays an integer

    # ---- the run

    def announce(self) -> None:
        """Say what will be trained."""
        parameters = sum(p.size for p in self.model.parameters())
        print(f"{self.model}\n{parameters:,} parameters, {self.config['steps']:,} steps, into {self.folder.path}")

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
            speed = f"{self.seen / self.seconds():,.0f} {self.unit}s/s"
            bar.set_postfix_str(f"{self.in_words(nats)}, {speed}")

    def stage(self, bar: Any) -> None:
        """If the run is at a stage that it has not passed yet: validate, write a sample, save, and show it."""
        steps, rungs = self.config["steps"], self.folder.rungs
        stages = {math.ceil(fraction * steps) for fraction in STAGES}
        if self.step not in stages or (rungs and rungs[-1]["step"] == self.step):
            return
        batches = math.ceil((1 if self.step == steps else ON_THE_WAY) * len(self.validation))
        nats = self.validate(itertools.islice(self.validation, batches))
        text = self.sample()
        self.folder.write_model(self.mean)
        self.folder.log(**self.progress(), val_nats=nats)
        self.folder.rung(step=self.step, title=f"step {self.step:,}: {self.in_words(nats)}", text=text)
        self.save()
        bar.write(f"--- step {self.step:,}, validation {self.in_words(nats)} ---\n{text[:400]}\n")

    def progress(self) -> dict[str, Any]:
        """Where the run is: the first columns of the log."""
        return {"step": self.step, "seconds": round(self.seconds(), 2), self.folder.counted: self.seen}

    def seconds(self) -> float:
        """How long the run has been learning, interruptions not counted."""
        return self.seconds_before + time.perf_counter() - self.start

    # ---- stopping and going on

    def save(self) -> None:
        """Write the checkpoint."""
        self.folder.save(self.config, self.state())
        self.saved_at = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """All that the next step reads, and the log's next row."""
        return {
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": mg.default_generator().bit_generator.state,
            "progress": (self.step, self.seen, self.nats, self.seconds()),
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Take up a state that was saved."""
        self.model.load_state_dict(saved["model"])
        self.mean.load_state_dict(saved["mean"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        mg.default_generator().bit_generator.state = saved["generator"]
        self.step, self.seen, self.nats, self.seconds_before = saved["progress"]


def rehearsed(kind: type[Run], config: dict[str, Any], data: Any, folder: RunFolder) -> dict[str, int]:
    """How many threads BLAS is fastest with, and how many steps fill the minutes then.

    Two threads save about a fifth of a step on an idle machine. Where anything else runs beside they make it several
    times as long, since they wait for each other by spinning.
    """
    endless = config | {"steps": 1_000_000}  # more than are rehearsed
    seconds = 60 * config["minutes"]
    choices = [config["threads"]] if config["threads"] else sorted({1, most_threads()})
    each = REHEARSAL * seconds / len(choices)
    tries = [rehearsal(kind(endless, data, folder), threads, each) for threads in choices]
    best = min(tries, key=lambda found: found.step)
    left = seconds - sum(found.seconds for found in tries) - (ON_THE_WAY * (len(STAGES) - 1) + 1) * best.validation
    return {"threads": best.threads, "steps": max(1, round(left / best.step))}


class Rehearsal(NamedTuple):
    """What was found out with so many threads, in seconds."""

    threads: int
    step: float
    validation: float  # of all batches
    seconds: float  # that the steps took


def rehearsal(run: Run, threads: int, seconds: float) -> Rehearsal:
    """Try a part of a validation, and steps for some seconds, of a run that leaves no trace."""
    batches, tried = math.ceil(len(run.validation) / 10), list[float]()
    with blas_on(threads):
        validation = timed(lambda: run.validate(itertools.islice(run.validation, batches)))
        while len(tried) < 3 or sum(tried) < seconds:
            tried.append(timed(run.learn))
    return Rehearsal(threads, statistics.median(tried), validation / batches * len(run.validation), sum(tried))


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
