"""Initial values of parameters, written in place; the names, arguments and bounds are PyTorch's.

Numbers are drawn on the host in float64, then cast and moved: a seed means the same values on every device and in
every dtype. Each function returns the tensor it was given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import Tensor
from minigrad.backend import default_generator, move
from minigrad.graph import mark_written

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = [
    "constant_", "zeros_", "ones_", "eye_", "uniform_", "normal_", "trunc_normal_", "orthogonal_",
    "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "calculate_gain",
]  # fmt: skip


def copy_(tensor: Tensor, values: Any) -> Tensor:
    """Write an array of values, of a shape that broadcasts to the tensor's, over those it has.

    A graph that saved the old values refuses to go backward from now on.

    >>> import minigrad as mg
    >>> copy_(mg.tensor([0.0, 0.0]), np.array([1.0, 2.0]))
    Tensor([1., 2.], dtype=float32)
    """
    tensor.data[...] = move(values.astype(tensor.dtype), tensor.device)
    mark_written(tensor.data)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill the tensor with one value.

    >>> import minigrad as mg
    >>> constant_(mg.tensor([0.0, 0.0]), 3)
    Tensor([3., 3.], dtype=float32)
    """
    return copy_(tensor, np.full(tensor.shape, val))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill the tensor with zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill the tensor with ones."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill the tensor with numbers drawn uniformly from [a, b).

    Args:
        generator: where the numbers come from; None: minigrad's default generator (`mg.seed`).

    >>> import minigrad as mg
    >>> bool((uniform_(mg.tensor([0.0] * 9), 2, 3) >= 2).all())
    True
    """
    return copy_(tensor, (generator or default_generator()).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill the tensor with numbers drawn from the normal distribution.

    Args:
        generator: where the numbers come from; None: minigrad's default generator (`mg.seed`).
    """
    return copy_(tensor, (generator or default_generator()).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill the tensor with numbers drawn from the part of the normal distribution that lies in [a, b].

    A uniform draw between the probabilities of x < a and x < b goes through the inverse of the distribution function.

    Args:
        a, b: bounds of the numbers themselves; they are not counted in `std`.
        generator: where the numbers come from; None: minigrad's default generator (`mg.seed`).

    Raises:
        ValueError: std of 0 or below, a not below b, or both further from the mean than 37 std on one side, where no
            number would ever be drawn.

    >>> import minigrad as mg
    >>> bool((abs(trunc_normal_(mg.tensor([0.0] * 9), std=5.0).data) <= 2).all())
    True
    """
    from statistics import NormalDist  # which nobody else needs, and takes a while to import

    if not std > 0:
        raise ValueError(f"trunc_normal_: expected std above 0, got {std}")
    side = -1 if a > mean else 1  # upper bounds are mirrored: probabilities are finer near 0 than near 1
    low, high = (math.erfc(-side * (bound - mean) / std / math.sqrt(2)) / 2 for bound in (a, b)[::side])
    if not low < high:
        raise ValueError(
            f"trunc_normal_: expected a < b within reach, 37 std ({std}) of the mean ({mean}), got a={a}, b={b}"
        )
    inner = np.nextafter(0, 1), np.nextafter(1, 0)  # at 0 and 1 themselves the inverse is infinite
    p = (generator or default_generator()).uniform(low, high, tensor.shape).clip(*inner)
    z = side * np.vectorize(NormalDist().inv_cdf, otypes=[float])(p)
    return copy_(tensor, (mean + std * z).clip(a, b))


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on its diagonal and zeros elsewhere: a linear layer that keeps its input.

    Raises:
        ValueError: the tensor has not two axes.

    >>> import minigrad as mg
    >>> eye_(mg.tensor([[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]))
    Tensor([[1., 0., 0.],
            [0., 1., 0.]], dtype=float32)
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected a tensor with two axes, got shape {tensor.shape}")
    rows, columns = tensor.shape
    return copy_(tensor, np.eye(rows, columns))


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill a weight of shape (out, in, ...) so that its rows, or its columns if they are fewer, are orthonormal.

    Recurrent weights then keep the length of what they multiply. Q of the QR decomposition of a normal matrix is
    uniformly distributed once the signs of R's diagonal are taken into it. Sources: Saxe, McClelland, Ganguli, Exact
    solutions to the nonlinear dynamics of learning in deep linear neural networks, 2014; Mezzadri, How to generate
    random matrices from the classical compact groups, 2007.

    Args:
        gain: a factor for all numbers.
        generator: where the numbers come from; None: minigrad's default generator (`mg.seed`).

    Raises:
        ValueError: the tensor has fewer than two axes.

    >>> import minigrad as mg
    >>> W = orthogonal_(mg.tensor(np.zeros((2, 3)))).data
    >>> bool(np.allclose(W @ W.T, np.eye(2)))
    True
    """
    fans(tensor)  # which refuses fewer than two axes
    out, into = len(tensor), math.prod(tensor.shape[1:])
    normal = (generator or default_generator()).normal(size=(max(out, into), min(out, into)))
    q, r = np.linalg.qr(normal)
    q *= np.where(np.diag(r) < 0, -1, 1)
    return copy_(tensor, gain * (q if out >= into else q.T).reshape(tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill a weight of shape (out, in) from U(-a, a) with a = gain sqrt(6 / (in + out)).

    Activations and gradients then keep their variance through a linear layer, as a compromise between the two.
    Source: Glorot, Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.

    Raises:
        ValueError: the tensor has fewer than two axes.

    >>> import minigrad as mg
    >>> bool((abs(xavier_uniform_(mg.tensor([[0.0, 0.0]])).data) <= 2**0.5).all())
    True
    """
    fan_in, fan_out = fans(tensor)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill a weight of shape (out, in) from the normal distribution with std = gain sqrt(2 / (in + out)).

    Its variance is that of `xavier_uniform_`; source and errors are there.
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill a weight of shape (out, in) from U(-b, b) with b = gain sqrt(3 / fan).

    Source: He et al., Delving deep into rectifiers, 2015.

    Args:
        a: the negative slope, where the nonlinearity is "leaky_relu".
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
        nonlinearity: what follows the layer, as in `calculate_gain`.

    Raises:
        ValueError: an unknown mode or nonlinearity, or a tensor with fewer than two axes.

    >>> import minigrad as mg
    >>> bool((abs(kaiming_uniform_(mg.tensor([[0.0, 0.0, 0.0]]), a=5**0.5).data) <= 3**-0.5).all())
    True
    """
    bound = math.sqrt(3) * kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill a weight of shape (out, in) from the normal distribution with std = gain / sqrt(fan).

    Its variance is that of `kaiming_uniform_`; source, arguments and errors are there.
    """
    return normal_(tensor, 0.0, kaiming_std(tensor, a, mode, nonlinearity), generator)


def kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """The standard deviation, gain / sqrt(fan), at which a layer and its nonlinearity keep the variance."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(tensor)[mode == "fan_out"])


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """The factor by which weights must grow to make up for what a nonlinearity takes from the variance.

    Args:
        nonlinearity: "linear", "sigmoid", "tanh", "relu" or "leaky_relu".
        param: the negative slope of "leaky_relu".

    Raises:
        ValueError: an unknown nonlinearity.

    >>> calculate_gain("relu")
    1.4142135623730951
    """
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + param**2)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity: expected one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs one output of a weight has, and how many outputs one input.

    A weight is (out, in, ...); axes after these two, a kernel's, count for both.
    """
    if tensor.ndim < 2:
        raise ValueError(f"tensor: expected a weight of shape (out, in, ...), got shape {tensor.shape}")
    out, into, *kernel = tensor.shape
    return into * math.prod(kernel), out * math.prod(kernel)
