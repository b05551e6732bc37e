"""The simple layers: linear maps, embeddings, dropout, activations, and modules in a row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import Tensor, as_tensor, get_default_dtype

from . import functional as F
from . import init
from .module import Module, Parameter

if TYPE_CHECKING:
    from numpy.random import Generator


def new_parameter(*shape: int) -> Parameter:
    """A parameter of zeros, in the default dtype."""
    return Parameter(np.zeros(shape, get_default_dtype()))


class Linear(Module):
    """A linear map with a bias: y = x W^T + b.

    Args:
        in_features, out_features: lengths of the last axis of x and of y.
        bias: False leaves b out.

    Attributes:
        weight: W, of shape (out_features, in_features), from U(-k, k) with k = 1 / sqrt(in_features).
        bias: b, of shape (out_features,), from the same distribution, or None.

    >>> layer = Linear(3, 2)
    >>> layer(np.ones((5, 3), "float32")).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = new_parameter(out_features, in_features)
        self.bias = new_parameter(out_features) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from minigrad's default generator."""
        bound = 1 / math.sqrt(self.in_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input: Any) -> Tensor:
        """x, of shape (..., in_features), to y, of shape (..., out_features); ValueError for another shape."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """A table of vectors, looked up by integer ids.

    Args:
        num_embeddings: V, how many ids there are.
        embedding_dim: D, the length of a vector.

    Attributes:
        weight: the table, of shape (V, D), from the standard normal distribution.

    >>> Embedding(10, 4)(np.array([[1, 9, 1]])).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = new_parameter(num_embeddings, embedding_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from minigrad's default generator."""
        init.normal_(self.weight)

    def forward(self, input: Any) -> Tensor:
        """Ids of any shape to vectors, (*input.shape, D); TypeError for floats, IndexError for ids outside 0..V-1."""
        return F.embedding(input, self.weight)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(Module):
    """In training, zeros for elements drawn with probability p, the rest divided by 1 - p; else the identity.

    Args:
        p: a probability in [0, 1]; ValueError for anything else.
        generator: what draws, on the host; None: minigrad's default generator (`mg.seed`).

    >>> Dropout(0.5).eval()(as_tensor([1.0, 2.0]))
    Tensor([1., 2.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        F.check_probability("Dropout: p", p)
        self.p, self.generator = p, generator

    def forward(self, input: Any) -> Tensor:
        """x, of any shape, to a tensor of the same shape."""
        return F.dropout(input, self.p, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class ReLU(Module):
    """max(x, 0), elementwise."""

    def forward(self, input: Any) -> Tensor:
        """x, of any shape, to a tensor of the same shape."""
        return F.relu(input)


class Tanh(Module):
    """Hyperbolic tangent, elementwise."""

    def forward(self, input: Any) -> Tensor:
        """x, of any shape, to a tensor of the same shape."""
        return F.tanh(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), elementwise."""

    def forward(self, input: Any) -> Tensor:
        """x, of any shape, to a tensor of the same shape."""
        return F.sigmoid(input)


class Flatten(Module):
    """All axes but the first made one: (N, ...) to (N, M).

    >>> Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def forward(self, input: Any) -> Tensor:
        """x, of shape (N, ...), to (N, M)."""
        x = as_tensor(input)
        return x.reshape(len(x), math.prod(x.shape[1:]))


class Sequential(Module):
    """Modules in a row: each gets what the one before gave.

    >>> model = Sequential(Linear(4, 3), Tanh())
    >>> list(model.state_dict())
    ['0.weight', '0.bias']
    >>> model[1]
    Tanh()
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, input: Any) -> Any:
        """The input of the first module to the output of the last."""
        for module in self:
            input = module(input)
        return input

    def __iter__(self) -> Iterator[Module]:
        """The modules in order."""
        return (module for _, module in self._own_modules())

    def __len__(self) -> int:
        """How many modules there are."""
        return len(list(iter(self)))

    def __getitem__(self, index: int) -> Module:
        """The module at a place, counted from the end where negative."""
        return list(self)[index]
