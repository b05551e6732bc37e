"""Write fixtures/*.safetensors: what PyTorch computes, in float64, for small cases that the tests compute again.

Run it where PyTorch is installed: `python tests/nn/make_fixtures.py`. A file's metadata hold its list of cases; the
arrays of case 3 are named "3/...".
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

FOLDER = Path(__file__).parent / "fixtures"
T, B, D, H, V = 3, 2, 3, 2, 4

LAYERS: list[tuple[str, list[int], dict[str, Any], tuple[int, ...], list[tuple[int, ...]]]] = [
    # class, arguments, keywords, input shape, state shapes
    ("Linear", [D, H], {}, (T, B, D), []),
    ("Linear", [D, H], {"bias": False}, (D,), []),
    ("Embedding", [V, D], {}, (T, B), []),
    *(
        (f"{kind}Cell", [D, H], options, (B, D), states)
        for kind, options, n in [
            ("RNN", {}, 1),
            ("RNN", {"nonlinearity": "relu", "bias": False}, 1),
            ("LSTM", {}, 2),
            ("LSTM", {"bias": False}, 2),
            ("GRU", {}, 1),
            ("GRU", {"bias": False}, 1),
        ]
        for states in ([], [(B, H)] * n)
    ),
    *(
        (kind, [D, H], options, shape, states)
        for kind, n in [("RNN", 1), ("LSTM", 2), ("GRU", 1)]
        for options, shape, states in [
            ({}, (T, B, D), []),
            ({"num_layers": 2}, (T, B, D), [(2, B, H)] * n),
            ({"bias": False, "batch_first": True}, (B, T, D), [(1, B, H)] * n),
            ({"num_layers": 2, "batch_first": True}, (T, D), [(2, H)] * n),
        ]
    ),
    ("RNN", [D, H], {"nonlinearity": "relu"}, (T, B, D), []),
    ("LayerNorm", [D], {}, (T, B, D), []),
    ("LayerNorm", [D], {"eps": 0.5}, (D,), []),
    ("LayerNorm", [[B, D]], {"bias": False}, (T, B, D), []),
    ("LayerNorm", [[T, B, D]], {"elementwise_affine": False}, (T, B, D), []),
]

LOSSES: list[tuple[str, dict[str, Any], tuple[int, ...], Any]] = [
    # function, keywords, input shape, target: its kind, or the classes
    *(
        (name, {"reduction": reduction, **options}, shape, target)
        for name in ("cross_entropy", "nll_loss")
        for reduction in ("mean", "sum", "none")
        for options, shape, target in [
            ({}, (3, V), [0, 3, 3]),
            ({}, (V,), 2),
            ({}, (2, V, 3), [[0, 1, -100], [2, 3, 0]]),
            ({"ignore_index": 1}, (3, V), [0, 1, 2]),
        ]
    ),
    *(("mse_loss", {"reduction": reduction}, (2, 3), "floats") for reduction in ("mean", "sum", "none")),
    *(
        ("binary_cross_entropy_with_logits", {"reduction": reduction, **options}, (2, 3), target)
        for reduction in ("mean", "sum", "none")
        for options, target in [
            ({}, "floats"),
            ({"weight": [[0.5], [2.0]]}, [[0.0, 1.0, 1.0], [0.25, 0.0, 1.0]]),
            ({"weight": [0.0, 1.0, 3.0], "pos_weight": [0.3, 1.0, 2.0]}, [[0.0, 1.0, 1.0], [0.25, 0.0, 1.0]]),
        ]
    ),
]

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.8, "weight_decay": 0.1, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.5, "centered": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": [0.7, 0.8], "weight_decay": 0.1, "eps": 1e-3}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "betas": [0.5, 0.5]}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": [0.7, 0.8], "weight_decay": 0.3, "eps": 1e-3}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "betas": [0.5, 0.5], "weight_decay": 0}),
]
STEPS = 10

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.05}),
]
SCHEDULE_STEPS, BASE_LRS = 50, [0.1, 0.02]


def flat(values: Any) -> list[Any]:
    """The tensors of nested tuples, in order."""
    return [t for value in values for t in flat(value)] if isinstance(values, tuple) else [values]


def layer_cases(torch: Any, rng: np.random.Generator) -> tuple[list[Any], dict[str, np.ndarray]]:
    cases, arrays = [], {}
    for number, (kind, args, options, shape, state_shapes) in enumerate(LAYERS):
        layer = getattr(torch.nn, kind)(*args, **options).double()
        if kind == "LayerNorm":  # ones and zeros would hide where they go
            for parameter in layer.parameters():
                torch.nn.init.normal_(parameter)
        ids = kind == "Embedding"
        x = torch.tensor(rng.integers(V, size=shape) if ids else rng.normal(size=shape), requires_grad=not ids)
        state = tuple(torch.tensor(rng.normal(size=s), requires_grad=True) for s in state_shapes)
        given = [] if not state else [state if len(state) > 1 else state[0]]
        outputs = flat(layer(x, *given))
        seeds = [torch.tensor(rng.normal(size=tuple(out.shape))) for out in outputs]
        torch.autograd.backward(outputs, seeds)
        cases.append({"kind": kind, "args": args, "options": options, "keys": list(layer.state_dict())})
        groups = {
            "x": [x],
            "state": state,
            "output": outputs,
            "seed": seeds,
            "dx": [] if ids else [x.grad],
            "dstate": [s.grad for s in state],
            "parameter": list(layer.parameters()),
            "dparameter": [p.grad for p in layer.parameters()],
        }
        for name, tensors in groups.items():
            arrays |= {f"{number}/{name}/{i}": t.detach().numpy() for i, t in enumerate(tensors)}
    return cases, arrays


def loss_cases(torch: Any, rng: np.random.Generator) -> tuple[list[Any], dict[str, np.ndarray]]:
    cases, arrays = [], {}
    for number, (name, options, shape, target) in enumerate(LOSSES):
        x = torch.tensor(rng.normal(size=shape), requires_grad=True)
        y = torch.tensor(rng.normal(size=shape) if target == "floats" else np.array(target))
        factors = {key: torch.tensor(np.array(value)) for key, value in options.items() if isinstance(value, list)}
        loss = getattr(torch.nn.functional, name)(x, y, **options | factors)
        seed = torch.tensor(rng.normal(size=tuple(loss.shape)))
        loss.backward(seed)
        cases.append({"name": name, "options": options})
        tensors = {"x": x, "target": y, "loss": loss, "seed": seed, "dx": x.grad}
        arrays |= {f"{number}/{name}": t.detach().numpy() for name, t in tensors.items()}
    return cases, arrays


def optimizer_cases(torch: Any, rng: np.random.Generator) -> tuple[list[Any], dict[str, np.ndarray]]:
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(STEPS, 2, 3))
    cases, arrays = [], {"start": start, "gradients": gradients}
    for number, (name, options) in enumerate(OPTIMIZERS):
        theta = torch.tensor(start, requires_grad=True)
        optimizer = getattr(torch.optim, name)([theta], **options)
        path = []
        for gradient in gradients:
            theta.grad = torch.tensor(gradient)
            optimizer.step()
            path.append(theta.detach().numpy().copy())
        defaults = inspect.signature(getattr(torch.optim, name)).parameters
        cases.append(
            {
                "name": name,
                "options": options,
                "defaults": {
                    k: defaults[k].default for k in defaults if isinstance(defaults[k].default, int | float | tuple)
                },
            }
        )
        arrays[f"{number}/path"] = np.stack(path)
    return cases, arrays


def schedule_cases(torch: Any, rng: np.random.Generator) -> tuple[list[Any], dict[str, np.ndarray]]:
    cases, arrays = [], {}
    for number, (name, options) in enumerate(SCHEDULES):
        groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in BASE_LRS]
        optimizer = torch.optim.SGD(groups)
        schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
        rates = [schedule.get_last_lr()]
        for _ in range(SCHEDULE_STEPS):
            optimizer.step()
            schedule.step()
            rates.append(schedule.get_last_lr())
        cases.append({"name": name, "options": options, "state": schedule.state_dict()})
        arrays[f"{number}/rates"] = np.array(rates)
    return cases, arrays


FILES = {
    "layers": layer_cases,
    "losses": loss_cases,
    "optimizers": optimizer_cases,
    "schedules": schedule_cases,
}


def main() -> None:
    import torch  # here, so that this file can be imported where it is not installed

    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    for name, make in FILES.items():
        cases, arrays = make(torch, np.random.default_rng(0))
        arrays = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}
        metadata = {"pytorch": torch.__version__, "cases": json.dumps(cases)}
        safetensors.numpy.save_file(arrays, FOLDER / f"{name}.safetensors", metadata)


if __name__ == "__main__":
    main()
