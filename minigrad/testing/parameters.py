"""A module's parameters, as the proofs see them: anything with `named_parameters`, or nothing to learn."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..graph import Tensor


def parameters_of(module: Any) -> dict[str, Tensor]:
    """What a module learns, by name; nothing for a plain function."""
    return dict(module.named_parameters()) if hasattr(module, "named_parameters") else {}


@contextlib.contextmanager
def lent(parameters: Mapping[str, Tensor], values: Iterable[Tensor]) -> Iterator[None]:
    """Within, each parameter is a handle of the given value, with its graph."""
    own = [(p, p._data, p.node) for p in parameters.values()]
    try:
        for p, value in zip(parameters.values(), values, strict=True):
            p._data, p.node = value._data, value.node
        yield
    finally:
        for p, data, node in own:
            p._data, p.node = data, node


def with_parameters(f: Callable[..., Any], parameters: Mapping[str, Tensor]) -> Callable[..., Any]:
    """`f` as a function of its arguments and, after them, of values for parameters."""

    def function(*values: Any) -> Any:
        count = len(values) - len(parameters)
        with lent(parameters, values[count:]):
            return f(*values[:count])

    return function
