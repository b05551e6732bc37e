"""gradient_test: one line makes a test for pytest of the gradients of an op, a module or a function."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ..graph import Tensor
from ..methods import functions
from ..registry import OPS
from .gradients import check_grads
from .strategies import arrays, op_calls


def gradient_test(*args: Any, order: int = 2) -> Callable[[Callable[..., Any]], Callable[[], None]]:
    """Turn what it decorates into a test that proves its gradients, with `check_grads`, at points Hypothesis draws.

    Args:
        args: what to call it with. A tuple of integers is the shape of an array of floats in [-2, 2], a Hypothesis
            strategy draws (`minigrad.testing.strategies.arrays` for other domains), anything else is passed as it
            is. An op needs none: its `cases` draw its calls.
        order: how often to differentiate.

    Returns:
        A decorator of a function of tensors, of an op, or of a module, whose parameters are proved too. Nested tuples
        of tensors may be returned.

    >>> import minigrad as mg, nn
    >>> @gradient_test((2, 1), (1,))
    ... def test_distance(x, y):
    ...     return mg.sqrt(mg.sum(mg.square(x - y)) + 1)
    >>> test_logsumexp = gradient_test()(mg.logsumexp)
    >>> test_gru = gradient_test((2, 1, 3))(nn.GRU(3, 2))
    >>> test_distance()
    """

    def decorate(f: Callable[..., Any]) -> Callable[[], None]:
        @given(points(f, args))
        def test(point: tuple[Callable[..., Any], Sequence[Any]]) -> None:
            function, xs = point
            check_grads(function, *xs, order=order)

        for attribute in ("__name__", "__doc__", "__module__"):
            setattr(test, attribute, getattr(f, attribute, None) or type(f).__name__)
        return test

    return decorate


def points(f: Callable[..., Any], args: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Pairs of a function and the arguments at which to prove its gradients."""
    name = getattr(f, "__name__", "")
    if not args and functions.get(name) is f:
        return op_calls(OPS[name]).map(lambda call: (lambda *xs: call.of(f, *xs), call.operands()))
    drawn = st.tuples(*map(argument, args))
    if not hasattr(f, "parameters"):
        return drawn.map(lambda xs: (lambda *ys: flat(f(*ys)), xs))
    parameters = list(f.parameters())

    def of_everything(*xs: Any) -> tuple[Tensor, ...]:
        with lent(parameters, xs[len(args) :]):
            return flat(f(*xs[: len(args)]))

    return drawn.map(lambda xs: (of_everything, [*xs, *[p.detach() for p in parameters]]))


def argument(arg: Any) -> st.SearchStrategy[Any]:
    """What draws an argument of `gradient_test`."""
    if isinstance(arg, st.SearchStrategy):
        return arg
    is_shape = isinstance(arg, tuple) and all(type(side) is int for side in arg)
    return arrays(arg) if is_shape else st.just(arg)


@contextlib.contextmanager
def lent(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Within, each parameter is a handle of the given value, with its graph."""
    own = [(p._data, p.node) for p in parameters]
    try:
        for p, value in zip(parameters, values, strict=True):
            p._data, p.node = value._data, value.node
        yield
    finally:
        for p, (data, node) in zip(parameters, own, strict=True):
            p._data, p.node = data, node


def flat(result: Any) -> tuple[Any, ...]:
    """The members of nested tuples and lists, in order."""
    return tuple(y for part in result for y in flat(part)) if isinstance(result, tuple | list) else (result,)
