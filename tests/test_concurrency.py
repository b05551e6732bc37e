"""Modes, scopes and generators belong to a thread or an asyncio task; runs at the same time do not disturb each other.

A context is what a thread has, and what asyncio gives to a task: contexts that take turns are tasks in any order.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import graph

from .training import RUNS, training

Run: TypeAlias = tuple[int, int | None]  # which, and its seed; None: it sets none, and begins from 0 as new threads do
A_RUN = st.tuples(st.integers(0, len(RUNS) - 1), st.sampled_from([None, 1, 2]))
EVERY_RUN: list[Run] = [(i, i or None) for i in range(len(RUNS))]


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns a thousand times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    yield
    sys.setswitchinterval(before)


@functools.cache
def alone(run: Run) -> list[str]:
    """What a run gives when nothing else goes on."""
    mg.seed(0)
    return list(training(*run))


@settings(max_examples=settings.default.max_examples // 5)
@given(runs=st.lists(A_RUN, min_size=2, max_size=3), turns=st.lists(st.integers(0, 2), max_size=60))
def test_runs_that_take_turns_get_the_bits_they_get_alone(runs: list[Run], turns: list[int]) -> None:
    expected = list(map(alone, runs))
    mg.seed(0)
    started = [(contextvars.copy_context(), training(*run)) for run in runs]
    found: list[list[str]] = [[] for _ in runs]
    to_the_end = [[i] * (len(digests) + 1) for i, digests in enumerate(expected)]
    for i in itertools.chain(turns, *to_the_end):
        if i < len(runs):
            context, run = started[i]
            found[i] += context.run(list, itertools.islice(run, 1))
    assert found == expected


@pytest.mark.usefixtures("eager_threads")
def test_threads_train_to_the_bits_they_get_alone() -> None:
    expected = list(map(alone, EVERY_RUN))
    start = threading.Barrier(len(EVERY_RUN), timeout=60)

    def train(run: Run) -> list[str]:
        start.wait()
        return list(training(*run))

    with ThreadPoolExecutor(len(EVERY_RUN)) as pool:
        assert list(pool.map(train, EVERY_RUN)) == expected


def test_tasks_train_to_the_bits_they_get_alone() -> None:
    expected = list(map(alone, EVERY_RUN))

    async def train(run: Run) -> list[str]:
        found = []
        for digest in training(*run):
            found.append(digest)
            await asyncio.sleep(0)
        return found

    async def main() -> list[list[str]]:
        mg.seed(0)
        return await asyncio.gather(*map(train, EVERY_RUN))

    assert asyncio.run(main()) == expected


MODES = {
    "no_grad": (mg.no_grad, graph.recording),
    "scope": (lambda: mg.scope("inside"), graph.current_scope),
    "unrolled": (mg.unrolled, graph.unrolling),
    "guard": (mg.guard, graph.recording),
    "detect_anomaly": (mg.detect_anomaly, graph.recording),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_new_thread_starts_without_modes_and_leaves_none(mode: str) -> None:
    enter, variable = MODES[mode]
    outside = variable.get()

    def inside() -> tuple[Any, Any, Any]:
        before = variable.get()
        with enter():
            within = variable.get()
            start.wait()  # both threads are inside
            start.wait()
        return before, within, variable.get()

    start = threading.Barrier(2, timeout=60)
    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(inside)
        start.wait()
        assert variable.get() == outside
        with enter():
            within = variable.get()
            start.wait()
            assert other.result() == (outside, within, outside)
    assert within != outside


def test_a_write_in_another_thread_hides_no_stale_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread has its turn in the middle of this one's write, after the clock was read."""
    tick, lock, done, wanted = graph.tick, graph.writing, [], threading.Event()

    class Lock:
        def __enter__(self) -> None:
            if threading.current_thread() is other:
                wanted.set()
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    def work() -> None:
        w = mg.tensor([2.0, 3.0], requires_grad=True)
        loss = (w * w).sum()
        graph.mark_written(w.data)
        done.append(loss)
        wanted.set()

    def interrupted() -> int:
        date = tick()
        if threading.current_thread() is not other and not wanted.is_set():
            other.start()
            wanted.wait()
        return date

    other = threading.Thread(target=work)
    monkeypatch.setattr(graph, "tick", interrupted)
    monkeypatch.setattr(graph, "writing", Lock())
    graph.mark_written(np.zeros(1))
    other.join()
    with pytest.raises(mg.GraphError, match="overwritten"):
        done[0].backward()
