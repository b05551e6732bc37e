"""Tensor's operators and methods: each is the op of its name. Reading on from here tells nothing new.

Ops are registered above this file, so each method looks its op up, by name, when it is called.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from .backend import Array, DTypeLike, backend_for, backend_of, device_names, to_numpy

if TYPE_CHECKING:
    from .graph import Tensor

functions: dict[str, Callable[..., Any]] = {}  # the public function of every op; @op adds it
Axis: TypeAlias = int | tuple[int, ...] | None

_comparisons = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


class TensorMethods:
    """What a Tensor can do beside being part of a graph."""

    __slots__ = ()
    _data: Array

    # ---- metadata and ways out of the graph

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return cast(tuple[int, ...], self._data.shape)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return cast(int, self._data.ndim)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return cast(int, self._data.size)

    @property
    def dtype(self) -> np.dtype:
        """What the elements are: NumPy's dtype of the array."""
        return cast(np.dtype, self._data.dtype)

    @property
    def device(self) -> str:
        """Where the array lives: "cpu" or "cuda"."""
        return backend_of(self._data).device

    @property
    def T(self) -> "Tensor":
        """The axes in reverse: a matrix transposed."""
        return cast("Tensor", functions["transpose"](self))

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self._data.item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array, outside the graph; it shares memory with a tensor on the host."""
        return to_numpy(self._data)

    def to(self, device_or_dtype: Any) -> "Tensor":
        """The same values on a device or in a dtype; differentiable. The tensor itself if nothing changes.

        Raises:
            DeviceError: a device that is not there.
            TypeError: neither a device nor a dtype.
        """
        if isinstance(device_or_dtype, str) and device_or_dtype in device_names():
            device = backend_for(device_or_dtype).device
            if device == self.device:
                return cast("Tensor", self)
            return cast("Tensor", functions["to_device"](self, device=device, source=self.device))
        try:
            dtype = np.dtype(device_or_dtype)
        except TypeError:
            dtype = None
        if dtype is None or device_or_dtype is None:  # which NumPy takes for float64
            raise TypeError(f"to: expected a dtype or a device (one of {device_names()}), got {device_or_dtype!r}")
        return self.astype(dtype)

    def astype(self, dtype: DTypeLike) -> "Tensor":
        """The same values in a dtype; the tensor itself where it has that already."""
        return cast("Tensor", self if self.dtype == dtype else functions["astype"](self, dtype=np.dtype(dtype)))

    def __float__(self) -> float:
        return float(self._data.item())

    def __int__(self) -> int:
        return int(self._data.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"expected an integer tensor as an index, got dtype {self.dtype}")
        return int(self._data.item())

    def __bool__(self) -> bool:
        return bool(self._data)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __repr__(self) -> str:
        body = np.array2string(to_numpy(self._data), separator=", ", prefix="Tensor(")
        flags = f", device={self.device!r}" * (self.device != "cpu")
        flags += ", requires_grad=True" * cast("Tensor", self).requires_grad
        return f"Tensor({body}, dtype={self.dtype}{flags})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: the values, in columns."""
        return {"text/plain": repr(self), "text/html": f"<pre>{escape(repr(self))}</pre>"}

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._exported("__dlpack__").__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._exported("np.asarray")
        if self.device != "cpu":
            raise TypeError(f"np.asarray of a tensor on {self.device!r}: copy it to the host first, with .numpy()")
        return np.array(array, dtype=dtype, copy=copy)

    def _exported(self, way: str) -> Array:
        if cast("Tensor", self).requires_grad:
            raise TypeError(f"{way} of a tensor that requires gradients would cut its graph; say .detach() or .data")
        return self._data

    # ---- NumPy's functions called on a tensor become ops, or raise

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        if method != "__call__":
            raise TypeError(
                f"np.{name}.{method} on a Tensor is not an op; see minigrad's reductions, mg.sum and others"
            )
        if name in _comparisons and not kwargs:
            return getattr(np, name)(*[x._data if isinstance(x, TensorMethods) else x for x in inputs])
        if name not in functions or kwargs:
            raise TypeError(
                f"np.{name} on a Tensor: minigrad has no such op"
                + (f" with {sorted(kwargs)}" if kwargs else "")
                + "; use mg's ops, or .data to leave the graph"
            )
        return functions[name](*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__
        if name not in functions:
            raise TypeError(
                f"np.{name} on a Tensor: minigrad has no such op; use mg's ops, or .data to leave the graph"
            )
        return functions[name](*args, **kwargs)

    # ---- operators: comparisons give plain boolean arrays

    def __add__(self, other: Any) -> "Tensor":
        return functions["add"](self, other)

    def __radd__(self, other: Any) -> "Tensor":
        return functions["add"](other, self)

    def __sub__(self, other: Any) -> "Tensor":
        return functions["subtract"](self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return functions["subtract"](other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return functions["multiply"](self, other)

    def __rmul__(self, other: Any) -> "Tensor":
        return functions["multiply"](other, self)

    def __truediv__(self, other: Any) -> "Tensor":
        return functions["divide"](self, other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return functions["divide"](other, self)

    def __pow__(self, other: Any) -> "Tensor":
        return functions["power"](self, other)

    def __rpow__(self, other: Any) -> "Tensor":
        return functions["power"](other, self)

    def __matmul__(self, other: Any) -> "Tensor":
        return functions["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return functions["matmul"](other, self)

    def __neg__(self) -> "Tensor":
        return functions["negative"](self)

    def __pos__(self) -> "Tensor":
        return cast("Tensor", self)

    def __abs__(self) -> "Tensor":
        return functions["absolute"](self)

    def _compared(self, other: Any, comparison: Callable[[Any, Any], Any]) -> Array:
        return comparison(self._data, other._data if isinstance(other, TensorMethods) else other)

    def __eq__(self, other: Any) -> Array:
        return self._compared(other, operator.eq)

    def __ne__(self, other: Any) -> Array:
        return self._compared(other, operator.ne)

    def __lt__(self, other: Any) -> Array:
        return self._compared(other, operator.lt)

    def __le__(self, other: Any) -> Array:
        return self._compared(other, operator.le)

    def __gt__(self, other: Any) -> Array:
        return self._compared(other, operator.gt)

    def __ge__(self, other: Any) -> Array:
        return self._compared(other, operator.ge)

    __hash__ = object.__hash__  # by identity: == compares elements

    def __getitem__(self, index: Any) -> "Tensor":
        return functions["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor can't be written to, its graph would not know; use mg.where(mask, new, old), "
            "mg.index_add(x, indices, values), or write to .data and so outside the graph"
        )

    def __iter__(self) -> Iterator["Tensor"]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(functions["unstack"](self))

    # ---- ops by name

    def negative(self) -> "Tensor":
        return functions["negative"](self)

    def absolute(self) -> "Tensor":
        return functions["absolute"](self)

    def sign(self) -> "Tensor":
        return functions["sign"](self)

    def exp(self) -> "Tensor":
        return functions["exp"](self)

    def expm1(self) -> "Tensor":
        return functions["expm1"](self)

    def log(self) -> "Tensor":
        return functions["log"](self)

    def log1p(self) -> "Tensor":
        return functions["log1p"](self)

    def sqrt(self) -> "Tensor":
        return functions["sqrt"](self)

    def square(self) -> "Tensor":
        return functions["square"](self)

    def sin(self) -> "Tensor":
        return functions["sin"](self)

    def cos(self) -> "Tensor":
        return functions["cos"](self)

    def tanh(self) -> "Tensor":
        return functions["tanh"](self)

    def sigmoid(self) -> "Tensor":
        return functions["sigmoid"](self)

    def relu(self) -> "Tensor":
        return functions["relu"](self)

    def softplus(self) -> "Tensor":
        return functions["softplus"](self)

    def add(self, other: Any) -> "Tensor":
        return functions["add"](self, other)

    def subtract(self, other: Any) -> "Tensor":
        return functions["subtract"](self, other)

    def multiply(self, other: Any) -> "Tensor":
        return functions["multiply"](self, other)

    def divide(self, other: Any) -> "Tensor":
        return functions["divide"](self, other)

    def power(self, other: Any) -> "Tensor":
        return functions["power"](self, other)

    def maximum(self, other: Any) -> "Tensor":
        return functions["maximum"](self, other)

    def minimum(self, other: Any) -> "Tensor":
        return functions["minimum"](self, other)

    def matmul(self, other: Any) -> "Tensor":
        return functions["matmul"](self, other)

    def outer(self, other: Any) -> "Tensor":
        return functions["outer"](self, other)

    def clip(self, min: Any = None, max: Any = None) -> "Tensor":
        return functions["clip"](self, min, max)

    def sum(self, *, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return functions["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, *, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return functions["mean"](self, axis=axis, keepdims=keepdims)

    def max(self, *, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return functions["max"](self, axis=axis, keepdims=keepdims)

    def min(self, *, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return functions["min"](self, axis=axis, keepdims=keepdims)

    def logsumexp(self, *, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return functions["logsumexp"](self, axis=axis, keepdims=keepdims)

    def var(self, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> "Tensor":
        return functions["var"](self, axis=axis, ddof=ddof, keepdims=keepdims)

    def softmax(self, *, axis: int = -1) -> "Tensor":
        return functions["softmax"](self, axis=axis)

    def log_softmax(self, *, axis: int = -1) -> "Tensor":
        return functions["log_softmax"](self, axis=axis)

    def cumsum(self, *, axis: int | None = None) -> "Tensor":
        return functions["cumsum"](self, axis=axis)

    def tensordot(self, other: Any, axes: Any = 2) -> "Tensor":
        return functions["tensordot"](self, other, axes)

    def reshape(self, *shape: Any) -> "Tensor":
        return functions["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> "Tensor":
        return functions["transpose"](self, axes[0] if len(axes) == 1 else axes or None)

    def swapaxes(self, axis1: int, axis2: int) -> "Tensor":
        return functions["swapaxes"](self, axis1, axis2)

    def moveaxis(self, source: Axis, destination: Axis) -> "Tensor":
        return functions["moveaxis"](self, source, destination)

    def expand_dims(self, axis: Axis) -> "Tensor":
        return functions["expand_dims"](self, axis)

    def squeeze(self, *, axis: Axis = None) -> "Tensor":
        return functions["squeeze"](self, axis=axis)

    def broadcast_to(self, shape: int | tuple[int, ...]) -> "Tensor":
        return functions["broadcast_to"](self, shape)

    def unstack(self, *, axis: int = 0) -> tuple["Tensor", ...]:
        return cast("tuple[Tensor, ...]", functions["unstack"](self, axis=axis))

    def split(self, indices_or_sections: int | Sequence[int], *, axis: int = 0) -> tuple["Tensor", ...]:
        return cast("tuple[Tensor, ...]", functions["split"](self, indices_or_sections, axis=axis))

    def pad(self, pad_width: Any, *, constant_values: float = 0) -> "Tensor":
        return functions["pad"](self, pad_width, constant_values=constant_values)

    def flip(self, *, axis: Axis = None) -> "Tensor":
        return functions["flip"](self, axis=axis)

    def tile(self, reps: int | tuple[int, ...]) -> "Tensor":
        return functions["tile"](self, reps)

    def getitem(self, index: Any) -> "Tensor":
        return functions["getitem"](self, index)

    def take(self, indices: Any, *, axis: int | None = None) -> "Tensor":
        return functions["take"](self, indices, axis=axis)

    def take_along_axis(self, indices: Any, axis: int) -> "Tensor":
        return functions["take_along_axis"](self, indices, axis)

    def index_add(self, indices: Any, values: Any, *, axis: int = 0) -> "Tensor":
        return functions["index_add"](self, indices, values, axis=axis)

    # ---- recurrent networks over a sequence, and a loss

    def rnn(self, *state_and_weights: Any, **options: Any) -> "tuple[Tensor, ...]":
        return cast("tuple[Tensor, ...]", functions["rnn"](self, *state_and_weights, **options))

    def lstm(self, *state_and_weights: Any, **options: Any) -> "tuple[Tensor, ...]":
        return cast("tuple[Tensor, ...]", functions["lstm"](self, *state_and_weights, **options))

    def gru(self, *state_and_weights: Any, **options: Any) -> "tuple[Tensor, ...]":
        return cast("tuple[Tensor, ...]", functions["gru"](self, *state_and_weights, **options))

    def gru_chung(self, *state_and_weights: Any, **options: Any) -> "tuple[Tensor, ...]":
        return cast("tuple[Tensor, ...]", functions["gru_chung"](self, *state_and_weights, **options))

    def cross_entropy(self, target: Any, *, axis: int = -1) -> "Tensor":
        return functions["cross_entropy"](self, target, axis=axis)

    # ---- images

    def conv2d(self, weight: Any, bias: Any = None, **options: Any) -> "Tensor":
        return functions["conv2d"](self, weight, bias, **options)

    def conv_transpose2d(self, weight: Any, bias: Any = None, **options: Any) -> "Tensor":
        return functions["conv_transpose2d"](self, weight, bias, **options)

    def conv2d_weight(self, y: Any, kernel: Any, **options: Any) -> "Tensor":
        return functions["conv2d_weight"](self, y, kernel, **options)

    def max_pool2d(self, kernel: Any, **options: Any) -> "tuple[Tensor, Tensor]":
        return cast("tuple[Tensor, Tensor]", functions["max_pool2d"](self, kernel, **options))

    def max_unpool2d(self, indices: Any, size: Any) -> "Tensor":
        return functions["max_unpool2d"](self, indices, size)

    def avg_pool2d(self, kernel: Any, **options: Any) -> "Tensor":
        return functions["avg_pool2d"](self, kernel, **options)

    def avg_unpool2d(self, size: Any, kernel: Any, **options: Any) -> "Tensor":
        return functions["avg_unpool2d"](self, size, kernel, **options)

    def affine_grid(self, size: Any, *, align_corners: bool = False) -> "Tensor":
        return functions["affine_grid"](self, size, align_corners=align_corners)

    def grid_sample(self, grid: Any, **options: Any) -> "Tensor":
        return functions["grid_sample"](self, grid, **options)

    def batch_norm(self, weight: Any = None, bias: Any = None, **options: Any) -> "tuple[Tensor, ...]":
        return cast("tuple[Tensor, ...]", functions["batch_norm"](self, weight, bias, **options))
