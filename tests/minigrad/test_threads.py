"""minigrad.threads: parts and their order, BLAS while they are worked on, nesting, errors, forks."""

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from minigrad.multiplying import FEW, LARGE, product
from minigrad.threads import ALONE, PARTS, WORTH, in_parts, one_blas_thread, shared


def blas_threads() -> int:
    return max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=0)


@pytest.fixture(autouse=True)
def two_threads() -> contextlib.AbstractContextManager[None]:
    if not blas_threads():
        pytest.skip("NumPy's BLAS does not tell how many threads it takes")
    with threadpool_limits(2, user_api="blas"):
        yield


@given(st.integers(0, 40), st.integers(0, 3 * WORTH))
def test_parts_are_all_there_in_their_order_and_no_more_than_they_are_worth(N: int, cost: int) -> None:
    found = shared(np, N, cost, lambda part: list(range(N))[part])
    assert [i for part in found for i in part] == list(range(N))
    assert len(found) <= max(1, min(PARTS, N, N * cost // WORTH))


def test_two_threads_work_at_once_and_blas_takes_one_in_each() -> None:
    meeting = threading.Barrier(2, timeout=60)
    inside = shared(np, 2, WORTH, lambda part: (meeting.wait(), threading.get_ident(), blas_threads()))
    assert len({thread for _, thread, _ in inside}) == 2
    assert [threads for *_, threads in inside] == [1, 1]
    assert blas_threads() == 2


def test_with_one_thread_all_is_done_by_the_caller() -> None:
    with threadpool_limits(1, user_api="blas"):
        assert set(shared(np, 8, WORTH, lambda part: threading.get_ident())) == {threading.get_ident()}


def test_parts_do_not_depend_on_threads() -> None:
    def parts() -> list[slice]:
        return shared(np, 13, WORTH, lambda part: part)

    two = parts()
    with threadpool_limits(1, user_api="blas"):
        assert parts() == two


def test_who_calls_while_others_share_works_alone() -> None:
    def outer(part: slice) -> set[tuple[int, int]]:
        here = threading.get_ident(), 1
        return {here, *shared(np, 8, WORTH, lambda part: (threading.get_ident(), blas_threads()))}

    assert [len(threads) for threads in shared(np, 8, WORTH, outer)] == [1] * 8
    assert blas_threads() == 2


def test_an_error_comes_through_and_leaves_nothing_behind() -> None:
    def fails(part: slice) -> None:
        raise ValueError(f"part {part.start}")

    for _ in range(3):
        with pytest.raises(ValueError, match="part"):
            shared(np, 2, WORTH, fails)
    assert blas_threads() == 2
    assert shared(np, 2, WORTH, lambda part: part.start) == [0, 1]


def test_an_error_and_the_arrays_die_with_their_last_handle() -> None:
    def dies(part: slice) -> np.ndarray:
        raise ValueError("no")

    gc.disable()
    try:
        array = np.zeros(10)
        alive = weakref.ref(array)
        shared(np, 2, WORTH, lambda part, array=array: array[part].sum())
        with contextlib.suppress(ValueError):
            shared(np, 2, WORTH, lambda part, array=array: dies(part))
        del array
        assert alive() is None
    finally:
        gc.enable()


INTERRUPTED = """
import signal, sys, numpy as np
from minigrad.threads import WORTH, shared
from threadpoolctl import threadpool_info, threadpool_limits

threadpool_limits(2, user_api="blas")
before = [library["num_threads"] for library in threadpool_info()]
x = np.ones((8, 256, 256), np.float32)
caught = 0

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
for i in range(200):
    signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + i % 20))
    try:
        while True:
            shared(np, 8, WORTH, lambda part: x[part] @ x[part])
    except KeyboardInterrupt:
        caught += 1
signal.setitimer(signal.ITIMER_REAL, 0)
inside = shared(np, 8, WORTH, lambda part: [library["num_threads"] for library in threadpool_info()])
after = [library["num_threads"] for library in threadpool_info()]
print(caught, {1, *sum(inside, [])}, after == before)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that interrupts")
def test_an_interrupt_at_any_moment_leaves_all_in_order() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "200 {1} True\n", done.stdout + done.stderr


def test_threads_compute_under_the_callers_error_state() -> None:
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        shared(np, 2, WORTH, lambda part: np.ones(1000) / np.zeros(1000))
    with np.errstate(divide="ignore"):
        shared(np, 2, WORTH, lambda part: np.ones(1000) / np.zeros(1000))


def test_one_blas_thread_nests() -> None:
    with one_blas_thread() as outside:
        with one_blas_thread() as still:
            assert (outside, still, blas_threads()) == (2, 2, 1)
        assert blas_threads() == 1
    assert blas_threads() == 2


def in_a_fork() -> None:
    same = shared(np, 8, WORTH, lambda part: part.start) == list(range(8))
    os._exit(0 if same else 1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads is what is tested
def test_a_fork_begins_with_threads_of_its_own() -> None:
    shared(np, 8, WORTH, lambda part: None)
    child = multiprocessing.get_context("fork").Process(target=in_a_fork)
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_in_parts_is_the_ufunc(dtype: str) -> None:
    x = (np.arange(2 * ALONE).reshape(64, -1) % 7 - 3).astype(dtype)
    there = in_parts(lambda x, out=None: np.maximum(x, 0, out=out), x)
    np.testing.assert_array_equal(there, np.maximum(x, 0), strict=True)


SIZES = [(2, 3, 4), (64, 64, 64), (70, 70, 70), (4096, 64, 65), (64, 4096, 65), (64, 65, 4096), (300, 300, 300)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stack", [(), (1,), (5,), (2, 3)], ids=str)
def test_a_product_is_numpys(stack: tuple[int, ...], size: tuple[int, int, int], dtype: str) -> None:
    n, k, m = size
    if n * k * m * int(np.prod(stack)) > LARGE:
        pytest.skip("slow")
    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, (*stack, n, k)).astype(dtype), rng.integers(-3, 4, (*stack, k, m)).astype(dtype)
    np.testing.assert_array_equal(product(np, x, y), x @ y, strict=True)  # whole numbers: exact in any order
    transposed = product(np, y.swapaxes(-1, -2), x.swapaxes(-1, -2))
    np.testing.assert_array_equal(transposed, y.swapaxes(-1, -2) @ x.swapaxes(-1, -2), strict=True)


def test_products_of_other_kinds_are_numpys_too() -> None:
    big = np.ones((FEW // 64, 64), np.float32)
    for x, y in (
        (big, np.ones((64, 64))),
        (big.astype(bool), np.ones((64, 64), bool)),
        (big[None], np.ones((2, 64, 64))),
    ):
        np.testing.assert_array_equal(product(np, x, y), x @ y, strict=True)
