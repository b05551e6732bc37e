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
from minigrad.ops import recurrent
from minigrad.ops.steps import gru_step_chung
from minigrad.testing import gradient_test, laws
from minigrad.testing.strategies import layer_calls

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
    """State and gates by letter, by the lecture's equations, gate by gate: W, b for the input, U, d for the hidden."""
    h = state["h"]
    blocks = U.shape[0] // U.shape[1]
    W, U, b, d = (np.split(array, blocks) for array in (W, U, b, d))
    a = [x @ W[k].T + b[k] for k in range(blocks)]  # what comes from below
    r = [h @ U[k].T + d[k] for k in range(blocks)]  # what comes from before
    if kind == "RNN":
        return {"h": np.tanh(a[0] + r[0])}
    if kind == "RNN relu":
        return {"h": np.maximum(a[0] + r[0], 0)}
    if kind == "LSTM":
        i, f, o = (sigmoid(a[k] + r[k]) for k in (0, 1, 3))
        g = np.tanh(a[2] + r[2])
        c = f * state["c"] + i * g
        return {"h": o * np.tanh(c), "c": c, "i": i, "f": f, "g": g, "o": o}
    reset, z = sigmoid(a[0] + r[0]), sigmoid(a[1] + r[1])
    if kind == "GRU":
        n = np.tanh(a[2] + reset * r[2])
        return {"h": (1 - z) * n + z * h, "r": reset, "z": z, "n": n}
    n = np.tanh(a[2] + (reset * h) @ U[2].T + d[2])
    return {"h": (1 - z) * h + z * n, "r": reset, "z": z, "n": n}


def numpy_run(kind: str, layer: Any, suffix: str, x: np.ndarray, state: Any) -> list[Any]:
    """State and gates after each step of one sequence x, (T, D), in one direction of one layer."""
    H = layer.hidden_size
    W, U = (getattr(layer, f"{name}{suffix}").data for name in ("weight_ih", "weight_hh"))
    biases = [getattr(layer, name + suffix).data if layer.bias else np.zeros(len(U)) for name in ("bias_ih", "bias_hh")]
    reverse = suffix.endswith("_reverse")
    state = state or {"h": np.zeros(H), "c": np.zeros(H)}
    steps = []
    for x_t in x[::-1] if reverse else x:
        state = numpy_step(kind, x_t, state, W, U, *biases)
        steps.append(state)
    return steps[::-1] if reverse else steps


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
    bias, bidirectional = (data.draw(st.booleans(), label=name) for name in ("bias", "bidirectional"))
    layer = make(kind, D, H, L, bias=bias, bidirectional=bidirectional)
    x = np.random.default_rng(T).normal(size=(T, *batch, D))
    directions = ["", "_reverse"] if bidirectional else [""]
    given_state = states(kind, L * len(directions), *batch, H) if data.draw(st.booleans(), label="state") else None
    lengths = None
    if batch and data.draw(st.booleans(), label="lengths"):
        lengths = data.draw(st.lists(st.integers(1, T), min_size=batch[0], max_size=batch[0]), label="lengths")
        lengths = np.array(lengths, int)
    outputs, final, gates = layer(x, given_state, lengths, return_gates=True)

    for b in np.ndindex(batch):  # each sequence on its own
        n = lengths[b] if lengths is not None else T
        below = x[(slice(n), *b)]
        for k in range(L):
            runs = []
            for direction in directions:
                i = k * len(directions) + len(runs)
                initial = None
                if given_state is not None:
                    initial = dict(zip("hc", (part[(i, *b)] for part in parts(given_state)), strict=False))
                runs.append(numpy_run(kind, layer, f"_l{k}{direction}", below, initial))
                last = runs[-1][-1 if direction == "" else 0]
                for letter, part in zip("hc", parts(final), strict=False):
                    np.testing.assert_allclose(part[(i, *b)], last[letter], **TOLERANCE)
                assert list(gates) == list(last)
                for letter, values in gates.items():
                    expected = [step[letter] for step in runs[-1]] + [np.zeros(H)] * (T - n)
                    np.testing.assert_allclose(values.data[(i, slice(None), *b)], expected, **TOLERANCE)
            below = np.concatenate([[step["h"] for step in run] for run in runs], axis=-1)
        np.testing.assert_allclose(outputs.data[(slice(n), *b)], below, **TOLERANCE)
        assert not outputs.data[(slice(n, None), *b)].any()


@every_kind
@settings(max_examples=20)
@given(st.permutations([1, 2, 3, 4, 4, 2]), st.booleans(), st.booleans())
def test_what_lies_beyond_the_lengths_changes_nothing(kind: str, lengths: list[int], two: bool, swapped: bool) -> None:
    layer = make(kind, D, H, L, bidirectional=two, batch_first=swapped)
    over = np.arange(T)[:, None] >= np.array(lengths)  # (T, B)
    results = []
    for padding in (0.0, np.nan):
        x = mg.tensor(np.where(over[..., None], padding, inputs.data), requires_grad=True)
        outputs, final = layer(mg.swapaxes(x, 0, 1) if swapped else x, lengths=lengths)
        loss = mg.sum(outputs * outputs) + sum(mg.sum(s * s) for s in (final if kind == "LSTM" else [final]))
        gradients = mg.grad(loss, [x, *layer.parameters()])
        assert not gradients[0].data[over].any()
        results.append([outputs.data, *parts(final), *[g.data for g in gradients]])
    for zeros, nans in zip(*results, strict=True):
        np.testing.assert_array_equal(zeros, nans)


def test_dropout_acts_between_layers_in_training_alone() -> None:
    layer = make("LSTM", D, H, L, dropout=1.0)
    silent = make("LSTM", H, H)
    silent.load_state_dict({k.replace("_l1", "_l0"): v for k, v in layer.state_dict().items() if k.endswith("_l1")})
    close(layer(inputs)[0], silent(np.zeros((T, B, H)))[0])  # the second layer hears nothing, the outputs are whole
    plain = make("LSTM", D, H, L)
    plain.load_state_dict(layer.state_dict())
    close(layer(inputs)[1][0][0], plain(inputs)[1][0][0])  # the first layer hears everything
    close(layer.eval()(inputs)[0], plain(inputs)[0])
    with pytest.warns(UserWarning, match=r"GRU: dropout=0\.5 acts between layers, and there is only one"):
        nn.GRU(D, H, dropout=0.5)


@pytest.mark.parametrize("cell", [False, True])
@given(st.floats(-5, 5))
def test_forget_bias_is_the_sum_of_both_biases(cell: bool, value: float) -> None:
    module = make("LSTM", D, H, *([] if cell else [L]), cell=cell, forget_bias=value)
    biases = [p.data for name, p in module.named_parameters() if name.startswith("bias")]
    assert len(biases) == (2 if cell else 2 * L)
    for ih, hh in zip(biases[::2], biases[1::2], strict=True):
        assert (ih + hh)[H : 2 * H] == pytest.approx(np.full(H, value))
        assert np.delete(ih + hh, np.s_[H : 2 * H]).std() > 0
    with pytest.raises(ValueError, match="expected bias=True with forget_bias=1, got bias=False"):
        make("LSTM", D, H, cell=cell, bias=False, forget_bias=1)


@pytest.mark.parametrize("variant", ["cudnn", "chung"])
def test_repr_shows_the_equations_of_a_gru(variant: str) -> None:
    model = nn.Sequential(nn.GRU(D, H, bidirectional=True, variant=variant), nn.GRUCell(D, H, variant=variant))
    candidate = {"cudnn": "r * (W_hn h + b_hn)", "chung": "W_hn (r * h) + b_n"}[variant]
    assert repr(model).count(candidate) == 2
    assert "(0): GRU(\n    3, 5, bidirectional=True" in repr(model)
    assert all(line.startswith("    ") for line in repr(model).splitlines() if "=" in line)


every_layer = pytest.mark.parametrize("make_layer", [nn.RNN, nn.LSTM, nn.GRU])
every_cell = pytest.mark.parametrize("make_cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])


@every_layer
@pytest.mark.parametrize(("order", "examples"), [(1, 6), (2, 2)])
def test_gradients_are_the_slopes_of_what_is_computed(make_layer: Any, order: int, examples: int) -> None:
    gradient_test(make_layer, order=order, examples=examples)()


@every_cell
def test_gradients_of_cells_are_the_slopes_of_what_is_computed(make_cell: Any) -> None:
    gradient_test(make_cell, (2, 1), init=dict(input_size=1, hidden_size=2), examples=2)()


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


@every_layer
@settings(max_examples=15)
@given(st.data())
def test_layers_obey_the_laws_of_recurrence(make_layer: Any, data: st.DataObject) -> None:
    layer, x, state, lengths, options = data.draw(layer_calls(make_layer, batch_first=False))
    laws.hold(layer, np.random.default_rng(0).normal(size=(3, 2, x.shape[-1])))
    laws.unrolls(layer, x, state)
    if lengths is not None:
        laws.padding_is_ignored(layer, x, lengths)
    if not options["bidirectional"]:
        laws.goes_step_by_step(layer, x, state)
        laws.gradients_add_up(layer, x, state)
        for at in range(1, len(x)):
            laws.splits(layer, x, at, state)


@every_kind
def test_the_reverse_half_of_both_directions_is_a_layer_of_its_own(kind: str) -> None:
    both, back = make(kind, D, H, bidirectional=True), make(kind, D, H)
    weights = both.state_dict()
    back.load_state_dict({key: weights[f"{key}_reverse"] for key in back.state_dict()})
    laws.reverses(both, back, inputs)
    with pytest.raises(AssertionError, match=r"^reverses: "):
        laws.reverses(both, make(kind, D, H), inputs)


@every_kind
def test_elements_have_names_in_words(kind: str) -> None:
    layer, cell = make(kind, D, H, L, bidirectional=True), make(kind, D, H, cell=True)
    gate = {"RNN": "", "LSTM": "gate f, ", "GRU": "gate z, "}[kind.split()[0]]
    row = H + 2 if gate else 2
    expected = {
        ("weight_ih_l0", (row, 1)): f"{gate}unit 2, by input 1",
        ("weight_ih_l1_reverse", (row, 7)): f"{gate}unit 2, by output 7 of the layer below",
        ("weight_hh_l1", (row, 4)): f"{gate}unit 2, by unit 4 of h",
        ("bias_hh_l0", (row,)): f"{gate}unit 2",
        ("x", (3, 1, 0)): "step 3, sequence 1, input 0",
        ("x", (3, 0)): "step 3, input 0",
        ("outputs[0]", (3, 1, 4)): "step 3, sequence 1, unit 4",
        ("outputs[0]", (3, H + 1)): "step 3, unit 1 in reverse",
        ("outputs[1]", (3, 1, 4)): "h of layer 1 in reverse, sequence 1, unit 4",
        ("state[1]", (2, 4)): "c of layer 1, unit 4",
        ("something else", (0, 0)): "",
    }
    assert {key: layer.describe_element(*key) for key in expected} == expected
    assert cell.describe_element("weight_ih", (row, 1)) == f"{gate}unit 2, by input 1"
    layer.batch_first = True
    assert layer.describe_element("x", (1, 3, 0)) == "sequence 1, step 3, input 0"


@every_kind
def test_batch_first_swaps_the_axes_of_inputs_and_outputs_alone(kind: str) -> None:
    layer, state = make(kind, D, H, L), states(kind, L, B, H)
    outputs, final = layer(inputs, state)
    layer.batch_first = True
    swapped, end = layer(mg.swapaxes(inputs, 0, 1), state)
    close(mg.swapaxes(swapped, 0, 1), outputs)
    close(end, final)


@every_kind
def test_a_given_state_is_not_written_to(kind: str) -> None:
    layer, state = make(kind, D, H, L), states(kind, L, B, H)
    before = [s.copy() for s in parts(state)]
    layer(inputs, state)
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
    assert len({len(graph(layer(np.ones((T, B, D)))[0])) for T in (1, 2, 7)}) == 1  # not at all: a sequence is one op
    with mg.unrolled():
        sizes = [len(graph(layer(np.ones((T, B, D)))[0])) for T in (1, 2, 3, 7)]
    step = sizes[1] - sizes[0]
    assert sizes == [sizes[0] + step * (T - 1) for T in (1, 2, 3, 7)]
    assert step <= 25 * L  # about fifteen ops a step, and their several outputs


@every_kind
def test_steps_have_scopes(kind: str) -> None:
    layer = make(kind, D, H, L)
    with mg.unrolled():
        names = {node.scope for node in graph(layer(inputs)[0]) if node.op}
    root = type(layer).__name__
    assert names == {(root,), *((root, f"t={t}") for t in range(T))}


@every_kind
def test_unrolled_each_step_has_a_product_of_its_own(kind: str) -> None:
    layer = make(kind, D, H, L, bidirectional=True)
    outputs, state = layer(inputs, lengths=[1, 4, 2, 3, 4, 1])
    with mg.unrolled():
        same_outputs, same_state = layer(inputs, lengths=[1, 4, 2, 3, 4, 1])
        products = {node.scope for node in graph(layer(inputs)[0]) if node.op and node.op.name == "matmul"}
    close(same_outputs, outputs)
    close(same_state, state)
    assert products == {(type(layer).__name__, f"t={t}") for t in range(T)}


@every_kind
@given(st.data())
def test_a_sequence_as_one_op_is_its_steps(kind: str, data: st.DataObject) -> None:
    """Outputs, last states and all gradients, in every configuration."""
    T, B, D, H, L = (
        data.draw(st.integers(1, most), label=name) for name, most in zip("TBDHL", (6, 4, 3, 4, 3), strict=True)
    )
    flags = {name: data.draw(st.booleans(), label=name) for name in ("bias", "batch_first", "bidirectional")}
    layer = make(kind, D, H, L, **flags, dropout=0.5 if L > 1 else 0.0)
    single = data.draw(st.booleans(), label="single")
    batch = () if single else (B,)
    shape = (T, D) if single else (B, T, D) if flags["batch_first"] else (T, B, D)
    numbers = np.random.default_rng(T).normal(size=shape)
    x = mg.as_tensor(np.asfortranarray(numbers) if data.draw(st.booleans(), label="columns first") else numbers)
    x.requires_grad_(data.draw(st.booleans(), label="x varies"))
    state = states(kind, L * (1 + flags["bidirectional"]), *batch, H)
    variables = [*layer.parameters(), *(s.requires_grad_() for s in (state if kind == "LSTM" else [state]))]
    lengths = None
    if not single and data.draw(st.booleans(), label="lengths"):
        lengths = np.array(data.draw(st.lists(st.integers(1, T), min_size=B, max_size=B), label="lengths"))
    only = data.draw(st.sampled_from(["outputs", "final", "both"]), label="the loss reads")

    def results() -> list[np.ndarray]:
        mg.seed(0)  # for the dropout
        outputs, final = layer(x, state, lengths)
        finals = list(final) if kind == "LSTM" else [final]
        read = {"outputs": [outputs], "final": finals, "both": [outputs, *finals]}[only]
        loss = sum(mg.sum(mg.sin(3 * y) * y) for y in read)
        wanted = variables + [x] * x.requires_grad
        gradients = mg.grad(loss, wanted, allow_unused=True)
        return [outputs.data, *parts(final), *[np.zeros(1) if g is None else g.data for g in gradients]]

    as_one = results()
    with mg.unrolled():
        in_steps = results()
    for one, steps in zip(as_one, in_steps, strict=True):
        np.testing.assert_allclose(one, steps, rtol=1e-10, atol=1e-12)


@every_kind
@pytest.mark.parametrize("size", [1, B * H, 3 * B * H])
def test_gradients_do_not_depend_on_how_many_steps_are_worked_on_at_a_time(
    kind: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(kind, D, H, L, bidirectional=True)
    weights = list(layer.parameters())

    def gradients() -> list[np.ndarray]:
        outputs, _ = layer(inputs, lengths=[1, 4, 2, 3, 4, 1])
        return [g.data for g in mg.grad(mg.sum(outputs * outputs), weights)]

    at_once = gradients()
    monkeypatch.setattr(recurrent, "BLOCK", size)
    for one, other in zip(gradients(), at_once, strict=True):
        np.testing.assert_array_equal(one, other)


@every_kind
@pytest.mark.parametrize("columns", [1, H])
def test_products_of_the_state_may_be_cut_into_blocks(kind: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "COLUMNS", columns)  # H is one such block, or many
    layer = make(kind, D, H)
    with mg.unrolled():
        steps, _ = layer(inputs)
    outputs, _ = layer(inputs)
    np.testing.assert_allclose(outputs.data, steps.data, rtol=1e-12)


@every_kind
def test_nan_in_the_input_reaches_what_it_reaches_step_by_step(kind: str) -> None:
    layer = make(kind, D, H)
    x = inputs.data.copy()
    x[1, 2, 0] = np.nan
    one, _ = layer(x)
    with mg.unrolled():
        steps, _ = layer(x)
    np.testing.assert_array_equal(np.isnan(one.data), np.isnan(steps.data))
    assert not np.isnan(one.data[:1]).any()
    assert not np.isnan(one.data[:, [0, 1, 3, 4, 5]]).any()


@every_kind
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_lower_precision_stays_what_it_is(kind: str, dtype: str) -> None:
    layer = make(kind, D, H, L).to(dtype)
    x = inputs.to(dtype)
    outputs, _ = layer(x)
    with mg.unrolled():
        steps, _ = layer(x)
    gradients = mg.grad(outputs.sum(), list(layer.parameters()))
    assert {t.dtype for t in (outputs, *gradients)} == {np.dtype(dtype)}
    np.testing.assert_allclose(outputs.data, steps.data, atol=3 * np.finfo(dtype).eps)


@every_kind
def test_two_forwards_before_a_backward_and_a_second_backward(kind: str) -> None:
    layer = make(kind, D, H, L)
    weights = list(layer.parameters())
    first, second = (mg.sum(layer(k * inputs)[0]) for k in (1.0, 2.0))
    alone = [mg.grad(mg.sum(layer(k * inputs)[0]), weights) for k in (1.0, 2.0)]
    again = [mg.grad(loss, weights, retain_graph=True) for loss in (first, second, first, second)]
    for gradients, expected in zip(again, alone + alone, strict=True):
        for g, e in zip(gradients, expected, strict=True):
            np.testing.assert_array_equal(g.data, e.data)


@every_kind
def test_read_only_inputs_are_left_alone(kind: str) -> None:
    layer = make(kind, D, H, L)
    x = inputs.data.copy()
    x.flags.writeable = False
    before = [x.copy(), *[p.data.copy() for p in layer.parameters()]]
    leaf = mg.as_tensor(x, requires_grad=True)
    layer(leaf)[0].sum().backward()
    for now, then in zip([x, *[p.data for p in layer.parameters()]], before, strict=True):
        np.testing.assert_array_equal(now, then)


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


@every_kind
def test_other_devices_are_refused(kind: str) -> None:
    layer, state = make(kind, D, H, L), states(kind, L, B, H)
    with pytest.raises(mg.DeviceError, match="expected x on the parameters' device cpu, got strict"):
        layer(inputs.to("strict"))
    wrong = tuple(s.to("strict") for s in state) if kind == "LSTM" else state.to("strict")
    with pytest.raises(mg.DeviceError, match="expected state h on the parameters' device cpu, got strict"):
        layer(inputs, wrong)


@every_kind
@pytest.mark.parametrize(
    ("lengths", "error", "expected"),
    [
        ([4, 3, 2, 1, 0, 1], ValueError, r"lengths in 1\.\.T, T = 4, got 0 for sequence 4; leave empty"),
        ([4, -3, 2, 1, 0, 1], ValueError, "got -3 for sequence 1$"),
        ([4, 3, 5, 1, 0, 1], ValueError, "got 5 for sequence 2$"),
        ([4, 3], ValueError, r"expected lengths of shape \(6,\), one for each sequence, got shape \(2,\)"),
        (4, ValueError, r"got shape \(\)"),
        ([[4]] * 6, ValueError, r"got shape \(6, 1\)"),
        ([4.0] * 6, TypeError, "expected lengths to be integers, got dtype float"),
        ([True] * 6, TypeError, "expected lengths to be integers, got dtype bool"),
    ],
)
def test_bad_lengths_are_refused(kind: str, lengths: Any, error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        make(kind, D, H)(inputs, lengths=lengths)


def test_a_single_sequence_has_no_lengths() -> None:
    with pytest.raises(ValueError, match="expected lengths None for a single sequence, got shape"):
        make("GRU", D, H)(inputs[:, 0], lengths=[T])


def test_lengths_may_be_a_tensor_on_any_device(device: str) -> None:
    layer = make("LSTM", D, H, L, bidirectional=True)
    lengths = np.array([1, 4, 2, 3, 4, 1])
    expected, _ = layer(inputs, lengths=lengths)
    layer.to(device)
    for given_lengths in (lengths, mg.tensor(lengths), mg.tensor(lengths, device=device)):
        outputs, _ = layer(inputs.to(device), lengths=given_lengths)
        np.testing.assert_allclose(outputs.numpy(), expected.data, **TOLERANCE)


def test_a_step_alone_is_a_function_of_tensors() -> None:
    (h,), (r, _, n) = gru_step_chung(
        mg.tensor(np.zeros((B, 3 * H))), (mg.tensor(np.ones((B, H))),), mg.tensor(np.zeros((H, 2 * H))),
        mg.tensor(np.zeros((H, H))),
    )  # fmt: skip
    assert (h.data == 0.5).all()
    assert (r.data == 0.5).all()
    assert not n.data.any()


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
    with pytest.raises(ValueError, match=r"RNN: dropout: expected a probability in \[0, 1\], got 2"):
        nn.RNN(3, 4, 2, dropout=2)
    for sizes, name in [((0, 4), "input_size"), ((3, 0), "hidden_size"), ((3, 4, 0), "num_layers")]:
        with pytest.raises(ValueError, match=f"LSTM: expected {name} of at least 1, got 0"):
            nn.LSTM(*sizes)
