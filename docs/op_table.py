"""The table of ops and their gradients, as Markdown, made of the registry and of the formulas' own sources."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from minigrad.registry import OPS, Op


def ops_of_minigrad() -> list[Op]:
    """Every op that minigrad itself registers, family by family."""
    return [op for op in OPS.values() if op.forward.__module__.startswith("minigrad.")]


def table(ops: Iterable[Op]) -> str:
    """A section for each family: its table, and the functions that its formulas call.

    Raises:
        ValueError: an op without a docstring, or whose formulas can't be read.
    """
    families = groupby(ops, key=lambda op: op.forward.__module__)
    return "\n".join(section(sys.modules[module], list(family)) for module, family in families)


def section(module: Any, ops: list[Op]) -> str:
    """One family of ops."""
    rows = "".join(map(row, ops))
    head = f"## {title(module.__name__)}\n\n{escaped(first_paragraph(module))}\n\n"
    listing = "\n\n".join(source(function).strip() for function in helpers(ops))
    code = f"Functions that these formulas call:\n\n```python\n{listing}\n```\n" if listing else ""
    options = ":header-rows: 1\n:widths: 30 35 35\n:class: op-table\n"
    return f"{head}```{{list-table}}\n{options}\n* - Op\n  - Result\n  - Gradient\n{rows}```\n\n{code}"


def row(op: Op) -> str:
    """One op: what it is called with, what it computes, and the gradient of each operand."""
    if not op.forward.__doc__:
        raise ValueError(f"op {op.name}: expected a docstring, found none; its first sentence says what it computes")
    lines = "\n\n    ".join(f"`d{operand} = {formula}`" for operand, formula in formulas(op).items())
    call = f"{{py:func}}`{op.name}{bare_signature(op)} <minigrad.{op.name}>`"
    return f"* - {call}\n  - {escaped(first_paragraph(op.forward))}\n  - {lines}\n"


def formulas(op: Op) -> dict[str, str]:
    """The gradient of each operand as an expression in g: {"x": "g * y", "y": "g * x"}."""
    function = ast.parse(source(op.forward)).body[0]
    calls = [call for call in getattr(function, "decorator_list", ()) if isinstance(call, ast.Call)]
    given = {keyword.arg: keyword.value for call in calls for keyword in call.keywords}
    found = {}
    for rule in op.rules:
        operand = ", d".join(op.operands) if rule.position is None else op.operands[rule.position]
        written = given.get("backward" if rule.position is None else operand)
        if written is None:
            raise ValueError(f"op {op.name}: expected a formula for {operand} in its decorator @op(...), found none")
        found[operand] = (
            ast.unparse(written.body)
            if isinstance(written, ast.Lambda)
            else f"{ast.unparse(written)}({', '.join(inspect.signature(rule.formula).parameters)})"
        )
    return found


def helpers(ops: Iterable[Op]) -> list[Callable[..., Any]]:
    """The private functions that formulas call, and those that these call, in the order of their source."""
    found: dict[str, Callable[..., Any]] = {}
    for op in ops:
        texts = list(formulas(op).values())
        while texts:
            for name in re.findall(r"\b_\w+(?=\()", texts.pop()):
                if name not in found:
                    found[name] = inspect.unwrap(op.forward.__globals__[name])
                    texts.append(source(found[name]))
    return sorted(found.values(), key=lambda function: function.__code__.co_firstlineno)


def source(function: Callable[..., Any]) -> str:
    """The source text of a function, its decorators included."""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except OSError as error:
        raise ValueError(f"{function.__qualname__}: its formulas can't be read, since its source is gone") from error


def bare_signature(op: Op) -> inspect.Signature:
    """An op's parameters without their types."""
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in op.signature.parameters.values()]
    return inspect.Signature(parameters)


def title(module: str) -> str:
    """A family's name as a heading."""
    return module.rpartition(".")[2].capitalize()


def first_paragraph(documented: Any) -> str:
    """The first paragraph of a docstring, as one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def escaped(text: str) -> str:
    """Plain text as Markdown: `code` stays code, and all else means itself."""
    return re.sub(r"(`[^`]*`)|([\\*_<>\[\]{}|$#~^])", lambda m: m[1] or "\\" + m[2], text)
