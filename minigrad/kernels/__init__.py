"""CUDA kernels: how a `.cu` file of this folder is compiled and launched, where a backend can (`Backend.compile`).

A source is written once, for `real`, which is float or double; its whole numbers are `integer`, of 64 bits. Its
kernels take pointers to contiguous arrays, and null for a missing one, and run in blocks of BLOCK threads.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, backend_of, is_array

BLOCK = 256  # a power of two, as sums over a block need

REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
NULL = np.uintp(0)  # CuPy makes another address of None


def source(name: str, dtype: np.dtype) -> str:
    """The CUDA C of a file of this folder, for floats of a dtype."""
    text = Path(__file__).with_name(f"{name}.cu").read_text(encoding="utf-8")
    return f"using real = {REALS[dtype]};\nusing integer = long long;\nconstexpr int BLOCK = {BLOCK};\n{text}"


class Kernels:
    """The kernels of one file, compiled for floats of one dtype."""

    def __init__(self, compile: Callable[[str], Any], name: str, dtype: np.dtype) -> None:
        self._module = compile(source(name, dtype))
        self._dtypes = dtype, np.dtype(np.int64), np.dtype(np.bool)

    def prepare(self, kernel: str, threads: int, *args: Any) -> Callable[..., None]:
        """What launches a kernel, given the rest of its arguments, which are integers.

        A launch waits for nothing. With no threads it does nothing.

        Args:
            kernel: its name in the file.
            threads: how many it needs; it is run by whole blocks.
            args: arrays, integers, None for a missing array.

        Raises:
            TypeError: an array that is not contiguous, or of a dtype that no kernel of this file takes.
        """
        function = self._module.get_function(kernel)
        grid, block = (-(-threads // BLOCK),), (BLOCK,)
        given = tuple([self._argument(kernel, value) for value in args])

        def launch(*rest: int) -> None:
            if threads:
                function(grid, block, (*given, *map(np.int64, rest)))

        return launch

    def launch(self, kernel: str, threads: int, *args: Any) -> None:
        """Launch a kernel once; see `prepare`."""
        self.prepare(kernel, threads, *args)()

    def _argument(self, kernel: str, value: Any) -> Any:
        if not is_array(value):
            return NULL if value is None else np.int64(value)
        if value.dtype not in self._dtypes or not value.flags.c_contiguous:
            raise TypeError(
                f"{kernel}: expected contiguous arrays of {' or '.join(map(str, self._dtypes))}, got one of dtype "
                f"{value.dtype}, shape {value.shape} and strides {value.strides}; xp.ascontiguousarray makes one"
            )
        return value


_compiled = functools.cache(Kernels)


def kernels_for(array: Array, name: str) -> Kernels | None:
    """The kernels of a file for the dtype of an array; None where the backend or the dtype has none."""
    compile = backend_of(array).compile
    return None if compile is None or array.dtype not in REALS else _compiled(compile, name, array.dtype)
