"""Kernels on the host: what they would do on a GPU, and what a GPU would not tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from . import cuda_on_host

pytestmark = pytest.mark.skipif(not cuda_on_host.can_compile(), reason="needs g++")

SOURCE = """
using real = double;
using integer = long long;

extern "C" __global__ void fill(real* out, const bool* where, integer n, integer x)
{
    const integer k = (integer)blockIdx.x * 4 + threadIdx.x;
    if (k < n && (!where || where[k])) out[k] = real(x + k);
}

// Each thread takes what the opposite one has written; `waits` threads wait before they do.
extern "C" __global__ void reverse(real* out, integer first, integer early, integer waits)
{
    __shared__ real held[4];
    if (!early) __syncthreads();
    held[threadIdx.x] = real(first + threadIdx.x);
    if (threadIdx.x < waits) __syncthreads();
    out[threadIdx.x] = held[3 - threadIdx.x];
    if (early) __syncthreads();
}
"""


@pytest.fixture(scope="module")
def module() -> cuda_on_host.Module:
    return cuda_on_host.Module(SOURCE, lambda array: array)


def test_each_thread_of_each_block_runs_once(module: cuda_on_host.Module) -> None:
    out, where = np.zeros(7), np.array([True] * 5 + [False] * 2)
    module.get_function("fill")((2,), (4,), (out, where, np.int64(7), np.int64(10)))
    np.testing.assert_array_equal(out, [10, 11, 12, 13, 14, 0, 0])
    module.get_function("fill")((2,), (4,), (out, np.uintp(0), np.int64(7), np.int64(0)))
    np.testing.assert_array_equal(out, range(7))


@pytest.mark.parametrize(
    ("grid", "block", "change"),
    [
        ((0,), (4,), {}),
        ((1,), (2048,), {}),
        ((1, 1), (4, 1), {}),
        ((1,), (4,), {0: np.zeros(7, np.float32)}),
        ((1,), (4,), {0: np.zeros(14)[::2]}),
        ((1,), (4,), {0: np.broadcast_to(0.0, 7)}),
        ((1,), (4,), {0: 0}),
        ((1,), (4,), {1: np.zeros(7)}),
        ((1,), (4,), {2: 7}),
        ((1,), (4,), {2: np.int32(7)}),
        ((1,), (4,), {2: np.zeros(1, int)}),
        ((1,), (4,), {4: np.int64(1)}),
    ],
)
def test_launches_that_do_not_fit_the_signature_raise(
    grid: Any, block: Any, change: dict[int, Any], module: cuda_on_host.Module
) -> None:
    args = {0: np.zeros(7), 1: np.uintp(0), 2: np.int64(7), 3: np.int64(0)} | change
    with pytest.raises((TypeError, ValueError), match=r"^fill: "):
        module.get_function("fill")(grid, block, tuple(args.values()))


@pytest.mark.parametrize("early", [0, 1])
def test_a_missing_barrier_shows_and_one_that_only_some_reach_raises(early: int, module: cuda_on_host.Module) -> None:
    out, reverse = np.zeros(4), module.get_function("reverse")
    reverse((1,), (4,), (out, np.int64(0), np.int64(early), np.int64(4)))
    np.testing.assert_array_equal(out, [3, 2, 1, 0])
    reverse((1,), (4,), (out, np.int64(10), np.int64(early), np.int64(0)))
    assert list(out) != [13, 12, 11, 10]
    with pytest.raises(RuntimeError, match="barrier"):
        reverse((1,), (4,), (out, np.int64(20), np.int64(early), np.int64(2)))
