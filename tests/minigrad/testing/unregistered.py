"""Ops with gradients of all kinds, wrong ones too, that the registry knows nothing of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.methods import functions
from minigrad.registry import OPS


def op_apart(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """An op known to nobody else."""
    function = mg.op(**options)(forward)
    del OPS[forward.__name__], functions[forward.__name__]
    return function


def tanh_with(gradient: Callable[..., Any], scale: Any = 1.0) -> Callable[..., Any]:
    """An op that computes scale * tanh(x), and its gradient by a formula of (g, x, out)."""

    def a_tanh(xp: Any, x: Any) -> Any:
        return scale * xp.tanh(x)

    return op_apart(a_tanh, x=gradient)


def relu_with(gradient: Callable[..., Any]) -> Callable[..., Any]:
    """An op that computes max(x, 0), and its gradient by a formula of (g, x)."""

    def a_relu(xp: Any, x: Any) -> Any:
        return xp.maximum(x, 0)

    return op_apart(a_relu, x=gradient)


def right(g: Any, x: Any, out: Any) -> Any:
    """The gradient of tanh."""
    return g * (1 - out * out)


def constant(x: Any) -> Any:
    """A value cut from its graph."""
    return x.detach() if isinstance(x, mg.Tensor) else x


def in_place(array: Any, change: Callable[[Any], None], result: Any) -> Any:
    """The result, after a change to an array or the array of a tensor."""
    change(array.data if isinstance(array, mg.Tensor) else array)
    return result


def double(array: np.ndarray) -> None:
    array *= 2


def all_but(k: int, shape: tuple[int, ...]) -> np.ndarray:
    """Ones, and a zero at place k."""
    mask = np.ones(shape)
    mask.ravel()[k] = 0
    return mask
