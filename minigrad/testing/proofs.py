"""gradient_test: one line makes a test for pytest of the gradients of an op, a module or a function."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ..graph import Tensor
from ..methods import functions
from ..registry import OPS
from .gradients import check_grads
from .strategies import arrays, op_calls


def gradient_test(f: Any, *args: Any, order: int = 2, examples: int = 10) -> Callable[..., Any]:
    """A test that proves the gradients of `f`, with `check_grads`, at points that Hypothesis draws.

    Args:
        f: a function of tensors, an op, or a module, whose parameters are drawn and proved too. Left out, it makes a
            decorator: `@gradient_test((3, 2))`.
        args: what to call it with. A tuple of integers is the shape of an array of floats in [-2, 2], a Hypothesis
            strategy draws (`minigrad.testing.strategies.arrays` for other domains), anything else is passed as it
            is. An op needs none: its `cases` draw its calls.
        order: how often to differentiate; a module of hundreds of parameters takes a minute for 2, seconds for 1.
        examples: how many points to draw.

    Returns:
        A function without arguments, which pytest collects where its name begins with test_.

    Raises:
        TypeError: nothing to call it with.

    >>> import minigrad as mg, nn
    >>> test_logsumexp = gradient_test(mg.logsumexp)
    >>> test_rnn = gradient_test(nn.RNN(1, 2), (2, 1, 1), order=1)
    >>> @gradient_test((2, 1), (1,))
    ... def test_distance(x, y):
    ...     return mg.sqrt(mg.sum(mg.square(x - y)) + 1)
    >>> test_distance()
    """
    if not callable(f):
        return lambda function: gradient_test(function, f, *args, order=order, examples=examples)

    @settings(deadline=None, max_examples=examples)
    @given(points(f, args))
    def test(point: tuple[Callable[..., Any], Sequence[Any]]) -> None:
        function, xs = point
        check_grads(function, *xs, order=order)

    for attribute in ("__name__", "__doc__", "__module__"):
        setattr(test, attribute, getattr(f, attribute, None) or type(f).__name__)
    return test


def points(f: Callable[..., Any], args: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Pairs of a function and the arguments at which to prove its gradients."""
    name = getattr(f, "__name__", "")
    if not args and functions.get(name) is f:
        return op_calls(OPS[name]).map(lambda call: (lambda *xs: call.of(f, *xs), call.operands()))
    if not args:
        raise TypeError(
            f"gradient_test: expected what to call {name or type(f).__name__} with, got nothing; shapes, say"
        )
    parameters = list(f.parameters()) if hasattr(f, "parameters") else []

    def of_parameters_too(*xs: Any) -> Any:
        with lent(parameters, xs[len(args) :]):
            return f(*xs[: len(args)])

    return st.tuples(*map(argument, args), *[arrays(p.shape) for p in parameters]).map(
        lambda xs: (of_parameters_too, xs)
    )


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
