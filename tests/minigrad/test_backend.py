"""minigrad.backend: devices and their errors, who owns memory, the default dtype, random generators."""

import asyncio
import contextvars
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backend import backend_for, backend_of, is_array, move, owner, to_numpy

from .. import training


@pytest.fixture
def default_dtype() -> Iterator[None]:
    """Puts the default dtype back."""
    before = mg.get_default_dtype()
    yield
    mg.set_default_dtype(before)


# ---- devices


def test_a_request_for_cuda_without_cuda_is_one_clear_error() -> None:
    try:
        backend_for("cuda")
    except mg.DeviceError as error:
        message = str(error)
    else:
        pytest.skip("a CUDA device is here")
    assert "device 'cuda'" in message
    assert "stay on device 'cpu'" in message
    x = mg.tensor([1.0])
    for ask in (
        lambda: x.to("cuda"),
        lambda: mg.tensor([1.0], device="cuda"),
        lambda: mg.as_tensor([1.0], device="cuda"),
    ):
        with pytest.raises(mg.DeviceError, match="device 'cuda'"):
            ask()
    assert (x + 1).item() == 2  # everything else works


@pytest.mark.parametrize(
    ("before", "message"),
    [
        pytest.param("sys.modules['cupy'] = None", "needs CuPy, which is not installed: pip install", id="no CuPy"),
        pytest.param(
            "os.environ['CUDA_VISIBLE_DEVICES'] = ''",
            "a first kernel did not run .*; check the NVIDIA driver, or stay on device 'cpu'",
            id="no driver",
            marks=pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed"),
        ),
    ],
)
def test_without_cupy_or_a_driver_all_but_cuda_works(before: str, message: str) -> None:
    """Training, which imports no CuPy; then the error, in which nothing of CuPy's comes out."""
    code = f"""if True:
        import os, runpy, sys
        {before}
        runpy.run_path({training.__file__!r}, run_name="__main__")
        assert sys.modules.get("cupy") is None
        import minigrad as mg
        for _ in range(2):
            try:
                mg.tensor([1.0], device="cuda")
            except mg.DeviceError as error:
                print(error)
        print((mg.tensor([1.0]) + 1).item())
    """
    environment = os.environ | {"PYTHONPATH": str(Path(mg.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    first, second, value = done.stdout.splitlines()[-3:]
    assert re.match(f"device 'cuda'.*{message}", first)
    assert (second, value) == (first, "2.0")


def test_an_unknown_device_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(mg.DeviceError, match=r"expected one of \['cpu', 'cuda'.*got 'tpu'"):
        mg.tensor([1.0], device="tpu")


def test_moving_there_and_back_keeps_the_values_and_the_dtype(device: str) -> None:
    for dtype in ("float16", "float32", "float64", "int64", "bool"):
        there = move(np.array([[0, 1], [1, 0]], dtype), device)
        assert backend_of(there).device == device
        assert there.dtype == dtype
        np.testing.assert_array_equal(to_numpy(there), [[0, 1], [1, 0]])
        assert move(there, device) is there


def test_only_arrays_are_arrays(device: str) -> None:
    assert is_array(move(np.zeros(2), device))
    for value in (1, 1.0, True, np.float32(1), [1.0], None, "1"):
        assert not is_array(value)
    with pytest.raises(TypeError, match="expected an array, got str"):
        backend_of("1")


def test_the_owner_of_a_view_is_the_array_it_shows(device: str) -> None:
    array = move(np.zeros((2, 3)), device)
    base = owner(array)
    for view in (array, array.T, array[0], array.reshape(-1), array[:, None].T[0:1]):
        assert owner(view) is base
    assert owner(array.copy()) is not base


# ---- the default dtype


@pytest.mark.usefixtures("default_dtype")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", np.float64, np.dtype("float64")])
def test_python_floats_take_the_default_dtype(dtype: object) -> None:
    mg.set_default_dtype(dtype)
    assert mg.get_default_dtype() == dtype
    assert mg.tensor([1.0, 2.0]).dtype == dtype
    assert mg.tensor(np.zeros(1, "float32")).dtype == "float32"
    assert mg.tensor([1]).dtype == "int64"
    assert (mg.tensor([1]) / 2).dtype == dtype
    assert mg.tensor([1]).mean().dtype == dtype


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex128"])
def test_the_default_dtype_is_a_floating_point_one(dtype: str) -> None:
    before = mg.get_default_dtype()
    with pytest.raises(TypeError, match=f"expected a floating-point dtype, got {dtype}"):
        mg.set_default_dtype(dtype)
    assert mg.get_default_dtype() == before


# ---- random numbers


@given(seed=st.integers(0, 2**64))
def test_a_seed_determines_the_numbers(seed: int) -> None:
    first, second = mg.generator(seed), mg.generator(seed)
    np.testing.assert_array_equal(first.random(5), second.random(5))
    mg.seed(seed)
    np.testing.assert_array_equal(mg.default_generator().random(5), mg.generator(seed).random(5))


def test_generators_without_a_seed_differ() -> None:
    assert mg.generator().integers(2**62) != mg.generator().integers(2**62)


def draws(n: int) -> list[float]:
    """What the default generator gives next."""
    return mg.default_generator().random(n).tolist()


def stream(seed: int, n: int) -> list[float]:
    """What it should give, from a seed on."""
    return mg.generator(seed).random(n).tolist()


def test_each_thread_has_a_default_generator_of_its_own() -> None:
    mg.seed(1)
    before = mg.default_generator()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        drawn = [thread.submit(draws, 2).result() for thread in (one, other, one)]
    assert drawn[1] == stream(0, 2)  # from seed 0, whatever the others drew
    assert drawn[0] + drawn[2] == stream(0, 4)
    assert mg.default_generator() is before


# Who draws: 0, the first context; 1 and 2, two copies of it; 3, a copy of the first copy.
SEEDING = st.one_of(st.none(), st.integers(0, 3))


@given(turns=st.lists(st.tuples(st.integers(0, 3), SEEDING), max_size=12), first=SEEDING)
def test_copies_of_a_context_draw_from_the_last_seed_as_if_alone(
    turns: list[tuple[int, int | None]], first: int | None
) -> None:
    """Contexts are what asyncio gives to tasks; here they take turns in any order, and seed or draw."""
    contexts = [contextvars.Context()]
    if first is not None:
        contexts[0].run(mg.seed, first)
    contexts += [contexts[0].copy() for _ in range(2)]
    contexts.append(contexts[1].copy())
    position = [(first or 0, 0) for _ in contexts]
    for who, new in turns:
        if new is None:
            seed, drawn = position[who]
            assert contexts[who].run(draws, 1) == stream(seed, drawn + 1)[drawn:]
            position[who] = seed, drawn + 1
        else:
            contexts[who].run(mg.seed, new)
            position[who] = new, 0


def test_each_task_has_a_default_generator_of_its_own() -> None:
    async def draw(seed: int | None) -> list[float]:
        if seed is not None:
            mg.seed(seed)
        drawn = []
        for _ in range(3):
            drawn += draws(1)
            await asyncio.sleep(0)
        return drawn

    async def main() -> None:
        assert draws(2) == stream(5, 2)  # what was seeded outside holds
        assert await asyncio.gather(draw(None), draw(6), draw(None)) == [stream(seed, 3) for seed in (5, 6, 5)]
        assert await asyncio.to_thread(draws, 3) == stream(5, 3)
        assert draws(2) == stream(5, 4)[2:]

    mg.seed(5)
    assert draws(1) == stream(5, 1)
    asyncio.run(main())
    assert draws(1) == stream(5, 2)[1:]


def test_tasks_in_one_context_share_its_generator() -> None:
    """The cells of a notebook are such tasks: each goes on where the one before stopped."""

    async def cell() -> list[float]:
        return draws(2)

    async def main() -> None:
        mg.seed(7)
        context = contextvars.copy_context()
        drawn = [x for _ in range(3) for x in await asyncio.create_task(cell(), context=context)]
        assert drawn == stream(7, 6)

    asyncio.run(main())


def test_a_state_that_is_put_back_gives_the_same_numbers() -> None:
    mg.seed(3)
    draws(5)
    saved = mg.default_generator().bit_generator.state
    drawn = draws(5)
    mg.seed(4)
    mg.default_generator().bit_generator.state = saved
    assert draws(5) == drawn
