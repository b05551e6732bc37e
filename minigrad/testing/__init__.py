"""Proof of gradients: `check_grads`, and what Hypothesis adds to it.

`gradient_test` makes a test of one line, `strategies` draws arrays and ops' calls, `laws` are what any recurrent
layer must obey, `break_gradient` makes mistakes for them to find. What needs Hypothesis (`pip install hypothesis`) is
imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import laws
from .breaking import NothingBroken, break_gradient
from .gradients import GradientError, NonDifferentiable, check_grads

if TYPE_CHECKING:
    from . import strategies
    from .proofs import gradient_test

__all__ = [
    "GradientError", "NonDifferentiable", "NothingBroken", "break_gradient", "check_grads", "gradient_test", "laws",
    "strategies",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs Hypothesis."""
    if name == "strategies":
        return importlib.import_module(".strategies", __name__)
    if name == "gradient_test":
        return importlib.import_module(".proofs", __name__).gradient_test
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
