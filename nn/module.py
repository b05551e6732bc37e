"""Module and Parameter: how a model finds its own parameters, by walking the attributes of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from minigrad import Tensor, as_tensor, scope
from minigrad.backend import Array
from minigrad.creation import to_array

from .init import copy_


class Parameter(Tensor):
    """A tensor that a model learns: a leaf that requires gradients, and that a `Module` finds among its attributes.

    Args:
        data: numbers, as for `mg.tensor`. They are copied, since optimizers write to a parameter in place.
        requires_grad: False freezes it.

    >>> Parameter([1.0, 2.0])
    Tensor([1., 2.], dtype=float32, requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(to_array(data).copy())
        self.requires_grad_(requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Thaw (True) or freeze (False) this parameter, and return it; it keeps its name."""
        name = self.name
        super().requires_grad_(requires_grad)
        self.name = name
        return self

    def become(self, array: Array) -> None:
        """Take another array, whatever its dtype and device, and drop the gradient.

        A graph recorded before knows only the old array: its gradients no longer land here.
        """
        name, requires_grad = self.name, self.requires_grad
        if hasattr(self, "_constant"):
            del self._constant
        super().__init__(array)
        self.name = name
        self.requires_grad_(requires_grad)


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A part of a model, made of parameters and of other modules; subclasses write `forward`.

    Whatever Parameter, Module or buffer is an attribute belongs to the module, in the order of assignment.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale()
    >>> model(as_tensor([3.0]))
    Tensor([6.], dtype=float32, requires_grad=True)
    >>> list(model.state_dict())
    ['factor']
    """

    training = True
    _buffer_names: tuple[str, ...] = ()
    _name: str | None = None  # what the parent calls this module

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a parameter or module without a name takes this one."""
        if isinstance(value, Tensor) and not isinstance(value, Parameter):
            if isinstance(self.__dict__.get(name), Parameter):
                raise TypeError(
                    f"{type(self).__name__}.{name}: expected a Parameter, since it is one now, got a Tensor, "
                    "which would not be trained; assign nn.Parameter(...), or write to its .data"
                )
        elif isinstance(value, Parameter):
            value.name = value.name or name
        elif isinstance(value, Module):
            value._name = value._name or name
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Any) -> None:
        """Make a tensor part of the state, though it is not learned: running statistics, a fixed table.

        Raises:
            KeyError: the module has an attribute of this name.
        """
        if hasattr(self, name):
            raise KeyError(f"register_buffer: {type(self).__name__} has an attribute {name!r} already")
        self._buffer_names = (*self._buffer_names, name)
        setattr(self, name, as_tensor(tensor))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; called through the module itself."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` in a scope named as the parent names this module; a root's name is its class."""
        with scope(self._name or type(self).__name__):
            return self.forward(*args, **kwargs)

    # ---- walking

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((name, value) for name, value in self.__dict__.items() if isinstance(value, Parameter))

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, self.__dict__[name]) for name in self._buffer_names)

    def _own_modules(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in self.__dict__.items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one, each once."""
        return iter(dict.fromkeys(module for _, module in self._own_modules()))

    def named_modules(self, memo: set[Module] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module, named "", and all below it by their dotted names, each once; parents come first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, module in self._own_modules():
            yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters by their dotted names: a module's own first, then its children's; shared ones once."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, parameter in module._own_parameters():
                if parameter not in seen:
                    seen.add(parameter)
                    yield f"{prefix}.{name}" if prefix else name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, shared ones once: what an optimizer wants."""
        return (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Tensor]:
        """All buffers, of this module and those below it."""
        return (buffer for module in self.modules() for _, buffer in module._own_buffers())

    # ---- state

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters, buffers and then children, shared ones under each of their names."""
        for name, tensor in (*self._own_parameters(), *self._own_buffers()):
            yield prefix + name, tensor
        for name, module in self._own_modules():
            yield from module._state(f"{prefix}{name}.")

    def state_dict(self) -> dict[str, Array]:
        """The arrays of all parameters and buffers by their dotted names, in PyTorch's order.

        They are the model's own: training goes on to change them. Copy them to keep them, or save them.

        >>> from nn import Linear
        >>> {key: array.shape for key, array in Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {key: tensor.data for key, tensor in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Write values over those of the parameters and buffers of the same names: all of them, or none.

        Args:
            state: arrays or tensors by dotted name; they are copied, to this model's devices and dtypes.
            strict: False passes over keys that only one side has.

        Raises:
            ValueError: keys are missing or unexpected (where `strict`), or shapes or dtypes don't fit; it names
                them all, and nothing has changed.
        """
        own = dict(self._state())
        passed_over = IncompatibleKeys(
            [key for key in own if key not in state], [key for key in state if key not in own]
        )
        problems = []
        if strict and passed_over.missing_keys:
            problems.append(f"missing keys: {', '.join(passed_over.missing_keys)}")
        if strict and passed_over.unexpected_keys:
            problems.append(f"unexpected keys: {', '.join(passed_over.unexpected_keys)}")
        values = {key: to_array(state[key]).copy() for key in own if key in state}  # it may share the model's memory
        for key, value in values.items():
            if value.shape != own[key].shape:
                problems.append(f"{key}: expected shape {own[key].shape}, got {value.shape}")
            elif value.dtype.kind not in f"{own[key].dtype.kind}biu":
                problems.append(f"{key}: expected dtype {own[key].dtype}, got {value.dtype}")
        if problems:
            raise ValueError(
                f"load_state_dict: the state is not one of this {type(self).__name__}; nothing was changed\n  "
                + "\n  ".join(problems)
                + "\nmake the model as the state's was made"
                + ", or pass strict=False to pass over missing and unexpected keys" * strict
            )
        for key, value in values.items():
            copy_(own[key], value)
        return passed_over

    # ---- modes

    def train(self, mode: bool = True) -> Module:
        """Set this module and all below it to training (True) or evaluation (False), and return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set this module and all below it to evaluation: no dropout."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Thaw (True) or freeze (False) all parameters, and return this module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters: `grad` is None until the next backward."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device_or_dtype: Any) -> Module:
        """Move all parameters and buffers to a device, or turn the floating-point ones to a dtype, in place.

        Parameters stay the same objects; their gradients are dropped. An optimizer's state does not follow: make
        the optimizer afterwards.

        Raises:
            DeviceError: a device that is not there.
            TypeError: neither a device nor a floating-point dtype. Nothing has changed then.

        >>> from nn import Linear
        >>> Linear(2, 1).to("float64").weight.dtype
        dtype('float64')
        """
        parameters = [(p, converted(p, device_or_dtype)) for p in self.parameters()]
        buffers = [
            (module, name, converted(buffer, device_or_dtype))
            for module in self.modules()
            for name, buffer in module._own_buffers()
        ]
        for parameter, array in parameters:
            if array is not parameter.data:
                parameter.become(array)
        for module, name, array in buffers:
            setattr(module, name, as_tensor(array))
        return self

    # ---- text

    def extra_repr(self) -> str:
        """What `repr` says about this module itself, for subclasses to write."""
        return ""

    def __repr__(self) -> str:
        """The tree of modules."""
        own = self.extra_repr().splitlines()
        children = [f"({name}): {module!r}" for name, module in self._own_modules()]
        if not children and len(own) <= 1:
            return f"{type(self).__name__}({''.join(own)})"
        return "\n".join([f"{type(self).__name__}(", *own, *children]).replace("\n", "\n  ") + "\n)"


def converted(tensor: Tensor, device_or_dtype: Any) -> Array:
    """A tensor's array on a device or in a dtype; a dtype is only for floating-point arrays, and must be one."""
    array = tensor.detach().to(device_or_dtype).data
    if array.dtype.kind == tensor.dtype.kind:
        return array
    if tensor.dtype.kind == "f":
        raise TypeError(f"to: expected a device or a floating-point dtype, got {device_or_dtype!r}")
    return tensor.data
