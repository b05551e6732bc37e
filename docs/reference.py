"""A Sphinx extension that makes the reference of what packages export and of their plain-text docstrings.

.. api:: nn.functional      a page: the module's docstring, a list of what it exports, and each of these
.. op-table::               every op with its gradients
`name` in a docstring       code, and a link where it names something of these pages
"""

import importlib
import inspect
import re
import textwrap
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

from docs import op_table
from minigrad.registry import OPS

PAGES = "api/"  # the folder of the pages, each named as its module
SECTIONS = ("Args:", "Returns:", "Raises:", "Attributes:")
# What a base class defines is documented with the base; the last line names the machinery of recurrent layers.
CLASS_OPTIONS = """\
   :members:
   :undoc-members:
   :inherited-members: Module, Optimizer, LRScheduler, Tensor, BaseException, tuple
   :exclude-members: __init__, extra_repr,
      add_weights, checked_input, checked_state, directions, run, running, weights,
"""


# ------------------------------------------------------------------------------------------------ what is public


def exports(module: ModuleType) -> dict[str, Any]:
    """Functions and classes that a module exports: by its `__all__`, otherwise what it or its parts define."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    values = {name: getattr(module, name) for name in names}
    return {
        name: value
        for name, value in values.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and (hasattr(module, "__all__") or is_part(value.__module__, module.__name__))
    }


def is_part(module: str, package: str) -> bool:
    """Whether a module is a package or lies in it."""
    return f"{module}.".startswith(f"{package}.")


def entries(page: str, pages: list[str]) -> dict[str, Any]:
    """What a page documents, by public names: what is exported and defined in its module, but in no other page's.

    Of a module without `__all__` that a package exports something of, that alone is public.
    """
    modules = [importlib.import_module(name) for name in pages]
    above = [module for module in modules if is_part(page, module.__name__) and module.__name__ != page]
    home = importlib.import_module(page)
    own = [value for value in exports(home).values() if page == home_of(value, pages)]
    if not hasattr(home, "__all__"):
        chosen = [value for module in above for value in exports(module).values() if home_of(value, pages) == page]
        own = chosen or own
    public = {}
    for value in own:
        name = value.__name__
        known = [m.__name__ for m in modules if exports(m).get(name) is value]
        public[f"{min([page, *known], key=len)}.{name}"] = value
    return public


def home_of(value: Any, pages: list[str]) -> str:
    """The page of the innermost package that something was defined in."""
    return max((page for page in pages if is_part(value.__module__, page)), key=len, default="")


class Api(SphinxDirective):
    """The contents of a module's page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The module's docstring, a summary, and an entry for each name."""
        page = self.arguments[0]
        pages = sorted(name.removeprefix(PAGES) for name in self.env.found_docs if name.startswith(PAGES))
        public = entries(page, pages)
        summary = "".join(f"   {name}\n" for name in public)
        lines = [f".. automodule:: {page}\n", f".. autosummary::\n   :nosignatures:\n\n{summary}"]
        for name, value in public.items():
            exception = inspect.isclass(value) and issubclass(value, BaseException)
            kind = "exception" if exception else "class" if inspect.isclass(value) else "function"
            lines.append(f".. auto{kind}:: {name}\n" + CLASS_OPTIONS * inspect.isclass(value))
        return self.parse_text_to_nodes("\n".join(lines))


class OpTable(SphinxDirective):
    """Every op with its gradients."""

    def run(self) -> list[nodes.Node]:
        """A section for each family."""
        return self.parse_text_to_nodes(op_table.table(op_table.ops_of_minigrad()), allow_section_headings=True)


# ------------------------------------------------------------------------------------------------ docstrings


def read_plainly(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of a docstring's lines, in place, before Napoleon reads their sections."""
    last = name.rpartition(".")[2]
    if what == "method" and last in OPS and not any(lines):  # a method of Tensor
        lines[:] = [f"The op :py:func:`minigrad.{last}`."]
    elif lines and lines[0].startswith("Alias for field number"):  # which every NamedTuple says of its fields
        lines.clear()
    else:
        lines[:] = as_rst("\n".join(lines)).split("\n")
    if what == "property":
        lines[:0] = ["..", ""]  # Napoleon would take what stands before a colon in the first line for a type


def as_rst(docstring: str) -> str:
    """Plain text as reStructuredText: indented blocks and aligned columns are literal, and only backticks special."""
    blocks, in_section = [], False
    for block in re.split(r"\n\s*\n", docstring.strip("\n")):
        if block.lstrip().startswith(">>>"):
            blocks.append(block)
        elif (block.startswith("    ") and not in_section) or re.search(r"\S {3,}\S", block):
            blocks.append(f".. code-block:: text\n\n{textwrap.indent(block, '    ')}")
        else:
            in_section = block.startswith(SECTIONS)
            blocks.append(escaped(block))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Plain text as reStructuredText: `code` stays code, and all else means itself."""
    text = text.replace("\\", "\\\\")
    return "".join(op_table.pieces(text, lambda plain: re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", plain)))


class Mention(SphinxRole):
    """`name` in a docstring: code, and where it names something documented, a link."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A reference that may lead nowhere, `resolve_mention` decides."""
        code = nodes.literal(self.text, self.text)
        if not re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", self.text):
            return [code], []
        target = re.sub(r"^mg\.", "minigrad.", self.text.removesuffix("()"))
        context = {key: self.env.ref_context.get(key) for key in ("py:module", "py:class")}
        known = dict(refdomain="", reftype="mention", reftarget=target, refdoc=self.env.docname)
        return [addnodes.pending_xref("", code, **known, **context)], []


def resolve_mention(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, code: nodes.TextElement) -> Any:
    """The link of a mention, or its code alone."""
    if node["reftype"] != "mention":
        return None
    python = env.domains.python_domain
    found = python.find_obj(env, node["py:module"], node["py:class"], node["reftarget"], None)
    if not found:
        return code
    name, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, code, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("api", Api)
    app.add_directive("op-table", OpTable)
    app.add_role("mention", Mention())
    app.connect("autodoc-process-docstring", read_plainly, priority=400)  # Napoleon's is 500
    app.connect("missing-reference", resolve_mention)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
