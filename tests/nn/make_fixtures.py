"""Draw configurations of nn, run them in PyTorch, and store the results for test_pytorch.py, or compare at once.

    python -m tests.nn.make_fixtures                         # writes fixtures/*.npz; made with PyTorch 2.13.0
    python -m tests.nn.make_fixtures --fresh 1000 --seed 1   # draws 1000 others and compares them; 1 if any differs

Both need PyTorch, from the root of the checkout.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .test_pytorch import FIXTURES, PROGRAMS, STEPS, TOLERANCES, Arrays, Case, differences, mismatch

Call = list[Any]  # a name, arguments, options
Config = dict[str, Any]


class PyTorch:
    """What a program needs of a library, in float64."""

    nn, functional, optim, clipping = torch.nn, torch.nn.functional, torch.optim, torch.nn.utils

    def tensor(self, data: Any, requires_grad: bool = False) -> torch.Tensor:
        return torch.tensor(np.array(data), requires_grad=requires_grad)

    def ready(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.double().eval()

    def run(self, module: torch.nn.Module, x: torch.Tensor, state: list[Any], lengths: list[int] | None) -> Any:
        if lengths is None:
            return module(x, *state)
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), module.batch_first, False)
        outputs, final = module(packed, *state)
        T = x.shape[1 if module.batch_first else 0]
        return torch.nn.utils.rnn.pad_packed_sequence(outputs, module.batch_first, total_length=T)[0], final

    def numpy(self, values: Any) -> np.ndarray:
        return torch.as_tensor(values).numpy().copy()


# ------------------------------------------------------------------------------------------------ the space
# For each kind the options, in PyTorch's order, and what each may be: one of a list, or a number between two.

FLAG = [False, True]
NONLINEARITY = ["tanh", "relu"]
REDUCTION = ["mean", "sum", "none"]
RATE, DECAY, SHARE, EPS = (0.01, 0.3), (0.01, 0.3), (0.1, 0.95), [1e-8, 1e-4, 1e-2]
BETAS = [[0.5, 0.5], [0.7, 0.8], [0.9, 0.95]]

STEP, EDGE = [1, 2, [2, 1]], [0, 1, [1, 0]]
LAYERS = {"bias": FLAG, "batch_first": FLAG, "dropout": (0.1, 0.9), "bidirectional": FLAG}
ADAM = {"lr": RATE, "betas": BETAS, "eps": EPS, "weight_decay": DECAY, "amsgrad": FLAG}
OPTIONS: dict[str, dict[str, Any]] = {
    "Linear": {"bias": FLAG},
    "Embedding": {},
    "LayerNorm": {"eps": (0.01, 0.5), "elementwise_affine": FLAG, "bias": FLAG},
    "RNNCell": {"bias": FLAG, "nonlinearity": NONLINEARITY},
    "LSTMCell": {"bias": FLAG},
    "GRUCell": {"bias": FLAG},
    "RNN": {"num_layers": [1, 2, 3], "nonlinearity": NONLINEARITY, **LAYERS},
    "LSTM": {"num_layers": [1, 2, 3], **LAYERS},
    "GRU": {"num_layers": [1, 2, 3], **LAYERS},
    "softmax": {},
    "log_softmax": {},
    "mse_loss": {"reduction": REDUCTION},
    "binary_cross_entropy_with_logits": {"reduction": REDUCTION},
    "cross_entropy": {"ignore_index": [-100, 0, 1], "reduction": REDUCTION},
    "nll_loss": {"ignore_index": [-100, 0, 1], "reduction": REDUCTION},
    "SGD": {"lr": RATE, "momentum": SHARE, "dampening": SHARE, "weight_decay": DECAY, "nesterov": [False]},
    "SGD nesterov": {"lr": RATE, "momentum": SHARE, "dampening": [0], "weight_decay": DECAY, "nesterov": [True]},
    "Adagrad": {
        "lr": RATE, "lr_decay": DECAY, "weight_decay": DECAY, "initial_accumulator_value": (0.1, 1.0), "eps": EPS,
    },
    "RMSprop": {
        "lr": RATE, "alpha": (0.5, 0.99), "eps": EPS, "weight_decay": DECAY, "momentum": SHARE, "centered": FLAG,
    },
    "Adam": ADAM,
    "AdamW": ADAM,
    "Conv2d": {"stride": STEP, "padding": EDGE, "dilation": STEP, "groups": [1, 2], "bias": FLAG},
    "ConvTranspose2d": {
        "stride": STEP, "padding": EDGE, "output_padding": [0, 1, [0, 1]], "groups": [1, 2], "bias": FLAG,
        "dilation": STEP,
    },
    "MaxPool2d": {
        "stride": [None, *STEP], "padding": EDGE, "dilation": STEP, "return_indices": [False], "ceil_mode": FLAG,
    },
    "MaxUnpool2d": {"stride": [None, 3], "padding": EDGE},
    "AvgPool2d": {"stride": [None, *STEP], "padding": EDGE, "ceil_mode": FLAG, "count_include_pad": FLAG},
    "BatchNorm2d": {"eps": (0.01, 0.5), "momentum": [0.1, 0.7, None], "affine": FLAG, "track_running_stats": FLAG},
    "StepLR": {"gamma": SHARE},
    "ExponentialLR": {},
    "CosineAnnealingLR": {"eta_min": (0.001, 0.1)},
}  # fmt: skip


def fits(options: dict[str, Any]) -> bool:
    """Whether options go together in PyTorch, without a warning."""
    if options.get("nesterov") and "momentum" not in options:
        return False
    if options.get("output_padding") and 2 not in (options.get("stride"), options.get("dilation")):
        return False
    return "dropout" not in options or options.get("num_layers", 1) > 1


class Draw:
    """Random configurations; each method draws one part of them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def size(self, highest: int = 4) -> int:
        return int(self.rng.integers(1, highest + 1))

    def shape(self, fewest: int, most: int) -> list[int]:
        return [self.size() for _ in range(self.rng.integers(fewest, most + 1))]

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, choices: Sequence[Any]) -> Any:
        return choices[self.rng.integers(len(choices))]

    def options(self, kind: str) -> dict[str, Any]:
        """Some of the options, most or all: defaults are compared too."""
        present = self.one_of([0.3, 0.7, 1.0])
        while True:
            drawn = {
                name: round(float(self.rng.uniform(*among)), 3) if isinstance(among, tuple) else self.one_of(among)
                for name, among in OPTIONS[kind].items()
                if self.chance(present)
            }
            if fits(drawn):
                return drawn

    def call(self, kind: str, *args: Any) -> Call:
        """A call with drawn options; some of the leading ones without their names: the order is compared too."""
        options, args = self.options(kind), list(args)
        for name in OPTIONS[kind]:
            if name not in options or self.chance():
                break
            args.append(options.pop(name))
        return [kind.split()[0], args, options]

    def numbers(self, shape: Sequence[int]) -> np.ndarray:
        """Numbers that float16 holds, so that the fixtures are small and float32 computes with the same ones."""
        return self.rng.uniform(-1, 1, shape).astype(np.float16).astype(np.float64)

    # ---- modules

    def linear(self, kind: str) -> Config:
        shape = self.shape(1, 3)
        return module_config(self.call(kind, shape[-1], self.size()), shape)

    def layer_norm(self, kind: str) -> Config:
        shape = self.shape(1, 3)
        last = shape[-self.size(len(shape)) :]
        return module_config(self.call(kind, last[0] if len(last) == 1 and self.chance() else last), shape)

    def embedding(self, kind: str) -> Config:
        shape, V = self.shape(1, 3), self.size()
        return module_config(self.call(kind, V, self.size()), shape) | {"ids": self.ids(V, shape)}

    def ids(self, V: int, shape: list[int]) -> list[Any]:
        return self.rng.integers(V, size=shape).tolist()

    def sequential(self, kind: str) -> Config:
        """Modules in a row, some of them in a row of their own; an embedding before and layers behind, or not."""
        shape, modules = self.shape(2, 3), []
        config = module_config([kind, modules, {}], shape)
        if self.chance(0.3):
            V, D = self.size(), self.size()
            config["ids"], shape = self.ids(V, shape), [*shape, D]
            modules.append(self.call("Embedding", V, D))
        for _ in range(self.size()):
            part, shape = self.part(shape)
            modules.append(["Sequential", [part], {}] if self.chance(0.2) else part)
        if len(shape) <= 3 and self.chance(0.3):
            modules.append(self.call(self.one_of(["RNN", "LSTM", "GRU"]), shape[-1], self.size()))
        return config

    def part(self, shape: list[int]) -> tuple[Call, list[int]]:
        """A module whose input has a shape, and the shape of its output."""
        kind = self.one_of(["Linear", "Linear", "LayerNorm", "Tanh", "Sigmoid", "ReLU", "Dropout", "Flatten"])
        match kind:
            case "Linear":
                D = self.size()
                return self.call(kind, shape[-1], D), [*shape[:-1], D]
            case "LayerNorm":  # eps is 0.1: 1 / sqrt(the default) would magnify what float32 has rounded before
                return [kind, [shape[-1], 0.1], {}], shape
            case "Dropout":
                return [kind, [0.5], {}], shape
            case "Flatten":
                return [kind, [], {}], [shape[0], math.prod(shape[1:])]
        return [kind, [], {}], shape

    def cell(self, kind: str) -> Config:
        D, H = self.size(), self.size()
        batch = self.shape(0, 1)
        return module_config(self.call(kind, D, H), [*batch, D], self.state(kind, [*batch, H]))

    def layers(self, kind: str) -> Config:
        T, B, D, H = self.size(), self.size(3), self.size(), self.size()
        module = self.call(kind, D, H)
        options = dict(zip(OPTIONS[kind], module[1][2:], strict=False)) | module[2]
        batch = [B] if self.chance(0.8) else []
        shape = [*batch, T, D] if options.get("batch_first") else [T, *batch, D]
        rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
        lengths = self.rng.integers(1, T + 1, size=B).tolist() if batch and self.chance() else None
        return module_config(module, shape, self.state(kind, [rows, *batch, H]), lengths)

    def state(self, kind: str, shape: list[int]) -> list[list[int]]:
        return [shape] * (2 if "LSTM" in kind else 1) if self.chance() else []

    # ---- images

    def convolution(self, kind: str) -> Config:
        channels = [2 * self.size(2) for _ in range(2)]
        module = self.call(kind, *channels, self.one_of([1, 2, [2, 3]]))
        return image_config(module, [*self.shape(1, 1)[: self.chance(0.8)], channels[0], *self.sides()])

    def pooling(self, kind: str) -> Config:
        return image_config(self.call(kind, self.one_of([2, 3, [2, 3]])), [self.size(2), *self.sides()])

    def unpooling(self, kind: str) -> Config:
        """Windows that don't overlap: PyTorch's max_unpool2d doesn't add up what meets."""
        unpool = self.call(kind, self.one_of([2, [2, 3]]))
        pool = ["MaxPool2d", unpool[1], {**unpool[2], "return_indices": True}]
        return image_config(pool, [self.size(2), self.size(2), *self.sides()]) | {"unpool": unpool}

    def batch_norm(self, kind: str) -> Config:
        C = self.size(3)
        return image_config(self.call(kind, C), [1 + self.size(2), C, self.size(2), self.size(2)], batches=3)

    def sides(self) -> list[int]:
        """The size of an image that every drawn window fits into."""
        return [4 + self.size(2) for _ in range(2)]

    # ---- functions

    def activation(self, kind: str) -> Config:
        shape = self.shape(1, 3)
        dim = int(self.rng.integers(-len(shape), len(shape)))
        return {"function": [kind, {"dim": dim}], "x": shape, "factors": {}}

    def loss(self, kind: str) -> Config:
        shape = self.shape(0, 3)
        names = ["weight", "pos_weight"] if kind == "binary_cross_entropy_with_logits" else []
        factors = {name: self.narrowed(shape) for name in names if self.chance()}
        return {"function": [kind, self.options(kind)], "x": shape, "target": shape, "factors": factors}

    def narrowed(self, shape: list[int]) -> list[int]:
        """A shape that broadcasts to another."""
        return [1 if self.chance(0.3) else n for n in shape[self.rng.integers(len(shape) + 1) :]]

    def classification(self, kind: str) -> Config:
        V = 1 + self.size()
        batch = self.shape(0, 3)
        options = self.options(kind)
        classes = self.rng.integers(V, size=batch)
        ignored = np.where(self.rng.random(batch) < 0.2, options.get("ignore_index", -100), classes)
        shape = [*batch[:1], V, *batch[1:]]
        return {"function": [kind, options], "x": shape, "factors": {}, "classes": ignored.tolist()}

    # ---- optimizers

    def optimizer(self, kind: str) -> Config:
        """One or two groups, a clip and a schedule or not; some parameters have no gradient at some steps."""
        while True:
            optimizer = self.call(kind)
            first, second = self.options(kind), self.options(kind)
            for options in (first, second):  # PyTorch overlooks a group's own, and takes the default
                options.pop("initial_accumulator_value", None)
            defaults = dict(zip(OPTIONS[kind], optimizer[1], strict=False)) | optimizer[2]
            if all(fits(defaults | options) for options in ({}, first, second)):
                break
        shapes = [self.shape(0, 2) for _ in range(3)]
        groups = [{"params": [0, 2], **first}, {"params": [1], **second}]
        if self.chance(0.3):
            groups = [{"params": [0, 1, 2]}]
        often = self.one_of([0.0, 0.3])  # the first always has one, which PyTorch's clip_grad_value_ needs
        without = [[t for t in range(STEPS) if i and self.chance(often)] for i in range(len(shapes))]
        clip = [self.one_of(["clip_grad_norm_", "clip_grad_value_"]), self.one_of([0.3, 0.7, 1.5])]
        schedule = self.one_of(
            [("StepLR", self.size(8)), ("ExponentialLR", 0.93), ("CosineAnnealingLR", self.size(12))]
        )
        return {
            "optimizer": optimizer,
            "groups": groups,
            "shapes": shapes,
            "without": without,
            "clip": clip if self.chance(0.4) else None,
            "schedule": self.call(*schedule) if self.chance() else None,
        }


def module_config(module: Call, x: list[int], state: Sequence[Any] = (), lengths: list[int] | None = None) -> Config:
    return {"module": module, "x": x, "state": list(state), "lengths": lengths}


def image_config(module: Call, x: list[int], batches: int = 1) -> Config:
    return {"module": module, "x": x, "batches": batches}


# Of each kind: its program, what draws its configurations, and how many are stored.
KINDS = {
    "Linear": ("modules", Draw.linear, 12),
    "LayerNorm": ("modules", Draw.layer_norm, 12),
    "Embedding": ("modules", Draw.embedding, 6),
    "Sequential": ("modules", Draw.sequential, 40),
    **dict.fromkeys(["RNNCell", "LSTMCell", "GRUCell"], ("modules", Draw.cell, 12)),
    **dict.fromkeys(["RNN", "LSTM", "GRU"], ("modules", Draw.layers, 40)),
    **dict.fromkeys(["softmax", "log_softmax"], ("functions", Draw.activation, 6)),
    **dict.fromkeys(["mse_loss", "binary_cross_entropy_with_logits"], ("functions", Draw.loss, 16)),
    **dict.fromkeys(["cross_entropy", "nll_loss"], ("functions", Draw.classification, 20)),
    **dict.fromkeys(["SGD", "SGD nesterov", "Adagrad", "RMSprop", "Adam", "AdamW"], ("optimizers", Draw.optimizer, 20)),
    **dict.fromkeys(["Conv2d", "ConvTranspose2d"], ("images", Draw.convolution, 12)),
    **dict.fromkeys(["MaxPool2d", "AvgPool2d"], ("images", Draw.pooling, 10)),
    "MaxUnpool2d": ("images", Draw.unpooling, 6),
    "BatchNorm2d": ("images", Draw.batch_norm, 12),
}


def drawn(draw: Draw, kind: str) -> Case:
    """A new case of a kind, with what PyTorch computes."""
    program, configuration, _ = KINDS[kind]
    config = {"program": program, **configuration(draw, kind)}
    given: Arrays = {}

    def new(name: str, shape: Sequence[int]) -> np.ndarray:
        given[name] = draw.numbers(shape)
        return given[name]

    return Case(kind, config, given, PROGRAMS[program](PyTorch(), config, new))


def write(path: Path, cases: list[Case]) -> None:
    """Store cases as `test_pytorch.cases` reads them."""
    texts = [
        [case.kind, case.config, *({name: array.shape for name, array in group.items()} for group in case[2:])]
        for case in cases
    ]
    given, expected = (np.concatenate([array.ravel() for c in cases for array in c[i].values()]) for i in (2, 3))
    np.savez_compressed(path, cases=np.array(json.dumps(texts)), given=given.astype(np.float16), expected=expected)
    print(f"{path.name}: {len(cases)} configurations, {path.stat().st_size} bytes")


def write_fixtures() -> None:
    """The stored cases: the same in every run, with one version of NumPy and PyTorch."""
    draw = Draw(0)
    cases = [drawn(draw, kind) for kind, (_, _, count) in KINDS.items() for _ in range(count)]
    for program in PROGRAMS:
        write(FIXTURES / f"{program}.npz", [case for case in cases if case.config["program"] == program])


def fresh(count: int, seed: int) -> Iterator[Case]:
    """New cases, of each kind in proportion to those stored."""
    draw = Draw(seed)
    kinds = [kind for kind, (_, _, stored) in KINDS.items() for _ in range(stored)]
    return (drawn(draw, draw.one_of(kinds)) for _ in range(count))


def compare(cases: Iterator[Case]) -> bool:
    """Print how nn and PyTorch agree, and whether they do."""
    agreed, compared, largest = Counter(), Counter(), Counter()
    for case in cases:
        compared[case.kind] += 1
        comparisons = {dtype: differences(case, "cpu", dtype) for dtype in TOLERANCES}
        wrong = "".join(mismatch(case, offs, dtype) for dtype, offs in comparisons.items())
        agreed[case.kind] += not wrong
        print(wrong, end="")
        for dtype, offs in comparisons.items():
            largest[case.kind, dtype] = max(largest[case.kind, dtype], *offs.values())
    for kind in KINDS:
        if compared[kind]:
            offs = "  ".join(f"{dtype} {largest[kind, dtype]:.1e}" for dtype in TOLERANCES)
            print(f"{kind:34}{agreed[kind]:5} of {compared[kind]:5} agree; largest difference: {offs}")
    print(f"{agreed.total()} of {compared.total()} configurations agree with PyTorch {torch.__version__}")
    return agreed == compared


def main() -> int:
    """Write the fixtures, or compare fresh configurations; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", type=int, metavar="N", help="draw N configurations and compare, write nothing")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing of fresh ones (default 1)")
    args = parser.parse_args()
    if args.fresh is None:
        write_fixtures()
        return 0
    return 0 if compare(fresh(args.fresh, args.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
