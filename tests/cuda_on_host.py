"""CUDA C compiled for the host by g++, so that kernels run, and can be wrong, where there is no GPU.

A launch takes what the kernel's signature says, to the letter: a pointer of another type, an array with gaps, a
missing argument or an impossible grid raises.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SHIM = Path(__file__).with_suffix(".h")
FLAGS = ["-std=c++17", "-O1", "-shared", "-fPIC"]
WARNINGS = ["-Werror", "-Wall", "-Wextra", "-Wdouble-promotion", "-Wfloat-conversion"]
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
PARAMETER = re.compile(r"(const )?(real|integer|bool)(\*?) (\w+)")
THREADS = 1024  # the most of a block


class Parameter(NamedTuple):
    """One parameter of a kernel."""

    constant: str
    type: str
    pointer: str
    name: str


def can_compile() -> bool:
    return shutil.which("g++") is not None


class Module:
    """A compiled source, as CuPy's RawModule; `unwrap` makes NumPy arrays of the arrays that a launch gets."""

    def __init__(self, source: str, unwrap: Callable[[Any], Any]) -> None:
        self.unwrap = unwrap
        self.dtypes = {"integer": np.dtype(np.int64), "bool": np.dtype(np.bool)}
        self.dtypes["real"] = np.dtype(np.float32 if "using real = float;" in source else np.float64)
        self.kernels = {
            name: [Parameter(*PARAMETER.fullmatch(text.strip()).groups("")) for text in parameters.split(",")]
            for name, parameters in KERNEL.findall(source)
        }
        self.library = build(source, self.kernels)

    def get_function(self, name: str) -> Callable[..., None]:
        parameters = self.kernels[name]
        function = self.library[f"launch_{name}"]
        function.restype = ctypes.c_bool

        def launch(grid: tuple[int], block: tuple[int], args: tuple[Any, ...]) -> None:
            if not (len(grid) == len(block) == 1 and 0 < grid[0] < 1 << 31 and 0 < block[0] <= THREADS):
                raise ValueError(f"{name}: no grid of {grid} blocks of {block} threads")
            if len(args) != len(parameters):
                raise TypeError(f"{name}: expected {len(parameters)} arguments, got {len(args)}")
            values = [self.argument(name, *pair) for pair in zip(parameters, args, strict=True)]
            if not function(ctypes.c_uint(grid[0]), ctypes.c_uint(block[0]), *values):
                raise RuntimeError(f"{name}: some threads of a block ended while others waited at a barrier")

        return launch

    def argument(self, kernel: str, parameter: Parameter, value: Any) -> Any:
        """An argument as C takes it."""
        if parameter.pointer and type(value) is np.uintp and value == 0:
            return ctypes.c_void_p(None)
        dtype, array = self.dtypes[parameter.type], self.unwrap(value)
        if isinstance(array, np.ndarray) != bool(parameter.pointer) or getattr(array, "dtype", None) != dtype:
            raise TypeError(f"{kernel}: expected {parameter.name} to be {parameter.type}{parameter.pointer}")
        if not parameter.pointer:
            return ctypes.c_longlong(int(array))
        if not array.flags.c_contiguous or not (parameter.constant or array.flags.writeable):
            raise TypeError(f"{kernel}: expected {parameter.name} to be contiguous, and writeable unless const")
        return ctypes.c_void_p(array.ctypes.data)


def build(source: str, kernels: dict[str, list[Parameter]]) -> ctypes.CDLL:
    """The library with a function `launch_...` for each kernel."""
    launches = []
    for name, parameters in kernels.items():
        signature = ", ".join(f"{p.constant}{p.type}{p.pointer} {p.name}" for p in parameters)
        given = ", ".join(p.name for p in parameters)
        barriers = str("__syncthreads" in source).lower()
        launches.append(
            f'extern "C" bool launch_{name}(unsigned grid, unsigned block, {signature})\n'
            f"{{ return run(grid, block, {barriers}, [=] {{ {name}({given}); }}); }}\n"
        )
    with tempfile.TemporaryDirectory() as folder:  # once loaded, the library's file may go
        path = Path(folder) / "kernels.so"
        subprocess.run(
            ["g++", *FLAGS, *WARNINGS, "-include", str(SHIM), "-x", "c++", "-", "-o", str(path)],
            input=source + "\n" + "\n".join(launches),
            text=True,
            check=True,
        )
        return ctypes.CDLL(str(path))
