"""nn against PyTorch's own outputs and gradients, in float64; make_fixtures.py made the files."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

import minigrad as mg
import nn

TOLERANCE = dict(rtol=1e-9, atol=1e-9)  # the contract's


def fixtures(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The cases of a file, each with its arrays; numbered ones come as lists, those of no case to all."""
    with safetensors.safe_open(Path(__file__).parent / "fixtures" / f"{name}.safetensors", "np") as file:
        cases = json.loads(file.metadata()["cases"])
        arrays: list[dict[str, Any]] = [{} for _ in cases]
        for key in file.keys():  # noqa: SIM118 (the file is no dict)
            number, _, rest = key.partition("/")
            group, _, i = rest.partition("/")
            for n in [int(number)] if rest else range(len(cases)):
                if i:
                    arrays[n].setdefault(group, {})[int(i)] = file.get_tensor(key)
                else:
                    arrays[n][group or number] = file.get_tensor(key)
    for groups in arrays:
        for group, members in groups.items():
            if isinstance(members, dict):
                groups[group] = [members[i] for i in range(len(members))]
    return list(zip(cases, arrays, strict=True))


def flat(values: Any) -> list[mg.Tensor]:
    return [t for value in values for t in flat(value)] if isinstance(values, tuple) else [values]


def label(case: Any) -> str | None:
    if "options" not in case:
        return ""  # the arrays
    options = ",".join(f"{name}={value}" for name, value in case["options"].items())
    return f"{case.get('kind') or case.get('name')}({options})"


@pytest.mark.parametrize(("case", "arrays"), fixtures("layers"), ids=label)
def test_layers(case: dict[str, Any], arrays: dict[str, Any], device: str) -> None:
    layer = getattr(nn, case["kind"])(*case["args"], **case["options"]).to("float64").to(device)
    keys = case["keys"]
    assert list(layer.state_dict()) == keys
    layer.load_state_dict(dict(zip(keys, arrays.get("parameter", ()), strict=True)))
    x = mg.tensor(arrays["x"][0], requires_grad="dx" in arrays, device=device)
    state = tuple(mg.tensor(s, requires_grad=True, device=device) for s in arrays.get("state", ()))
    outputs = flat(layer(x, *([state] if len(state) > 1 else state)))
    seeds = [mg.tensor(seed, device=device) for seed in arrays["seed"]]
    loss = sum(mg.sum(out * seed) for out, seed in zip(outputs, seeds, strict=True))
    loss.backward()
    results = {
        "output": outputs,
        "dx": [x.grad] if "dx" in arrays else [],
        "dstate": [s.grad for s in state],
        "dparameter": [p.grad for p in layer.parameters()],
    }
    for name, tensors in results.items():
        for ours, theirs in zip(tensors, arrays.get(name, ()), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, **TOLERANCE, err_msg=name)


@pytest.mark.parametrize(("case", "arrays"), fixtures("losses"), ids=label)
def test_losses(case: dict[str, Any], arrays: dict[str, Any], device: str) -> None:
    x = mg.tensor(arrays["x"], requires_grad=True, device=device)
    target = mg.tensor(arrays["target"], device=device)
    options = {
        key: mg.tensor(np.array(value), device=device) if isinstance(value, list) else value
        for key, value in case["options"].items()
    }
    loss = getattr(nn.functional, case["name"])(x, target, **options)
    loss.backward(mg.tensor(arrays["seed"], device=device))
    np.testing.assert_allclose(loss.numpy(), arrays["loss"], **TOLERANCE)
    np.testing.assert_allclose(x.grad.numpy(), arrays["dx"], **TOLERANCE)


@pytest.mark.parametrize(("case", "arrays"), fixtures("optimizers"), ids=label)
def test_optimizers(case: dict[str, Any], arrays: dict[str, Any], device: str) -> None:
    theta = nn.Parameter(mg.tensor(arrays["start"], device=device))
    optimizer = getattr(nn.optim, case["name"])([theta], **case["options"])
    for gradient, expected in zip(arrays["gradients"], arrays["path"], strict=True):
        theta.grad = mg.tensor(gradient, device=device)
        optimizer.step()
        np.testing.assert_allclose(theta.numpy(), expected, **TOLERANCE)


@pytest.mark.parametrize(("case", "arrays"), fixtures("optimizers"), ids=label)
def test_options_of_optimizers(case: dict[str, Any], arrays: dict[str, Any]) -> None:
    ours = inspect.signature(getattr(nn.optim, case["name"])).parameters
    theirs = [(name, json.loads(json.dumps(value))) for name, value in case["defaults"].items() if name in ours]
    assert [(name, json.loads(json.dumps(p.default))) for name, p in ours.items() if name != "params"] == theirs


@pytest.mark.parametrize(("case", "arrays"), fixtures("schedules"), ids=label)
def test_schedules(case: dict[str, Any], arrays: dict[str, Any]) -> None:
    def make() -> Any:
        groups = [{"params": nn.Parameter([0.0]), "lr": lr} for lr in arrays["rates"][0]]
        return getattr(nn.optim, case["name"])(nn.optim.SGD(groups), **case["options"])

    schedule, rates = make(), []
    for _ in arrays["rates"]:
        rates.append(schedule.get_last_lr())
        schedule.step()
    np.testing.assert_allclose(rates, arrays["rates"], rtol=1e-12, atol=1e-12)
    loaded = make()
    loaded.load_state_dict(case["state"])
    np.testing.assert_allclose(loaded.get_last_lr(), arrays["rates"][-1], rtol=1e-12, atol=1e-12)
    loaded.step()
    assert loaded.get_last_lr() == schedule.get_last_lr()
