"""nn.functional: losses against their formulas, and what is refused. PyTorch's values: test_pytorch.py."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.testing import check_grads
from nn import functional as F

V = 5
reductions = st.sampled_from(["mean", "sum", "none"])


@st.composite
def logits_and_targets(draw: st.DrawFn, lowest: int = 0, highest: int = V - 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits (V,), (N, V) or (N, V, d1, ...) and targets of that shape without V, at least one."""
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    size = int(np.prod(shape))
    targets = np.reshape(draw(st.lists(st.integers(lowest, highest), min_size=size, max_size=size)), shape)
    logits = np.random.default_rng(size).normal(size=(*shape[:1], V, *shape[1:]), scale=5)
    return logits, targets.astype(int)


def by_formula(logits: np.ndarray, targets: np.ndarray, ignored: int) -> np.ndarray:
    """The loss of each target, one at a time."""
    last = np.moveaxis(logits, min(logits.ndim - 1, 1), -1)
    losses = np.zeros(targets.shape)
    for place in np.ndindex(*targets.shape):
        if targets[place] != ignored:
            losses[place] = -np.log(np.exp(last[place]) / np.exp(last[place]).sum())[targets[place]]
    return losses


@given(logits_and_targets(), reductions, st.sampled_from([-100, 0, 3]))
def test_cross_entropy_is_its_formula(case: Any, reduction: str, ignored: int) -> None:
    logits, targets = case
    losses, count = by_formula(logits, targets, ignored), (targets != ignored).sum()
    with np.errstate(invalid="ignore"):
        expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / count}[reduction]
    ours = F.cross_entropy(mg.tensor(logits), targets, ignore_index=ignored, reduction=reduction)
    np.testing.assert_allclose(ours.data, expected, rtol=1e-9)
    same = F.nll_loss(F.log_softmax(logits, min(logits.ndim - 1, 1)), targets, ignore_index=ignored,
                      reduction=reduction)  # fmt: skip
    np.testing.assert_allclose(same.data, expected, rtol=1e-9)


@given(logits_and_targets())
def test_ignored_targets_pass_no_gradient(device: str, case: Any) -> None:
    logits, targets = case
    x = mg.tensor(logits, requires_grad=True, device=device)
    ignored = int(targets.flat[0])
    F.cross_entropy(x, targets, ignore_index=ignored, reduction="sum").backward()
    gradient = np.moveaxis(x.grad.numpy(), min(logits.ndim - 1, 1), -1)
    assert not gradient[targets == ignored].any()
    assert gradient[targets != ignored].any(axis=-1).all()


def test_an_ignored_target_beside_an_impossible_class_stays_out() -> None:
    x = mg.tensor([[float("-inf"), 0.0], [0.0, 0.0]], requires_grad=True)
    F.nll_loss(x, np.array([-100, 1])).backward()
    assert x.grad.data.tolist() == [[0, 0], [0, -1]]


@given(logits_and_targets(lowest=-3, highest=V + 3))
def test_targets_out_of_range_are_refused_by_name(device: str, case: Any) -> None:
    logits, targets = case
    x = mg.tensor(logits, device=device)
    outside = targets[(targets != -1) & ((targets < 0) | (targets >= V))]
    if not outside.size:
        assert np.isfinite(F.cross_entropy(x, targets, ignore_index=-1, reduction="sum").item())
        return
    with pytest.raises(IndexError, match=rf"target: expected integers in 0\.\.{V - 1}, got -?\d+") as caught:
        F.cross_entropy(x, targets, ignore_index=-1)
    assert int(str(caught.value).split()[-1]) in outside


@given(st.floats(-80, 80), st.sampled_from([0, 1]))
def test_binary_cross_entropy_is_exact_for_large_logits(logit: float, target: int) -> None:
    x = mg.tensor(np.array([logit]), requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, np.array([target]))
    loss.backward()
    wrong = -logit if target else logit  # log(1 + exp(wrong)) = log1p(exp(-|wrong|)) + max(wrong, 0)
    np.testing.assert_allclose(loss.data, np.log1p(np.exp(-abs(wrong))) + max(wrong, 0), rtol=1e-12)
    np.testing.assert_allclose(abs(x.grad.data), 1 / (1 + np.exp(-wrong)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["i8", "?", "f4"])
def test_binary_cross_entropy_stays_finite_in_every_dtype(device: str, dtype: str, kind: str) -> None:
    x = mg.tensor(np.array([1e4, -1e4, 1e4, -1e4], dtype), requires_grad=True, device=device)
    y = np.array([1, 0, 0, 1], kind)
    y = mg.tensor(y, device=device) if kind == "f4" else y  # integers on the host move by themselves
    losses = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    losses.sum().backward()
    assert losses.numpy().tolist() == [0, 0, 1e4, 1e4]
    assert x.grad.numpy().tolist() == [0, 0, 1, -1]
    assert losses.dtype == x.grad.dtype == dtype


def test_binary_cross_entropy_refuses_what_does_not_belong_together() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"target of input's shape \(2, 3\), got \(3,\)"):
        F.binary_cross_entropy_with_logits(x, np.zeros(3))
    with pytest.raises(ValueError, match=r"weight: expected a shape that broadcasts to input's \(2, 3\), got \(2,\)"):
        F.binary_cross_entropy_with_logits(x, x, np.zeros(2))
    with pytest.raises(ValueError, match=r"pos_weight: .* got \(4, 2, 3\)"):
        F.binary_cross_entropy_with_logits(x, x, pos_weight=np.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match="reduction: expected"):
        F.binary_cross_entropy_with_logits(x, x, reduction="average")


@given(st.floats(-700, 700))
def test_softplus_is_its_formula(x: float) -> None:
    np.testing.assert_allclose(F.softplus(mg.tensor(np.array(x))).data, np.logaddexp(0, x), rtol=1e-12)


def test_losses_refuse_what_does_not_belong_together() -> None:
    x = mg.tensor(np.zeros((3, V)))
    with pytest.raises(ValueError, match=r"target: expected shape \(3,\), input's \(3, 5\) without its class axis 1"):
        F.cross_entropy(x, np.zeros((3, 1), int))
    with pytest.raises(TypeError, match="target: expected integers, got dtype float64"):
        F.cross_entropy(x, np.zeros(3))
    with pytest.raises(ValueError, match="0-d"):
        F.cross_entropy(mg.tensor(1.0), 0)
    with pytest.raises(ValueError, match=r"target of input's shape \(3, 5\), got \(3,\)"):
        F.mse_loss(x, np.zeros(3))
    for loss, target in [(F.cross_entropy, np.zeros(3, int)), (F.mse_loss, np.zeros((3, V)))]:
        with pytest.raises(ValueError, match="reduction: expected 'mean', 'sum' or 'none', got 'average'"):
            loss(x, target, reduction="average")


def test_a_float32_loss_stays_float32() -> None:
    x = mg.tensor(np.zeros((2, V), "f4"), requires_grad=True)
    for loss in (F.cross_entropy(x, np.array([1, -100])), F.mse_loss(x, np.ones((2, V), "f4"))):
        loss.backward()
        assert loss.dtype == x.grad.dtype == np.float32


@given(st.lists(st.integers(0, V - 1), min_size=1), st.sampled_from([-1, V, V + 2]))
def test_one_hot_rows_point_back_at_the_ids(device: str, ids: list[int], n: int) -> None:
    rows = F.one_hot(mg.tensor(np.array(ids), device=device), n).numpy()
    assert rows.dtype == np.int64
    assert rows.shape == (len(ids), n if n > 0 else max(ids) + 1)
    assert (rows.sum(axis=1) == 1).all()
    assert rows.argmax(axis=1).tolist() == ids


def test_one_hot_refuses_other_ids() -> None:
    with pytest.raises(IndexError, match=r"one_hot: input: expected integers in 0\.\.2, got 3"):
        F.one_hot(np.array([3]), 3)
    with pytest.raises(TypeError, match="integers"):
        F.one_hot(np.array([1.0]), 3)
    with pytest.raises(IndexError, match="-1"):
        F.one_hot(np.array([-1]))
    with pytest.raises(ValueError, match="num_classes"):
        F.one_hot(np.array([], int))


def test_softmax_is_along_dim() -> None:
    x = mg.tensor(np.random.default_rng(0).normal(size=(2, 3)))
    for dim in (0, 1, -1):
        np.testing.assert_allclose(F.softmax(x, dim).data.sum(axis=dim), 1)
        np.testing.assert_allclose(np.exp(F.log_softmax(x, dim).data), F.softmax(x, dim).data)


sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@given(sizes, sizes)
def test_adaptive_pooling_is_the_mean_of_each_window(device: str, size: tuple[int, int], out: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, *size))
    y = F.adaptive_avg_pool2d(mg.tensor(x, device=device), out).numpy()
    assert y.shape == (2, 2, *out)
    for place in np.ndindex(*out):
        rows, columns = (
            slice(math.floor(i * n / m), math.ceil((i + 1) * n / m)) for i, n, m in zip(place, size, out, strict=True)
        )
        np.testing.assert_allclose(y[(..., *place)], x[..., rows, columns].mean(axis=(2, 3)), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(F.adaptive_avg_pool2d(x[0], out).numpy(), F.adaptive_avg_pool2d(x, out).numpy()[0])


def test_adaptive_pooling_is_differentiated() -> None:
    check_grads(lambda x: F.adaptive_avg_pool2d(x, (2, 7)), np.random.default_rng(0).normal(size=(1, 2, 5, 3)))


def test_adaptive_pooling_refuses_no_windows_and_no_places() -> None:
    with pytest.raises(ValueError, match="adaptive_avg_pool2d: output_size"):
        F.adaptive_avg_pool2d(np.ones((1, 1, 2, 2)), 0)
    for shape in ((2, 2), (1, 1, 0, 2)):
        with pytest.raises(ValueError, match=re.escape(f"not empty, got {shape}")):
            F.adaptive_avg_pool2d(np.ones(shape), 1)
