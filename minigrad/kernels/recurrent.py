"""Whole sequences of recurrent networks by the kernels of `recurrent.cu`: a product and a launch for every step.

What goes in and comes out stands there, array by array. The loops that NumPy runs instead are in `minigrad.ops`.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ..backend import Array, backend_of
from . import Kernels


def _for_each_step(over: Array | None, hs: Array) -> Array | None:
    """Where sequences are over, as kernels read it: (T, B, 1)."""
    if over is None:
        return None
    xp, (after, B, _) = backend_of(hs).xp, hs.shape
    return xp.ascontiguousarray(xp.broadcast_to(over, (after - 1, B, 1)))


def rnn(kernels: Kernels, a: Array, W_hh: Array, over: Array | None, hs: Array, relu: bool) -> None:
    """The states after each step, into `hs`."""
    xp, (T, B, H) = backend_of(hs).xp, a.shape
    step = kernels.prepare("rnn_step", B * H, a, hs, _for_each_step(over, hs), relu, T, B, H)
    for t, (h, h_next) in enumerate(pairwise(hs)):
        xp.matmul(h, W_hh.T, out=h_next)
        step(t)


def lstm(kernels: Kernels, a: Array, W_hh: Array, over: Array | None, hs: Array, cs: Array) -> None:
    """The states after each step, into `hs` and `cs`, and the gates, into `a`."""
    xp, (_, T, B, H) = backend_of(hs).xp, a.shape
    p = xp.empty((B, len(W_hh)), a.dtype)
    step = kernels.prepare("lstm_step", B * H, a, p, hs, cs, _for_each_step(over, hs), T, B, H)
    for t, h in enumerate(hs[:-1]):
        xp.matmul(h, W_hh.T, out=p)
        step(t)


def gru(
    kernels: Kernels, a: Array, W_hh: Array, b_hh: Array | None, over: Array | None, hs: Array, recurrent_n: Array
) -> None:
    """The states after each step, into `hs`, the gates, into `a`, and what h adds to n, into `recurrent_n`."""
    xp, (_, T, B, H) = backend_of(hs).xp, a.shape
    p, b_hh = xp.empty((B, len(W_hh)), a.dtype), None if b_hh is None else xp.ascontiguousarray(b_hh)
    step = kernels.prepare("gru_step", B * H, a, p, b_hh, hs, recurrent_n, _for_each_step(over, hs), T, B, H)
    for t, h in enumerate(hs[:-1]):
        xp.matmul(h, W_hh.T, out=p)
        step(t)


# ---- back: from the gradients of the states to those of what the inputs add


def rnn_back(
    kernels: Kernels, hs: Array, dhs: Array, over: Array | None, W_hh: Array, dh: Array, da: Array, relu: bool
) -> None:
    """Fills da; dh becomes the gradient of the state before the first step."""
    xp, (T, B, H) = backend_of(dh).xp, dhs.shape
    stays, over = xp.zeros_like(dh), _for_each_step(over, hs)
    arrays = hs, xp.ascontiguousarray(dhs), dh, stays, over, da
    _steps_back(xp, kernels.prepare("rnn_step_back", B * H, *arrays, relu, T, B, H), W_hh, dh, stays, da)


def lstm_back(
    kernels: Kernels, a: Array, cs: Array, dhs: Array, over: Array | None, W_hh: Array, dh: Array, dc: Array, da: Array
) -> None:
    """Fills da; dh and dc become the gradients of the state before the first step."""
    xp, (T, B, H) = backend_of(dh).xp, dhs.shape
    stays, over = xp.zeros_like(dh), _for_each_step(over, cs)
    arrays = a, cs, xp.ascontiguousarray(dhs), dh, stays, dc, over, da
    _steps_back(xp, kernels.prepare("lstm_step_back", B * H, *arrays, T, B, H), W_hh, dh, stays, da)


def gru_back(
    kernels: Kernels, a: Array, recurrent_n: Array, hs: Array, dhs: Array, W_hh: Array, dh: Array, da: Array, dp: Array
) -> None:
    """Fills da, and dp, of what the states add; dh becomes the gradient of the state before the first step."""
    xp, (T, B, H) = backend_of(dh).xp, dhs.shape
    stays = xp.zeros_like(dh)
    arrays = a, recurrent_n, hs, xp.ascontiguousarray(dhs), dh, stays, da, dp
    _steps_back(xp, kernels.prepare("gru_step_back", B * H, *arrays, T, B, H), W_hh, dh, stays, dp)


def _steps_back(xp: Any, step: Callable[[int], None], W_hh: Array, dh: Array, stays: Array, dp: Array) -> None:
    """The steps from the last to the first, each with the way of its gradient, dp, through the weights."""
    for t, dp_t in zip(reversed(range(len(dp))), dp[::-1], strict=True):
        step(t)
        xp.matmul(dp_t, W_hh, out=dh)
    xp.add(dh, stays, out=dh)
