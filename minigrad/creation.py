"""How data become tensors: the rule of dtypes, copying and sharing."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .backend import Array, DTypeLike, get_default_dtype, is_array, move
from .graph import Tensor


def tensor(data: Any, requires_grad: bool = False, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """A new leaf with its own copy of the data.

    Args:
        data: an array, a number, or nested lists of numbers.
        requires_grad: whether what is computed from it is recorded; floating-point data only.
        dtype: None keeps the dtype of arrays; Python floats become the default dtype, ints int64.
        device: "cpu" or "cuda"; None leaves arrays where they are, and numbers on the host.

    Raises:
        TypeError: data that are not numbers, or integers that are to require gradients.
        DeviceError: a device that is not there.

    >>> import minigrad as mg
    >>> mg.tensor([1.0, 2.0])
    Tensor([1., 2.], dtype=float32)
    """
    return as_tensor(to_array(data, dtype).copy(), requires_grad, device=device)


def as_tensor(data: Any, requires_grad: bool = False, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """A leaf that shares the memory of `data` where dtype and device allow it; arguments as for `tensor`.

    A Tensor with nothing to change is given back itself.

    >>> import minigrad as mg
    >>> array = np.zeros(2)
    >>> mg.as_tensor(array).data is array
    True
    """
    if isinstance(data, Tensor) and not requires_grad:
        return data if dtype is None and device is None else data.to(dtype or data.dtype).to(device or data.device)
    array = to_array(data, dtype)
    result = Tensor(array if device is None else move(array, device))
    return result.requires_grad_() if requires_grad else result


def to_array(data: Any, dtype: DTypeLike = None) -> Array:
    """Data as an array of numbers, sharing memory where that is possible."""
    if isinstance(data, Tensor):
        array = data.data
    elif is_array(data):
        array = data
    elif isinstance(data, np.generic) or hasattr(data, "__array__"):
        array = np.asarray(data)
    elif hasattr(data, "__dlpack__"):
        array = np.from_dlpack(data)
    else:
        array = _array_of_numbers(data)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"data: expected numbers, got {type(data).__name__} of dtype {array.dtype}")
    return array if dtype is None else array.astype(dtype, copy=False)


def _array_of_numbers(data: Any) -> Array:
    leaves = list(_leaves(data))
    if any(isinstance(leaf, Tensor) for leaf in leaves):
        raise TypeError("data: expected numbers, got a list of tensors; mg.stack(tensors) joins them in the graph")
    array = np.asarray(data)
    if array.dtype == np.float64 and not any(isinstance(leaf, np.generic | np.ndarray) for leaf in leaves):
        array = array.astype(get_default_dtype())
    return array


def _leaves(data: Any) -> Iterator[Any]:
    if isinstance(data, list | tuple):
        for item in data:
            yield from _leaves(item)
    else:
        yield data
