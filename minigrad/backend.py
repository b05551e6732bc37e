"""Arrays, devices and random generators: NumPy and CuPy behind one small file, the only one that names cupy.

An array library is a `Backend` record. NumPy is registered here; CuPy registers itself on the first request for
"cuda". Everything else in minigrad asks an array for its namespace, `xp`, and calls NumPy's names on it.
"""

import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # an array of any backend; NumPy and CuPy share no useful static type
DTypeLike: TypeAlias = Any

if TYPE_CHECKING:
    from numpy.random import Generator


class DeviceError(RuntimeError):
    """A device that is not there, or arrays that live on different ones."""


@dataclass(frozen=True)
class Backend:
    """One array library: its device's name, its namespace, its array type and the two ways across.

    Where it runs kernels, `compile` makes of CUDA C what has `get_function(name)`, to be called as (grid, block, args).
    """

    device: str
    xp: Any
    array_type: type
    from_numpy: Callable[[np.ndarray], Array]
    to_numpy: Callable[[Array], np.ndarray]
    compile: Callable[[str], Any] | None = None


_by_device: dict[str, Backend] = {}
_by_type: dict[type, Backend] = {}


def register(backend: Backend) -> Backend:
    """Make a backend known by its device name and by the type of its arrays."""
    _by_device[backend.device] = _by_type[backend.array_type] = backend
    return backend


numpy_backend = register(Backend("cpu", np, np.ndarray, np.asarray, np.asarray))


def _load_cupy() -> Backend:
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            "device 'cuda' needs CuPy, which is not installed: pip install cupy-cuda13x "
            "(or cupy-cuda12x for a CUDA 12 driver), or stay on device 'cpu'"
        ) from error
    try:
        int(cupy.arange(3).sum())  # a device count says nothing: only a kernel that ran does
    except Exception as error:  # CuPy raises driver, compiler and loader errors of many unrelated types
        raise DeviceError(
            f"device 'cuda': CuPy {cupy.__version__} is installed, but a first kernel did not run "
            f"({type(error).__name__}: {error}); check the NVIDIA driver, or stay on device 'cpu'"
        ) from error

    def compile(source: str) -> Any:
        return cupy.RawModule(code=source, options=("--std=c++17",))

    return register(Backend("cuda", cupy, cupy.ndarray, cupy.asarray, cupy.asnumpy, compile))


def backend_for(device: str) -> Backend:
    """The backend of a device name; CuPy is imported here, on the first request for it."""
    if device in _by_device:
        return _by_device[device]
    if device == "cuda":
        return _load_cupy()
    raise DeviceError(f"device: expected one of {device_names()}, got {device!r}")


def device_names() -> list[str]:
    """The devices that can be asked for."""
    return sorted({*_by_device, "cuda"})


def backend_of(array: Array) -> Backend:
    """The backend an array belongs to; NumPy and Python scalars count as NumPy's."""
    backend = _by_type.get(type(array))
    if backend is not None:
        return backend
    if _is_cupy(array):
        return _load_cupy()
    if isinstance(array, np.ndarray | np.generic | int | float | complex):
        return numpy_backend
    raise TypeError(f"expected an array, got {type(array).__name__}")


def is_array(value: object) -> bool:
    """Whether a value is an array of some backend; Python and NumPy scalars are not."""
    return type(value) in _by_type or isinstance(value, np.ndarray) or _is_cupy(value)


def _is_cupy(value: object) -> bool:
    """Whether CuPy made a value, which may be before anyone asked for "cuda" here."""
    return type(value).__module__.split(".")[0] == "cupy" and hasattr(value, "shape")


def move(array: Array, device: str) -> Array:
    """The same values on a device; the array itself where it is there already."""
    source, target = backend_of(array), backend_for(device)
    return array if source is target else target.from_numpy(source.to_numpy(array))


def to_numpy(array: Array) -> np.ndarray:
    """The same values as a NumPy array; the array itself where it is one."""
    return backend_of(array).to_numpy(array)


def owner(array: Array) -> Array:
    """The array that owns the memory which `array` shows: itself, or the one at the end of its views."""
    kind = type(array)
    while type(base := getattr(array, "base", None)) is kind:
        array = base
    return array


# ---------------------------------------------------------------------- dtypes

_default_dtype: np.dtype = np.dtype(np.float32)


def get_default_dtype() -> np.dtype:
    """The dtype that Python floats become; float32 unless `set_default_dtype` changed it."""
    return _default_dtype


def set_default_dtype(dtype: DTypeLike) -> None:
    """Set the dtype that Python floats become, in the whole process: in every thread and task.

    Args:
        dtype: a floating-point dtype, or its name: "float64".

    Raises:
        TypeError: the dtype is not a floating-point one.

    >>> set_default_dtype("float32")
    """
    global _default_dtype
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"set_default_dtype: expected a floating-point dtype, got {np.dtype(dtype)}")
    _default_dtype = np.dtype(dtype)


# ---------------------------------------------------------------------- random numbers

# Drawn on the host by a counter-based generator, then moved: the same numbers on every device, and a state
# that can be saved, which CuPy's own generators have not.


def generator(seed: int | None = None) -> "Generator":
    """A new random generator: NumPy's `Generator` over Philox, seeded by `seed` (None: from the system)."""
    return np.random.Generator(np.random.Philox(seed))


class _Default:
    """The default generator of one context: of a thread, or of an asyncio task.

    A context is copied with all that is in it, so a new task finds the generator of the one that made it. A token can
    be reset in its own context alone: this tells whose generator it is.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.generator, self._token = seed, generator(seed), _here.set(None)

    def is_inherited(self) -> bool:
        """Whether the present context is a copy of the one that this was made in."""
        token = _here.set(None)
        try:
            _here.reset(self._token)
        except (ValueError, RuntimeError):  # it belongs elsewhere; there another is taking its place right now
            return True
        self._token = token
        return False


_default: contextvars.ContextVar[_Default | None] = contextvars.ContextVar("default generator", default=None)
_here: contextvars.ContextVar[None] = contextvars.ContextVar("here")


def seed(n: int) -> None:
    """Restart the default generator of this thread or asyncio task from seed `n`.

    Tasks that are made later begin from the same seed, each with a generator of its own. A new thread begins from
    seed 0, unless it runs in a copy of this context, as that of `asyncio.to_thread` does.

    >>> seed(0)
    """
    _default.set(_Default(n))


def default_generator() -> "Generator":
    """The generator that is used where none is given: this thread's or asyncio task's own.

    It begins from the last seed that was set here, or else where this context was copied from; or else from seed 0.
    What other threads and tasks draw makes no difference to it.
    """
    default = _default.get()
    if default is None or default.is_inherited():
        default = _Default(0 if default is None else default.seed)
        _default.set(default)
    return default.generator
