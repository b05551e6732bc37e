"""nn against PyTorch: each configuration is one program, which both libraries run on the same numbers.

A program uses only names that the two libraries share, so it also shows that they do. fixtures/*.npz hold drawn
configurations, the numbers given, and what PyTorch computed from them in float64; make_fixtures.py draws them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import minigrad as mg
import nn

FIXTURES = Path(__file__).parent / "fixtures"
STEPS = 20  # of an optimizer

# The contract's. Float32 has 7 digits; sums over steps, layers and batch take the last of them.
TOLERANCES = {"float64": 1e-9, "float32": 1e-5}

Arrays = dict[str, np.ndarray]
Given = Callable[[str, Sequence[int]], np.ndarray]  # the numbers of a name and shape: those stored, or newly drawn


class Case(NamedTuple):
    """A configuration, the numbers its program was given, and what PyTorch computed."""

    kind: str  # the class or function it is about
    config: dict[str, Any]
    given: Arrays
    expected: Arrays


class Minigrad:
    """What a program needs of a library, for ours; PyTorch's stands in make_fixtures.py."""

    nn, functional, optim, clipping = nn, nn.functional, nn.optim, nn.optim

    def __init__(self, device: str, dtype: str) -> None:
        self.device, self.dtype = device, dtype

    def tensor(self, data: Any, requires_grad: bool = False) -> mg.Tensor:
        array = np.asarray(data)
        dtype = self.dtype if array.dtype.kind == "f" else None
        return mg.tensor(array, requires_grad, dtype=dtype, device=self.device)

    def ready(self, module: nn.Module) -> nn.Module:
        return module.to(self.dtype).to(self.device).eval()

    def run(self, module: nn.Module, x: mg.Tensor, state: list[Any], lengths: list[int] | None) -> Any:
        if lengths is None:
            return module(x, *state)
        return module(x, *state, lengths=np.array(lengths))

    def numpy(self, values: Any) -> np.ndarray:
        tensor = mg.as_tensor(values)
        assert tensor.dtype == self.dtype
        return tensor.numpy().copy()


# ------------------------------------------------------------------------------------------------ programs


def module_program(library: Any, config: dict[str, Any], given: Given) -> Arrays:
    """A module's outputs and every gradient, of a random weighting of all that it returns."""
    module = library.ready(build(library.nn, config["module"]))
    shapes = {key: array.shape for key, array in module.state_dict().items()}
    module.load_state_dict({key: library.tensor(given(key, shape)) for key, shape in shapes.items()})
    ids = "ids" in config
    x = library.tensor(config["ids"] if ids else given("x", config["x"]), requires_grad=not ids)
    state = tuple(library.tensor(given(f"state {i}", s), requires_grad=True) for i, s in enumerate(config["state"]))
    started = [state if len(state) > 1 else state[0]] if state else []
    outputs = flat(library.run(module, x, started, config["lengths"]))
    backward(library, outputs, given)
    inputs = {f"state {i}": s for i, s in enumerate(state)} | ({} if ids else {"x": x})
    parameters = dict(zip(shapes, module.parameters(), strict=True))
    return results(library, outputs, inputs | parameters)


def function_program(library: Any, config: dict[str, Any], given: Given) -> Arrays:
    """A function's value and gradients."""
    name, options = config["function"]
    x = library.tensor(given("x", config["x"]), requires_grad=True)
    factors = {name: library.tensor(given(name, shape)) for name, shape in config["factors"].items()}
    inputs = {"x": x}
    if "classes" in config:
        factors["target"] = library.tensor(config["classes"])
    elif "target" in config:
        factors["target"] = inputs["target"] = library.tensor(given("target", config["target"]), requires_grad=True)
    output = getattr(library.functional, name)(x, **factors, **options)
    backward(library, [output], given)
    return results(library, [output], inputs)


def optimizer_program(library: Any, config: dict[str, Any], given: Given) -> Arrays:
    """Parameters after each of the steps, their state after the last; norms of gradients, learning rates."""
    shapes, without = config["shapes"], config["without"]
    thetas = [library.nn.Parameter(library.tensor(given(f"theta {i}", s))) for i, s in enumerate(shapes)]
    gradients = [given(f"gradients {i}", (STEPS, *shape)) for i, shape in enumerate(shapes)]
    groups = [{**group, "params": [thetas[i] for i in group["params"]]} for group in config["groups"]]
    optimizer = build(library.optim, config["optimizer"], groups)
    schedule = build(library.optim.lr_scheduler, config["schedule"], optimizer) if config["schedule"] else None
    paths: dict[str, list[Any]] = {f"theta {i}": [] for i in range(len(thetas))} | {"norm": [], "rates": []}
    for t in range(STEPS):
        for theta, gradient, missing in zip(thetas, gradients, without, strict=True):
            theta.grad = None if t in missing else library.tensor(gradient[t])
        if config["clip"]:
            name, limit = config["clip"]
            norm = getattr(library.clipping, name)(thetas, limit)
            paths["norm"].append(-1.0 if norm is None else float(norm))
        optimizer.step()
        if schedule:
            schedule.step()
        paths["rates"].append([group["lr"] for group in optimizer.param_groups])
        for i, theta in enumerate(thetas):
            paths[f"theta {i}"].append(library.numpy(theta.detach()))
    states = {
        f"{name} of theta {i}": library.numpy(values)
        for i, theta in enumerate(thetas)
        for name, values in sorted(optimizer.state[theta].items())
        if name != "step" and values is not None
    }
    settings = schedule.state_dict() if schedule else {}
    public = {f"schedule's {name}": settings[name] for name in sorted(settings) if not name.startswith("_")}
    return {name: np.array(values) for name, values in (paths | states | public).items()}


def image_program(library: Any, config: dict[str, Any], given: Given) -> Arrays:
    """A module's outputs and gradients of some batches in training, its state, and its output in evaluation."""
    module = library.ready(build(library.nn, config["module"])).train()
    parameters = dict(module.named_parameters())
    drawn = {name: library.tensor(given(name, tuple(p.shape))) for name, p in parameters.items()}
    module.load_state_dict({**module.state_dict(), **drawn})
    unpool = build(library.nn, config["unpool"]) if "unpool" in config else None

    def run(x: Any) -> Any:
        return module(x) if unpool is None else unpool(*module(x), output_size=tuple(x.shape))

    found: Arrays = {}
    for t in range(config["batches"]):
        x = library.tensor(given(f"x {t}", config["x"]), requires_grad=True)
        y = run(x)
        backward(library, [y], lambda name, shape, t=t: given(f"{name} {t}", shape))
        found |= {f"batch {t}, {name}": value for name, value in results(library, [y], {"x": x}).items()}
    state = {name: value for name, value in module.state_dict().items() if name.startswith("running")}
    found |= {name: library.numpy(value) for name, value in state.items()}
    found |= {f"gradient of {name}": library.numpy(p.grad) for name, p in parameters.items()}
    module.eval()
    return found | {"in evaluation": library.numpy(run(x).detach())}


PROGRAMS = {
    "modules": module_program, "functions": function_program, "optimizers": optimizer_program, "images": image_program,
}  # fmt: skip


def build(namespace: Any, call: list[Any], *first: Any) -> Any:
    """What a call gives: a class's name, its arguments, its options; an argument that begins with a name is a call."""
    name, args, options = call
    made = [build(namespace, a) if isinstance(a, list) and a and isinstance(a[0], str) else a for a in args]
    return getattr(namespace, name)(*first, *made, **options)


def flat(values: Any) -> list[Any]:
    """The tensors of nested tuples, in order."""
    return [t for value in values for t in flat(value)] if isinstance(values, tuple) else [values]


def backward(library: Any, outputs: list[Any], given: Given) -> None:
    """Gradients of the outputs' sum, each element weighted."""
    weights = [library.tensor(given(f"weights {i}", tuple(output.shape))) for i, output in enumerate(outputs)]
    sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True)).backward()


def results(library: Any, outputs: list[Any], inputs: dict[str, Any]) -> Arrays:
    """The outputs, and the gradients that have arrived."""
    arrays = {f"output {i}": library.numpy(output.detach()) for i, output in enumerate(outputs)}
    return arrays | {f"gradient of {name}": library.numpy(tensor.grad) for name, tensor in inputs.items()}


# ------------------------------------------------------------------------------------------------ comparing


def differences(case: Case, device: str, dtype: str) -> dict[str, float]:
    """How far nn is from what PyTorch computed, by name."""

    def stored(name: str, shape: Sequence[int]) -> np.ndarray:
        assert case.given[name].shape == tuple(shape), name
        return case.given[name]

    try:
        ours = PROGRAMS[case.config["program"]](Minigrad(device, dtype), case.config, stored)
        assert list(ours) == list(case.expected)  # the keys of the state_dict are among these names
    except Exception as error:
        error.add_note(described(case))
        raise
    return {name: difference(ours[name], case.expected[name]) for name in ours}


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to PyTorch's largest number, or to 1 if that is less.

    The numbers given are of order 1: a small result is the difference of such numbers, as exact as they are.
    """
    if ours.shape != theirs.shape:
        return np.inf
    off = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, np.abs(ours - theirs))
    return float(np.max(off, initial=0.0) / np.max(np.abs(theirs), initial=1.0, where=~np.isnan(theirs)))


def mismatch(case: Case, offs: dict[str, float], dtype: str) -> str:
    """A line that says what is too far off; nothing where nothing is."""
    wrong = [f"{name} {off:.1e}" for name, off in offs.items() if not off <= TOLERANCES[dtype]]  # nan is wrong too
    return f"{described(case)}\n    differs in {dtype}: {', '.join(wrong)}\n" if wrong else ""


def described(case: Case) -> str:
    """The configuration, to be found in the fixtures."""
    return f"{case.kind} {json.dumps(case.config)}"


def cases() -> Iterator[Case]:
    """All that is stored: JSON text of kinds, configurations, names and shapes, and all numbers end to end."""
    for path in sorted(FIXTURES.glob("*.npz")):
        with np.load(path) as file:
            texts, *numbers = json.loads(str(file["cases"])), file["given"].astype(np.float64), file["expected"]
        ends = [0, 0]
        for kind, config, *shapes in texts:
            groups: list[Arrays] = [{}, {}]
            for i, arrays in enumerate(groups):
                for name, shape in shapes[i].items():
                    start, ends[i] = ends[i], ends[i] + int(np.prod(shape))
                    arrays[name] = numbers[i][start : ends[i]].reshape(shape)
            yield Case(kind, config, *groups)
        assert ends == [array.size for array in numbers], f"{path.name}: numbers left over"


CASES: dict[str, list[Case]] = {}
for one in cases():
    CASES.setdefault(one.kind, []).append(one)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", CASES)
def test_nn_computes_what_pytorch_does(kind: str, dtype: str, device: str) -> None:
    wrong = "".join(mismatch(case, differences(case, device, dtype), dtype) for case in CASES[kind])
    if wrong:
        pytest.fail(wrong, pytrace=False)


def test_at_least_300_configurations_are_compared() -> None:
    assert sum(map(len, CASES.values())) >= 300


def test_a_schedule_goes_on_from_pytorchs_state() -> None:
    private = {"_step_count": 4, "_is_initial": False, "_get_lr_called_within_step": False, "_last_lr": [0.025]}
    schedule = nn.optim.StepLR(nn.optim.SGD([nn.Parameter([0.0])], lr=1.0), 5)
    schedule.load_state_dict({"step_size": 2, "gamma": 0.5, "base_lrs": [0.05], "last_epoch": 3, **private})
    assert schedule.get_last_lr() == [0.025]
    schedule.step()
    assert schedule.get_last_lr() == [0.0125]
