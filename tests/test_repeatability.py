"""The same run twice gives the same bits: losses, gradients, weights and what optimizers keep."""

import os
import subprocess
import sys
from pathlib import Path

from . import training

ROOT = Path(__file__).parents[1]


def digests_of_a_process(hash_seed: int) -> list[str]:
    """What the runs print in a process of their own, where sets of strings have another order."""
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", training.__file__], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_two_processes_train_to_the_same_bits() -> None:
    first = digests_of_a_process(1)
    assert first == digests_of_a_process(2)
    assert len(first) > 100


def test_a_process_trains_twice_to_the_same_bits() -> None:
    for run in range(len(training.RUNS)):
        first = list(training.training(run, seed=run))
        assert first == list(training.training(run, seed=run))
        assert first != list(training.training(run, seed=run + 1))
