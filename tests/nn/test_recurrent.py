"""nn.recurrent: the equations transcribed in NumPy, the laws of a recurrence, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.graph import Node

TOLERANCE = dict(rtol=1e-9, atol=1e-9)  # float64, and sums of a few terms in another order

KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "RNN": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
    "GRU chung": ("GRU", {"variant": "chung"}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
T, B, D, H, L = 4, 6, 3, 5, 2


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def numpy_step(kind: str, x: np.ndarray, state: Any, W: np.ndarray, U: np.ndarray, b: np.ndarray, d: np.ndarray) -> Any:
    """The next state, by the lecture's equations, gate by gate: W, b for the input, U, d for the hidden values."""
    h = state[0]
    blocks = U.shape[0] // U.shape[1]
    W, U, b, d = (np.split(array, blocks) for array in (W, U, b, d))
    a = [x @ W[k].T + b[k] for k in range(blocks)]  # what comes from below
    r = [h @ U[k].T + d[k] for k in range(blocks)]  # what comes from before
    if kind == "RNN":
        return (np.tanh(a[0] + r[0]),)
    if kind == "RNN relu":
        return (np.maximum(a[0] + r[0], 0),)
    if kind == "LSTM":
        i, f, o = (sigmoid(a[k] + r[k]) for k in (0, 1, 3))
        c = f * state[1] + i * np.tanh(a[2] + r[2])
        return o * np.tanh(c), c
    reset, z = sigmoid(a[0] + r[0]), sigmoid(a[1] + r[1])
    if kind == "GRU":
        n = np.tanh(a[2] + reset * r[2])
        return ((1 - z) * n + z * h,)
    n = np.tanh(a[2] + (reset * h) @ U[2].T + d[2])
    return ((1 - z) * h + z * n,)


def make(kind: str, *sizes: int, cell: bool = False, **options: Any) -> Any:
    name, extra = KINDS[kind]
    return getattr(nn, name + "Cell" * cell)(*sizes, **options, **extra).to("float64")


def states(kind: str, *shape: int, seed: int = 1) -> Any:
    """A random state of the form that the kind takes."""
    tensors = tuple(mg.tensor(x) for x in np.random.default_rng(seed).normal(size=(2, *shape)))
    return tensors if kind == "LSTM" else tensors[0]


def parts(state: Any) -> list[np.ndarray]:
    return [s.data for s in (state if isinstance(state, tuple) else (state,))]


def close(ours: Any, theirs: Any) -> None:
    for x, y in zip(parts(ours), parts(theirs), strict=True):
        np.testing.assert_allclose(x, y, **TOLERANCE)


inputs = mg.tensor(np.random.default_rng(0).normal(size=(T, B, D)))


@every_kind
@given(st.data())
def test_layers_follow_the_equations(kind: str, data: st.DataObject) -> None:
    T, D, H, L = (data.draw(st.integers(1, 3), label=name) for name in "TDHL")
    batch = data.draw(st.sampled_from([(), (0,), (1,), (3,)]), label="batch")
    bias = data.draw(st.booleans(), label="bias")
    layer = make(kind, D, H, L, bias=bias)
    x = np.random.default_rng(T).normal(size=(T, *batch, D))
    state = states(kind, L, *batch, H) if data.draw(st.booleans(), label="state") else None
    outputs, final = layer(x, state)

    below = list(x)
    finals = []
    for k in range(L):
        weights = [getattr(layer, f"{name}_l{k}").data for name in ("weight_ih", "weight_hh")]
        biases = [getattr(layer, f"{name}_l{k}").data if bias else np.zeros(len(weights[0])) for name in
                  ("bias_ih", "bias_hh")]  # fmt: skip
        s = [np.zeros((*batch, H))] * 2 if state is None else [part[k] for part in parts(state)]
        steps = []
        for x_t in below:
            s = numpy_step(kind, x_t, s, *weights, *biases)
            steps.append(s[0])
        below = steps
        finals.append(s)
    np.testing.assert_allclose(outputs.data, np.stack(below), **TOLERANCE)
    for i, part in enumerate(parts(final)):
        np.testing.assert_allclose(part, np.stack([s[i] for s in finals]), **TOLERANCE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "RNN relu"])  # whose slopes have jumps
@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_gradients_are_the_slopes_of_what_is_computed(kind: str, seed: int) -> None:
    mg.seed(seed)
    layer, state, rng = make(kind, D, H, L), states(kind, L, B, H, seed=seed), np.random.default_rng(seed)
    values = [p.data.copy() for p in layer.parameters()]
    direction = [rng.normal(size=value.shape) for value in values]

    def loss_at(step: float) -> mg.Tensor:
        for p, value, d in zip(layer.parameters(), values, direction, strict=True):
            p.data = value + step * d
        outputs, final = layer(inputs, state)
        return mg.sum(outputs * outputs) + sum(mg.sum(s) for s in (final if kind == "LSTM" else [final]))

    loss_at(0).backward()
    slope = sum((p.grad.data * d).sum() for p, d in zip(layer.parameters(), direction, strict=True))
    h = 1e-4  # rounding is about 1e-15 / h, the fifth derivative's term h^4
    a, b, c, d = (loss_at(step * h).item() for step in (-2, -1, 1, 2))
    numeric = (a - 8 * b + 8 * c - d) / (12 * h)
    assert slope == pytest.approx(numeric, rel=1e-6, abs=1e-6)


@every_kind
def test_a_cell_at_every_step_is_the_layer(kind: str) -> None:
    layer, cell = make(kind, D, H), make(kind, D, H, cell=True)
    cell.load_state_dict({key.removesuffix("_l0"): array for key, array in layer.state_dict().items()})
    state = None
    for x in inputs:
        state = cell(x, state)
    outputs, final = layer(inputs)
    close(state, tuple(s[0] for s in final) if kind == "LSTM" else final[0])
    close(outputs[-1], state[0] if kind == "LSTM" else state)
    close(cell(inputs[0, 0]), tuple(s[0] for s in cell(inputs[0])) if kind == "LSTM" else cell(inputs[0])[0])


@every_kind
@given(st.integers(1, T - 1))
def test_a_sequence_may_be_cut_anywhere(kind: str, cut: int) -> None:
    layer = make(kind, D, H, L)
    whole, last = layer(inputs)
    head, state = layer(inputs[:cut])
    tail, end = layer(inputs[cut:], state)
    close(mg.concatenate([head, tail]), whole)
    close(end, last)


@every_kind
def test_batches_are_of_independent_sequences_in_either_layout(kind: str) -> None:
    layer = make(kind, D, H, L)
    state = states(kind, L, B, H)
    outputs, final = layer(inputs, state)
    for b in range(B):
        own = tuple(s[:, b] for s in state) if kind == "LSTM" else state[:, b]
        alone, end = layer(inputs[:, b], own)
        close(alone, outputs[:, b])
        close(end, tuple(s[:, b] for s in final) if kind == "LSTM" else final[:, b])
    layer.batch_first = True
    swapped, end = layer(mg.swapaxes(inputs, 0, 1), state)
    close(mg.swapaxes(swapped, 0, 1), outputs)
    close(end, final)


@every_kind
def test_the_state_is_nobodys_but_the_callers(kind: str) -> None:
    layer, state = make(kind, D, H, L), states(kind, L, B, H)
    before = [s.copy() for s in parts(state)]
    first, second = layer(inputs, state), layer(inputs, state)
    close(first[1], second[1])
    for s, old in zip(parts(state), before, strict=True):
        np.testing.assert_array_equal(s, old)


# ---- the graph


def graph(output: mg.Tensor) -> set[Node]:
    seen: set[Node] = set()
    stack: list[Any] = [output.node]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack.extend(node.parents)
    return seen


@every_kind
def test_the_graph_grows_by_the_same_for_each_step(kind: str) -> None:
    layer = make(kind, D, H, L)
    sizes = [len(graph(layer(np.ones((T, B, D)))[0])) for T in (1, 2, 3, 7)]
    step = sizes[1] - sizes[0]
    assert sizes == [sizes[0] + step * (T - 1) for T in (1, 2, 3, 7)]
    assert step <= 20 * L  # about a dozen ops a step, and their several outputs


@every_kind
def test_steps_have_scopes(kind: str) -> None:
    layer = make(kind, D, H, L)
    names = {node.scope for node in graph(layer(inputs)[0]) if node.op}
    root = type(layer).__name__
    assert names == {(root,), *((root, f"t={t}") for t in range(T))}


# ---- what is refused


@every_kind
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((T, B, D + 1), rf"expected x of shape \(T, B, D={D}\) or \(T, D={D}\), got \({T}, {B}, {D + 1}\)"),
        ((D,), "expected x of shape"),
        ((1, T, B, D), "expected x of shape"),
        ((0, B, D), "at least one step"),
    ],
)
def test_inputs_of_another_shape_are_refused(kind: str, shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make(kind, D, H)(np.zeros(shape))


@every_kind
@pytest.mark.parametrize("shape", [(T, B, D), (B, D + 1), ()])
def test_cells_refuse_inputs_of_another_shape(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"Cell: expected x of shape \(B, D={D}\) or \(D={D}\), got"):
        make(kind, D, H, cell=True)(np.zeros(shape))


@every_kind
@given(st.sampled_from([(B, H), (1, B, H), (L, H), (L, B + 1, H), (L, B, D), (B, L, H), ()]))
def test_states_of_another_shape_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected state h of shape \({L}, {B}, {H}\), got"):
        make(kind, D, H, L)(inputs, states(kind, *shape))


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_other_dtypes_are_refused(kind: str, dtype: str) -> None:
    layer, state = make(kind, D, H, L), states(kind, L, B, H)
    with pytest.raises(TypeError, match=f"expected x of the parameters' dtype float64, got {dtype}"):
        layer(inputs.to(dtype))
    wrong = tuple(s.to(dtype) for s in state) if kind == "LSTM" else state.to(dtype)
    with pytest.raises(TypeError, match=f"expected state h of the parameters' dtype float64, got {dtype}"):
        layer(inputs, wrong)


def test_a_state_of_one_part_is_refused_by_the_lstm() -> None:
    with pytest.raises(TypeError, match=r"LSTM: expected state to be a tuple \(h, c\), got a Tensor"):
        make("LSTM", D, H, 2)(inputs, mg.tensor(np.zeros((2, B, H))))
    with pytest.raises(TypeError, match=r"expected state to be a tuple \(h, c\), got a tuple of 1"):
        make("LSTM", D, H, cell=True)(inputs[0], (mg.tensor(np.zeros((B, H))),))


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="nonlinearity: expected 'tanh' or 'relu', got 'gelu'"):
        nn.RNN(3, 4, nonlinearity="gelu")
    with pytest.raises(ValueError, match="variant: expected 'cudnn' or 'chung', got 'cho'"):
        nn.GRUCell(3, 4, variant="cho")
    for sizes, name in [((0, 4), "input_size"), ((3, 0), "hidden_size"), ((3, 4, 0), "num_layers")]:
        with pytest.raises(ValueError, match=f"LSTM: expected {name} of at least 1, got 0"):
            nn.LSTM(*sizes)
