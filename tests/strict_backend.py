"""A device "strict": NumPy underneath, CuPy's manners. A mistake that only CuPy would show fails on every machine.

An array of it never becomes a NumPy array by itself, is refused by NumPy's functions, and refuses lists, NumPy's
arrays and NumPy's floating-point scalars. What a reduction gives is a 0-d array of its own kind, never a scalar.
An integer index out of range wraps around, without a word; one array of values for places of which two are the same is
refused, since any of them may stay there. Where CuPy is installed, what it lacks is lacking here. Kernels in CUDA C run
too, on the host.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigrad.backend import Backend, owner, register

from . import cuda_on_host

cupy: Any = None
with contextlib.suppress(ImportError):
    import cupy  # which needs no GPU to tell its names

METADATA = {"shape", "ndim", "size", "dtype", "strides", "itemsize", "nbytes", "flags", "item", "tolist", "tobytes"}
CREATION = {"zeros", "ones", "empty", "full", "eye", "identity", "arange", "linspace"}  # of no array
TRANSFER = {"asarray", "array"}  # where a host's array or a list becomes a device's


class StrictArray:
    """An array on the device "strict"."""

    __slots__ = ("_array", "base")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray, sources: tuple[StrictArray, ...] = ()) -> None:
        self._array = array
        memory = owner(array)
        # as NumPy's base: None, or whose memory this one shows
        self.base = next((owner(s) for s in sources if owner(s._array) is memory), None)
        if self.base is None and memory is not array:
            self.base = StrictArray(memory)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("implicit conversion of a strict array to NumPy's; minigrad.backend.to_numpy converts")

    def __array_ufunc__(self, ufunc: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"np.{ufunc.__name__} on a strict array; xp.{ufunc.__name__} takes strict operands")

    def __array_function__(self, function: Any, *args: Any) -> Any:
        raise TypeError(f"np.{function.__name__} on a strict array; xp.{function.__name__} takes strict operands")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._array, name)
        if cupy is not None and not hasattr(cupy.ndarray, name):
            raise AttributeError(f"CuPy's arrays have no {name}")
        if name in METADATA:
            return found
        if callable(found) and not name.startswith("_"):
            return lambda *args, **kwargs: call(found, args, kwargs, bound=(self,))
        if isinstance(found, np.ndarray):  # .T
            return wrap(found, (self,))
        raise AttributeError(f"a strict array has no {name}")

    def __getitem__(self, index: Any) -> StrictArray:
        return wrap(self._array[wrapped_around(index, self.shape)], (self,))

    def __setitem__(self, index: Any, value: Any) -> None:
        index, value = wrapped_around(index, self.shape), operand(value)
        if np.ndim(value) and any(isinstance(item, np.ndarray) for item in index):
            places = np.arange(self.size).reshape(self.shape)[index]
            if len(np.unique(places)) < places.size:
                raise ValueError("values for places of which two are the same: which one stays is not defined")
        self._array[index] = value

    def __len__(self) -> int:
        return len(self._array)

    def __bool__(self) -> bool:
        return bool(self._array)

    def __int__(self) -> int:
        return int(self._array)

    def __float__(self) -> float:
        return float(self._array)

    def __index__(self) -> int:
        return operator.index(self._array)

    def __repr__(self) -> str:
        return f"strict({self._array!r})"


def add_operators() -> None:
    """Give StrictArray the operators, of strict arrays and Python's scalars."""

    def method(name: str) -> Callable[..., Any]:
        def operate(self: StrictArray, *others: Any) -> Any:
            return wrap(getattr(self._array, name)(*map(operand, others)), (self,))

        return operate

    binary = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]
    others = ["neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"]
    for name in [prefix + name for name in binary for prefix in ("", "r", "i")] + others:
        setattr(StrictArray, f"__{name}__", method(f"__{name}__"))


add_operators()


# ---- into NumPy and back


def operand(value: Any) -> Any:
    """An operand's NumPy array or Python scalar; anything else is refused, as CuPy does."""
    if isinstance(value, StrictArray):
        return value._array
    if isinstance(value, bool | int | float | complex | np.integer | np.bool) and not isinstance(value, np.inexact):
        return value
    raise TypeError(f"expected a strict array or a Python scalar, got {type(value).__name__}: {value!r}")


def unwrap(value: Any) -> Any:
    """What NumPy gets for an argument that may be metadata: axes, shapes, indices, subscripts."""
    if isinstance(value, np.ndarray | np.inexact) or (isinstance(value, list) and any(map(is_real, value))):
        raise TypeError(f"expected a strict array or metadata, got {type(value).__name__}: {value!r}")
    if isinstance(value, list | tuple):
        return type(value)(map(unwrap, value))
    return value._array if isinstance(value, StrictArray) else value


def wrapped_around(index: Any, shape: tuple[int, ...]) -> Any:
    """An index for NumPy, where integer arrays in it mean what they mean to CuPy: any multiple of a length more."""
    items = [unwrap(item) for item in (index if isinstance(index, tuple) else (index,))]
    items = [np.asarray(item) if isinstance(item, list) else item for item in items]
    takes = [axes_taken(item) for item in items]
    axis = 0
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray) and item.dtype.kind in "iu":
            items[i] = item % shape[axis]
        axis += len(shape) - sum(takes) if item is Ellipsis else takes[i]
    return tuple(items)


def axes_taken(item: Any) -> int:
    """How many axes an item of an index stands for, an ellipsis aside."""
    if isinstance(item, np.ndarray) and item.dtype.kind == "b":
        return item.ndim
    return int(item is not None and item is not Ellipsis)


def is_real(value: Any) -> bool:
    return isinstance(value, float | bool)


def wrap(result: Any, sources: tuple[StrictArray, ...]) -> Any:
    """NumPy's result on the device, scalars as 0-d arrays; an array that came in comes out the same."""
    if isinstance(result, list | tuple):
        return type(result)(wrap(item, sources) for item in result)
    if not isinstance(result, np.ndarray | np.generic):
        return result
    same = next((s for s in sources if s._array is result), None)
    return StrictArray(np.asarray(result), sources) if same is None else same


def call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    convert: Callable[[Any], Any] = unwrap,
    bound: tuple[StrictArray, ...] = (),
) -> Any:
    result = function(*map(convert, args), **{name: unwrap(value) for name, value in kwargs.items()})
    given = [item for a in args for item in (a if isinstance(a, list | tuple) else [a])]
    return wrap(result, (*bound, *[a for a in given if isinstance(a, StrictArray)]))


# ---- the namespace


class StrictUfunc:
    """A ufunc whose operands are strict arrays and Python scalars."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self.ufunc = ufunc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call(self.ufunc, args, kwargs, convert=operand)

    def at(self, array: StrictArray, index: Any, *values: Any) -> None:
        self.ufunc.at(operand(array), wrapped_around(index, array.shape), *map(operand, values))


class StrictNamespace:
    """`xp`: NumPy's names, for strict arrays."""

    ndarray = StrictArray
    lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=lambda x, *args: call(as_strided, (x, *args), {})))

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if cupy is not None and not hasattr(cupy, name):
            raise AttributeError(f"CuPy has no {name}")
        if isinstance(found, np.ufunc):
            return StrictUfunc(found)
        if isinstance(found, type | float | None.__class__):  # dtypes and constants
            return found
        if name in CREATION:
            return lambda *args, **kwargs: call(found, args, kwargs)
        if name in TRANSFER:
            return lambda data, *args, **kwargs: transfer(found, data, args, kwargs)
        if callable(found):
            always = {"mode": "wrap"} if name == "take" else {}
            return lambda *args, **kwargs: call(found, first_checked(name, args), kwargs | always)
        raise AttributeError(f"the strict namespace has no {name}")


def transfer(function: Callable[..., Any], data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StrictArray:
    """xp.asarray: a strict array itself where nothing changes, and a copy of anything else."""
    if isinstance(data, StrictArray):
        return wrap(function(data._array, *args, **kwargs), (data,))
    return StrictArray(np.array(function(data, *args, **kwargs)))


def first_checked(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, if the first that is not a string is a strict array or a sequence of nothing else."""
    first = next((a for a in args if not isinstance(a, str)), None)
    sequence = first if isinstance(first, list | tuple) and first else [first]
    if not all(isinstance(item, StrictArray) for item in sequence):
        raise TypeError(f"xp.{name}: expected strict arrays, got {first!r}")
    return args


def from_numpy(array: np.ndarray) -> StrictArray:
    return StrictArray(np.array(array))


def to_numpy(array: StrictArray) -> np.ndarray:
    return array._array.copy()


def compile(source: str) -> cuda_on_host.Module:
    return cuda_on_host.Module(source, operand)


strict_backend = register(
    Backend(
        "strict", StrictNamespace(), StrictArray, from_numpy, to_numpy, compile if cuda_on_host.can_compile() else None
    )
)
