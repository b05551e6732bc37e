"""Every contestant does the work it is measured by, and all of them the same; how long it takes is not tested."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import lecture, measure
from benchmarks.images import Captioning, Layer
from benchmarks.libraries import LIBRARIES
from benchmarks.report import LAYERS, RNN, WORKLOADS
from benchmarks.workloads import Chain, Sampling, Training, V, Workload, initial, model_of, tiny, training
from minigrad.backend import DeviceError, backend_for

PAIRS = [(work, contestant) for work in WORKLOADS.values() for contestant in work.contestants]
CELLS = [Training(cell, 2, 5, 6, 3) for cell in ("RNN", "LSTM", "GRU")]
LECTURES = [Training(cell, 1, 5, 6, 1, lecture=True) for cell in ("RNN", "LSTM", "unrolled")]

CAPTIONER = Captioning(B=5, S=16, T=4, V=7, E=3, H=6)  # 2 x 2 places


def losses(work: Training | Captioning, contestant: str, steps: int) -> list[float]:
    step: Callable[[], Any] = work.build(contestant)
    return [loss if isinstance(loss, float) else loss.item() for loss in (step() for _ in range(steps))]


def need(contestant: str, device: str = "cpu") -> None:
    if contestant == "torch":
        pytest.importorskip("torch")
    try:
        backend_for(device)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("work", "contestant"), PAIRS, ids=[f"{work.name}: {name}" for work, name in PAIRS])
def test_every_contestant_of_every_workload_takes_steps(work: Workload, contestant: str) -> None:
    need(contestant, work.device)
    if isinstance(work, Training | Captioning):
        first, *_, last = losses(tiny(work), contestant, 8)
        assert last < first
    else:
        step = tiny(work).build(contestant)
        step()
        step()


@pytest.mark.parametrize("steps", [1, 5])
def test_minigrad_and_the_lecture_compute_the_same_numbers(steps: int) -> None:
    work = replace(RNN, H=7, T=6, dtype="float64")
    ours, theirs = (losses(work, contestant, steps) for contestant in ("minigrad", "lecture"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)  # both in float64, a few hundred roundings
    assert steps == 1 or ours[-1] < ours[0]


@pytest.mark.parametrize("work", [*CELLS, *LECTURES, CAPTIONER], ids=lambda work: work.name)
def test_minigrad_and_pytorch_compute_the_same_numbers(work: Training | Captioning) -> None:
    pytest.importorskip("torch")
    ours, theirs = (losses(replace(work, dtype="float64"), contestant, 5) for contestant in ("minigrad", "torch"))
    # Both in float64; PyTorch divides by the root of Adam's second moment in another order.
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_layer_s_result_and_gradients_are_pytorch_s(layer: Layer) -> None:
    need("torch")
    ours, theirs = (replace(layer, N=2, S=6).build(contestant)() for contestant in ("minigrad", "torch"))
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == tuple(other.shape)
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=2e-5)  # float32, sums of 576


def test_minigrad_and_the_lecture_clip_alike() -> None:
    """Where all characters are the same, the gradient of the output's bias begins at -40."""
    work, library, ids = replace(RNN, H=7, T=40, dtype="float64"), LIBRARIES["minigrad"](), np.zeros((41, 1), int)
    model = model_of(work, library)
    by_hand = lecture.training(model.state_dict(), ids[:-1, 0], ids[1:, 0])
    step = training(work, library, model, ids)
    np.testing.assert_allclose([step().item() for _ in range(8)], [by_hand() for _ in range(8)], rtol=1e-10)


def test_the_op_by_op_rnn_is_the_layer() -> None:
    """The same weights give the same logits, whichever way they are computed."""
    library = LIBRARIES["minigrad"]()
    layers, loop = (model_of(replace(LECTURES[0], cell=cell), library) for cell in ("RNN", "unrolled"))
    weights = layers.state_dict()
    loop.load_state_dict({
        "W_xh": weights["rnn.weight_ih_l0"].T, "W_hh": weights["rnn.weight_hh_l0"].T,
        "b_h": weights["rnn.bias_ih_l0"] + weights["rnn.bias_hh_l0"],
        "W_hy": weights["output.weight"].T, "b_y": weights["output.bias"],
    })  # fmt: skip
    ids = np.array([[3], [1], [4], [1]])
    np.testing.assert_allclose(loop(ids)[0].data, layers(ids)[0].data, rtol=1e-5)


@pytest.mark.parametrize("contestant", ["minigrad", "torch"])
def test_sampling_draws_as_many_characters_as_the_time_is_divided_by(contestant: str) -> None:
    need(contestant)
    drawn = np.asarray(Sampling(L=1, H=3, units=11).build(contestant)())
    assert drawn.shape == (11, 1)
    assert set(drawn.ravel()) <= set(range(V))


def test_the_operations_of_a_step_are_those_of_its_products() -> None:
    """Counted product by product for an LSTM of one layer."""
    T, B, H = 3, 2, 5
    forward = T * B * (2 * 4 * H * H + 2 * 4 * H * H + 2 * V * H)
    assert Training("LSTM", 1, H, T, B).flop() == 3 * forward


def test_initial_weights_do_not_depend_on_the_order_of_their_names() -> None:
    shapes = {"b": (2,), "a": (3, 2)}
    one, other = initial(shapes), initial(dict(reversed(shapes.items())))
    assert all(np.array_equal(one[name], other[name]) for name in shapes)


def test_what_is_too_small_for_two_threads_runs_on_one() -> None:
    alone = {name for name, work in WORKLOADS.items() if work.one_thread}
    assert alone == {Chain.name, *(name for name in WORKLOADS if "1x100" in name)}


def test_no_two_workloads_share_a_name() -> None:
    assert all(WORKLOADS[work.name] == work for work in WORKLOADS.values())


def test_a_process_says_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("WARM_UP", "LEAST", "MOST"):
        monkeypatch.setattr(measure, limit, 0.0)
    figures = measure.measured(tiny(RNN), "minigrad")
    assert figures["steps"] == 1
    assert figures["seconds"] == figures["least"] > 0
    assert {"MB", "cores", "others"} <= set(figures)
