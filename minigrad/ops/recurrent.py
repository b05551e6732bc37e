"""Whole sequences of recurrent networks, each as one op.

What they compute stands in `.steps`, step by step: that is what they are tested against, what is differentiated twice,
and what runs under `unrolled()`. Here it is computed in few large operations:

- the product of all inputs is one, before the first step; so is each gradient of the weights, after the last;
- sigmoid(a) is (1 + tanh(a / 2)) / 2, so that one tanh does for all gates, in place;
- local derivatives need nothing that flows back, and so are worked out for a block of steps at a time.

That is how NumPy likes it. Where the backend runs kernels, one does all of a step but its product (`minigrad.kernels`).

    T steps   B batch   D input   H hidden   G gates, H rows of the weights for each   a = W x + b   da its gradient
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..backend import Array, backend_of
from ..creation import as_tensor
from ..graph import Tensor
from ..kernels import kernels_for
from ..kernels import recurrent as on_gpu
from ..multiplying import blas_for
from ..pending import held
from ..registry import op
from . import steps
from .shapes import stack

P = ParamSpec("P")
R = TypeVar("R")

BLOCK = 1 << 14  # elements of a state that are worked on at a time, so that they stay in the processor's cache
SMALL = 10**6  # multiplications: up to so many OpenBLAS does not pack the factors of a product
LARGE = 2**24  # multiplications of all steps, from which on BLAS's threads are worth it
COLUMNS = 64  # of a factor that is cut to make its product small

# ------------------------------------------------------------------------------------------------ what all share


def _in_steps(kind: Callable[..., steps.Kind]) -> Callable[..., tuple[Tensor, ...]]:
    """A whole sequence in smaller ops, called as the op is; `kind` is chosen by the op's own options."""

    def sequence(*operands: Any, reverse: bool, running: Array | None, **options: Any) -> tuple[Tensor, ...]:
        chosen = kind(**options)
        given: list[Any] = [None if operand is None else as_tensor(operand) for operand in operands]
        x, state, weights = given[0], given[1 : 1 + len(chosen.states)], given[1 + len(chosen.states) :]
        trace, final = steps.run(chosen, x, tuple(state), steps.Weights(*weights), reverse, running)
        return stack([h for h, *_ in trace]), *final

    return sequence


def _check(x: Array, state: Sequence[Array], W_ih: Array, W_hh: Array, biases: Sequence[Array | None], G: int) -> None:
    """Raise ValueError unless all shapes fit; NumPy would stretch some that don't."""
    D, H = (W.shape[-1] if W.ndim else 0 for W in (W_ih, W_hh))
    if x.ndim != 3 or not len(x) or x.shape[-1] != D:
        raise ValueError(f"expected x of shape (T, B, D), T at least 1 and D = {D} as in W_ih")
    B = x.shape[1]
    for s in state:
        if s.shape != (B, H):
            raise ValueError(f"expected a state of shape (B, H) = ({B}, {H}), got {s.shape}")
    if W_ih.shape != (G * H, D) or W_hh.shape != (G * H, H):
        raise ValueError(f"expected {G * H} rows in W_ih and W_hh, {G} for each of H = {H} units")
    for b in biases:
        if b is not None and b.shape != (G * H,):
            raise ValueError(f"expected biases of shape ({G * H},), got {b.shape}")


def _in_order(sequence: Array, reverse: bool) -> Array:
    """A sequence in the order in which its steps run, and back."""
    return sequence[::-1] if reverse else sequence


def _over(xp: Any, running: Array | None, reverse: bool) -> Array | None:
    """Where sequences are over, in the order in which the steps run: (T, B, 1)."""
    return None if running is None else xp.logical_not(_in_order(running, reverse))


def _by_work(run: Callable[P, R]) -> Callable[P, R]:
    """A forward or backward pass, with as many of BLAS's threads as its products are worth."""
    names = list(inspect.signature(run).parameters)

    @functools.wraps(run)
    def passed(*args: P.args, **options: P.kwargs) -> R:
        given: dict[str, Any] = dict(zip(names, args, strict=False))
        x, *weights = [given[name] for name in ("x", "W_ih", "W_hh")]
        on_host = all([type(array) is np.ndarray for array in (x, *weights)])
        with blas_for(math.prod(x.shape[:-1]) * sum([W.size for W in weights]) if on_host else 0, LARGE):
            return run(*args, **options)

    return passed


def _inputs(xp: Any, x: Array, W_ih: Array, G: int, reverse: bool, *biases: Array | None) -> Array:
    """What the inputs add to the gates, W x + b of all steps, each gate in one piece: (T, B, D) -> (G, T, B, H)."""
    (T, B, D), H = x.shape, len(W_ih) // G
    a = xp.matmul(_in_order(x, reverse).reshape(T * B, D), W_ih.reshape(G, H, D).swapaxes(1, 2))  # (G, T B, H)
    given = [b for b in biases if b is not None]
    if given:
        a += (given[0] if len(given) == 1 else given[0] + given[1]).reshape(G, 1, H)
    return a.reshape(G, T, B, H)


def _in_blocks(xp: Any, W_hh: Array, q: Array, T: int) -> tuple[Array, Array]:
    """W_hh and q, room for G gates (G, B, H), in the blocks in which they are multiplied: matmul(h, W, out=q).

    They are small where OpenBLAS then multiplies without packing them first. W is copied in the order in which it is
    read, where there are steps enough to pay for that.
    """
    G, B, H = q.shape
    if B == 1:  # all gates of a row lie side by side
        W, q = W_hh.T, q.reshape(1, G * H)
    else:
        n = COLUMNS if H % COLUMNS == 0 and B * H * COLUMNS <= SMALL else H
        W, q = W_hh.reshape(G, H // n, n, H).swapaxes(2, 3), q.reshape(G, B, H // n, n).swapaxes(1, 2)
    return (xp.ascontiguousarray(W) if T > 1 else W), q


def _room_for_da(xp: Any, gates: Array) -> Array:
    """Room for the gradient of what becomes the gates, (G, T, B, H), by row: (T, B, G H)."""
    G, T, B, H = gates.shape
    return xp.empty((T, B, G * H), gates.dtype)


def _histories(xp: Any, T: int, *states: Array) -> Array:
    """Room for states before the first step and after each, (T + 1, B, H) for every one."""
    histories = xp.empty((len(states), T + 1, *states[0].shape), states[0].dtype)
    for history, state in zip(histories, states, strict=True):
        history[0] = state
    return histories


def _by_row(a: Array, G: int) -> Array:
    """Steps as products take them, (T, B, G H), seen gate by gate: (T, G, B, H)."""
    T, B, GH = a.shape
    return a.reshape(T, B, G, GH // G).swapaxes(1, 2)


def _blocks(state: Array, T: int) -> list[slice]:
    """T steps in blocks of about BLOCK elements of a state: the last first, as gradients flow, and none is longer."""
    n = max(1, BLOCK // max(1, state.size))
    return [slice(max(0, end - n), end) for end in range(T, 0, -n)]


def _backwards(block: slice, *arrays: Array) -> Iterator[tuple[Any, ...]]:
    """The steps of a block from the last to the first: t, and each array there."""
    return zip(reversed(range(block.start, block.stop)), *[a[::-1] for a in arrays], strict=True)


def _sigmoid(xp: Any, a: Array) -> None:
    """The sigmoid of a, in place."""
    xp.multiply(a, 0.5, out=a)
    xp.tanh(a, out=a)
    xp.multiply(a, 0.5, out=a)
    xp.add(a, 0.5, out=a)


def _sigmoid_slope(xp: Any, s: Array, out: Array) -> None:
    """s (1 - s): the slope of the sigmoid where its value is s."""
    xp.subtract(1, s, out=out)
    xp.multiply(out, s, out=out)


def _tanh_slope(xp: Any, y: Array, out: Array) -> None:
    """1 - y^2: the slope of tanh where its value is y."""
    xp.multiply(y, y, out=out)
    xp.subtract(1, out, out=out)


def _by_weights(da: Array, xs: Array) -> Array:
    """The gradient of W where a = W x, of all steps together: (T, B, G H), (T, B, D) -> (G H, D)."""
    return held(_flat(da).T, _flat(xs)) or _met(da, xs)


def _met(da: Array, xs: Array) -> Array:
    """The same, worked out."""
    return _flat(da).T @ _flat(xs)


def _flat(sequence: Array) -> Array:
    """The steps of a sequence below each other: (T, B, H) -> (T B, H)."""
    return sequence.reshape(-1, sequence.shape[-1])


def _by_inputs(da: Array, W: Array) -> Array:
    """The gradient of x where a = W x, of all steps together: (T, B, G H), (G H, D) -> (T, B, D)."""
    return (da.reshape(-1, da.shape[-1]) @ W).reshape(*da.shape[:-1], W.shape[-1])


def _by_bias(da: Array) -> Array:
    """The gradient of b where a = W x + b, of all steps together: (T, B, G H) -> (G H,)."""
    return da.reshape(-1, da.shape[-1]).sum(axis=0)


# ------------------------------------------------------------------------------------------------ RNN


def _rnn_steps_back(
    xp: Any, hs: Array, dhs: Array, over: Array | None, W_hh: Array, dh: Array, da: Array, nonlinearity: str
) -> None:
    for block in _blocks(dh, len(da)):
        h, slope = hs[1:][block], da[block]
        if nonlinearity == "tanh":
            _tanh_slope(xp, h, out=slope)
        else:
            slope[...] = h > 0
        if over is not None:
            xp.copyto(slope, 0, where=over[block])
        for t, da_t, dh_t in _backwards(block, da[block], dhs[block]):
            xp.add(dh, dh_t, out=dh)
            stays = None if over is None else dh * over[t]
            xp.multiply(da_t, dh, out=da_t)
            xp.matmul(da_t, W_hh, out=dh)
            if stays is not None:
                xp.add(dh, stays, out=dh)


@_by_work
def _rnn_back(
    g: list[Array], x: Array, W_ih: Array, W_hh: Array, kept: Any,
    nonlinearity: str, reverse: bool, running: Array | None, needs: tuple[bool, ...],
) -> list[Array | None]:  # fmt: skip
    xp, (hs,) = backend_of(x).xp, kept
    over, dhs = _over(xp, running, reverse), _in_order(g[0], reverse)
    dh, da = g[1].copy(), xp.empty_like(hs[1:])
    if kernels := kernels_for(x, "recurrent"):
        on_gpu.rnn_back(kernels, hs, dhs, over, W_hh, dh, da, nonlinearity == "relu")
    else:
        _rnn_steps_back(xp, hs, dhs, over, W_hh, dh, da, nonlinearity)
    dx = _in_order(_by_inputs(da, W_ih), reverse) if needs[0] else None
    db = _by_bias(da)
    return [dx, dh, _by_weights(da, _in_order(x, reverse)), _by_weights(da, hs[:-1]), db, db]


def _rnn_steps(xp: Any, a: Array, W_hh: Array, over: Array | None, hs: Array, nonlinearity: str) -> None:
    q = xp.empty_like(a[0])
    W, p = _in_blocks(xp, W_hh, q[None], len(a))
    for t, (a_t, h, h_next) in enumerate(zip(a, hs[:-1], hs[1:], strict=True)):
        xp.matmul(h, W, out=p)
        xp.add(q, a_t, out=h_next)
        if nonlinearity == "tanh":
            xp.tanh(h_next, out=h_next)
        else:
            xp.maximum(h_next, 0, out=h_next)
        if over is not None:
            xp.copyto(h_next, h, where=over[t])


@op(
    backward=_rnn_back,
    steps=_in_steps(lambda nonlinearity: steps.RNN[nonlinearity]),
    cases=lambda d: d.sequence_call(blocks=1, states=1, nonlinearity=d.one_of("tanh", "relu")),
)
@_by_work
def rnn(
    xp: Any, x: Array, h: Array, W_ih: Array, W_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None,
    *, nonlinearity: str = "tanh", reverse: bool = False, running: Array | None = None, keep: list[Array],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A vanilla recurrent network over whole sequences; the equation stands with `minigrad.ops.steps.rnn_step`.

    Args:
        x: the inputs, of shape (T, B, D).
        h: the state before the first step, of shape (B, H).
        W_ih, W_hh: weights of shapes (H, D) and (H, H).
        b_ih, b_hh: biases of shape (H,), or None.
        nonlinearity: "tanh" or "relu".
        reverse: from the last step to the first.
        running: where a sequence is not over yet, of shape (T, B, 1): elsewhere its state stays. None: everywhere.

    Returns:
        h after each step, (T, B, H), in the order of x, and after the last that was run, (B, H).

    Raises:
        ValueError: shapes that are not these.
    """
    if nonlinearity not in steps.RNN:
        raise ValueError(f"expected nonlinearity to be {' or '.join(map(repr, steps.RNN))}")
    _check(x, [h], W_ih, W_hh, [b_ih, b_hh], G=1)
    (a,), over = _inputs(xp, x, W_ih, 1, reverse, b_ih, b_hh), _over(xp, running, reverse)
    (hs,) = _histories(xp, len(x), h)
    if kernels := kernels_for(x, "recurrent"):
        on_gpu.rnn(kernels, a, W_hh, over, hs, nonlinearity == "relu")
    else:
        _rnn_steps(xp, a, W_hh, over, hs, nonlinearity)
    keep += (hs,)
    return _in_order(hs[1:], reverse), hs[-1].copy()


# ------------------------------------------------------------------------------------------------ LSTM


def _lstm_steps_back(
    xp: Any, gates: Array, cs: Array, dhs: Array, over: Array | None, W_hh: Array, dh: Array, dc: Array, da: Array
) -> Array:
    da_gates, blocks, u = _by_row(da, 4), _blocks(dh, len(da)), xp.empty_like(dh)
    room = xp.empty_like(gates[:, blocks[0]]), xp.empty_like(dhs[blocks[0]])
    for block in blocks:
        i, f, n, o = gates[:, block]  # n: the candidate
        slopes, by_dh = room[0][:, : len(i)], room[1][: len(i)]  # dh, dc by i, f, n, o;  dc by dh
        by_i, by_f, by_n, by_o = slopes
        _sigmoid_slope(xp, gates[:, block], out=slopes)
        _tanh_slope(xp, n, out=by_n)
        xp.tanh(cs[1:][block], out=by_dh)
        for slope, factor in (by_i, n), (by_f, cs[:-1][block]), (by_n, i), (by_o, by_dh):
            xp.multiply(slope, factor, out=slope)
        _tanh_slope(xp, by_dh, out=by_dh)
        xp.multiply(by_dh, o, out=by_dh)
        by_dc = slopes[:3].swapaxes(0, 1)
        each = block, da[block], dhs[block], f, by_dh, by_dc, by_o, da_gates[block, :3], da_gates[block, 3]
        for t, da_t, dh_t, f_t, by_dh_t, by_dc_t, by_o_t, da_ifn, da_o in _backwards(*each):
            xp.add(dh, dh_t, out=dh)
            stays = None if over is None else dh * over[t]
            xp.multiply(dh, by_dh_t, out=u)
            xp.add(dc, u, out=dc)
            xp.multiply(dc, f_t, out=u)
            xp.multiply(dc, by_dc_t, out=da_ifn)
            xp.multiply(dh, by_o_t, out=da_o)
            dc, u = u, dc
            xp.matmul(da_t, W_hh, out=dh)
            if stays is not None:
                xp.add(dh, stays, out=dh)
    return dc


@_by_work
def _lstm_back(
    g: list[Array], x: Array, W_ih: Array, W_hh: Array, kept: Any,
    reverse: bool, running: Array | None, needs: tuple[bool, ...],
) -> list[Array | None]:  # fmt: skip
    xp, (gates, hs, cs) = backend_of(x).xp, kept
    over, dhs = _over(xp, running, reverse), _in_order(g[0], reverse)
    dh, dc, da = g[1].copy(), g[2].copy(), _room_for_da(xp, gates)
    if kernels := kernels_for(x, "recurrent"):
        on_gpu.lstm_back(kernels, gates, cs, dhs, over, W_hh, dh, dc, da)
    else:
        dc = _lstm_steps_back(xp, gates, cs, dhs, over, W_hh, dh, dc, da)
    dx = _in_order(_by_inputs(da, W_ih), reverse) if needs[0] else None
    db = _by_bias(da)
    return [dx, dh, dc, _by_weights(da, _in_order(x, reverse)), _by_weights(da, hs[:-1]), db, db]


def _lstm_steps(xp: Any, a: Array, W_hh: Array, over: Array | None, hs: Array, cs: Array) -> None:
    scale = xp.asarray([0.5, 0.5, 1.0, 0.5], a.dtype).reshape(4, 1, 1)  # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2
    shift = 1 - scale  # of i, f, n, o it is n that is a tanh
    idle = xp.asarray([0.0, 1.0, 0.0, 0.0], a.dtype).reshape(4, 1, 1)  # c' = 1 * c + 0 * 0, and all slopes are 0
    q, u = xp.empty_like(a[:, 0]), xp.empty_like(hs[0])
    W, p = _in_blocks(xp, W_hh, q, a.shape[1])
    each = zip(a.swapaxes(0, 1), hs[:-1], hs[1:], cs[:-1], cs[1:], strict=True)
    for t, (gates, h, h_next, c, c_next) in enumerate(each):
        i, f, n, o = gates
        xp.matmul(h, W, out=p)
        xp.add(q, gates, out=q)
        xp.multiply(q, scale, out=q)
        xp.tanh(q, out=q)
        xp.multiply(q, scale, out=q)
        xp.add(q, shift, out=gates)  # where a was
        if over is not None:
            xp.copyto(gates, idle, where=over[t])
        xp.multiply(i, n, out=u)
        xp.multiply(f, c, out=c_next)
        xp.add(c_next, u, out=c_next)
        xp.tanh(c_next, out=u)
        xp.multiply(o, u, out=h_next)
        if over is not None:
            xp.copyto(h_next, h, where=over[t])


@op(
    backward=_lstm_back,
    steps=_in_steps(lambda: steps.LSTM),
    cases=lambda d: d.sequence_call(blocks=4, states=2),
)
@_by_work
def lstm(
    xp: Any, x: Array, h: Array, c: Array, W_ih: Array, W_hh: Array, b_ih: Array | None = None,
    b_hh: Array | None = None, *, reverse: bool = False, running: Array | None = None, keep: list[Array],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """A long short-term memory over whole sequences; the equations stand with `minigrad.ops.steps.lstm_step`.

    Args:
        h, c: the state before the first step, each of shape (B, H).
        W_ih, W_hh: weights of shapes (4 H, D) and (4 H, H), H rows for each of i, f, g, o.
        b_ih, b_hh: biases of shape (4 H,), or None. The other arguments stand with `rnn`.

    Returns:
        h after each step, (T, B, H), in the order of x, and h and c after the last that was run, (B, H).

    Raises:
        ValueError: shapes that are not these.
    """
    _check(x, [h, c], W_ih, W_hh, [b_ih, b_hh], G=4)
    a, over = _inputs(xp, x, W_ih, 4, reverse, b_ih, b_hh), _over(xp, running, reverse)
    hs, cs = _histories(xp, len(x), h, c)
    if kernels := kernels_for(x, "recurrent"):
        on_gpu.lstm(kernels, a, W_hh, over, hs, cs)
    else:
        _lstm_steps(xp, a, W_hh, over, hs, cs)
    keep += a, hs, cs
    return _in_order(hs[1:], reverse), hs[-1].copy(), cs[-1].copy()


# ------------------------------------------------------------------------------------------------ GRU


def _gru_steps_back(
    xp: Any, gates: Array, recurrent_n: Array, hs: Array, dhs: Array, W_hh: Array, dh: Array, da: Array, dp: Array
) -> None:
    da_gates, dp_gates, blocks = _by_row(da, 3), _by_row(dp, 3), _blocks(dh, len(da))
    u, v = xp.empty_like(dh), xp.empty_like(dh)
    room = xp.empty_like(gates[:, blocks[0]]), xp.empty_like(dhs[blocks[0]])
    for block in blocks:
        r, z, n = gates[:, block]
        slopes, w = room[0][:, : len(r)], room[1][: len(r)]
        by_r, by_z, by_n = slopes
        _sigmoid_slope(xp, gates[:, block], out=slopes)
        _tanh_slope(xp, n, out=by_n)
        xp.multiply(by_r, recurrent_n[block], out=by_r)
        xp.multiply(by_z, xp.subtract(hs[:-1][block], n, out=w), out=by_z)
        xp.multiply(by_n, xp.subtract(1, z, out=w), out=by_n)
        each = block, dp[block], da_gates[block], dp_gates[block], dhs[block], r, z, by_r, by_z, by_n
        for _, dp_t, da_t, dp_gates_t, dh_t, r_t, z_t, by_r_t, by_z_t, by_n_t in _backwards(*each):
            xp.add(dh, dh_t, out=dh)
            xp.multiply(dh, z_t, out=u)
            xp.multiply(dh, by_n_t, out=v)
            xp.multiply(v, r_t, out=dp_gates_t[2])
            xp.multiply(v, by_r_t, out=da_t[0])
            xp.multiply(dh, by_z_t, out=da_t[1])
            da_t[2] = v
            dp_gates_t[:2] = da_t[:2]
            xp.matmul(dp_t, W_hh, out=dh)
            xp.add(dh, u, out=dh)


@_by_work
def _gru_back(
    g: list[Array], x: Array, W_ih: Array, W_hh: Array, kept: Any,
    reverse: bool, needs: tuple[bool, ...],
) -> list[Array | None]:  # fmt: skip
    xp, (gates, recurrent_n, hs) = backend_of(x).xp, kept
    dhs, dh = _in_order(g[0], reverse), g[1].copy()
    da, dp = _room_for_da(xp, gates), _room_for_da(xp, gates)  # dp: of what the state adds; they differ in n
    if kernels := kernels_for(x, "recurrent"):
        on_gpu.gru_back(kernels, gates, recurrent_n, hs, dhs, W_hh, dh, da, dp)
    else:
        _gru_steps_back(xp, gates, recurrent_n, hs, dhs, W_hh, dh, da, dp)
    dx = _in_order(_by_inputs(da, W_ih), reverse) if needs[0] else None
    dW_ih, dW_hh = _by_weights(da, _in_order(x, reverse)), _by_weights(dp, hs[:-1])
    return [dx, dh, dW_ih, dW_hh, _by_bias(da), _by_bias(dp)]


def _gru_steps(
    xp: Any, a: Array, W_hh: Array, b_hh: Array | None, over: Array | None, hs: Array, recurrent_n: Array
) -> None:
    q, u, b = xp.empty_like(a[:, 0]), xp.empty_like(hs[0]), None if b_hh is None else b_hh.reshape(3, 1, -1)
    W, p = _in_blocks(xp, W_hh, q, a.shape[1])
    each = zip(a.swapaxes(0, 1), recurrent_n, hs[:-1], hs[1:], strict=True)
    for t, (gates, h_n, h, h_next) in enumerate(each):
        _, z, n = gates
        xp.matmul(h, W, out=p)
        if b is not None:
            xp.add(q, b, out=q)
        h_n[...] = q[2]
        xp.add(q[:2], gates[:2], out=q[:2])
        _sigmoid(xp, q[:2])
        xp.multiply(q[0], h_n, out=u)
        xp.add(n, u, out=q[2])
        xp.tanh(q[2], out=q[2])
        gates[...] = q  # where a was
        if over is not None:
            xp.copyto(z, 1, where=over[t])  # h' = n + 1 * (h - n), and all slopes are 0
        xp.subtract(h, n, out=u)
        xp.multiply(z, u, out=u)
        xp.add(n, u, out=h_next)
        if over is not None:
            xp.copyto(h_next, h, where=over[t])  # not even rounded


@op(
    backward=_gru_back,
    steps=_in_steps(lambda: steps.GRU["cudnn"]),
    cases=lambda d: d.sequence_call(blocks=3, states=1),
)
@_by_work
def gru(
    xp: Any, x: Array, h: Array, W_ih: Array, W_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None,
    *, reverse: bool = False, running: Array | None = None, keep: list[Array],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A gated recurrent unit over whole sequences; the equations stand with `minigrad.ops.steps.gru_step`.

    Args:
        W_ih, W_hh: weights of shapes (3 H, D) and (3 H, H), H rows for each of r, z, n.
        b_ih, b_hh: biases of shape (3 H,), or None. The other arguments, and what comes back, stand with `rnn`.

    Raises:
        ValueError: shapes that are not these.
    """
    _check(x, [h], W_ih, W_hh, [b_ih, b_hh], G=3)
    a, over = _inputs(xp, x, W_ih, 3, reverse, b_ih), _over(xp, running, reverse)
    hs, recurrent_n = _histories(xp, len(x), h, h)
    recurrent_n = recurrent_n[1:]
    if kernels := kernels_for(x, "recurrent"):
        on_gpu.gru(kernels, a, W_hh, b_hh, over, hs, recurrent_n)
    else:
        _gru_steps(xp, a, W_hh, b_hh, over, hs, recurrent_n)
    keep += a, recurrent_n, hs
    return _in_order(hs[1:], reverse), hs[-1].copy()


@_by_work
def _gru_chung_back(
    g: list[Array], x: Array, W_ih: Array, W_hh: Array, kept: Any,
    reverse: bool, needs: tuple[bool, ...],
) -> list[Array | None]:  # fmt: skip
    xp, (gates, hs) = backend_of(x).xp, kept
    dhs, dh, u, drh = _in_order(g[0], reverse), g[1].copy(), xp.empty_like(g[1]), xp.empty_like(g[1])
    H, rh = dh.shape[-1], gates[0] * hs[:-1]  # r * h
    W_rz, W_n = W_hh[: 2 * H], W_hh[2 * H :]
    da = _room_for_da(xp, gates)
    da_gates = _by_row(da, 3)
    for block in _blocks(dh, len(x)):
        r, z, n = gates[:, block]
        slopes, h = xp.empty_like(gates[:, block]), hs[:-1][block]
        by_r, by_z, by_n = slopes
        _sigmoid_slope(xp, gates[:, block], out=slopes)
        _tanh_slope(xp, n, out=by_n)
        xp.multiply(by_r, h, out=by_r)
        xp.multiply(by_z, n - h, out=by_z)
        xp.multiply(by_n, z, out=by_n)
        each = block, da[block], da_gates[block], dhs[block], r, 1 - z, by_r, by_z, by_n
        for _, da_t, da_gates_t, dh_t, r_t, rest, by_r_t, by_z_t, by_n_t in _backwards(*each):
            xp.add(dh, dh_t, out=dh)
            xp.multiply(dh, by_n_t, out=da_gates_t[2])
            xp.multiply(dh, by_z_t, out=da_gates_t[1])
            xp.matmul(da_gates_t[2], W_n, out=drh)
            xp.multiply(drh, by_r_t, out=da_gates_t[0])
            xp.multiply(dh, rest, out=u)
            xp.matmul(da_t[:, : 2 * H], W_rz, out=dh)
            xp.add(dh, u, out=dh)
            xp.multiply(drh, r_t, out=u)
            xp.add(dh, u, out=dh)
    dx = _in_order(_by_inputs(da, W_ih), reverse) if needs[0] else None
    dW_rz, dW_n = _met(da[..., : 2 * H], hs[:-1]), _met(da[..., 2 * H :], rh)
    db = _by_bias(da)
    return [dx, dh, _by_weights(da, _in_order(x, reverse)), xp.concatenate([dW_rz, dW_n]), db, db]


@op(
    backward=_gru_chung_back,
    steps=_in_steps(lambda: steps.GRU["chung"]),
    cases=lambda d: d.sequence_call(blocks=3, states=1),
)
@_by_work
def gru_chung(
    xp: Any, x: Array, h: Array, W_ih: Array, W_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None,
    *, reverse: bool = False, running: Array | None = None, keep: list[Array],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The lecture's gated recurrent unit over whole sequences: `minigrad.ops.steps.gru_step_chung`.

    Args:
        W_ih, W_hh: weights of shapes (3 H, D) and (3 H, H), H rows for each of r, z, n.
        b_ih, b_hh: biases of shape (3 H,), or None. The other arguments, and what comes back, stand with `rnn`.

    Raises:
        ValueError: shapes that are not these.
    """
    _check(x, [h], W_ih, W_hh, [b_ih, b_hh], G=3)
    a, over = _inputs(xp, x, W_ih, 3, reverse, b_ih, b_hh), _over(xp, running, reverse)
    (hs,), q, u = _histories(xp, len(x), h), xp.empty_like(a[:, 0]), xp.empty_like(h)
    q_rz, q_n, H = q[:2], q[2:], h.shape[-1]
    W_rz, p_rz = _in_blocks(xp, W_hh[: 2 * H], q_rz, len(x))
    W_n, p_n = _in_blocks(xp, W_hh[2 * H :], q_n, len(x))
    for t, (gates, h, h_next) in enumerate(zip(a.swapaxes(0, 1), hs[:-1], hs[1:], strict=True)):
        _, z, n = gates
        xp.matmul(h, W_rz, out=p_rz)
        xp.add(q_rz, gates[:2], out=q_rz)
        _sigmoid(xp, q_rz)
        xp.multiply(q[0], h, out=u)
        xp.matmul(u, W_n, out=p_n)
        xp.add(q_n, gates[2:], out=q_n)
        xp.tanh(q_n, out=q_n)
        gates[...] = q  # where a was
        if over is not None:
            xp.copyto(z, 0, where=over[t])  # h' = h + 0 * (n - h), and all slopes are 0
        xp.subtract(n, h, out=u)
        xp.multiply(z, u, out=u)
        xp.add(h, u, out=h_next)
    keep += a, hs
    return _in_order(hs[1:], reverse), hs[-1].copy()
