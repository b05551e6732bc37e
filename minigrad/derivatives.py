"""Derivatives of functions, made of gradients: the Jacobian, and the Hessian times a vector."""

from collections.abc import Callable
from typing import Any

from .autodiff import grad
from .backend import backend_of
from .creation import as_tensor
from .graph import Tensor


def jacobian(f: Callable[..., Tensor], *xs: Any) -> Any:
    """The Jacobian of `f` at `xs`: d f(xs)[i] / d x[j], of shape (*f(xs).shape, *x.shape), for each x.

    Args:
        f: a function of as many tensors as there are `xs`, that returns one tensor.
        xs: tensors or arrays, of floating-point numbers.

    Returns:
        One Tensor for one x, otherwise a tuple of them.

    >>> import minigrad as mg
    >>> mg.jacobian(lambda x: x * x, mg.tensor([1.0, 2.0]))
    Tensor([[2., 0.],
            [0., 4.]], dtype=float32)
    """
    leaves = [as_tensor(x).detach().requires_grad_() for x in xs]
    y = as_tensor(f(*leaves))
    xp = backend_of(y.data).xp
    jacobians = [xp.zeros((y.size, *x.shape), x.dtype) for x in leaves]
    for i in range(y.size if y.requires_grad else 0):
        seed = xp.zeros(y.size, y.dtype)
        seed[i] = 1
        row = grad(y, leaves, seed.reshape(y.shape), retain_graph=True, allow_unused=True)
        for jacobian_of_x, dx in zip(jacobians, row, strict=True):
            if dx is not None:
                jacobian_of_x[i] = dx.data
    shaped = tuple(as_tensor(j.reshape((*y.shape, *x.shape))) for j, x in zip(jacobians, leaves, strict=True))
    return shaped[0] if len(xs) == 1 else shaped


def hvp(f: Callable[[Tensor], Tensor], x: Any, v: Any) -> Tensor:
    """The Hessian of a scalar function times a vector, H(x) v, by differentiating the gradient's product with v.

    Args:
        f: a function of one tensor that returns a scalar.
        x: where; a tensor or an array.
        v: the vector, of the shape of x.

    Source: Pearlmutter, Fast exact multiplication by the Hessian, 1994.

    >>> import minigrad as mg
    >>> mg.hvp(lambda x: (x**3).sum(), mg.tensor([1.0, 2.0]), mg.tensor([1.0, 1.0]))
    Tensor([ 6., 12.], dtype=float32)
    """
    x = as_tensor(x).detach().requires_grad_()
    dx: Tensor
    hv: Tensor | None
    (dx,) = grad(f(x), x, create_graph=True)
    hv = grad(dx, x, v, allow_unused=True)[0] if dx.requires_grad else None
    return as_tensor(backend_of(x.data).xp.zeros_like(x.data)) if hv is None else hv  # None: the gradient is constant
