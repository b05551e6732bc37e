"""What an op's operands become before it runs: arrays of one device, and of dtypes that keep a graph's precision.

Python and NumPy scalars are weak. Integers and booleans take the dtype of the floating-point operands and follow
them to their device; a floating-point array on another device is refused. The rest is NumPy's promotion.
"""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from .backend import Array, Backend, DeviceError, backend_of, get_default_dtype, is_array, move, numpy_backend


def alike(arrays: Sequence[Any]) -> bool:
    """Whether these are arrays of one type and one dtype, and Python numbers: then there is nothing to settle."""
    kind = dtype = None
    for array in arrays:
        if type(array) is float or type(array) is int:
            continue
        if kind is None:
            kind, dtype = type(array), getattr(array, "dtype", None)
            if dtype is None:
                return False
        elif type(array) is not kind or array.dtype is not dtype:
            return False
    return dtype is not None


def common_backend(arrays: Sequence[Any]) -> Backend:
    """The backend that an op runs on: its arrays', and a device's before the host's."""
    found = numpy_backend
    for array in arrays:
        if is_array(array):
            found = backend_of(array)
            if found is not numpy_backend:
                break
    return found


def settle(op: str, names: Sequence[str], arrays: Sequence[Any], optional: Container[str]) -> list[Any]:
    """Operands by the rules above; the optional ones may be None.

    Raises:
        TypeError: an operand that is neither an array nor a number.
        DeviceError: floating-point arrays on two devices.
    """
    numbers = [value.item() if isinstance(value, np.generic) else value for value in arrays]
    home = common_backend(numbers)
    dtypes = {a.dtype for a in numbers if is_array(a) and a.dtype.kind in "fc"}
    settled = []
    for name, value in zip(names, numbers, strict=True):
        if is_array(value):
            value = follow(op, name, value, home)
            if dtypes and value.dtype.kind in "biu":
                value = value.astype(np.result_type(*dtypes))
        else:
            check_operand(op, name, value, optional)
        settled.append(value)
    return settled


def check_operand(op: str, name: str, value: Any, optional: Container[str]) -> None:
    """Raise TypeError unless a value may be an operand; the optional ones may be None."""
    number = is_array(value) or isinstance(value, bool | int | float | complex | np.generic)
    if not number and not (value is None and name in optional):
        raise TypeError(
            f"{op}: expected {name} to be a tensor, an array or a number, got {type(value).__name__}; "
            "mg.tensor(...) makes a tensor of nested lists"
        )


def follow(op: str, name: str, value: Any, home: Backend) -> Any:
    """An array on the device of the others, where it may go there by itself; anything else as it is."""
    if not is_array(value) or backend_of(value) is home:
        return value
    if value.dtype.kind in "biu":
        return move(value, home.device)
    raise DeviceError(
        f"{op}: expected {name} on device {home.device!r} like the other operands, got it on "
        f"{backend_of(value).device!r}; move it with .to({home.device!r})"
    )


def as_array(out: Any, arrays: Sequence[Any], dtype: Any = None) -> Array:
    """An op's result as an array; a float takes the default dtype where none entered and no `dtype` was asked for."""
    first = arrays[0]
    if type(out) is type(first) and out.dtype is first.dtype:
        return out
    if not is_array(out):
        out = np.asarray(out)  # NumPy's reductions and 0-d arithmetic give scalars
    if dtype is None and out.dtype.kind == "f" and not any([is_array(a) and a.dtype.kind in "fc" for a in arrays]):
        out = out.astype(get_default_dtype())
    return out


def describe(value: Any) -> str:
    """A value as error messages show it."""
    return f"of shape {value.shape} and dtype {value.dtype}" if hasattr(value, "shape") else repr(value)


def wider(dtype: Any) -> Any:
    """What sums of many elements are made in: float16 has few digits and ends at 65,504, integers have no fractions."""
    return np.promote_types(dtype, np.float32)
