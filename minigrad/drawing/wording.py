"""How drawings write shapes, numbers and arguments: briefly, and the same on every run."""

import math
from typing import Any

import numpy as np

from ..backend import Array, is_array, to_numpy

FEW = 4  # arrays of so many elements are written out
LONGEST = 28  # characters of one argument


def of_number(value: float, digits: int = 4) -> str:
    """A number in a few digits: 0.25, 1e-07, nan."""
    return f"{value + 0.0:.{digits}g}"  # -0.0 + 0.0 is 0.0


def of_array(array: Array) -> str:
    """A small array as its elements, a larger one as its Euclidean norm."""
    values = to_numpy(array)
    if values.size > FEW:
        return f"norm {of_number(norm(values))}"
    return of_number(values.item()) if values.ndim == 0 and values.dtype.kind == "f" else _nested(values.tolist())


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_nested, value)) + "]"
    return of_number(value, 3) if isinstance(value, float) else str(value)


def norm(array: Array) -> float:
    """The Euclidean norm, in float64 and without overflow or underflow: a vanishing gradient is not 0."""
    values = np.abs(to_numpy(array).astype(np.float64))
    largest = float(values.max(initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.square(values / largest).sum()))


def of_shape(shape: tuple[Any, ...]) -> str:
    """A shape as NumPy writes it; of several results how many there are, or the shape of each."""
    if not shape or not isinstance(shape[0], tuple):
        return str(shape)
    if len(set(shape)) == 1:
        return f"{len(shape)} × {shape[0]}"
    return shortened(", ".join(map(str, shape)))


def of_argument(value: Any) -> str:
    """What an op was called with, beside arrays: an axis, a number, an index, a dtype."""
    return shortened(_argument(value))


def _argument(value: Any) -> str:
    if is_array(value):
        return _nested(to_numpy(value).tolist()) if value.size <= FEW else f"{value.dtype} {value.shape}"
    if isinstance(value, list | tuple):
        items = ", ".join(map(_argument, value))
        return f"[{items}]" if isinstance(value, list) else f"({items}{',' * (len(value) == 1)})"
    if isinstance(value, slice):
        ends = ["" if end is None else _argument(end) for end in (value.start, value.stop, value.step)]
        return ":".join(ends if value.step is not None else ends[:2])
    if isinstance(value, float):
        return repr(value) if len(repr(value)) <= 8 else of_number(value)
    if value is Ellipsis:
        return "..."
    if value is None or isinstance(value, str | bool | int | np.dtype | np.generic):
        return str(value)
    return getattr(value, "__name__", type(value).__name__)  # a repr may hold an address


def shortened(text: str) -> str:
    """A text cut where it gets too long for a box."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
