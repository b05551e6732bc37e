"""detect_anomaly(): the first NaN or Inf, forward or backward, with the op, the time step and the line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .autodiff import Walk, fit, gradients_in_steps, set_recording
from .backend import is_array, to_numpy
from .graph import Node, Tensor, current_scope, kept_arrays
from .pending import Part
from .registry import Op
from .watching import Line, Watcher, calling_line, visited, watched_by, witness_of


class AnomalyError(FloatingPointError):
    """A NaN or Inf where there should be none; it is marked in the drawing of `outputs`."""

    def __init__(self, message: str, outputs: Sequence[Tensor] = ()) -> None:
        super().__init__(message)
        self.outputs = list(outputs)

    def __reduce__(self) -> Any:
        """How it goes to another process: without the graph."""
        return AnomalyError, self.args


def detect_anomaly() -> contextlib.AbstractContextManager[None]:
    """Raise where the first NaN or Inf comes up inside, in a forward or a backward pass.

    The message names the op, its scope (so the time step), the line that called it, and what it was given. An op over
    a whole sequence is taken again step by step, to find the step. Where a graph was recorded, `mg.draw(error.outputs)`
    shows it with the op marked; of a backward pass, so does a drawing of the loss. Every result and every gradient
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
    return watched_by(Anomalies())


class Anomalies(Watcher):
    """Looks through every result and every gradient."""

    looks_for_anomalies = True

    def ran(
        self, op: Op, operands: Sequence[Any], metadata: dict[str, Any], results: Sequence[Tensor], node: Node | None
    ) -> None:
        """Raise AnomalyError unless all results are finite; those of gradient formulas are looked at by `gave`."""
        formulas_of = visited.get()
        line = line_of(formulas_of) if formulas_of else calling_line()
        if node is not None:
            witness_of(node, line).line = line
        if formulas_of:
            return
        for i, result in enumerate(results):
            if found := not_finite(result):
                given = dict(zip(op.operand_names(len(operands)), operands, strict=True))
                before = [f"its operand {name} is {was}" for name, value in given.items() if (was := not_finite(value))]
                if op.steps is not None and not before:
                    op.steps(*operands, **metadata)  # raises at the step where it began
                what = before[0] if before else f"{f'result {i}' if len(results) > 1 else 'the result'} is {found}"
                mark(node, f"{op.name}: {what}")
                raise AnomalyError(told(f"{op.name}: {what}", current_scope.get(), line, given.items()), results)

    def arrived(self, walk: Walk, node: Node, g: Any) -> None:
        """Raise AnomalyError unless a sum of finite gradients is finite."""
        if found := not_finite(g):
            made = node.parents[0] if node.op is None and node.parents else node  # of several results, the op
            of = made.op.name if made.op else node.name or "a leaf"
            which = f", result {node.metadata['output']}" if made is not node else ""
            what = f"backward into {of}{which}: the sum of its gradients is {found}"
            mark(made, what)
            raise AnomalyError(told(what, made.scope, line_of(made), ()), walk.outputs)

    def gave(self, walk: Walk, node: Node, op: Op, operand: int, g: Any, gradient: Any) -> Any:
        """Raise AnomalyError unless a gradient is finite, in its operand's dtype too."""
        found = not_finite(gradient.values if isinstance(gradient, Part) else fit(gradient, node, operand))
        if found:
            name = op.operand_names(len(node.parents))[operand]
            what = f"backward through {op.name}: the gradient of {name} is {found}"
            mark(node, what)
            if op.steps is not None and not walk.create_graph:
                with set_recording(True):
                    gradients_in_steps(node, op, g, create_graph=False)  # raises at the step where it began
            given = [*kept_arrays(node, op), ("gradient", g)]
            raise AnomalyError(told(what, node.scope, line_of(node), given), walk.outputs)
        return gradient


def line_of(node: Node) -> Line | None:
    """The line that recorded a node, where a mode noted it."""
    return node.witness.line if node.witness else None


def mark(node: Node | None, what: str) -> None:
    """Mark an op for drawings. Leaves are not: they go on to be part of other graphs."""
    if node is not None and node.op is not None:
        witness_of(node).anomaly = what


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


def told(what: str, scope: tuple[str, ...], line: Line | None, given: Iterable[tuple[str, Any]]) -> str:
    """The message: what came up, where, and of what."""
    ranges = [text for name, value in given if (text := described(name, value))]
    notes = {"scope": " / ".join(scope), "line": str(line or ""), "given": ", ".join(ranges)}
    return "\n  ".join([what, *[f"{name}: {note}" for name, note in notes.items() if note]])


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
