"""Laws of recurrence, as assertions on any recurrent layer: nn's, or your own.

A layer is called as `layer(x, state)` and gives the outputs and the next state; x is (T, B, D), the outputs
(T, B, ...), a state a tensor (N, B, H) or a tuple of them. A law raises AssertionError where the layer breaks it, with
the largest difference; with one step, or one sequence, there may be nothing to break. Differences of rounding are
forgiven: 1e-9 in float64, and in float32, which shows less, 3e-5 of the largest element. `hold` holds a layer to all
laws that ask for nothing else.

>>> import numpy as np, nn
>>> from minigrad.testing import laws
>>> x = np.random.default_rng(0).normal(size=(4, 3, 2))
>>> laws.hold(nn.LSTM(2, 5).to("float64"), x)
>>> laws.is_causal(nn.LSTM(2, 5, bidirectional=True).to("float64"), x)
Traceback (most recent call last):
AssertionError: is_causal: output t=0 depends on inputs after it, as the gradient there says: up to ...
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autodiff import grad
from ..backend import Array, generator, move
from ..creation import as_tensor
from ..graph import Tensor, unrolled
from .functions import gradients, signed
from .parameters import lent, parameters_of
from .precision import ROUNDINGS

__all__ = [
    *("hold", "splits", "goes_step_by_step", "unrolls", "is_causal", "keeps_no_state"),
    *("sequences_are_independent", "may_be_permuted", "padding_is_ignored"),
    *("reverses", "embeds", "gradients_add_up"),
]

TOLERANCE = 1e-9  # of differences that no dtype accounts for, beside ROUNDINGS epsilons of the one at hand
Layer = Callable[..., tuple[Tensor, Any]]


def hold(layer: Layer, x: Any) -> None:
    """Hold a layer to every law that asks for nothing but the layer and x.

    Lengths are tried where the layer takes them: where its `forward`, or itself, has a parameter of this name. What
    holds in one direction only is left out where `layer.bidirectional` says so.

    Args:
        x: of shape (T, B, D), 2 steps of 2 sequences at least.

    Raises:
        AssertionError: the layer breaks a law; the message begins with its name.
        ValueError: x or what the layer gives is of another shape, or x is too small.
        TypeError: what the layer gives is not the outputs and a state.

    >>> import nn
    >>> x = np.random.default_rng(0).normal(size=(4, 3, 2))
    >>> hold(nn.GRU(2, 5, bidirectional=True).to("float64"), x)
    >>> hold(lambda x, state=None: (x - x.mean(axis=1, keepdims=True), x[-1:]), x)
    Traceback (most recent call last):
    AssertionError: sequences_are_independent: sequence 0: the outputs differ by up to ...
    """
    x = as_tensor(as_tensor(x).data)
    if x.ndim != 3 or min(x.shape[:2]) < 2:
        raise ValueError(
            f"hold: expected x of shape (T, B, D) with T >= 2 and B >= 2, got {x.shape}; one step can't show whether "
            "the state is used, nor one sequence whether sequences mix"
        )
    T, B, D = x.shape
    for law in keeps_no_state, sequences_are_independent, may_be_permuted, unrolls:
        law(layer, x)
    ids = np.arange(T * B).reshape(T, B) // 2  # each of them twice
    embeds(layer, x.data.reshape(T * B, D), ids)
    if "lengths" in inspect.signature(getattr(layer, "forward", layer)).parameters:
        padding_is_ignored(layer, x, [b % T + 1 for b in range(B)])
    if getattr(layer, "bidirectional", False):
        return
    is_causal(layer, x)
    goes_step_by_step(layer, x)
    for at in range(1, T):
        splits(layer, x, at)
    if parameters_of(layer):
        gradients_add_up(layer, x)


# ------------------------------------------------------------------------------------------------ time


def splits(layer: Layer, x: Any, at: int, state: Any = None) -> None:
    """A sequence may be cut before step `at`, if the state is carried over: truncated BPTT computes the same."""
    outputs, last = run(layer, x, state)
    head, middle = run(layer, x[:at], state)
    tail, end = run(layer, x[at:], middle)
    name = f"splits: cut before step {at}"
    same(name, "the outputs before", outputs[:at], head)
    same(name, "the outputs after", outputs[at:], tail)
    same(name, "the last state", last, end)


def goes_step_by_step(layer: Layer, x: Any, state: Any = None) -> None:
    """T calls of one step each, the state carried over, give what one call of T steps gives."""
    outputs, last = run(layer, x, state)
    for t in range(len(x)):
        output, state = run(layer, x[t : t + 1], state)
        same(f"goes_step_by_step: step {t}", "the outputs", outputs[t : t + 1], output)
    same("goes_step_by_step", "the last state", last, state)


def unrolls(layer: Layer, x: Any, state: Any = None) -> None:
    """Under `minigrad.unrolled()` a layer gives the same outputs, state and gradients."""
    as_one = results_and_gradients(layer, x, state)
    with unrolled():
        in_steps = results_and_gradients(layer, x, state)
    for what, expected in as_one.items():
        same("unrolls", what, expected, in_steps[what])


def is_causal(layer: Layer, x: Any) -> None:
    """No output depends on inputs after it."""
    x = leaf(x)
    outputs, _ = run(layer, x)
    for t in range(len(x)):
        (dx,) = grad(outputs[t], x, weights(outputs[t]), retain_graph=True)  # ones would let effects cancel
        if np.any(dx.numpy()[t + 1 :]):
            largest = np.abs(dx.numpy()[t + 1 :]).max()
            raise AssertionError(
                f"is_causal: output t={t} depends on inputs after it, as the gradient there says: up to {largest:.2e}"
            )


def keeps_no_state(layer: Layer, x: Any) -> None:
    """Called twice, a layer gives the same bits: the state is passed in and returned, not kept."""
    for first, second in zip(map(parts, run(layer, x)), map(parts, run(layer, x)), strict=True):
        for one, other in zip(first, second, strict=True):
            if one.numpy().tobytes() != other.numpy().tobytes():
                raise AssertionError(
                    "keeps_no_state: the second call gives something else; does the layer keep state? "
                    "Or draw at random? Noise wants a seed, dropout layer.eval()"
                )


# ------------------------------------------------------------------------------------------------ batch


def sequences_are_independent(layer: Layer, x: Any) -> None:
    """The sequences of a batch know nothing of each other: each gives what it gives alone."""
    outputs, last = run(layer, x)
    for b in range(x.shape[1]):
        alone(layer, x, b, len(x), outputs, last, f"sequences_are_independent: sequence {b}")


def may_be_permuted(layer: Layer, x: Any) -> None:
    """The sequences of a batch may come in any order: outputs and state follow."""
    outputs, last = run(layer, x)
    B = x.shape[1]
    for order in [*range(1, B), 0], [*range(B)[1::-1], *range(2, B)]:  # these two make up every other
        permuted, end = run(layer, x[:, order])
        same(f"may_be_permuted: order {order}", "the outputs", outputs[:, order], permuted)
        same(f"may_be_permuted: order {order}", "the last state", [part[:, order] for part in parts(last)], end)


def padding_is_ignored(layer: Layer, x: Any, lengths: Sequence[int]) -> None:
    """What lies beyond the lengths of a batch changes nothing: each sequence gives what it gives alone."""
    x = as_tensor(x)
    beyond = np.arange(len(x))[:, None] >= np.asarray(lengths)  # (T, B)
    padded = np.where(beyond[..., None], np.nan, x.numpy())
    outputs, last = layer(as_tensor(padded, device=x.device), lengths=lengths)
    if np.isnan(outputs.numpy()).any():
        raise AssertionError("padding_is_ignored: what was put beyond the lengths, nan, came out; is x read there?")
    for b, n in enumerate(lengths):
        name = f"padding_is_ignored: sequence {b} of length {n}"
        alone(layer, x, b, n, outputs, last, name)
        if np.any(outputs.numpy()[n:, b]):
            raise AssertionError(f"{name}: the outputs beyond it are not zeros")


# ------------------------------------------------------------------------------------------------ weights


def reverses(both: Layer, back: Layer, x: Any) -> None:
    """The reverse half of a bidirectional layer is a layer with its weights that reads the sequence from its end.

    Args:
        both: one bidirectional layer; the last H of its outputs, and the last row of its state, are the reverse half's.
        back: the layer of one direction.
    """
    outputs, last = run(both, x)
    own, end = run(back, x[::-1])
    same("reverses", "the outputs of the reverse half", own[::-1], outputs[..., -own.shape[-1] :])
    same("reverses", "the last state of the reverse half", end, [part[-1:] for part in parts(last)])


def embeds(layer: Layer, E: Any, ids: np.ndarray) -> None:
    """One-hot vectors times a table of embeddings are its rows, to the layer and to the gradient of the table.

    Args:
        E: the table, of shape (V, D).
        ids: integers below V, of shape (T, B).
    """
    E = leaf(E)
    one_hot = as_tensor(np.eye(len(E), dtype=E.dtype)[ids], device=E.device)  # (T, B, V)
    outputs, found = [], []
    for x in one_hot @ E, E[ids]:
        y, _ = run(layer, x)
        (dE,) = grad(y, E, weights(y), allow_unused=True) if y.requires_grad else (None,)
        if dE is None:
            raise AssertionError("embeds: no gradient reaches the table; does the layer cut the graph of its input?")
        outputs.append(y)
        found.append(dE)
    same("embeds", "the outputs", *outputs)
    same("embeds", "the gradients of the table", *found)


def gradients_add_up(layer: Layer, x: Any, state: Any = None) -> None:
    """The gradient of each parameter is the sum, over time, of what every step adds to it.

    Raises:
        TypeError: the layer has no parameters.
    """
    parameters = parameters_of(layer)
    if not parameters:
        raise TypeError("gradients_add_up: expected a layer with named_parameters(), got one without")
    whole = results_and_gradients(layer, x, state)
    outputs, leaves = [], []  # a leaf for each parameter at each step
    for t in range(len(x)):
        here = [leaf(p.data) for p in parameters.values()]
        with lent(parameters, here):
            output, state = run(layer, x[t : t + 1], state)
        outputs.append(output)
        leaves += here
    over_time = weights(whole["the outputs"])
    seeds = [*[over_time[t : t + 1] for t in range(len(x))], *map(weights, parts(state))]
    each = gradients([*outputs, *parts(state)], leaves, seeds)
    for i, name in enumerate(parameters):
        what = f"the gradient of {name}"
        same("gradients_add_up", f"{what} and the sum of its steps'", whole[what], sum(each[i :: len(parameters)]))


# ------------------------------------------------------------------------------------------------ what they share


def leaf(x: Any) -> Tensor:
    """A variable with the values of x."""
    return as_tensor(as_tensor(x).data, requires_grad=True)


def run(layer: Layer, x: Any, *state: Any, **lengths: Any) -> tuple[Tensor, Any]:
    """What a layer gives: the outputs and the last state, in the shapes that they have for the laws."""
    if inspect.isclass(layer):
        raise TypeError(f"laws: expected a layer, got the class {layer.__name__}; make one: {layer.__name__}(...)")
    result = layer(x, *state, **lengths)
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise TypeError(f"laws: expected layer(x) to give the outputs and the last state, got {type(result).__name__}")
    outputs, last = result
    T, B = x.shape[:2]
    if outputs.shape[:2] != (T, B) or any(len(part.shape) < 2 or part.shape[1] != B for part in parts(last)):
        raise ValueError(
            f"laws: expected layer(x) to give outputs ({T}, {B}, ...) and a state (N, {B}, ...), or a tuple of such, "
            f"got {outputs.shape} and {', '.join(str(part.shape) for part in parts(last))}; "
            "is the batch the second axis?"
        )
    return outputs, last


def weights(y: Tensor) -> Array:
    """Weights for the elements of y, for a loss that sees them all; the same for every y of a shape."""
    return move(signed(generator(0), y.size).reshape(y.shape), y.device)


def results_and_gradients(layer: Layer, x: Any, state: Any) -> dict[str, Any]:
    """What a layer gives, and the gradients of all that by x and its parameters, by what a message calls them."""
    parameters = parameters_of(layer)
    x, *variables = leaf(x), *map(leaf, parameters.values())
    with lent(parameters, variables):
        outputs, last = run(layer, x, state)
    ys = [outputs, *parts(last)]
    found = gradients(ys, [x, *variables], list(map(weights, ys)))
    named = {f"the gradient of {name}": g for name, g in zip(("x", *parameters), found, strict=True)}
    return {"the outputs": outputs, "the last state": last, **named}


def alone(layer: Layer, x: Any, b: int, n: int, outputs: Tensor, last: Any, name: str) -> None:
    """Raise AssertionError unless sequence b of a batch, n steps long, gives the same when it is run by itself."""
    own, end = run(layer, x[:n, b : b + 1])
    same(name, "the outputs", own, outputs[:n, b : b + 1])
    same(name, "the last state", end, [part[:, b : b + 1] for part in parts(last)])


def parts(state: Any) -> list[Tensor]:
    """The tensors of a state."""
    return list(state) if isinstance(state, tuple | list) else [state]


def same(law: str, what: str, expected: Any, got: Any) -> None:
    """Raise AssertionError unless two states, outputs or gradients are equal up to rounding."""
    for one, other in zip(parts(expected), parts(got), strict=True):
        a, b = one.numpy(), other.numpy()
        if a.shape != b.shape:
            raise AssertionError(f"{law}: {what}: expected shape {a.shape}, got {b.shape}")
        epsilon = max(np.finfo(array.dtype).eps for array in (a, b))
        largest = np.abs(a).max(initial=1.0)
        allowed = TOLERANCE * (1 + np.abs(b)) + ROUNDINGS * epsilon * largest
        if not np.all(np.abs(a - b) <= allowed):
            worst = np.unravel_index(np.argmax(np.abs(a - b)), a.shape)
            place = ", ".join(map(str, worst))
            raise AssertionError(f"{law}: {what} differ by up to {np.abs(a - b).max():.2e}, at [{place}]")
