"""minigrad.kernels: every source compiles for CUDA devices, and arrays of more than one block come out right.

What each kernel computes is tested with its op, on the devices that run kernels.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels
from minigrad.adding import add_at
from minigrad.backend import backend_for, generator, to_numpy
from minigrad.methods import functions

SOURCES = sorted(path.stem for path in Path(kernels.__file__).parent.glob("*.cu"))
FLOAT, DOUBLE = kernels.REALS


@pytest.mark.parametrize("name", SOURCES)
def test_no_source_adds_by_atomics(name: str) -> None:
    """Their order, and so the last bits of a sum, would change from run to run."""
    assert not re.search(r"\batomic\w*\s*\(", (Path(kernels.__file__).parent / f"{name}.cu").read_text())


# ---- NVRTC, CUDA's compiler, which needs no device


class Nvrtc:
    """The library of the package nvidia-cuda-nvrtc."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))

    def compile(self, source: str, architecture: str) -> str:
        """The PTX of a source; SyntaxError with the compiler's log where it has mistakes."""
        program = ctypes.c_void_p()
        assert not self.library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
        options = [b"--std=c++17", f"--gpu-architecture={architecture}".encode()]
        failed = self.library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        text = self.read(program, "ProgramLog" if failed else "PTX")
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        if failed:
            raise SyntaxError(text)
        return text

    def read(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        assert not getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        assert not getattr(self.library, f"nvrtcGet{what}")(program, text)
        return text.value.decode()


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    try:
        files = importlib.metadata.files("nvidia-cuda-nvrtc") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nvidia-cuda-nvrtc is not installed")
    return Nvrtc(next(Path(file.locate()) for file in files if file.name.startswith("libnvrtc.so")))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE], ids=str)
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_compiles_and_floats_stay_floats(
    name: str, dtype: np.dtype, architecture: str, nvrtc: Nvrtc
) -> None:
    ptx = nvrtc.compile(kernels.source(name, dtype), architecture)
    assert f".target {architecture}" in ptx
    assert bool(re.search(r"\.f64\b", ptx)) == (dtype == DOUBLE)
    assert not re.search(r"\b(atom|red)\.", ptx)  # sums would depend on who comes first


@pytest.mark.parametrize("mistake", ["real x = 1", "__global__ void f() { undeclared(); }"])
def test_a_mistake_in_a_source_is_reported(mistake: str, nvrtc: Nvrtc) -> None:
    with pytest.raises(SyntaxError, match=r"kernels\.cu\(\d+\): error"):
        nvrtc.compile(f"{kernels.source('losses', FLOAT)}\n{mistake}", "sm_80")


# ---- launches


@pytest.fixture
def xp(device: str) -> Any:
    """The namespace of a device that runs kernels."""
    backend = backend_for(device)
    if backend.compile is None:
        pytest.skip(f"device {device} runs no kernels")
    return backend.xp


@pytest.mark.parametrize(
    "wrong",
    [
        lambda xp: xp.zeros((3, 2), np.float32).T,
        lambda xp: xp.zeros(6, np.float32)[::2],
        lambda xp: xp.zeros(3, np.float64),
        lambda xp: xp.zeros(3, np.int32),
    ],
)
def test_arrays_that_kernels_would_misread_are_refused(wrong: Callable[[Any], Any], xp: Any) -> None:
    found = kernels.kernels_for(xp.zeros(1, np.float32), "indexing")
    assert found is not None
    with pytest.raises(TypeError, match=r"add_rows: expected contiguous arrays of float32 or int64 or bool, got"):
        found.launch("add_rows", 0, wrong(xp))


def test_other_floats_have_no_kernels(xp: Any) -> None:
    assert kernels.kernels_for(xp.zeros(1, np.float16), "losses") is None


# ---- more than one block of threads; what is launched for less is tested with the ops


def equal_on(device: str, f: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Outputs and gradients are those of the CPU, and the same bits when taken again."""

    def run(device: str) -> list[np.ndarray]:
        xs = [mg.as_tensor(x, requires_grad=True, device=device) for x in arrays]
        outputs = f(*xs)
        weights = [mg.as_tensor(generator(i).normal(size=y.shape), device=device) for i, y in enumerate(outputs)]
        first = mg.grad(list(outputs), xs, weights, retain_graph=True)
        second = mg.grad(list(outputs), xs, weights)
        for g, same in zip(first, second, strict=True):
            np.testing.assert_array_equal(g.numpy(), same.numpy())
        return [y.numpy() for y in (*outputs, *second)]

    once, again = run(device), run(device)
    for got, same, expected in zip(once, again, run("cpu"), strict=True):
        np.testing.assert_array_equal(got, same)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize(
    ("name", "blocks", "states", "options"),
    [("rnn", 1, 1, {}), ("rnn", 1, 1, {"nonlinearity": "relu"}), ("lstm", 4, 2, {}), ("gru", 3, 1, {})],
)
def test_recurrences_of_several_blocks(
    name: str, blocks: int, states: int, options: dict[str, Any], value: float, over: bool, device: str
) -> None:
    T, B, D, H = 3, 5, 2, kernels.BLOCK // 3
    rows, lengths = blocks * H, np.array([1, 3, 2, 1, 3])
    shapes = (T, B, D), *[(B, H)] * states, (rows, D), (rows, H), (rows,), (rows,)
    arrays = [generator(i).normal(size=(*shape[:-1], 2 * shape[-1]), scale=0.3) for i, shape in enumerate(shapes)]
    arrays[0][1, 2, 0] = value
    running = np.asfortranarray(np.arange(T)[:, None, None] < lengths[:, None]) if over else None

    def f(*xs: mg.Tensor) -> tuple[mg.Tensor, ...]:
        hs, *final = functions[name](*[x[..., ::2] for x in xs], running=running, **options)  # with gaps in memory
        if over:  # a state that stays is not even rounded
            np.testing.assert_array_equal(final[0].numpy(), hs.numpy()[lengths - 1, np.arange(B)])
        return hs, *final

    equal_on(device, f, *arrays)


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("V", [1, kernels.BLOCK - 1, kernels.BLOCK, 2 * kernels.BLOCK + 3])
def test_cross_entropy_of_rows_longer_than_a_block(V: int, value: float, device: str) -> None:
    x, target = generator(0).normal(size=(2, 3, 2 * V)), generator(1).integers(V, size=(3, 2), dtype=np.int32).T
    x[1, 2, 0] = value
    equal_on(device, lambda x: [mg.cross_entropy(y[..., ::2], target) for y in (x, 1000 * x)], x)


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("columns", [(), (slice(1, 2),), (slice(None, None, -2),)])
def test_what_is_added_at_one_place_is_summed_in_order(columns: tuple[slice, ...], layout: Any, xp: Any) -> None:
    """To the last bit, and so whatever the threads do."""
    rows, sums = generator(0).integers(-7, 7, size=(40, 10)), np.zeros((7, 3))
    values = generator(1).normal(size=sums[rows, *columns].shape)
    np.add.at(sums, (rows, *columns), values)
    array = xp.asarray(np.ones((7, 3), order=layout))
    add_at(array, (xp.asarray(rows), *columns), xp.asarray(values))
    np.testing.assert_array_equal(to_numpy(array), 1 + sums)
