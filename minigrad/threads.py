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
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

PARTS = 8  # of a batch at most, however many threads there are: what is added up part by part has the same bits then
WORTH = 100_000  # nanoseconds that a part takes, at least: twice as long as to wake a thread
ALONE = 2**19  # elements up to which an operation on each is not worth sharing

_sharing = threading.Lock()


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
    sharing = _sharing
    with one_blas_thread() as threads:
        if not sharing.acquire(blocking=False):
            return [work(part) for part in parts]
        try:
            return _at_once(parts, work, threads)
        finally:
            sharing.release()


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

    helpers = _helpers(threads)[: len(parts) - 1]
    waiting = [helper.begin(functools.partial(copy_context().run, some)) for helper in helpers]
    some()
    for done in waiting:
        _wait(done)
    try:
        if errors:
            raise errors[0]
    finally:
        errors.clear()  # an error knows this frame, which is not to know the error
    return [results[i] for i in range(len(parts))]


def _wait(done: threading.Lock) -> None:
    try:
        done.acquire()
    except BaseException:  # Ctrl-C: what was begun still writes to the caller's arrays
        done.acquire()
        raise


class _Helper:
    """A thread that waits for something to do: a queue and a lock take a third of the time that a future takes."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[tuple[Callable[[], None], threading.Lock]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="minigrad").start()

    def begin(self, task: Callable[[], None]) -> threading.Lock:
        """Begin a task; the lock can be acquired when it is done."""
        done = threading.Lock()
        done.acquire()
        self.tasks.put((task, done))
        return done

    def _serve(self) -> None:
        while True:
            task, done = self.tasks.get()
            task()
            del task  # it holds the caller's arrays
            done.release()


@functools.cache
def _helpers(threads: int) -> list[_Helper]:
    return [_Helper() for _ in range(threads - 1)]


# ---- BLAS


class _Blas:
    """The libraries of matrix products in this process, and who has set them to one thread."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.lock, self.inside, self.threads = threading.Lock(), 0, [1]

    def enter(self) -> int:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.threads = [library.num_threads for library in self.libraries]
                self.set([1] * len(self.libraries))
            return max(self.threads, default=1)

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.set(self.threads)

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
    blas = _blas()
    threads = blas.enter()
    try:
        yield threads
    finally:
        blas.leave()


def _begin_in_a_fork() -> None:
    """A fork has none of its parent's threads, nor those that hold its locks."""
    global _sharing
    _sharing = threading.Lock()
    _helpers.cache_clear()
    _blas.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_a_fork)
