"""What the command lines of the demos that train have in common."""

import argparse
import itertools
import math
import os
import shlex
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minigrad as mg
import nn

from .run_folder import RunFolder
from .running import SCHEDULES, Run, rehearsed

DEVICES = ("cpu", "cuda")


@contextmanager
def told_in_one_line(program: str) -> Iterator[None]:
    """Within, what is wrong with the command line or with what it names ends the program in one line on stderr."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that can't show a character is no reason to stop
    try:
        yield
    except BrokenPipeError:  # nobody reads on, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, MemoryError, FloatingPointError, mg.DeviceError, nn.CheckpointError) as error:
        sys.exit(f"{program}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def parser_of(module: str, description: str | None, command: str = "") -> argparse.ArgumentParser:
    """A parser of a program's command line, or of that of one of its commands."""
    prog, kind = f"python -m {module} {command}".strip(), argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=description, formatter_class=kind, allow_abbrev=False)


def begin_run(kind: type[Run], config: dict[str, Any], data: Any, folder: RunFolder) -> None:
    """Begin a run in a new folder, and let it come to its end."""
    config |= {"threads": config["threads"] or 1} if config["steps"] else rehearsed(kind, config, data, folder)
    run = kind(config, data, folder)
    folder.begin(config)
    run.announce()
    finish(run)


def resume_run(kind: type[Run], config: dict[str, Any], data: Any, folder: RunFolder) -> None:
    """Go on with the run of a folder, to the bits of a run that was never stopped."""
    run = kind(config, data, folder)
    if saved := folder.load(config):
        run.load_state(saved)
    run.announce()
    print(f"goes on after step {run.step:,} of {config['steps']:,}" if run.step else "nothing was saved yet: it begins")
    finish(run)


def finish(run: Run) -> None:
    """Let a run learn, and show what came of it; where Ctrl-C stops it, say how to go on, and exit."""
    program, path = f"{sys.executable} -m {run.program}", shlex.quote(str(run.folder.path))
    try:
        if not run.run():
            raise KeyboardInterrupt
        run.conclude()
    except KeyboardInterrupt:
        print(f"stopped after step {run.step:,}; to go on: {program} --resume {path}")
        sys.exit(130)  # what a shell expects after Ctrl-C
    print(f"all of it is in {path}; {run.afterwards.format(program=program, path=path)}")


def goes_on(argv: list[str]) -> bool:
    """Whether a command line has `--resume`."""
    return any(word.partition("=")[0] == "--resume" for word in argv)


def add_training_options(command: argparse.ArgumentParser, lr: float, minutes: float, out: str) -> None:
    """What a new run asks of its optimizer and its machine; `out` says where it goes unless it is told."""
    add = command.add_argument
    add("--lr", type=float, default=lr, help="AdamW's learning rate, the highest (%(default)s)")
    add("--weight-decay", type=at_least_0, default=0.05, help="a step shrinks weights by lr times this (%(default)s)")
    add("--schedule", choices=SCHEDULES, default="cosine", help="of the learning rate (%(default)s)")
    add("--clip", type=above_0, default=1.0, help="largest norm of the gradient (%(default)s)")
    add("--device", choices=DEVICES, default="cpu", help="(%(default)s)")
    on_what = "of training and validation, by what some steps take (%(default)s)"
    add("--minutes", type=above_0, default=minutes, help=on_what)
    add("--steps", type=count, help="bound the run by steps rather than by minutes")
    add("--threads", type=count, help="of BLAS (as many as turn out fastest; with --steps, 1)")
    add("--resume", metavar="RUN", help="go on with the run of this folder, by its own options")
    add("--out", type=Path, help=f"the run's folder ({out})")


def training_options(args: argparse.Namespace) -> dict[str, Any]:
    """What of the command line makes the run: all but its folder, which may move."""
    return {name: value for name, value in vars(args).items() if name not in ("out", "resume")}


def whole_config(folder: RunFolder, like: dict[str, Any], choices: dict[str, Collection[str]]) -> dict[str, Any]:
    """The config of the run in a folder; ValueError where a field is missing or of another kind.

    Args:
        folder: FileNotFoundError where no run is in it.
        like: a config that has all fields, each of the right type; None goes with any.
        choices: what a field may be, where that is one of a few.
    """
    config, path, expected = folder.read_config(), folder.path / "config.json", like | dict(steps=1, threads=1)
    if missing := sorted(set(expected) - set(config)):
        raise ValueError(f"{path}: expected the config of a run, but it has no {', '.join(missing)}")
    for name, value in expected.items():
        numbers = type(value) is float and type(config[name]) is int
        if value is not None and type(config[name]) is not type(value) and not numbers:
            raise ValueError(f"{path}: expected {name} to be of type {type(value).__name__}, got {config[name]!r:.60}")
    for name, known in (choices | {"schedule": SCHEDULES, "device": DEVICES}).items():
        if config[name] not in known:
            raise ValueError(f"{path}: expected {name} to be one of {', '.join(known)}, got {config[name]!r}")
    return config


def free_folder(name: str) -> Path:
    """The first of runs/NAME, runs/NAME-2, ... that holds no run yet."""
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(path for n in candidates if not (path := Path("runs") / n).exists())


def count(text: str) -> int:
    """An integer of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return int(text)


def at_least_0(text: str) -> float:
    """A finite number of at least 0."""
    if not 0 <= float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {text}")
    return float(text)


def above_0(text: str) -> float:
    """A finite number above 0."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text}")
    return float(text)
