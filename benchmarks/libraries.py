"""The names under which minigrad and PyTorch differ. Everything else in a workload is one source for both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Library(NamedTuple):
    """One of the two, imported only in the process that measures it."""

    xp: Any  # tensor, tanh, stack, no_grad
    nn: Any
    optim: Any
    clip_grad_norm_: Callable[[Any, float], Any]
    clip_grad_value_: Callable[[Any, float], Any]
    dtype: Callable[[str], Any]
    tensor: Callable[[np.ndarray, str], Any]  # of an array, on a device
    wait: Callable[[str], None]  # until a device has done all that it was given


def minigrad() -> Library:
    """Ours."""
    import minigrad as mg
    import nn
    from minigrad.backend import backend_for

    def wait(device: str) -> None:
        if device == "cuda":
            backend_for(device).xp.cuda.get_current_stream().synchronize()

    return Library(
        mg, nn, nn.optim, nn.optim.clip_grad_norm_, nn.optim.clip_grad_value_,
        dtype=str, tensor=lambda array, device: mg.tensor(array, device=device), wait=wait,
    )  # fmt: skip


def torch() -> Library:
    """Theirs."""
    import torch

    def wait(device: str) -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    clip = torch.nn.utils
    return Library(
        torch, torch.nn, torch.optim, clip.clip_grad_norm_, clip.clip_grad_value_,
        dtype=lambda name: getattr(torch, name),
        tensor=lambda array, device: torch.tensor(array, device=device), wait=wait,
    )  # fmt: skip


LIBRARIES = {"minigrad": minigrad, "torch": torch}
