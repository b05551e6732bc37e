"""check_grads: a function's gradients, to any order, against finite differences and complex steps.

A function of tensors is looked at as a map of vectors, f: R^n -> R^m. A backward pass gives v J for a row of
weights v; differences and complex steps give J u for a direction u; the two meet in v J u. With every unit vector for
v and u that is the whole Jacobian, element by element. Where it is too large, a few chosen v and u stand for all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import Array, generator, is_array
from ..graph import Tensor
from .comparison import MODES
from .findings import GradientError, NonDifferentiable, shown, told
from .functions import Describe, Function
from .parameters import parameters_of, with_parameters
from .precision import check_precision
from .probing import check_values
from .purity import check_purity, same_bits

__all__ = ["GradientError", "NonDifferentiable", "check_grads"]


def check_grads(f: Callable[..., Any], *args: Any, order: int = 2, modes: Sequence[str] = MODES) -> None:
    """Prove the gradients of `f` at a point, in float64, or show where they are wrong.

    Each derivative is compared with finite differences, within the error that these are estimated to have: a
    gradient of size 1e-8 is held to its own scale. Where f takes complex numbers and all its ops are analytic, it is
    compared with complex steps too, which know it to 1e-12. They come after differences and are believed where these
    agree with them, for of a function that is not analytic they know nothing.

    Order 2 does the same to the gradient itself, as a function of the arguments and of the cotangents (the gradients
    that flow in, drawn at random). Besides: gradients are finite, and have their argument's shape, dtype and device;
    they are linear in the cotangents, and the same to the bit in every run; nothing that was given is written to,
    cotangents included; and they share memory with nothing. Arguments in float32 have their gradients computed in
    float32 also, which must be those of float64 but for rounding.

    Up to 300 elements in and out, the whole Jacobian is compared. Beyond, v J u for random weights v of the results
    and random directions u of the arguments: over all elements, over blocks of elements of like size, over single
    ones. A wrong element shows in every direction that contains it, and is then found by halving.

    What this can miss: an error that neither differences nor complex steps can tell, which for differences is about
    1e-11 of the size of f's results (in a large function, times their number) and never below 1e-13; where f itself
    computes in a smaller dtype inside, what its rounding hides, a part in 100 in float32; and whatever shows at other
    points only, like a branch not taken here. A kink is noticed where its gradient is not the mean of its two slopes:
    that of |x| at 0 is, so that it is the second order that tells.

    Args:
        f: a function of `args` that returns a tensor, or tuples of tensors, nested or not. Of a module the parameters,
            those of `named_parameters()`, are proved too, where they are.
        args: tensors or arrays. Floating-point ones become float64 and are differentiated; what else there is,
            indices or flags, is passed as it is.
        order: how often to differentiate, 1 or more.
        modes: what to compare with: "differences", "complex", or both, and then complex steps where possible.

    Raises:
        GradientError: something of the above fails. The message names the argument and the element, with the
            expected and the given value, worst first, and shows the arguments.
        NonDifferentiable: nothing is wrong, but f has a kink or a jump at this point, and so no derivative. The
            message names the element, with the slopes on either side.
        ValueError: complex steps alone are asked for, and f has none; or no such order or mode.
        TypeError: nothing to differentiate, or a result that is not made of tensors.

    >>> import minigrad as mg
    >>> check_grads(lambda x, y: x * mg.tanh(y), np.ones((2, 1)), np.arange(3.0))
    >>> check_grads(lambda x: mg.as_tensor(x.data) * x, np.array([1.5]))
    Traceback (most recent call last):
    minigrad.testing.findings.GradientError: order 1: 1 of 1 derivatives differ from finite differences
      d output[0] / d args[0][0]: expected 3, got 1.5
      at args[0] = np.array([1.5])
    >>> check_grads(mg.relu, np.array([1.0, 0.0]))
    Traceback (most recent call last):
    minigrad.testing.findings.NonDifferentiable: order 1: there is no derivative here
      d output[1] / d args[0][1]: a kink at 0, of slope 0 below and 1 above, got 0
      at args[0] = np.array([1.0, 0.0])
    """
    parameters = parameters_of(f)
    names = [*[f"args[{i}]" for i in range(len(args))], *parameters]
    describe = getattr(f, "describe_element", None)
    points = [*args, *parameters.values()]
    prove(with_parameters(f, parameters), points, order=order, modes=modes, names=names, describe=describe)


def prove(
    f: Callable[..., Any],
    args: Sequence[Any],
    *,
    order: int = 2,
    modes: Sequence[str] = MODES,
    names: Sequence[str],
    describe: Describe | None = None,
) -> None:
    """`check_grads` for those who can name things.

    Args:
        names: what messages call each of `args`.
        describe: words for an element, or "": describe("weight_hh_l0", (3, 1)) may give "gate f, unit 1". It is asked
            for results too, by the name "output" or "outputs[i]".
    """
    if order < 1:
        raise ValueError(f"check_grads: expected order to be 1 or more, got {order}")
    if not modes or not set(modes) <= set(MODES):
        raise ValueError(f"check_grads: expected modes among {MODES}, got {modes!r}")
    given = {i: a for i, a in enumerate(map(as_floating, args)) if a is not None}
    if not given:
        kinds = ", ".join(describe_kind(arg) for arg in args) or "none"
        raise TypeError(
            f"check_grads: expected a tensor or array of floating-point numbers among args, got {kinds}; "
            "np.array(..., float) makes one (and to gradient_test, a tuple of integers is the shape of one)"
        )
    arguments, rng = shown(names, args), generator(0)

    def of_given(*xs: Tensor) -> tuple[Tensor, ...]:
        place = dict(zip(given, xs, strict=True))
        return as_tuple(f(*[place.get(i, arg) for i, arg in enumerate(args)]))

    def at(points: Sequence[Array]) -> Function:
        return Function(of_given, points, [names[i] for i in given], describe=describe or (lambda name, place: ""))

    points = [a.astype(np.float64, copy=False) for a in given.values()]
    constants = [a.data if isinstance(a, Tensor) else a for i, a in enumerate(args) if i not in given]
    guarded = [*given.values(), *points, *filter(is_array, constants)]
    before = [array.copy() for array in guarded]
    functions = [at(points)]
    for k in range(1, order + 1):
        function = functions[-1]
        with told(f"order {k}", arguments):
            check_purity(function, rng)
            functions.append(function.gradient(rng))
            check_values(function, functions[-1], modes, rng)
            check_untouched(guarded, before)
    dtypes = {str(a.dtype) for a in given.values()} - {"float64"}
    if dtypes:
        with told(f"in {' and '.join(sorted(dtypes))}", arguments):
            check_precision(at([*given.values()]), functions[1], rng)
            check_untouched(guarded, before)


def check_untouched(arrays: Sequence[Array], before: Sequence[Array]) -> None:
    """f and its backward pass write to nothing that they were given."""
    if not all(map(same_bits, arrays, before)):
        raise GradientError("f, or its backward pass, wrote to its arguments")


def describe_kind(arg: Any) -> str:
    """What an argument is, for a message: int64 array, list."""
    dtype = getattr(arg, "dtype", None)
    return f"{dtype} array" if dtype is not None else type(arg).__name__


def as_floating(value: Any) -> Array | None:
    """The array of a floating-point tensor or array; None for anything else."""
    array = value.data if isinstance(value, Tensor) else value
    return array if is_array(array) and array.dtype.kind == "f" else None


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    """The tensors among f's results that vary continuously, nested ones in order."""
    results = flat(result)
    for i, y in enumerate(results):
        if not isinstance(y, Tensor):
            raise TypeError(f"check_grads: expected f to return tensors, got {type(y).__name__} as result {i}")
    return tuple(y for y in results if y.dtype.kind in "fc")


def flat(result: Any) -> tuple[Any, ...]:
    """The members of nested tuples and lists, in order."""
    return tuple(y for part in result for y in flat(part)) if isinstance(result, tuple | list) else (result,)
