"""Sampling from a language model: each drawn token is fed back as the next input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import minigrad as mg


def generate(
    model: Callable[..., tuple[mg.Tensor, Any]],
    prompt: npt.ArrayLike,
    length: int,
    *,
    temperature: float = 1.0,
    generator: np.random.Generator | None = None,
) -> npt.NDArray[np.int64]:
    """Continue a batch of prompts with tokens drawn from the model's predictions.

    Args:
        model: called as `model(ids, state)` with ids (T, B); returns logits (T, B, V) and the state after them.
        prompt: ids that the model reads first, (T, B) with T >= 1.
        length: how many tokens to draw for each prompt.
        temperature: what the logits are divided by; 0 always takes the most probable token.
        generator: what draws; None: the default generator.

    Returns:
        The drawn ids, (length, B).

    Raises:
        ValueError: an empty prompt, or a negative temperature or length.

    >>> def always_next(ids, state):  # a model of 4 tokens that is sure of the one after
    ...     return mg.tensor(100.0 * np.eye(4)[(ids + 1) % 4]), state
    >>> generate(always_next, [[0]], 5).ravel()
    array([1, 2, 3, 0, 1])
    """
    ids = np.asarray(prompt)
    if ids.ndim != 2 or not ids.size:
        raise ValueError(f"prompt: expected ids of shape (T, B), at least one each, got shape {ids.shape}")
    if not temperature >= 0:
        raise ValueError(f"temperature: expected 0 or more, got {temperature}")
    if length < 0:
        raise ValueError(f"length: expected 0 or more, got {length}")
    generator = generator or mg.default_generator()
    drawn = np.empty((length, ids.shape[1]), np.int64)
    state = None
    with mg.no_grad():
        for t in range(length):
            logits, state = model(ids, state)
            ids = draw(logits[-1].numpy(), temperature, generator)[None]  # (1, B)
            drawn[t] = ids
    return drawn


def draw(logits: np.ndarray, temperature: float, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """One id for each row of logits (B, V), with probability softmax(logits / temperature)."""
    if temperature == 0:
        return np.asarray(logits.argmax(axis=-1), np.int64)
    scaled = (logits - logits.max(axis=-1, keepdims=True)).astype(np.float64) / temperature
    cumulative = np.exp(scaled).cumsum(axis=-1)  # (B, V)
    chosen = generator.random((len(logits), 1)) * cumulative[:, -1:]
    return np.asarray(np.minimum((cumulative <= chosen).sum(axis=-1), logits.shape[-1] - 1), np.int64)
