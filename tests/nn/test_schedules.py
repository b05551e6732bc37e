"""nn.schedules: resuming, groups, and what is refused. PyTorch's values: test_pytorch.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn import optim

SCHEDULES: dict[str, Any] = {
    "StepLR": lambda optimizer: optim.StepLR(optimizer, 3, gamma=0.7),
    "ExponentialLR": lambda optimizer: optim.ExponentialLR(optimizer, 0.9),
    "CosineAnnealingLR": lambda optimizer: optim.CosineAnnealingLR(optimizer, 5, eta_min=1e-3),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def optimizer_of(*rates: float) -> optim.SGD:
    return optim.SGD([{"params": nn.Parameter([0.0]), "lr": rate} for rate in rates])


@every_schedule
@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=3), st.integers(0, 20), st.integers(1, 20))
def test_resuming_is_going_on(name: str, rates: list[float], first: int, second: int) -> None:
    schedule = SCHEDULES[name](optimizer_of(*rates))
    for _ in range(first):
        schedule.step()
    resumed = SCHEDULES[name](optimizer_of(*[0.5] * len(rates)))
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.get_last_lr() == pytest.approx(schedule.get_last_lr(), rel=1e-12)
    for _ in range(second):
        schedule.step()
        resumed.step()
        assert resumed.get_last_lr() == schedule.get_last_lr()  # bit for bit
    assert resumed.state_dict() == schedule.state_dict()


@every_schedule
def test_a_schedule_starts_at_the_optimizers_rates_and_sets_them(name: str) -> None:
    optimizer = optimizer_of(0.1, 0.2)
    schedule = SCHEDULES[name](optimizer)
    assert schedule.get_last_lr() == schedule.base_lrs == [0.1, 0.2]
    for _ in range(4):
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == schedule.get_last_lr()
    assert all(now < base for now, base in zip(schedule.get_last_lr(), schedule.base_lrs, strict=True))
    assert schedule.last_epoch == 4


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 30))
def test_a_cosine_falls_to_its_lowest_rate_and_comes_back(base: float, low: float, steps: int) -> None:
    schedule = optim.CosineAnnealingLR(optimizer_of(base), steps, low)
    path = [base]
    for _ in range(2 * steps):
        schedule.step()
        path += schedule.get_last_lr()
    assert path[steps] == pytest.approx(low, abs=1e-12)
    assert path[::-1] == pytest.approx(path, abs=1e-12)


def test_loaded_options_count() -> None:
    schedule = optim.StepLR(optimizer_of(1.0), 4)
    schedule.load_state_dict(optim.StepLR(optimizer_of(1.0), 2, gamma=0.5).state_dict())
    for _ in range(4):
        schedule.step()
    assert schedule.get_last_lr() == [0.25]


def test_a_state_belongs_to_its_schedule_and_does_not_share_memory() -> None:
    schedule = optim.StepLR(optimizer_of(1.0), 1, gamma=0.5)
    state = schedule.state_dict()
    state["base_lrs"].append(3.0)
    schedule.step()
    assert schedule.get_last_lr() == [0.5]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: optim.ExponentialLR(optimizer_of(1.0), 0.5).state_dict(), "for StepLR, got .'base_lrs', 'gamma'"),
        (lambda: optim.StepLR(optimizer_of(1.0, 2.0), 1).state_dict(), "each of the optimizer's 1 .* got 2"),
        (lambda: {"step_size": 0, "gamma": 1.0, "base_lrs": [1.0], "last_epoch": 1}, "expected step_size"),
        (lambda: {"step_size": 1, "gamma": 1.0, "base_lrs": [-1.0], "last_epoch": 1}, "base_lrs.* got -1.0"),
        (lambda: {"step_size": 1, "gamma": 1.0, "base_lrs": [1.0], "last_epoch": -2}, "last_epoch.* got -2"),
    ],
)
def test_another_schedules_state_is_refused_and_nothing_changes(state: Any, message: str) -> None:
    optimizer = optimizer_of(1.0)
    schedule = optim.StepLR(optimizer, 4)
    before = schedule.state_dict()
    with pytest.raises(ValueError, match=message):
        schedule.load_state_dict(state())
    assert schedule.state_dict() == before
    assert optimizer.param_groups[0]["lr"] == 1.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: optim.StepLR(o, 0), ValueError, "StepLR: expected step_size .* at least 1, got 0"),
        (lambda o: optim.StepLR(o, 1.5), ValueError, "an integer of at least 1, got 1.5"),
        (lambda o: optim.StepLR(o, float("inf")), ValueError, "an integer of at least 1, got inf"),
        (lambda o: optim.StepLR(o, 1, gamma=-0.1), ValueError, "gamma .* at least 0, got -0.1"),
        (lambda o: optim.ExponentialLR(o, float("nan")), ValueError, "gamma .* got nan"),
        (lambda o: optim.CosineAnnealingLR(o, -3), ValueError, "T_max .* got -3"),
        (lambda o: optim.CosineAnnealingLR(o, 3, float("inf")), ValueError, "eta_min .* got inf"),
        (lambda o: optim.StepLR(nn.Linear(1, 1), 3), TypeError, "optimizer: expected one of nn.optim, got Linear"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make(optimizer_of(1.0))


def test_a_group_that_came_later_is_refused() -> None:
    optimizer = optimizer_of(1.0)
    schedule = optim.StepLR(optimizer, 1)
    optimizer.add_param_group({"params": nn.Parameter([0.0])})
    with pytest.raises(ValueError, match="make the schedule when all groups are there"):
        schedule.step()
    assert schedule.last_epoch == 0


def test_schedules_are_found_where_pytorch_has_them() -> None:
    for name in SCHEDULES:
        assert getattr(optim.lr_scheduler, name) is getattr(optim, name)
    assert repr(optim.StepLR(optimizer_of(1.0), 4)) == "StepLR(step_size=4, gamma=0.1, last_epoch=0)"
