"""break_gradient: what it breaks is broken, noticed, and mended afterwards."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import minigrad as mg
import nn
from minigrad.registry import OPS
from minigrad.testing import GradientError, break_gradient, check_grads, gradient_test
from minigrad.testing.breaking import GATES, KINDS, Mutant, NothingBroken, mutants, why_left_out

from .mutants import fate

SLICE = 6  # every so many mutants are made here; `make mutants` makes all
x = np.linspace(-1.0, 1.0, 6).reshape(3, 2)


def own(mutant: Mutant) -> bool:
    """Whether an op is minigrad's: other tests register ops too."""
    return OPS[mutant.op].forward.__module__.startswith("minigrad.")


@pytest.mark.parametrize("mutant", [m for m in mutants() if own(m) and not why_left_out(m)][::SLICE], ids=str)
def test_a_mutant_is_killed(mutant: Mutant) -> None:
    assert fate(mutant) == "killed"


@pytest.mark.parametrize("mutant", [m for m in mutants() if own(m) and why_left_out(m)][::SLICE], ids=str)
def test_what_is_left_out_changes_nothing(mutant: Mutant) -> None:
    assert fate(mutant) == "left out"


def test_every_kind_is_made_of_every_gradient() -> None:
    targets = [(name, part) for name, op in OPS.items() for part in (*op.operands, *GATES.get(name, ()))]
    assert {*mutants()} == {(name, part, kind) for name, part in targets for kind in KINDS}


def test_nothing_is_broken_before_or_after() -> None:
    check_grads(mg.tanh, x)
    with pytest.raises(GradientError, match="6 of 36 derivatives"), break_gradient("tanh.x", "sign"):
        check_grads(mg.tanh, x, order=1)
    check_grads(mg.tanh, x)


def test_a_gate_is_broken_by_its_rows_and_told_by_its_name() -> None:
    layer, data = nn.LSTM(1, 2).to("float64"), np.ones((2, 1, 1))
    (before,) = mg.grad(layer(data)[0].sum(), layer.weight_hh_l0)
    with break_gradient("lstm.forget", "sign"):
        (broken,) = mg.grad(layer(data)[0].sum(), layer.weight_hh_l0)
    flipped = before.numpy().copy()
    flipped[2:4] *= -1  # i, f, g, o: two rows for each
    np.testing.assert_array_equal(broken.numpy(), flipped)
    with pytest.raises(GradientError, match=r"gate f, unit 0"), break_gradient("lstm.forget", "sign"):
        gradient_test(nn.LSTM, (2, 1, 1), init=dict(input_size=1, hidden_size=1), order=1, examples=1)()


def test_second_derivatives_are_broken_too() -> None:
    with pytest.raises(GradientError, match=r"^order 1"), break_gradient("multiply.x", "scaled"):
        check_grads(lambda x: x * x, x)
    with pytest.raises(GradientError, match=r"^order 2"), break_gradient("cos.x", "sign"):
        check_grads(mg.sin, x)


def test_a_block_in_which_nothing_was_broken_says_so() -> None:
    with (
        pytest.raises(NothingBroken, match=r"no gradient of tanh\.x to break as 'sign'"),
        break_gradient("tanh.x", "sign"),
    ):
        check_grads(mg.sin, x)
    with pytest.raises(NothingBroken), break_gradient("add.x", "not summed"):
        check_grads(mg.add, x, x)  # of one shape
    with pytest.raises(NothingBroken), break_gradient("sign.x", "scaled"):
        check_grads(mg.sign, x)  # zero


@pytest.mark.parametrize(("kind", "dtype"), [("upstream", "float64"), ("dtype", "float16")])
def test_what_no_formula_can_do_breaks_nothing(kind: str, dtype: str) -> None:
    """The gradient of a sum can't be written to, and no dtype is smaller than float16."""
    leaf = mg.tensor(x, requires_grad=True, dtype=dtype)
    with pytest.raises(NothingBroken), break_gradient("tanh.x", kind):
        mg.tanh(leaf).sum().backward()


def test_a_target_that_is_no_op_is_told_from_one() -> None:
    with pytest.raises(ValueError, match=r"got 'mul\.x'; is it one of \[.*'multiply'"), break_gradient("mul.x"):
        pass
    with pytest.raises(ValueError, match=r"like 'tanh\.x', got <function tanh"), break_gradient(mg.tanh):  # type: ignore[arg-type]
        pass


def test_an_error_inside_comes_through() -> None:
    with pytest.raises(KeyError), break_gradient("tanh.x"):
        raise KeyError


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        ("tanhh.x", "sign", r"expected target to begin with an op, like 'tanh\.x', got 'tanhh\.x'"),
        ("tanh", "sign", r"expected one of \['tanh\.x'\], got 'tanh'"),
        ("lstm.forgot", "sign", r"'lstm\.forget'.*got 'lstm\.forgot'"),
        ("tanh.x", "signs", r"expected kind to be one of \['scaled', 'sign'.*got 'signs'"),
    ],
)
def test_what_is_not_there_can_not_be_broken(target: str, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message), break_gradient(target, kind):
        pass


def test_it_breaks_the_gradients_of_its_own_thread() -> None:
    passed = []

    def other() -> None:
        check_grads(mg.tanh, x)
        passed.append(True)

    def around() -> None:
        with break_gradient("tanh.x", "sign"):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

    with pytest.raises(NothingBroken):
        around()
    assert passed
