"""What debugging modes see: every op as it runs, and every gradient as a formula gives it.

A mode is a `Watcher`, on inside a `with` block of its thread or asyncio task. Without one it costs nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import linecache
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .graph import RECORDED, WATCHED, Node, Tensor, recording

if TYPE_CHECKING:
    from .autodiff import Walk
    from .registry import Op


class Watcher:
    """What is told of ops and gradients; a mode overrides what it wants to know."""

    looks_for_anomalies = False  # then NumPy need not warn of them too

    def ran(
        self, op: Op, operands: Sequence[Any], metadata: dict[str, Any], results: Sequence[Tensor], node: Node | None
    ) -> None:
        """An op has run on tensors, and left a node where it was recorded."""

    def arrived(self, walk: Walk, node: Node, g: Any) -> None:
        """All of a node's gradient has arrived."""

    def gave(self, walk: Walk, node: Node, op: Op, operand: int, g: Any, gradient: Any) -> Any:
        """A formula made of `g` the gradient of an operand; what this returns goes on in its place."""
        return gradient


watchers: contextvars.ContextVar[tuple[Watcher, ...]] = contextvars.ContextVar("watchers", default=())


visited: contextvars.ContextVar[Node | None] = contextvars.ContextVar("visited", default=None)


@contextlib.contextmanager
def set_watchers(*those: Watcher) -> Iterator[None]:
    """Tell these watchers, and nobody else, of all that happens inside."""
    before = watchers.get()
    _tell(those)
    try:
        yield
    finally:
        _tell(before)


@contextlib.contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Tell one more watcher of all that happens inside."""
    _tell((*watchers.get(), watcher))
    try:
        yield
    finally:  # others may have come and gone, in generators that were left in the middle
        _tell(tuple(other for other in watchers.get() if other is not watcher))


def _tell(those: tuple[Watcher, ...]) -> None:
    watchers.set(those)
    recording.set(recording.get() & RECORDED | (WATCHED if those else 0))


@contextlib.contextmanager
def visiting(node: Node) -> Iterator[None]:
    """What runs inside are the gradient formulas of a node."""
    before = visited.get()
    visited.set(node)
    try:
        with muted():
            yield
    finally:
        visited.set(before)


def muted() -> contextlib.AbstractContextManager[Any]:
    """NumPy warns of nothing inside, where somebody looks for anomalies, who can say more."""
    looked_for = any(watcher.looks_for_anomalies for watcher in watchers.get())
    return np.errstate(all="ignore") if looked_for else contextlib.nullcontext()


# ------------------------------------------------------------------------------------------------ notes


class Line(NamedTuple):
    """A line of the program that uses minigrad."""

    path: str
    number: int
    function: str

    def __str__(self) -> str:
        code = linecache.getline(self.path, self.number).strip()
        return f"{self.path}:{self.number}, in {self.function}" + (f": {code}" if code else "")


def calling_line() -> Line:
    """The innermost line on the stack that is neither minigrad's nor nn's."""
    frame = sys._getframe()
    package = os.path.dirname(frame.f_code.co_filename)  # as Python writes it, "../" and all
    ours = package + os.sep, os.path.join(os.path.dirname(package), "nn") + os.sep
    while frame.f_code.co_filename.startswith(ours) and frame.f_back is not None:
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


class Witness:
    """What a mode noted of a node's call, beside what the node keeps anyway."""

    def __init__(self, line: Line | None) -> None:
        self.line = line  # that made the call, where a mode saw it
        self.sums: list[int] = []  # of the arrays it kept: see `guard`
        self.anomaly = ""  # what went wrong here: see `detect_anomaly`


def witness_of(node: Node, line: Line | None = None) -> Witness:
    """The witness of a node, with the line that made it if that is known."""
    if node.witness is None:
        node.witness = Witness(line)
    return node.witness
