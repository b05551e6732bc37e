"""Proof of gradients: `check_grads`; and, in `minigrad.testing.strategies`, Hypothesis strategies for ops' calls."""

from .gradients import GradientError, check_grads

__all__ = ["GradientError", "check_grads"]
