"""A Sphinx extension: it reads plain-text docstrings, and makes the table of ops.

.. op-table::               every op with its gradients
`name` in a docstring       code, and a link where it names something of these pages
"""

import re
import textwrap
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from docs import op_table

SECTIONS = ("Args:", "Returns:", "Raises:", "Attributes:")


class OpTable(SphinxDirective):
    """Every op with its gradients."""

    def run(self) -> list[nodes.Node]:
        """A section for each family."""
        return self.parse_text_to_nodes(op_table.table(op_table.ops_of_minigrad()), allow_section_headings=True)


def read_plainly(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of a docstring's lines, in place, before Napoleon reads their sections."""
    lines[:] = as_rst("\n".join(lines)).split("\n")
    if what == "property":
        lines[:0] = ["..", ""]  # Napoleon would take what stands before a colon in the first line for a type


def as_rst(docstring: str) -> str:
    """Plain text as reStructuredText: indented blocks are literal, and only backticks special."""
    blocks, in_section = [], False
    for block in re.split(r"\n\s*\n", docstring.strip("\n")):
        if block.lstrip().startswith(">>>"):
            blocks.append(block)
        elif block.startswith("    ") and not in_section:
            blocks.append(f".. code-block:: text\n\n{textwrap.indent(block, '    ')}")
        else:
            in_section = block.startswith(SECTIONS)
            blocks.append(re.sub(r"`([^`]*)`|[\\*|]|(?<=\w)_(?!\w)", as_itself, block))
    return "\n\n".join(blocks) + "\n"


def as_itself(match: re.Match[str]) -> str:
    """A special character escaped, and code other than a name, which may be a link, as a literal."""
    if match[1] is None:
        return "\\" + match[0]
    return match[0] if re.fullmatch(r"[A-Za-z_][\w.]*", match[1]) else f"``{match[1]}``"


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("op-table", OpTable)
    app.connect("autodoc-process-docstring", read_plainly, priority=400)  # Napoleon's is 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
