"""Optimizers, with PyTorch's options, and gradient clipping; learning-rate schedules are here by name too.

A step writes to the parameters in place. State exists from construction, so that what is saved before the first
step is complete; make an optimizer after its model is on its device and in its dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from minigrad import Tensor, as_tensor
from minigrad.backend import Array, DeviceError, backend_of, move
from minigrad.creation import to_array
from minigrad.graph import mark_written

from . import schedules as lr_scheduler  # where PyTorch has them
from .schedules import CosineAnnealingLR, ExponentialLR, StepLR

__all__ = [
    "Optimizer", "SGD", "Adagrad", "RMSprop", "Adam", "AdamW",
    "clip_grad_norm_", "clip_grad_value_",
    "StepLR", "ExponentialLR", "CosineAnnealingLR", "lr_scheduler",
]  # fmt: skip

Options: TypeAlias = dict[str, Any]
Parameters: TypeAlias = Iterable[Tensor] | Iterable[Options]


class Optimizer:
    """What all optimizers share: groups of parameters with options of their own, and state for each parameter.

    Subclasses say what state one parameter needs (`initial_state`) and write one step of it (`update`).

    Attributes:
        param_groups: a list of dicts: "params", and the options, to be changed at any time: `group["lr"] = 0.1`.
        state: for each parameter a dict of arrays and a count of its steps, under PyTorch's names.
    """

    implied: tuple[str, Any] | None = None  # an option of PyTorch's that this optimizer is, rather than has

    def __init__(self, params: Parameters, **defaults: Any) -> None:
        self.defaults = defaults
        self.param_groups: list[Options] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        given: list[Any] = [params] if isinstance(params, Tensor) else list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: expected parameters, got none; has the model any?")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take more parameters in.

        Args:
            group: a dict of "params", tensors, and the options in which they differ from the defaults.

        Raises:
            TypeError: something that is not a leaf tensor.
            ValueError: a parameter that is there already, an unknown option, or one out of range.
            DeviceError: parameters on different devices.
        """
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        options = {**self.defaults, **group}
        del options["params"]
        self.check(options)
        seen = dict.fromkeys(self.state)
        for i, param in enumerate(params):
            if not isinstance(param, Tensor) or not param.is_leaf:
                raise TypeError(f"params[{i}]: expected a parameter, a leaf tensor, got {type(param).__name__}")
            if param in seen:
                raise ValueError(f"params[{i}], of shape {param.shape}, is a parameter of this optimizer already")
            seen[param] = None
            device = next(iter(seen)).device
            if param.device != device:
                raise DeviceError(
                    f"params[{i}]: expected a parameter on device {device}, as the others are, got one of shape "
                    f"{param.shape} on {param.device}; move the whole model with .to(...) first"
                )
        self.param_groups.append({"params": params, **options})
        self.state |= {param: {"step": 0, **self.initial_state(param.data, options)} for param in params}

    def check(self, options: Options) -> None:
        """Raise ValueError for options that are unknown or out of range."""
        for name, value in options.items():
            if name not in self.defaults:
                known = ", ".join(self.defaults)
                raise ValueError(f"{type(self).__name__}: expected options among {known}, got {name!r}")
            for number in value if isinstance(value, tuple | list) else (value,):
                if not 0 <= number < (1 if name == "betas" else math.inf):
                    bounds = "in [0, 1)" if name == "betas" else "of at least 0"
                    raise ValueError(f"{type(self).__name__}: expected {name} {bounds}, got {value}")

    def zero_grad(self) -> None:
        """Drop the gradients: `grad` of every parameter is None until the next backward."""
        for param in self.state:
            param.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient, in place.

        Raises:
            ValueError: a parameter has changed its dtype or device since this optimizer was made.
        """
        for param in self.state:
            self._check_unmoved(param)
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                theta, g, state = param.data, param.grad.data, self.state[param]
                if group["weight_decay"]:
                    g = self.decay(theta, g, group)
                state["step"] += 1
                self.update(theta, g, state, group)
                mark_written(theta)

    def decay(self, theta: Array, g: Array, options: Options) -> Array:
        """Weight decay by the gradient: g with that of weight_decay / 2 * |theta|^2 added."""
        return g + options["weight_decay"] * theta

    def initial_state(self, theta: Array, options: Options) -> dict[str, Array]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def update(self, theta: Array, g: Array, state: dict[str, Any], options: Options) -> None:
        """Change a parameter's array in place; g, its gradient, is not ours to write to."""
        raise NotImplementedError

    def _check_unmoved(self, param: Tensor) -> None:
        for array in self.state[param].values():
            if not isinstance(array, int) and (array.dtype != param.dtype or type(array) is not type(param.data)):
                raise ValueError(
                    f"{type(self).__name__}: a parameter of shape {param.shape} is now {param.dtype} on "
                    f"{param.device}, its state {array.dtype} on {backend_of(array).device}; "
                    "make the optimizer after model.to(...)"
                )

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters: {"state": by a parameter's number, "param_groups": options and numbers}.

        The arrays are the optimizer's own: copy them to keep them.
        """
        number = {param: i for i, param in enumerate(self._params())}
        return {
            "state": {number[param]: dict(state) for param, state in self.state.items()},
            "param_groups": [
                {**group, "params": [number[param] for param in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the state and options of an optimizer of the same kind, over the same parameters in the same order.

        Args:
            state_dict: what `state_dict()` gave; its arrays are copied.

        Raises:
            ValueError: other groups, state of other names or shapes, or options that this optimizer has not; nothing
                has changed then. Options of PyTorch's that are off (`foreach`, `maximize`, ...) are passed over.
        """
        groups, params = state_dict["param_groups"], list(self._params())
        sizes, given = ([len(group["params"]) for group in gs] for gs in (self.param_groups, groups))
        if sizes != given:
            raise ValueError(f"load_state_dict: expected groups of {sizes} parameters, got groups of {given}")
        loaded = {}
        for i, param in enumerate(params):
            own, new = self.state[param], state_dict["state"].get(i, {})
            shapes, given_shapes = ({name: np.shape(value) for name, value in s.items()} for s in (own, new))
            if shapes != given_shapes:
                raise ValueError(f"load_state_dict: expected state {shapes} for parameter {i}, got {given_shapes}")
            loaded[param] = {
                name: int(value) if name == "step" else copied(value, param) for name, value in new.items()
            }
        options = [self._own_options(group) for group in groups]
        self.state = loaded
        for group, new in zip(self.param_groups, options, strict=True):
            group.update(new)

    def _own_options(self, group: Options) -> Options:
        own = {name: value for name, value in group.items() if name in self.defaults}
        for name, value in group.items():
            if name not in own and name != "params" and value and (name, value) != self.implied:
                raise ValueError(f"load_state_dict: {type(self).__name__} has no option {name}={value}; leave it out")
        self.check({**self.defaults, **own})
        return own

    def _params(self) -> Iterable[Tensor]:
        return (param for group in self.param_groups for param in group["params"])

    def __repr__(self) -> str:
        """The groups' options."""
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        return f"{type(self).__name__}({groups})"


def copied(array: Any, param: Tensor) -> Array:
    """A copy of an array on a parameter's device and in its dtype."""
    return move(to_array(array).astype(param.dtype), param.device)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

        g <- g + weight_decay * theta
        v <- momentum * v + (1 - dampening) * g         the first time: v <- g
        theta <- theta - lr * v                         with nesterov: lr * (g + momentum * v)

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

    Raises:
        ValueError: options out of range; nesterov without momentum or with dampening.

    >>> w = as_tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.25).step()
    >>> w.data
    array([0.5], dtype=float32)
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov
        )

    def check(self, options: Options) -> None:
        """Raise ValueError for options that are unknown, out of range, or don't go together."""
        super().check(options)
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ValueError(
                "SGD: nesterov needs momentum above 0 and no dampening, "
                f"got momentum={options['momentum']}, dampening={options['dampening']}"
            )

    def initial_state(self, theta: Array, options: Options) -> dict[str, Array]:
        """The velocity v."""
        return zeros("momentum_buffer" if options["momentum"] else "", theta)

    def update(self, theta: Array, g: Array, state: dict[str, Any], options: Options) -> None:
        """One step of one parameter."""
        momentum = options["momentum"]
        if momentum:
            first = state["step"] == 1 or "momentum_buffer" not in state
            v = slot(state, "momentum_buffer", theta)
            v *= momentum
            v += g if first else (1 - options["dampening"]) * g
            g = g + momentum * v if options["nesterov"] else v
        theta -= options["lr"] * g


class Adagrad(Optimizer):
    """Steps divided by the root of all squared gradients so far.

        g <- g + weight_decay * theta
        s <- s + g^2
        theta <- theta - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)            at step t = 1, 2, ...

    Source: Duchi, Hazan, Singer, Adaptive subgradient methods for online learning, 2011.

    Raises:
        ValueError: options out of range.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )

    def initial_state(self, theta: Array, options: Options) -> dict[str, Array]:
        """The sum of squared gradients s."""
        state = zeros("sum", theta)
        state["sum"] += options["initial_accumulator_value"]
        return state

    def update(self, theta: Array, g: Array, state: dict[str, Any], options: Options) -> None:
        """One step of one parameter."""
        lr = options["lr"] / (1 + (state["step"] - 1) * options["lr_decay"])
        xp = backend_of(theta).xp
        change = xp.multiply(g, g, out=xp.empty_like(theta))
        state["sum"] += change
        scale = xp.sqrt(state["sum"], out=change)
        scale += options["eps"]
        xp.divide(g, scale, out=change)
        change *= lr
        theta -= change


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients.

        g <- g + weight_decay * theta
        s <- alpha * s + (1 - alpha) * g^2
        m <- alpha * m + (1 - alpha) * g                centered only; otherwise m = 0
        d = g / (sqrt(s - m^2) + eps)
        v <- momentum * v + d                           with momentum; otherwise v = d
        theta <- theta - lr * v

    Source: Hinton, Neural networks for machine learning, lecture 6e, 2012; centered: Graves, Generating sequences
    with recurrent neural networks, 2013.

    Raises:
        ValueError: options out of range.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered
        )

    def initial_state(self, theta: Array, options: Options) -> dict[str, Array]:
        """The running means s and m, and the velocity v, as far as they are used."""
        return (
            zeros("square_avg", theta)
            | zeros("momentum_buffer" if options["momentum"] else "", theta)
            | zeros("grad_avg" if options["centered"] else "", theta)
        )

    def update(self, theta: Array, g: Array, state: dict[str, Any], options: Options) -> None:
        """One step of one parameter."""
        xp, alpha = backend_of(theta).xp, options["alpha"]
        variance = decay_towards(state["square_avg"], g * g, alpha)
        if options["centered"]:
            mean = decay_towards(slot(state, "grad_avg", theta), g, alpha)
            variance = xp.maximum(variance - mean * mean, 0)  # rounding may take it below
        scale = xp.sqrt(variance)
        scale += options["eps"]
        d = g / scale
        if options["momentum"]:
            v = slot(state, "momentum_buffer", theta)
            v *= options["momentum"]
            v += d
            d = v
        theta -= options["lr"] * d


class Adam(Optimizer):
    """Steps along a running mean of gradients, divided by the root of a running mean of their squares.

        g <- g + weight_decay * theta
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        theta <- theta - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)     at step t = 1, 2, ...

    With amsgrad, the largest v so far stands in the place of v. Sources: Kingma, Ba, Adam: a method for stochastic
    optimization, 2015; Reddi, Kale, Kumar, On the convergence of Adam and beyond, 2018.

    Raises:
        ValueError: options out of range.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def initial_state(self, theta: Array, options: Options) -> dict[str, Array]:
        """The running means m and v, and the largest v if it is used."""
        return (
            zeros("exp_avg", theta)
            | zeros("exp_avg_sq", theta)
            | zeros("max_exp_avg_sq" if options["amsgrad"] else "", theta)
        )

    def update(self, theta: Array, g: Array, state: dict[str, Any], options: Options) -> None:
        """One step of one parameter."""
        xp, (beta1, beta2), t = backend_of(theta).xp, options["betas"], state["step"]
        m = decay_towards(state["exp_avg"], g, beta1)
        v = decay_towards(state["exp_avg_sq"], g * g, beta2)
        if options["amsgrad"]:
            largest = slot(state, "max_exp_avg_sq", theta)
            v = xp.maximum(largest, v, out=largest)
        scale = xp.sqrt(v, out=xp.empty_like(theta))
        scale /= (1 - beta2**t) ** 0.5
        scale += options["eps"]
        xp.divide(m, scale, out=scale)
        scale *= options["lr"] / (1 - beta1**t)
        theta -= scale


class AdamW(Adam):
    """Adam, whose weight decay shrinks the parameters themselves instead of adding to the gradients.

        theta <- theta - lr * weight_decay * theta
        then Adam's step with the gradient as it is

    So a weight decays at one rate, however large its gradients are. Source: Loshchilov, Hutter, Decoupled weight
    decay regularization, 2019.

    Raises:
        ValueError: options out of range.

    >>> w = as_tensor([1.0], requires_grad=True)
    >>> (w * 0.0).sum().backward()
    >>> AdamW([w], lr=0.5, weight_decay=0.5).step()
    >>> w.data
    array([0.75], dtype=float32)
    """

    implied = ("decoupled_weight_decay", True)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    def decay(self, theta: Array, g: Array, options: Options) -> Array:
        """Weight decay of theta itself, in place; g stays as it is."""
        theta *= 1 - options["lr"] * options["weight_decay"]
        return g


def zeros(name: str, theta: Array) -> dict[str, Array]:
    """State of a name, zeros like a parameter; none without a name."""
    return {name: backend_of(theta).xp.zeros_like(theta)} if name else {}


def slot(state: dict[str, Any], name: str, theta: Array) -> Array:
    """State of a name; zeros where an option that needs it was changed after construction."""
    if name not in state:
        state |= zeros(name, theta)
    return state[name]


def decay_towards(mean: Array, value: Array, beta: float) -> Array:
    """A running mean, updated in place: mean <- beta * mean + (1 - beta) * value."""
    mean *= beta
    mean += (1 - beta) * value
    return mean


# ------------------------------------------------------------------------------------------------ clipping


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that their norm, as one long vector, is at most `max_norm`.

        g <- g * min(1, max_norm / (norm + 1e-6))

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013.

    Args:
        parameters: one tensor or several; those without a gradient are passed over.

    Returns:
        The norm before clipping.

    Raises:
        FloatingPointError: the norm is not finite; no gradient has changed. (PyTorch would make them 0 or nan.)
        ValueError: `max_norm` below 0.

    >>> w = as_tensor([0.0, 0.0], requires_grad=True)
    >>> (w * as_tensor([3.0, 4.0])).sum().backward()
    >>> clip_grad_norm_([w], 1.0)
    5.0
    >>> w.grad.data.round(3)
    array([0.6, 0.8], dtype=float32)
    """
    check_limit("clip_grad_norm_: max_norm", max_norm)
    clipped = with_gradients(parameters)
    norm = math.sqrt(sum_of_squares([param.grad.data for param in clipped]))
    if not math.isfinite(norm):
        bad = [param for param in clipped if not math.isfinite(sum_of_squares([param.grad.data]))]
        named = ", ".join(f"{param.name or 'unnamed'} of shape {param.shape}" for param in bad)
        raise FloatingPointError(
            f"clip_grad_norm_: expected a finite norm of the gradients, got {norm}, from {named}; "
            "a smaller learning rate may help, or skip this step"
        )
    if norm + 1e-6 > max_norm:
        for param in clipped:
            param.grad = as_tensor(param.grad.data * (max_norm / (norm + 1e-6)))
    return norm


def sum_of_squares(gradients: list[Array]) -> float:
    """The squares of all elements added up; in double precision where that is too large or too small for less."""
    singles = [g.astype(np.result_type(g.dtype, np.float32), copy=False) for g in gradients]
    total = float(sum(backend_of(g).xp.vdot(g, g) for g in singles))  # the one time that a device is waited for
    if 1e-30 < total < math.inf:
        return total
    return float(sum((g.astype(np.float64) ** 2).sum() for g in gradients))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value]; ValueError for a limit below 0.

    >>> w = as_tensor([0.0, 0.0], requires_grad=True)
    >>> (w * as_tensor([3.0, 4.0])).sum().backward()
    >>> clip_grad_value_([w], 3.5)
    >>> w.grad
    Tensor([3. , 3.5], dtype=float32)
    """
    check_limit("clip_grad_value_: clip_value", clip_value)
    for param in with_gradients(parameters):
        param.grad = as_tensor(param.grad.data.clip(-clip_value, clip_value))


def check_limit(name: str, limit: float) -> None:
    """Raise ValueError unless a limit is at least 0."""
    if not limit >= 0:
        raise ValueError(f"{name}: expected at least 0, got {limit}")


def with_gradients(parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    """The parameters that have a gradient."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [param for param in parameters if param.grad is not None]
