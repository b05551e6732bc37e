"""The simple layers: linear maps, embeddings, normalisation, dropout, activations, and modules in a row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

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


class LayerNorm(Module):
    """Over the last axes, mean 0 and variance 1, then a scale and an offset for each element.

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    Source: Ba, Kiros, Hinton, Layer normalization, 2016.

    Args:
        normalized_shape: lengths of the last axes of x, or of the last one.
        eps: keeps the division finite where x is constant.
        elementwise_affine: False leaves weight and bias out.
        bias: False leaves bias out.

    Attributes:
        weight, bias: of shape `normalized_shape`, ones and zeros at first, or None.

    >>> LayerNorm(2)(np.array([[1.0, 3.0]])).data.round(2)
    array([[-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = new_parameter(*shape) if elementwise_affine else None
        self.bias = new_parameter(*shape) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to ones and bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Tensor:
        """x, of shape (..., *normalized_shape), to a tensor of the same shape; ValueError for another shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        bias = self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={bias}"


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


class Row(Module):
    """Modules by number, as a list has them: what Sequential and ModuleList share."""

    def append(self, module: Module) -> Self:
        """Put a module at the end, and return this row; TypeError for anything else."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put modules at the end, and return this row; TypeError for anything else, and nothing has changed then."""
        added = list(modules)
        for i, module in enumerate(added):
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__}: expected modules, got {type(module).__name__} at place {i}")
        for i, module in enumerate(added, start=len(self)):
            setattr(self, str(i), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        """The modules in order."""
        return (module for _, module in self._own_modules())

    def __len__(self) -> int:
        """How many modules there are."""
        return len(list(iter(self)))

    def __getitem__(self, index: int) -> Module:
        """The module at a place, counted from the end where negative."""
        return list(self)[index]


class Sequential(Row):
    """Modules in a row: each gets what the one before gave.

    Raises:
        TypeError: an argument that is not a module.

    >>> model = Sequential(Linear(4, 3), Tanh())
    >>> list(model.state_dict())
    ['0.weight', '0.bias']
    >>> model[1]
    Tanh()
    """

    def __init__(self, *modules: Module) -> None:
        self.extend(modules)

    def forward(self, input: Any) -> Any:
        """The input of the first module to the output of the last."""
        for module in self:
            input = module(input)
        return input


class ModuleList(Row):
    """Modules in a list, for a model's `forward` to use as it likes; a plain list would hide their parameters.

    Args:
        modules: what the list begins with.

    Raises:
        TypeError: an element that is not a module.

    >>> layers = ModuleList(Linear(3, 3, bias=False) for _ in range(2))
    >>> list(layers.append(Linear(3, 1)).state_dict())
    ['0.weight', '1.weight', '2.weight', '2.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)
