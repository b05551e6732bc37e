"""Learning-rate schedules: the rate of an optimizer as a function of t, how often the schedule has stepped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .optim import Optimizer


class LRScheduler:
    """What all schedules share: t, the rates at t = 0, and writing the rates at t to the optimizer's groups.

    Subclasses write the rate at t in closed form (`rate`). So resuming gives the same bits; and whatever else set a
    group's "lr" is overwritten by the next step: one schedule for an optimizer. (PyTorch multiplies the rate it finds.)

    Attributes:
        base_lrs: the rate of each parameter group at t = 0: what the optimizer had when the schedule was made.
        last_epoch: the t of the equations. The name is PyTorch's; step once an epoch or once a batch, as you count.
    """

    def __init__(self, optimizer: Optimizer, **options: float) -> None:
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(f"optimizer: expected one of nn.optim, got {type(optimizer).__name__}")
        self.optimizer, self.options = optimizer, options
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self.check(options)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError for options out of range: steps are integers above 0, rates and factors finite."""
        for name, value in options.items():
            if name in ("step_size", "T_max"):
                fits, expected = 1 <= value < math.inf and value == int(value), "an integer of at least 1"
            else:
                fits, expected = 0 <= value < math.inf, "a finite number of at least 0"
            if not fits:
                raise ValueError(f"{type(self).__name__}: expected {name} to be {expected}, got {value}")

    def rate(self, base: float, t: int) -> float:
        """The rate at t of a group whose rate at t = 0 is `base`."""
        raise NotImplementedError

    def step(self) -> None:
        """Go from t to t + 1, after the optimizer's own step.

        Raises:
            ValueError: the optimizer has got another group since the schedule was made; nothing has changed then.
        """
        self._go_to(self.last_epoch + 1, self.base_lrs)

    def get_last_lr(self) -> list[float]:
        """The rate of each parameter group, as it is now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The options, `base_lrs` and `last_epoch`: numbers, all that `load_state_dict` needs."""
        return {**self.options, "base_lrs": list(self.base_lrs), "last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another schedule of the same kind was, and give the optimizer the rates at that t.

        Args:
            state_dict: what `state_dict()` gave, here or in PyTorch, whose private entries (`_step_count` and the
                like) are passed over.

        Raises:
            ValueError: the state of another kind of schedule, of another number of groups, or out of range; nothing
                has changed then.
        """
        own, given = set(self.state_dict()), {name for name in state_dict if not name.startswith("_")}
        if own != given:
            raise ValueError(f"load_state_dict: expected {sorted(own)} for {type(self).__name__}, got {sorted(given)}")
        options = {name: state_dict[name] for name in self.options}
        t, base_lrs = state_dict["last_epoch"], list(state_dict["base_lrs"])
        self.check({**options, "last_epoch": t, **{f"base_lrs[{i}]": base for i, base in enumerate(base_lrs)}})
        self._check_groups(base_lrs)
        self.options = options
        self._go_to(t, base_lrs)

    def _check_groups(self, base_lrs: list[float]) -> None:
        n = len(self.optimizer.param_groups)
        if len(base_lrs) != n:
            raise ValueError(
                f"{type(self).__name__}: expected a base rate for each of the optimizer's {n} parameter groups, "
                f"got {len(base_lrs)}; make the schedule when all groups are there"
            )

    def _go_to(self, t: int, base_lrs: list[float]) -> None:
        self._check_groups(base_lrs)
        self.last_epoch, self.base_lrs = t, base_lrs
        for group, base in zip(self.optimizer.param_groups, base_lrs, strict=True):
            group["lr"] = self.rate(base, t)

    def __repr__(self) -> str:
        """The options and t."""
        options = "".join(f"{name}={value}, " for name, value in self.options.items())
        return f"{type(self).__name__}({options}last_epoch={self.last_epoch})"


class StepLR(LRScheduler):
    """The rate falls by a factor every `step_size` steps.

        lr = base * gamma^floor(t / step_size)

    Args:
        optimizer: whose groups' "lr" it sets.
        step_size: steps between two falls.
        gamma: the factor.

    Raises:
        ValueError: options out of range.

    >>> import nn
    >>> optimizer = nn.optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, step_size=step_size, gamma=gamma)

    def rate(self, base: float, t: int) -> float:
        """The rate at t."""
        return float(base * self.options["gamma"] ** (t // self.options["step_size"]))


class ExponentialLR(LRScheduler):
    """The rate falls by a factor every step.

        lr = base * gamma^t

    Args:
        optimizer: whose groups' "lr" it sets.
        gamma: the factor.

    Raises:
        ValueError: options out of range.

    >>> import nn
    >>> schedule = ExponentialLR(nn.optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0), gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer, gamma=gamma)

    def rate(self, base: float, t: int) -> float:
        """The rate at t."""
        return float(base * self.options["gamma"] ** t)


class CosineAnnealingLR(LRScheduler):
    """The rate swings down half a cosine wave in `T_max` steps, and up again in as many if there are more.

        lr = eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2

    Source: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, 2017 (without the restarts).

    Args:
        optimizer: whose groups' "lr" it sets.
        T_max: steps from the highest rate to the lowest.
        eta_min: the lowest rate.

    Raises:
        ValueError: options out of range.

    >>> import nn
    >>> schedule = CosineAnnealingLR(nn.optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0), T_max=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer, T_max=T_max, eta_min=eta_min)

    def rate(self, base: float, t: int) -> float:
        """The rate at t."""
        low = self.options["eta_min"]
        return low + (base - low) * (1 + math.cos(math.pi * t / self.options["T_max"])) / 2
