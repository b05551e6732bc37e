"""Drawings of computational graphs: a level makes a picture of a graph, a renderer makes text of a picture."""

from collections.abc import Sequence

from ..graph import GraphError, Tensor
from .export import DotMissing, Drawing
from .op_level import op_level

__all__ = ["DotMissing", "Drawing", "draw"]

LEVELS = {"op": op_level}


def draw(
    output: Tensor | Sequence[Tensor], level: str = "op", *, values: bool = False, gradients: bool = False
) -> Drawing:
    """Draw the graph that an output was computed by.

    Ops, parameters and inputs are boxes with their shapes, a parameter once however often it is used. Each operand
    is an arrow, scopes are clusters. Names come from `Tensor.name`. Values and gradients are computed again from
    the leaves, so they can be drawn after a backward pass too; the graph and its gradients stay as they are.

    Args:
        output: one tensor, or a list of them, with a graph.
        level: what a box stands for; "op": one operation.
        values: show arrays of up to 4 elements as they are, larger ones by their Euclidean norm.
        gradients: show the norm of the gradient of the outputs' sum, at each box as a number, and by the outlines'
            and arrows' colour and width on a fixed logarithmic scale. On an arrow it is what comes back along it.

    Raises:
        TypeError: `output` is neither a tensor nor a list of tensors.
        ValueError: no output, an unknown level, or gradients of an output that is not a scalar.
        GraphError: an output without a graph.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> mg.draw(x + x, gradients=True)
    Drawing(2 nodes, 2 edges)
    """
    outputs = [output] if isinstance(output, Tensor) else output
    if not isinstance(outputs, list | tuple) or not all(isinstance(item, Tensor) for item in outputs):
        kinds = sorted({type(item).__name__ for item in outputs}) if isinstance(outputs, list | tuple) else ""
        of = f" of {', '.join(kinds)}" if kinds else ""
        raise TypeError(f"draw: expected output to be a tensor or a list of tensors, got {type(output).__name__}{of}")
    if not outputs:
        raise ValueError("draw: expected at least one output, got none")
    if level not in LEVELS:
        raise ValueError(f"draw: expected level to be one of {sorted(LEVELS)}, got {level!r}")
    for tensor in outputs:
        if tensor.node is None:
            raise GraphError(
                f"draw: expected a tensor with a graph; this one of shape {tensor.shape} has none: nothing it was "
                "computed from requires gradients, or it was made under no_grad() or detached"
            )
        if gradients and tensor.size != 1:
            raise ValueError(
                f"draw: expected a scalar where gradients are drawn, got shape {tensor.shape}; "
                "draw its .sum() or .mean()"
            )
    return Drawing(LEVELS[level](outputs, values, gradients))
