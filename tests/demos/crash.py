"""Kills training runs by SIGKILL at random moments; each must go on to the bits of a run that nobody killed.

python -m tests.demos.crash --kills 200

A run is that of `demos.char_lm`: an LSTM with dropout, AdamW, streams of a text, and a checkpoint after each step, so
that many kills land within a save. Each life of a run is a process of its own, killed after a time that is drawn from
none to that of a whole run; the next resumes, until one comes to its end. Start-up, training and saving all get theirs.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tqdm import tqdm

import nn
from demos import char_lm, running
from demos.run_folder import RunFolder
from nn.checkpoint import digest, taken_apart
from tests.children import CHILDREN

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
OPTIONS = "--steps 30 --lr 0.02 --hidden 8 --embedding 4 --layers 2 --dropout 0.2 --chunk 10 --streams 2 --length 20"
COUNTED = "kills", "before its first save", "within a save", "between saves", "runs to the end", "runs that differ"


def live(argv: list[str], output: Path) -> None:
    """One life of a run: its command line, with a checkpoint after each step and no pictures."""
    running.SAVE_EVERY = 0.0
    tqdm.set_lock(threading.RLock())  # its own outlives a process that is killed
    RunFolder.draw = RunFolder.plot = lambda *_: None  # they take most of the time, and nothing goes on from them
    with output.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        char_lm.main(argv)


def life(run: Path, seconds: float | None) -> bool:
    """Begin a run or go on with it, for so long; gives whether it was killed. RuntimeError if it failed."""
    text, output = run.with_name("text.txt"), run.with_name("output.txt")
    begun = (run / "config.json").exists()
    argv = ["--resume", str(run)] if begun else ["--corpus", str(text), "--out", str(run), *OPTIONS.split()]
    process = CHILDREN.Process(target=live, args=(argv, output))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a run ended with exit code {process.exitcode}:\n{output.read_text()}")
    return process.exitcode != 0


def where(run: Path, began: float) -> str:
    """What a life that began at a time was about when it was killed, as far as the folder tells."""
    if any(run.glob(".*.tmp")):
        return "within a save"
    checkpoint = run / "checkpoint.safetensors"
    saved = checkpoint.exists() and checkpoint.stat().st_mtime > began
    return "between saves" if saved else "before its first save"


def traces(run: Path) -> dict[str, str]:
    """What a run left, each part as its digest: all of it but how long it took."""
    state, model = nn.load(run / "checkpoint.safetensors"), nn.load(run / "model.safetensors")
    *state["progress"], _ = state["progress"]
    for row in state["folder"]["rows"]:
        del row["seconds"]
    files = sorted(path.name for path in run.iterdir())
    state |= {"model.safetensors": model, "samples.md": (run / "samples.md").read_text(), "files": files}
    return {name: digest_of(part) for name, part in state.items()}


def digest_of(state: object) -> str:
    """A digest of a state, to the bit."""
    arrays = {}
    structure = taken_apart(state, "", arrays)
    return digest(arrays, {"structure": json.dumps(structure)})


def crash(kills: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill so many times, and count; prints what differs where a run ends in other bits."""
    (folder / "text.txt").write_text(TEXT)
    whole, run = folder / "whole", folder / "run"
    life(run, None)  # the first starts the server
    shutil.rmtree(run)
    start = time.perf_counter()
    life(whole, None)
    seconds, expected = time.perf_counter() - start, traces(whole)
    counts, moments = dict.fromkeys(COUNTED, 0), random.Random(seed)
    while counts["kills"] < kills:
        while counts["kills"] < kills:
            began = time.time()
            if not life(run, moments.uniform(0, seconds)):
                break
            counts["kills"] += 1
            counts[where(run, began)] += 1
        life(run, None)  # to its end, if it is not there yet
        got = traces(run)
        differ = [name for name in expected | got if got.get(name) != expected.get(name)]
        if differ:
            print(f"after {counts['kills']} kills (seed {seed}) a run differs in {', '.join(differ)}", file=sys.stderr)
        counts["runs to the end"] += 1
        counts["runs that differ"] += bool(differ)
        shutil.rmtree(run)
    return counts


def main() -> None:
    """Run the command line; exits with 1 where a run ends in other bits."""
    command = argparse.ArgumentParser(prog="python -m tests.demos.crash", description=__doc__.split("\n")[0])
    command.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the moments, as parts of a run (%(default)s)")
    args = command.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = crash(args.kills, args.seed, Path(folder))
    print("crash:", ", ".join(f"{count} {name}" for name, count in counts.items()), end="")
    print(f"; {time.perf_counter() - start:.0f} seconds")
    sys.exit(1 if counts["runs that differ"] else 0)


if __name__ == "__main__":
    main()
