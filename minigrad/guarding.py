"""guard(): a saved value that was changed in place, by whatever way, is found before it makes a wrong gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .backend import Array, to_numpy
from .graph import GraphError, Node, Tensor, kept_arrays
from .watching import Watcher, calling_line, watched_by, witness_of

if TYPE_CHECKING:
    from .registry import Op


def guard() -> contextlib.AbstractContextManager[None]:
    """Watch over the values that are saved for backward inside: a change of one in place raises at backward.

    What the gradients of an op will read, operands, results and indices, is summed up when it is recorded and again
    when backward comes by, inside or later. So a write is found through any alias: the array that a tensor was made
    of, a view from before or after, `out=`. Writes by minigrad's own means (an optimizer, `.data = ...`) are found
    without it. It costs about a nanosecond for 3 bytes saved, twice; `benchmarks/README.md` has figures.

    Raises:
        GraphError: at backward; it names the op, the operand, and the line that recorded it.

    >>> import numpy as np, minigrad as mg
    >>> data = np.array([1.0, 2.0])
    >>> x = mg.as_tensor(data, requires_grad=True)
    >>> with mg.guard():
    ...     y = (x * x).sum()
    >>> data += 1
    >>> y.backward()
    Traceback (most recent call last):
    minigrad.graph.GraphError: backward through multiply: its saved value x, of shape (2,), has changed since ...
    """
    return watched_by(Guard())


class Guard(Watcher):
    """Notes what the arrays are that a node keeps."""

    def ran(
        self, op: Op, operands: Sequence[Any], metadata: dict[str, Any], results: Sequence[Tensor], node: Node | None
    ) -> None:
        """Sum up what a node keeps."""
        if node is not None:
            witness_of(node, calling_line()).sums = [checksum(array) for _, array in kept_arrays(node, op)]


def checksum(array: Array) -> int:
    """A number that another content of the array has not, but for one chance in 2^64."""
    return hash(to_numpy(array).tobytes())


def refuse_changed(node: Node, op: Op) -> None:
    """Raise GraphError if an array that a guarded node keeps is not what it was."""
    if node.witness is None or not node.witness.sums:
        return
    now = [(name, array.shape, checksum(array)) for name, array in kept_arrays(node, op)]
    for before, (name, shape, after) in zip(node.witness.sums, now, strict=True):
        if after != before:
            raise GraphError(
                f"backward through {op.name}: its saved value {name}, of shape {shape}, has changed since it was "
                f"recorded at {node.witness.line}; write to a copy instead, or after the backward pass"
            )
