"""minigrad.threads: parts and their order, BLAS while they are worked on, nesting, errors, forks."""

import contextlib
import gc
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import minigrad as mg
from minigrad import threads
from minigrad.multiplying import FEW, LARGE, product
from minigrad.threads import ALONE, PARTS, WORTH, in_parts, one_blas_thread, shared


def blas_threads() -> int:
    return max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=0)


sets_threads = pytest.mark.skipif(not blas_threads(), reason="a BLAS whose threads nobody can set; OpenBLAS's can be")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        yield


@given(st.integers(0, 40), st.integers(0, 3 * WORTH))
def test_parts_are_all_there_in_their_order_and_no_more_than_they_are_worth(N: int, cost: int) -> None:
    found = shared(np, N, cost, lambda part: list(range(N))[part])
    assert [i for part in found for i in part] == list(range(N))
    assert len(found) <= max(1, min(PARTS, N, N * cost // WORTH))


@sets_threads
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


@sets_threads
def test_who_calls_while_others_share_works_alone() -> None:
    def outer(part: slice) -> set[tuple[int, int]]:
        here = threading.get_ident(), 1
        return {here, *shared(np, 8, WORTH, lambda part: (threading.get_ident(), blas_threads()))}

    assert [len(threads) for threads in shared(np, 8, WORTH, outer)] == [1] * 8
    assert blas_threads() == 2


@sets_threads
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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no timer that interrupts")
def test_an_interrupt_at_any_moment_leaves_all_in_order() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "200 {1} True\n", done.stdout + done.stderr


def test_threads_compute_under_the_callers_error_state() -> None:
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        shared(np, 2, WORTH, lambda part: np.ones(1000) / np.zeros(1000))
    with np.errstate(divide="ignore"):
        shared(np, 2, WORTH, lambda part: np.ones(1000) / np.zeros(1000))


@sets_threads
def test_one_blas_thread_nests() -> None:
    with one_blas_thread() as outside:
        with one_blas_thread() as still:
            assert (outside, still, blas_threads()) == (2, 2, 1)
        assert blas_threads() == 1
    assert blas_threads() == 2


def in_a_fork() -> None:
    same = shared(np, 8, WORTH, lambda part: part.start) == list(range(8))
    os._exit(0 if same else 1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="Windows has no fork")
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
STACKS = [(), (1,), (5,), (2, 3)]
PRODUCTS = [(stack, size) for stack in STACKS for size in SIZES if math.prod(stack + size) <= LARGE]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize(("stack", "size"), PRODUCTS, ids=str)
def test_a_product_is_numpys(stack: tuple[int, ...], size: tuple[int, int, int], dtype: str) -> None:
    n, k, m = size
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


# ---- the ops that share


def of_images(x: Any, w: Any) -> dict[str, np.ndarray]:
    """What ops that share make of images (N, 16, S, S) and weights (16, 16, 3, 3), one array an image."""
    return {
        "conv2d": mg.conv2d(x, w, padding=1),
        "conv2d, stride 2": mg.conv2d(x, w, stride=2),
        "conv_transpose2d": mg.conv_transpose2d(x, w, padding=1),
        "conv_transpose2d, stride 2": mg.conv_transpose2d(x, w, stride=2),
        "max_pool2d": mg.max_pool2d(x, 3, stride=2, padding=1)[0],
        "its places": mg.max_pool2d(x, 3, stride=2, padding=1)[1],
        "relu": mg.relu(x),
        "stacks of matrices": mg.matmul(x, x),
    }


def of_batches(x: Any, w: Any) -> dict[str, np.ndarray]:
    """What ops that share make of a whole batch, the gradients too."""
    x, w = mg.tensor(x, requires_grad=True), mg.tensor(w, requires_grad=True)
    y, mean, variance = mg.batch_norm(mg.relu(mg.conv2d(x, w)), np.ones(16, x.dtype), np.ones(16, x.dtype))
    mg.square(mg.max_pool2d(y, 2)[0]).sum().backward()
    named = {"y": y, "mean": mean, "variance": variance, "dx": x.grad, "dw": w.grad}
    return {name: tensor.numpy() for name, tensor in named.items()}


def images_and_weights() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 16, 48, 48)).astype(np.float32), rng.normal(size=(16, 16, 3, 3)).astype(np.float32)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Into how many parts work was cut, each time that it was."""
    cut, at_once = [], threads._at_once
    monkeypatch.setattr(threads, "_at_once", lambda slices, *rest: cut.append(len(slices)) or at_once(slices, *rest))
    return cut


def test_what_is_shared_is_what_each_image_alone_gives(parts: list[int]) -> None:
    x, w = images_and_weights()
    whole = of_images(x, w)
    assert len(parts) >= len(whole)
    alone = [of_images(x[n : n + 1], w) for n in range(len(x))]
    for name, there in whole.items():
        # products of other shapes may be summed in another order
        np.testing.assert_allclose(
            there, np.concatenate([one[name] for one in alone]), rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_one_thread_and_two_give_the_same_bits(parts: list[int]) -> None:
    x, w = images_and_weights()
    found = []
    for count in (1, 2):
        with threadpool_limits(count, user_api="blas"):
            found.append(of_images(x, w) | of_batches(x, w))
    assert len(parts) > 2 * len(found[0])
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)
