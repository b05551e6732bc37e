"""detect_anomaly(): the first NaN or Inf, forward or backward, with the op, the time step and the line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .autodiff import Walk, gradients_in_steps, set_recording
from .backend import is_array, to_numpy
from .graph import Node, Tensor, current_scope, kept_arrays
from .registry import Op
from .watching import Line, Watcher, calling_line, watched_by, witness_of


class AnomalyError(FloatingPointError):
    """A NaN or Inf where there should be none; it is marked in the drawing of `outputs`."""

    def __init__(self, message: str, outputs: Sequence[Tensor]) -> None:
        super().__init__(message)
        self.outputs = list(outputs)


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise where the first NaN or Inf comes up inside, in a forward or a backward pass.

    The message names the op, its scope (so the time step), the line that called it, and what it was given. An op over
    a whole sequence is taken again step by step, to find the step. Where a graph was recorded, `mg.draw(error.outputs)`
    shows it with the place marked; of a backward pass, so does a drawing of the loss. Every result and every gradient
    is looked through, which takes time; `benchmarks/README.md` has figures.

    Raises:
        AnomalyError: a number that is not finite.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 0.0], requires_grad=True)
    >>> with mg.detect_anomaly(), mg.scope("t=3"):
    ...     mg.sqrt(x).sum().backward()
    Traceback (most recent call last):
    minigrad.anomalies.AnomalyError: backward through sqrt: the gradient of x is inf at [1]
      scope: t=3
      line: ...
      given: out in [0, 1], gradient in [1, 1]
    """
    with np.errstate(all="ignore"), watched_by(Anomalies()):  # NumPy would warn of the same, and say less
        yield


class Anomalies(Watcher):
    """Looks through every result and every gradient."""

    def __init__(self) -> None:
        self.line: Line | None = None  # that recorded an op which is being taken again in steps

    def ran(
        self, op: Op, operands: Sequence[Any], metadata: dict[str, Any], results: Sequence[Tensor], node: Node | None
    ) -> None:
        """Raise AnomalyError unless all results are finite."""
        line = self.line or calling_line()
        if node is not None:
            witness_of(node).line = line
        for i, result in enumerate(results):
            if found := not_finite(result):
                given = dict(zip(op.operand_names(len(operands)), operands, strict=True))
                before = [f"its operand {name} is {was}" for name, value in given.items() if (was := not_finite(value))]
                if op.steps is not None and not before:
                    op.steps(*operands, **metadata)  # raises at the step where it began
                what = before[0] if before else f"{f'result {i}' if len(results) > 1 else 'the result'} is {found}"
                raise anomaly(f"{op.name}: {what}", node, current_scope.get(), line, given.items(), results)

    def arrived(self, walk: Walk, node: Node, g: Any) -> None:
        """Raise AnomalyError unless a sum of finite gradients is finite."""
        if found := not_finite(g):
            of = node.op.name if node.op else node.name or "a leaf"
            what = f"backward into {of}: the sum of its gradients is {found}"
            raise anomaly(what, node, node.scope, line_of(node), (), walk.outputs)

    def gave(self, walk: Walk, node: Node, op: Op, operand: int, g: Any, gradient: Any) -> Any:
        """Raise AnomalyError unless a gradient is finite."""
        if not (found := not_finite(gradient)):
            return gradient
        what = f"backward through {op.name}: the gradient of {op.operand_names(len(node.parents))[operand]} is {found}"
        error = anomaly(what, node, node.scope, line_of(node), [*kept_arrays(node, op), ("gradient", g)], walk.outputs)
        if op.steps is not None and not walk.create_graph:
            with self.taking_again(node):
                gradients_in_steps(node, op, g, create_graph=False)  # raises at the step where it began
        raise error

    @contextlib.contextmanager
    def taking_again(self, node: Node) -> Iterator[None]:
        """What is recorded inside counts as recorded where a node was."""
        token = current_scope.set(node.scope)
        self.line = line_of(node)
        try:
            with set_recording(True):
                yield
        finally:
            self.line = None
            current_scope.reset(token)


def line_of(node: Node) -> Line | None:
    """The line that recorded a node, where a mode noted it."""
    return node.witness.line if node.witness else None


def not_finite(value: Any) -> str:
    """What the first element is that is not finite, and where: "nan at [0, 2]"; "" where all are finite."""
    for part in value if isinstance(value, list) else [value]:
        array = part.data if isinstance(part, Tensor) else part
        if not is_array(array) and not isinstance(array, float | np.generic):
            continue
        values = np.asarray(to_numpy(array))
        if values.dtype.kind not in "fc":
            continue
        finite = np.isfinite(values)
        if not finite.all():
            place = np.unravel_index(int(np.argmin(finite)), values.shape)
            more = values.size - np.count_nonzero(finite) - 1
            at = f" at [{', '.join(map(str, place))}]" if place else ""
            return f"{values[place]}{at}" + (f", and {more} more" if more else "")
    return ""


def anomaly(
    what: str,
    node: Node | None,
    scope: tuple[str, ...],
    line: Line | None,
    given: Iterable[tuple[str, Any]],
    outputs: Sequence[Tensor],
) -> AnomalyError:
    """The error to raise; the node, where there is one, is marked for drawings."""
    if node is not None:
        witness_of(node).anomaly = what
    ranges = [text for name, value in given if (text := described(name, value))]
    notes = {"scope": " / ".join(scope), "line": line and str(line), "given": ", ".join(ranges)}
    return AnomalyError("\n  ".join([what, *[f"{name}: {note}" for name, note in notes.items() if note]]), outputs)


def described(name: str, value: Any) -> str:
    """Between what numbers an operand lies, and whether it was all finite; "" for what is no number."""
    array = value.data if isinstance(value, Tensor) else value
    if not is_array(array) or array.dtype.kind not in "fiu":
        return f"{name} {array!r}" if isinstance(array, int | float) else ""
    values = to_numpy(array)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return f"{name} {'nan' if np.isnan(values).any() else 'inf'} throughout" if values.size else ""
    rest = "" if finite.size == values.size else f" with {not_finite(values)}"
    return f"{name} in [{finite.min():.6g}, {finite.max():.6g}]{rest}"
