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

from .graph import RECORDED, WATCHED, Node, Tensor, recording

if TYPE_CHECKING:
    from .autodiff import Walk
    from .registry import Op

PACKAGE = os.path.dirname(os.path.abspath(__file__))
OURS = PACKAGE + os.sep, os.path.join(os.path.dirname(PACKAGE), "nn") + os.sep


class Watcher:
    """What is told of ops and gradients; a mode overrides what it wants to know."""

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


@contextlib.contextmanager
def set_watchers(those: tuple[Watcher, ...]) -> Iterator[None]:
    """Tell these watchers, and nobody else, of all that happens inside."""
    told = watchers.set(those)
    mode = recording.set(recording.get() & RECORDED | (WATCHED if those else 0))
    try:
        yield
    finally:
        recording.reset(mode)
        watchers.reset(told)


def watched_by(watcher: Watcher) -> contextlib.AbstractContextManager[None]:
    """Tell one more watcher of all that happens inside."""
    return set_watchers((*watchers.get(), watcher))


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
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(OURS) and frame.f_back is not None:
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


class Witness:
    """What a mode noted of a node's call, beside what the node keeps anyway."""

    def __init__(self) -> None:
        self.line = calling_line()
        self.sums: list[int] = []  # of the arrays it kept: see `guard`
        self.anomaly = ""  # what went wrong here: see `detect_anomaly`


def witness_of(node: Node) -> Witness:
    """The witness of a node that was recorded just now."""
    if node.witness is None:
        node.witness = Witness()
    return node.witness
