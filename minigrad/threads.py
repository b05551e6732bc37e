"""Work shared among threads, and how many BLAS takes.

NumPy lets go of the interpreter's lock while it computes, so several threads of ours can work on a batch at once: as
many as BLAS would take (`OPENBLAS_NUM_THREADS`, `threadpoolctl`), and BLAS takes one in each. OpenBLAS's own threads
wait for the next product in a loop, for a tenth of a second, and keep a core from all others; so they are not called
for what is small.
"""

import contextlib
import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

PARTS = 8  # of a batch at most, however many threads there are: what is added up part by part has the same bits then
WORTH = 100_000  # nanoseconds that a part takes, at least: twice as long as to wake a thread
ALONE = 2**19  # elements up to which an operation on each is not worth sharing

_sharing: set[object] = set()  # who is; what Ctrl-C leaves half done, here and below, the next one finds in order


def shared(xp: Any, N: int, cost: float, work: Callable[[slice], Result]) -> list[Result]:
    """What `work` gives for each part of N items, in their order; on the CPU several are worked on at once.

    Who calls while others share, or within `work`, works alone.

    Args:
        xp: the backend's module.
        N: how many items there are.
        cost: nanoseconds that an item takes one core, roughly; it must not depend on how many there are.
        work: called with the items of a part.

    >>> shared(np, 4, WORTH, lambda part: part.stop - part.start)
    [1, 1, 1, 1]
    """
    count = max(1, min(N, PARTS, int(N * cost / WORTH))) if xp is np else 1
    parts = [slice(N * i // count, N * (i + 1) // count) for i in range(count)]
    if count == 1:
        return [work(part) for part in parts]
    me = object()
    try:
        with one_blas_thread() as threads:
            if _sharing:
                return [work(part) for part in parts]
            _sharing.add(me)
            return _at_once(parts, work, threads)
    finally:
        _sharing.discard(me)


def in_parts(f: Callable[..., Any], *arrays: Any) -> Any:
    """f(*arrays, out=...) of arrays of one shape, as a ufunc computes it, shared by their first axis."""
    first = arrays[0]
    if type(first) is not np.ndarray or first.size < ALONE or first.dtype.kind != "f":
        return f(*arrays)
    out = np.empty_like(first)
    shared(np, len(first), first.size / len(first), lambda part: f(*[a[part] for a in arrays], out=out[part]))
    return out


def _at_once(parts: list[slice], work: Callable[[slice], Result], threads: int) -> list[Result]:
    """What `work` gives for each part: this thread and others take one after another."""
    todo, results, errors = iter(enumerate(parts)), dict[int, Result](), list[BaseException]()

    def some() -> None:
        try:
            for i, part in todo:
                results[i] = work(part)
        except BaseException as error:
            errors.append(error)

    tasks = [_Task(functools.partial(copy_context().run, some)) for _ in range(min(threads, len(parts)) - 1)]
    for helper, task in zip(_helpers(threads), tasks, strict=False):
        helper.put(task)
    some()
    for task in tasks:
        task.wait()
    try:
        if errors:
            raise errors[0]
    finally:
        errors.clear()  # an error knows this frame, which is not to know the error
    return [results[i] for i in range(len(parts))]


class _Task:
    """What a thread is given to do: a lock in a queue takes a third of the time that a future takes."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.run: Callable[[], None] | None = run
        self.done = threading.Lock()
        self.done.acquire()

    def wait(self) -> None:
        try:
            self.done.acquire()
        except BaseException:  # Ctrl-C: what was begun still writes to the caller's arrays
            while self.run is not None:
                time.sleep(0.001)
            raise


def _serve(tasks: "queue.SimpleQueue[_Task]") -> None:
    while True:
        task = tasks.get()
        assert task.run is not None
        task.run()
        task.run = None  # it holds the caller's arrays
        task.done.release()
        del task


@functools.cache
def _helpers(threads: int) -> "list[queue.SimpleQueue[_Task]]":
    """Threads that wait, each for what comes in a queue."""
    queues: list[queue.SimpleQueue[_Task]] = [queue.SimpleQueue() for _ in range(threads - 1)]
    for tasks in queues:
        threading.Thread(target=_serve, args=(tasks,), daemon=True, name="minigrad").start()
    return queues


# ---- BLAS


class _Blas:
    """The libraries of matrix products in this process, and who has set them to one thread."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.lock, self.threads = threading.Lock(), [1] * len(self.libraries)
        self.inside: set[object] = set()

    def enter(self, who: object) -> int:
        with self.lock:
            self.inside.add(who)
            if self.inside == {who}:
                self.threads = [library.num_threads for library in self.libraries]
                self.set([1] * len(self.libraries))
            return max(self.threads, default=1)

    def leave(self, who: object) -> None:
        with self.lock:
            if self.inside == {who}:
                self.set(self.threads)
            self.inside.discard(who)

    def set(self, threads: list[int]) -> None:
        for library, before, count in zip(self.libraries, self.threads, threads, strict=True):
            if before > 1:
                library.set_num_threads(count)


@functools.cache
def _blas() -> _Blas:
    return _Blas()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[int]:
    """BLAS takes one thread inside, in the whole process; gives how many it takes outside."""
    blas, me = _blas(), object()
    try:
        yield blas.enter(me)
    finally:
        blas.leave(me)


def _begin_in_a_fork() -> None:
    """A fork has none of its parent's threads, nor those that hold its locks."""
    _sharing.clear()
    _helpers.cache_clear()
    _blas.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_a_fork)
