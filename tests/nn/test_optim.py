"""nn.optim: groups, state, resuming, clipping, and what is refused. PyTorch's values: test_pytorch.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import nn
from nn import optim

OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.1),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.1, lr_decay=0.1),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.1, momentum=0.5, centered=True),
    "Adam": lambda params: optim.Adam(params, lr=0.1, amsgrad=True),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1, weight_decay=1e-3),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def parameters(device: str = "cpu") -> list[nn.Parameter]:
    rng = np.random.default_rng(0)
    return [nn.Parameter(mg.tensor(rng.normal(size=s).astype("f4"), device=device)) for s in ((2, 3), (4,), ())]


def give_gradients(params: list[nn.Parameter], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for p in params:
        p.grad = mg.tensor(rng.normal(size=p.shape).astype("f4"), device=p.device)


def train(optimizer: Any, params: list[nn.Parameter], seeds: range) -> list[Any]:
    for seed in seeds:
        give_gradients(params, seed)
        optimizer.step()
    return [p.numpy().copy() for p in params]


# ---- steps


@every_optimizer
def test_a_step_goes_downhill_in_place_and_leaves_gradients_alone(device: str, name: str) -> None:
    params = parameters(device)
    arrays, before = [p.data for p in params], [p.numpy().copy() for p in params]
    give_gradients(params, 1)
    gradients = [p.grad.numpy().copy() for p in params]
    OPTIMIZERS[name](params).step()
    for p, array, old, gradient in zip(params, arrays, before, gradients, strict=True):
        assert p.data is array
        assert p.dtype == np.float32
        np.testing.assert_array_equal(p.grad.numpy(), gradient)
        if name != "momentum":  # whose weight decay pulls elsewhere
            assert ((p.numpy() < old) == (gradient > 0)).all()


@every_optimizer
def test_a_parameter_without_gradient_is_passed_over(name: str) -> None:
    params = parameters()
    optimizer = OPTIMIZERS[name](params)
    params[0].grad = mg.tensor(np.ones((2, 3), "f4"))
    before = params[1].data.copy()
    optimizer.step()
    np.testing.assert_array_equal(params[1].data, before)
    assert [optimizer.state[p]["step"] for p in params] == [1, 0, 0]
    optimizer.zero_grad()
    assert params[0].grad is None


@every_optimizer
def test_a_model_learns(name: str) -> None:
    mg.seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = OPTIMIZERS[name](model.parameters())
    x = np.random.default_rng(0).uniform(-1, 1, size=(20, 2)).astype("f4")
    y = x[:, :1] - x[:, 1:]
    losses = []
    for _ in range(100):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_groups_have_options_of_their_own_that_may_change() -> None:
    params = parameters()
    optimizer = optim.SGD([{"params": params[:1], "lr": 1.0}, {"params": params[1:2]}], lr=0.5)
    optimizer.add_param_group({"params": params[2], "weight_decay": 1.0})
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 0.5, 0.5]
    before = [p.data.copy() for p in params]
    for p in params:
        p.grad = mg.tensor(np.ones(p.shape, "f4"))
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.step()
    for p, old, change in zip(params, before, [1.0, 0.25, 0.5 * (1 + before[2])], strict=True):
        np.testing.assert_allclose(p.data, old - change, rtol=1e-6)


@given(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(-100, 100))
def test_adamw_decays_weights_at_one_rate_whatever_their_gradients(lr: float, decay: float, gradient: float) -> None:
    with_decay, without = (nn.Parameter(np.array([2.0, -3.0])) for _ in range(2))
    for p in (with_decay, without):
        p.grad = mg.tensor(np.array([gradient, -gradient]))
    optim.AdamW([with_decay], lr=lr, weight_decay=decay).step()
    optim.AdamW([without], lr=lr, weight_decay=0).step()
    np.testing.assert_allclose(with_decay.data - without.data, -lr * decay * np.array([2.0, -3.0]), atol=1e-12)


def test_steps_after_the_model_moved_are_refused() -> None:
    model = nn.Linear(2, 1)
    optimizer = optim.Adam(model.parameters())
    model.to("float64")
    model(np.ones((1, 2))).sum().backward()
    before = model.bias.data.copy()
    with pytest.raises(ValueError, match=r"now float64 on cpu, its state float32 on cpu.*after model\.to"):
        optimizer.step()
    np.testing.assert_array_equal(model.bias.data, before)


@given(st.floats(0.1, 10))
def test_a_variance_that_rounding_takes_below_zero_counts_as_zero(gradient: float) -> None:
    theta = nn.Parameter(np.zeros(1, "f4"))
    optimizer = optim.RMSprop([theta], centered=True, alpha=0.1, eps=1.0)
    for _ in range(20):
        theta.grad = mg.tensor(np.array([gradient], "f4"))
        optimizer.step()
    assert np.isfinite(theta.data).all()


# ---- state


@every_optimizer
def test_state_is_there_from_the_start(name: str) -> None:
    params = parameters()
    optimizer = OPTIMIZERS[name](params)
    before = optimizer.state_dict()
    train(optimizer, params, range(2))
    after = optimizer.state_dict()
    for i in range(3):
        assert before["state"][i].keys() == after["state"][i].keys()
    assert before["param_groups"][0]["params"] == [0, 1, 2]


@every_optimizer
@given(st.integers(0, 5), st.integers(1, 5))
def test_resuming_is_going_on(name: str, first: int, second: int) -> None:
    params = parameters()
    optimizer = OPTIMIZERS[name](params)
    train(optimizer, params, range(first))
    twins = [nn.Parameter(p.data) for p in params]
    resumed = OPTIMIZERS[name](twins)
    resumed.load_state_dict(optimizer.state_dict())
    seeds = range(10, 10 + second)
    for ours, theirs in zip(train(resumed, twins, seeds), train(optimizer, params, seeds), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_loaded_options_count_and_arrays_are_copies() -> None:
    params = parameters()
    source, target = optim.Adam(params, lr=0.5), optim.Adam(parameters())
    target.load_state_dict(source.state_dict())
    assert target.param_groups[0]["lr"] == 0.5
    train(source, params, range(1))
    assert all(not state["exp_avg"].any() for state in target.state.values())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda params: optim.Adam(params[:2]), r"groups of \[3\] parameters, got groups of \[2\]"),
        (lambda params: optim.Adam([{"params": params[:1]}, {"params": params[1:]}]), r"got groups of \[1, 2\]"),
        (lambda params: optim.Adam(params, amsgrad=True), "expected state .* for parameter 0, got .*max_exp_avg_sq"),
        (lambda params: optim.Adam(params[::-1]), r"expected state .*\(2, 3\).* for parameter 0"),
        (lambda params: optim.SGD(params), "for parameter 0"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(other: Any, message: str) -> None:
    params = parameters()
    optimizer = optim.Adam(params, lr=0.1)
    train(optimizer, params, range(1))
    before = {p: {k: np.copy(v) for k, v in state.items()} for p, state in optimizer.state.items()}
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(other(parameters()).state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1
    for p, state in before.items():
        for key, value in state.items():
            np.testing.assert_array_equal(optimizer.state[p][key], value)


def test_options_that_are_off_are_passed_over_and_others_refused() -> None:
    params = parameters()
    for make, implied in ((optim.Adam, {}), (optim.AdamW, {"decoupled_weight_decay": True})):
        optimizer = make(params)
        state = optimizer.state_dict()
        before = dict(optimizer.param_groups[0])
        state["param_groups"][0] |= {"foreach": None, "maximize": False, **implied, "lr": 0.25}
        optimizer.load_state_dict(state)
        assert optimizer.param_groups[0] == {**before, "lr": 0.25}
        for wrong in ({"maximize": True}, {"lr": -1.0}, {"lr": float("nan")}):
            with pytest.raises(ValueError, match=r"maximize=True; leave it out|lr of at least 0"):
                optimizer.load_state_dict({**state, "param_groups": [state["param_groups"][0] | wrong]})
        assert optimizer.param_groups[0] == {**before, "lr": 0.25}
    with pytest.raises(ValueError, match="Adam has no option decoupled_weight_decay=True"):
        optim.Adam(params).load_state_dict(state)


def test_options_that_need_more_state_may_be_set_later() -> None:
    for make, option in [
        (lambda p: optim.SGD(p, lr=0.1), {"momentum": 0.9}),
        (lambda p: optim.RMSprop(p), {"momentum": 0.9, "centered": True}),
        (lambda p: optim.Adam(p), {"amsgrad": True}),
    ]:
        params, others = parameters(), parameters()
        optimizer = make(params)
        optimizer.param_groups[0] |= option
        train(optimizer, params, range(3))
        whole = type(optimizer)(others, **{"lr": optimizer.param_groups[0]["lr"], **option})
        train(whole, others, range(3))
        for p, other in zip(params, others, strict=True):
            np.testing.assert_array_equal(p.data, other.data)


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([]), ValueError, "SGD: expected parameters, got none"),
        (lambda p: optim.SGD([p, p]), ValueError, r"params\[1\], of shape \(2,\), is a parameter of this"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "of this optimizer already"),
        (
            lambda p: optim.SGD([p, nn.Parameter([1.0]).to("strict").detach()]),
            mg.DeviceError,
            r"params\[1\]: expected a parameter on device cpu, as the others are, got one of shape \(1,\) on strict",
        ),
        (lambda p: optim.SGD([p * 2]), TypeError, r"params\[0\]: expected a parameter, a leaf tensor"),
        (lambda p: optim.SGD([p.data]), TypeError, "got ndarray"),
        (lambda p: optim.SGD([{"params": [p], "rate": 1}]), ValueError, "expected options among lr, .*got 'rate'"),
        (lambda p: optim.SGD([p], lr=-1), ValueError, "expected lr of at least 0, got -1"),
        (lambda p: optim.SGD([{"params": [p], "lr": float("nan")}]), ValueError, "lr of at least 0, got nan"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda p: optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True), ValueError, "no dampening"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.1)), ValueError, r"betas in \[0, 1\), got \(0.9, 1.1\)"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, r"betas in \[0, 1\)"),
        (lambda p: optim.RMSprop([p], eps=-1e-8), ValueError, "eps of at least 0"),
        (lambda p: optim.Adagrad([p], initial_accumulator_value=-1), ValueError, "initial_accumulator_value"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make(nn.Parameter([1.0, 2.0]))


def test_a_group_that_is_refused_leaves_the_optimizer_as_it_was() -> None:
    params = parameters()
    optimizer = optim.SGD(params[:1])
    with pytest.raises(ValueError, match="already"):
        optimizer.add_param_group({"params": [params[1], params[0]]})
    assert len(optimizer.param_groups) == len(optimizer.state) == 1


# ---- clipping

gradients = hnp.arrays(np.float64, (2, 3), elements=st.floats(-1e3, 1e3))


@given(gradients, st.floats(0.01, 1e4))
def test_the_norm_is_returned_and_clipped(device: str, gradient: np.ndarray, max_norm: float) -> None:
    params = [nn.Parameter(mg.tensor(np.zeros(3), device=device)) for _ in range(3)]
    for p, g in zip(params, gradient, strict=False):  # the third has none
        p.grad = mg.tensor(g, device=device)
    given_grads = [p.grad for p in params[:2]]
    norm = optim.clip_grad_norm_(iter(params), max_norm)
    assert isinstance(norm, float)
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
    clipped = np.stack([p.grad.numpy() for p in params[:2]])
    np.testing.assert_allclose(clipped, gradient * min(1, max_norm / (norm + 1e-6)), rtol=1e-12)
    np.testing.assert_array_equal(np.stack([g.numpy() for g in given_grads]), gradient)  # whoever holds them
    assert params[2].grad is None


@given(gradients, st.floats(0, 1e3))
def test_values_are_clipped(device: str, gradient: np.ndarray, limit: float) -> None:
    p = nn.Parameter(mg.tensor(np.zeros((2, 3)), device=device))
    p.grad = mg.tensor(gradient, device=device)
    optim.clip_grad_value_(p, limit)
    np.testing.assert_array_equal(p.grad.numpy(), np.clip(gradient, -limit, limit))


def test_limits_below_zero_are_refused() -> None:
    for clip, name in ((optim.clip_grad_norm_, "max_norm"), (optim.clip_grad_value_, "clip_value")):
        for limit in (-1.0, float("nan")):
            with pytest.raises(ValueError, match=f"{name}: expected at least 0, got {limit}"):
                clip([nn.Parameter([1.0])], limit)


def test_a_norm_too_large_for_float32_is_clipped_all_the_same() -> None:
    p = nn.Parameter(np.zeros(2, "f4"))
    p.grad = mg.tensor(np.array([3e30, 4e30], "f4"))
    assert optim.clip_grad_norm_(p, 1.0) == pytest.approx(5e30)
    np.testing.assert_allclose(p.grad.data, [0.6, 0.8], rtol=1e-6)
    assert p.grad.dtype == np.float32


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_norm_that_is_not_finite_is_refused_by_parameter(bad: float) -> None:
    model = nn.Linear(2, 1)
    model.weight.grad, model.bias.grad = mg.tensor([[1.0, bad]]), mg.tensor([2.0])
    with pytest.raises(FloatingPointError, match=r"finite norm .*from weight of shape \(1, 2\);"):
        optim.clip_grad_norm_(model.parameters(), 1.0)
    assert model.bias.grad.data.tolist() == [2]
