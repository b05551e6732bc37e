"""gradient_test: one line makes a test for pytest of the gradients of an op, a module or a function."""

import contextlib
import copy
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, reject, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from ..backend import Array, DeviceError, backend_for, device_names, generator, move
from ..graph import Tensor
from ..methods import functions
from ..registry import OPS
from .findings import GradientError, NonDifferentiable, shown, told
from .functions import Function
from .gradients import as_tuple, prove
from .parameters import parameters_of, with_parameters
from .purity import check_purity
from .strategies import PLAIN, Call, Drawer, arrays, check_makes_layers, layer_calls, op_calls

SEARCH = settings(
    deadline=None,
    print_blob=False,
    report_multiple_bugs=False,
    verbosity=Verbosity.quiet,  # the message says what failed
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],  # proofs take time; kinks are counted
)
HOST = "cpu"
ROUNDING = 1e-9  # how far apart two devices may round, in float64, of the largest number ...
DUST = 1e-13  # ... and where all of it is rounding
KINKS_A_PROOF = 19  # points on a kink for each that is not: with more, there is no proof to speak of


def gradient_test(
    f: Any, *args: Any, init: Mapping[str, Any] | None = None, order: int = 2, examples: int = 10
) -> Callable[..., Any]:
    """A test that proves the gradients of `f`, as `check_grads` does, at points that Hypothesis draws.

    On every other device there is, results and gradients are held to those of the host. Where the test fails, it shows
    the smallest case that Hypothesis found, as you would write it down, and the elements that are wrong. A point on a
    kink is left out, and another drawn; it fails too where there is hardly any other.

    Args:
        f: an op, a function of tensors, a module, or a module's class, to be made anew for each point. A module's
            parameters are drawn and proved too. Left out, it makes a decorator: `@gradient_test((3, 2))`.
        args: what to call it with. A tuple of integers is the shape of an array of floats in [-2, 2], a Hypothesis
            strategy draws (those of `minigrad.testing.strategies`, say), anything else is passed as it is. An op
            needs none: its `cases` draw its calls. Nor does the class of a recurrent layer, made of input_size and
            hidden_size: `strategies.layer_calls` draws what it is made of and called with.
        init: the arguments of a class's constructor by name; strategies are drawn from.
        order: how often to differentiate.
        examples: how many points to prove on each device.

    Returns:
        A function without arguments, which pytest collects where its name begins with test_. It raises GradientError.

    Raises:
        TypeError: nothing to call it with, or not what its class is made of.

    >>> import minigrad as mg, nn
    >>> test_logsumexp = gradient_test(mg.logsumexp)
    >>> test_lstm = gradient_test(nn.LSTM, examples=3, order=1)
    >>> test_cell = gradient_test(nn.GRUCell, (2, 1), (2, 2), init=dict(input_size=1, hidden_size=2))
    >>> @gradient_test((2, 1), (1,))
    ... def test_distance(x, y):
    ...     return mg.sqrt(mg.sum(mg.square(x - y)) + 1)
    >>> test_distance()
    """
    if not callable(f):
        return lambda function: gradient_test(function, f, *args, init=init, order=order, examples=examples)
    check_callable_with(f, args, init or {})

    def test() -> None:
        __tracebackhide__ = True  # what failed stands in the message
        for device in devices():
            check = Case.prove if device == HOST else functools.partial(Case.compare, device=device)
            drawn = cases(f, args, init or {}, device)
            search(drawn, functools.partial(check, order=order), examples, test.__name__, device)

    test.__name__, test.__doc__ = getattr(f, "__name__", type(f).__name__), f.__doc__
    test.__module__ = getattr(f, "__module__", __name__)
    return test


def check_callable_with(f: Any, args: Sequence[Any], init: Any) -> None:
    """Raise TypeError unless there is something to call f with, and a class can be made."""
    if args and inspect.isclass(f):
        try:
            inspect.signature(f).bind(**init)
        except TypeError as error:
            raise TypeError(
                f"gradient_test: expected init to make a {f.__name__}{inspect.signature(f)}, got {init!r}: {error}; "
                "give the constructor's arguments by name: init=dict(...)"
            ) from None
    if args or is_op(f):
        return
    name = getattr(f, "__name__", type(f).__name__)
    try:
        if not inspect.isclass(f):
            raise TypeError(f"{f!r} is no class")
        check_makes_layers(f, {})
    except TypeError as error:
        raise TypeError(
            f"gradient_test: expected what to call {name} with, got nothing; shapes, say: gradient_test({name}, (3, 2))"
        ) from error


def is_op(f: Any) -> bool:
    """Whether f is the function of a registered op."""
    return functions.get(getattr(f, "__name__", "")) is f


def devices() -> list[str]:
    """The devices that are there, the host first."""
    found = []
    for name in device_names():
        with contextlib.suppress(DeviceError):
            found.append(backend_for(name).device)
    return sorted(found, key=HOST.__ne__)


# ------------------------------------------------------------------------------------------------ cases


class Case(NamedTuple):
    """A function at a point, and how a reader would write it down."""

    f: Callable[..., Any]
    call: Call
    made: str = ""  # how f was made, where it is a module

    @property
    def names(self) -> list[str]:
        """What f calls its positional arguments."""
        return positional_names(getattr(self.f, "forward", self.f), len(self.call.args))

    def on(self, device: str) -> tuple[Callable[..., tuple[Tensor, ...]], list[str], list[Array]]:
        """A function of all operands and parameters, what they are called, and their values, on a device."""
        f = copy.deepcopy(self.f).to(device) if hasattr(self.f, "to") else self.f
        operands, parameters = self.call.named_operands(self.names), parameters_of(f)
        function = with_parameters(lambda *xs: as_tuple(self.call.of(f, *xs)), parameters)
        points = [*operands, *parameters.items()]
        values = [move(x.data if isinstance(x, Tensor) else x, device) for _, x in points]
        return function, [name for name, _ in points], values

    def prove(self, order: int) -> None:
        """Prove the gradients on the host, by all operands and parameters."""
        function, names, values = self.on(HOST)
        describe = getattr(self.f, "describe_element", None)
        prove(function, values, order=order, names=names, describe=describe)

    def compare(self, device: str, order: int) -> None:
        """Hold values and gradients on a device to those of the host, where they are proved."""
        describe = getattr(self.f, "describe_element", None) or (lambda name, place: "")
        (f, names, values), (g, _, hosts) = self.on(device), self.on(HOST)
        with told(f"device {device!r}", shown(names, values)):
            there, here = Function(f, values, names, describe=describe), Function(g, hosts, names)
            for k in range(order + 1):
                apart = ~(np.abs(there.y - here.y) <= ROUNDING * np.abs(here.y).max(initial=0.0) + DUST)
                if apart.any():
                    i = int(np.argmax(apart))
                    found = f"{there.outputs.element(i)} is {there.y[i]:.10g}, and {here.y[i]:.10g} on device {HOST!r}"
                    raise GradientError(f"order {k}: {found}")
                if k < order:
                    check_purity(there, generator(k))
                    there, here = there.gradient(generator(k)), here.gradient(generator(k))

    def __str__(self) -> str:
        """The case as code: a module as it was made, and the call, in which operands have their names."""
        operands = iter(name for name, _ in self.call.named_operands(self.names))
        args, kwargs = self.call.replaced(lambda _: Word(next(operands)))
        said = [*map(repr, args), *[f"{key}={value!r}" for key, value in kwargs.items()]]
        name = "module" if self.made else getattr(self.f, "__name__", type(self.f).__name__)
        return f"{name} = {self.made}\n" * bool(self.made) + f"{name}({', '.join(said)})"


class Word(str):
    """Text without quotation marks."""

    def __repr__(self) -> str:
        """Itself."""
        return str(self)


def positional_names(f: Callable[..., Any], count: int) -> list[str]:
    """What f calls its first `count` arguments; those of *xs are xs[0], xs[1] ..."""
    names: list[str] = []
    with contextlib.suppress(ValueError):  # some functions in C have no signature
        for p in inspect.signature(f).parameters.values():
            names += [f"{p.name}[{i}]" for i in range(count)] if p.kind is p.VAR_POSITIONAL else [p.name]
    return [*names, *[f"args[{i}]" for i in range(len(names), count)]][:count]


@st.composite
def cases(draw: st.DrawFn, f: Any, args: Sequence[Any], init: Mapping[str, Any], device: str) -> Case:
    """Cases of what `gradient_test` is given, to be proved on a device."""
    if is_op(f) and not args:
        return Case(f, draw(op_calls(OPS[f.__name__], device)))
    if not args:
        layer, x, state, lengths, options = draw(layer_calls(f, **init))
        keywords = {} if lengths is None else {"lengths": lengths}
        return Case(layer, Call((x,) if state is None else (x, state), keywords), written(f, options))
    d = Drawer(draw, PLAIN, device)
    made = ""
    if inspect.isclass(f):
        options = {name: d.drawn(value) for name, value in init.items()}
        f, made = d.module(f, options), written(f, options)
    elif hasattr(f, "named_parameters"):
        f, made = d.module(lambda: copy.deepcopy(f), {}), repr(f)
    return Case(f, Call(tuple(draw(argument(arg)) for arg in args), {}), made)


def argument(arg: Any) -> st.SearchStrategy[Any]:
    """What draws an argument of `gradient_test`."""
    if isinstance(arg, st.SearchStrategy):
        return arg
    is_shape = isinstance(arg, tuple) and all(type(side) is int for side in arg)
    return arrays(arg) if is_shape else st.just(arg)


def written(make: Any, options: Mapping[str, Any]) -> str:
    """The call of a constructor, without the options that are its defaults anyway."""
    defaults = {name: repr(p.default) for name, p in inspect.signature(make).parameters.items()}
    said = [f"{name}={value!r}" for name, value in options.items() if repr(value) != defaults.get(name)]
    return f"{make.__name__}({', '.join(said)})"


# ------------------------------------------------------------------------------------------------ the search


def search(
    strategy: st.SearchStrategy[Case], check: Callable[[Case], None], examples: int, name: str, device: str
) -> None:
    """Check cases, or raise GradientError with the smallest that fails."""
    __tracebackhide__ = True
    proved, kinks = 0, list[str]()

    def is_vain() -> bool:
        return len(kinks) > KINKS_A_PROOF * (proved + 1)

    def proof(case: Case) -> None:
        nonlocal proved
        if is_vain():
            return
        try:
            check(case)
        except NonDifferentiable as kink:
            kinks.append(f"{kink}\n{textwrap.indent(str(case), '  ')}")
            reject()
        except Exception as error:
            if not isinstance(error, GradientError):  # of f itself
                error.add_note(shown(*case.on(HOST)[1:]))
            error.add_note(f"The smallest case that was found, on device {device!r}:")
            error.add_note(textwrap.indent(str(case), "  "))
            raise
        proved += 1

    proof.__name__ = re.sub(r"\W", "_", f"{name}_on_{device}")  # Hypothesis remembers by it what failed
    try:
        settings(SEARCH, max_examples=examples)(given(strategy)(proof))()
    except Unsatisfiable:
        if not kinks:
            raise
    except GradientError as error:
        raise error.with_traceback(None) from None
    if is_vain() or not proved:
        raise GradientError(
            f"{len(kinks)} of {len(kinks) + proved} points lie on a kink or a jump, and prove nothing; draw others, by "
            f"strategies.arrays(shape, domain, kinks), say. One of them: {kinks[0]}"
        )
