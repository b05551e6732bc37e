"""What a proof may end in, other than success, and how it is told: where, and with which arguments."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend import backend_of, is_array, to_numpy
from ..graph import Tensor
from ..operands import describe

FEW = 12  # elements up to which an array is shown with its values
WIDE = 60  # characters of anything else


class GradientError(AssertionError):
    """A gradient that is wrong, or that can't be told; the message says where, worst element first."""


class NonDifferentiable(ArithmeticError):
    """A point at which a function has no derivative: a kink or a jump, which says nothing against its gradient."""


@contextlib.contextmanager
def told(where: str, arguments: str) -> Iterator[None]:
    """Add to what is found inside where it was found, and the arguments."""
    try:
        yield
    except (GradientError, NonDifferentiable) as finding:
        raise type(finding)(f"{where}: {finding}\n{arguments}") from None


def shown(names: Sequence[str], args: Sequence[Any]) -> str:
    """The arguments for a message, each on a line; small ones can be pasted."""
    return "\n".join(
        f"  {'at' if not i else '  '} {name} = {value(a)}" for i, (name, a) in enumerate(zip(names, args, strict=True))
    )


def value(arg: Any) -> str:
    """One argument for a message."""
    array = arg.data if isinstance(arg, Tensor) else arg
    if not is_array(array):
        text = " ".join(repr(array).split())
        return text if len(text) <= WIDE else text[: WIDE - 3] + "..."
    device = backend_of(array).device
    suffix = "" if device == "cpu" else f" on {device!r}"
    if not 0 < array.size <= FEW:
        return f"an array {describe(array)}{suffix}"
    numbers = np.array2string(to_numpy(array), separator=", ", formatter={"float_kind": str}, max_line_width=10**6)
    dtype = "" if array.dtype in (np.float64, np.int64, np.bool_) else f", {str(array.dtype)!r}"
    return f"np.array({' '.join(numbers.split())}{dtype})" + suffix
