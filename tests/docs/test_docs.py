"""The documentation: its examples run, nothing public is left out, and the site builds without a warning."""

import importlib
import inspect
import json
import posixpath
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from pkgutil import resolve_name, walk_packages

import pytest
from docutils.core import publish_doctree
from hypothesis import given
from hypothesis import strategies as st
from sphinx.util.inventory import InventoryFile

import minigrad
import nn
from docs import op_table, reference
from minigrad.registry import Op, Proof

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OPS = op_table.ops_of_minigrad()


def run(code, tmp_path, monkeypatch):
    """The names that are left when a page's examples have run, one after the other, in an empty folder."""
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return runpy.run_path("example.py")


# ---- examples


def test_the_tutorial_runs_and_learns_to_spell(tmp_path, monkeypatch):
    cells = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)  # they are made, not committed
    names = run("\n".join("".join(cell["source"]) for cell in cells), tmp_path, monkeypatch)
    assert names["losses"][-1] < 0.1 < names["losses"][0]
    assert names["vocabulary"].decode(names["drawn"][:4, 0]) == "ello"


# Those of testing.md run with the tests that they define, in tests/minigrad/testing/test_proofs.py.
@pytest.mark.parametrize("path", sorted({*DOCS.glob("*.md")} - {DOCS / "testing.md"}), ids=lambda path: path.name)
def test_examples_run(path, tmp_path, monkeypatch):
    examples = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert examples or path.name != "pytorch.md"
    run("\n".join(examples), tmp_path, monkeypatch)


# ---- the table of ops


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_table_shows_the_formulas_that_run(op):
    row, shown = op_table.row(op), op_table.formulas(op)
    assert len(shown) == len(op.rules)
    for rule, (operand, text) in zip(op.rules, shown.items(), strict=True):
        assert f"`d{operand} = {text}`" in row
        assert rule.position is None or operand == op.operands[rule.position]
        if rule.formula.__name__ == "<lambda>":
            signature = ", ".join(("g", *rule.reads, *rule.extras))
            again = eval(f"lambda {signature}: {text}", op.forward.__globals__).__code__
            ours = rule.formula.__code__
            assert (again.co_code, again.co_consts, again.co_names) == (ours.co_code, ours.co_consts, ours.co_names)
        else:
            assert text.startswith(f"{rule.formula.__name__}(g")
            assert inspect.unwrap(rule.formula) in op_table.helpers([op])


def test_every_op_is_in_the_table_and_every_function_called_stands_below():
    table = op_table.table(OPS)
    assert len(OPS) > 50
    assert re.findall(r"<minigrad\.(\w+)>", table) == [op.name for op in OPS]
    assert set(re.findall(r"\b(_[a-z]\w*)\(", table)) == set(re.findall(r"^def (_\w+)\(", table, re.MULTILINE))


def test_an_op_without_docstring_or_formula_fails_the_build():
    def nameless(xp, x):
        return x

    def bare(xp, x):
        """x itself."""
        return x

    proof = Proof(None, (-3.0, 3.0), (), True, None)
    for forward, expected in (nameless, "nameless: expected a docstring"), (bare, "bare: expected a formula for x"):
        with pytest.raises(ValueError, match=expected):
            op_table.table([Op(forward, None, {"x": lambda g: g}, proof)])


# ---- the reference


@given(st.text("a1 *|_\\.", max_size=20))
def test_plain_text_means_itself(text):
    text = " ".join(f"Text {text} end".split())
    document = publish_doctree(reference.as_rst(text), settings_overrides={"report_level": 1, "halt_level": 1})
    assert document.astext() == text


@given(st.text("a.(_*|\\~!< ", min_size=1, max_size=20).filter(lambda code: code == code.strip()))
def test_code_means_itself(code):
    document = publish_doctree(reference.as_rst(f"The `{code}` here."), settings_overrides={"halt_level": 1})
    assert document.astext() == f"The {code} here."


def test_equations_stay_as_they_are():
    equations = "    h' = o * tanh(c')\n    c' = |f| * c"
    blocks = reference.as_rst(f"One step.\n\n{equations}\n\nArgs:\n    x: its input.").split("\n\n")
    assert blocks[1] == ".. code-block:: text"
    assert textwrap.dedent(blocks[2]) == textwrap.dedent(equations)


# ---- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built without a warning; a broken reference is one too. The notebook's cells run above."""
    path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    options = ["-D", "nb_execution_mode=off", "-d", str(path / "doctrees")]
    built = subprocess.run(
        [*command, *options, str(DOCS), str(path / "html")], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return path / "html"


def test_names_in_docstrings_are_links(site):
    lstm = (site / "api" / "nn.html").read_text(encoding="utf-8")
    assert 'href="minigrad.ops.steps.html#minigrad.ops.steps.lstm_step"' in lstm


def test_every_public_name_is_documented_once(site):
    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", posixpath.join)
    names = [
        name
        for kind in ("py:class", "py:exception", "py:function")
        for name, item in inventory[kind].items()
        if item.uri.endswith(f"#{name}")  # the others are second names of the same entry
    ]
    documented = [resolve_name(name) for name in names]
    assert len(documented) == len(set(documented))
    assert {"minigrad.Tensor", "minigrad.tanh", "nn.LSTM", "nn.save"} <= set(names)
    below = [
        module.name for package in (minigrad, nn) for module in walk_packages(package.__path__, package.__name__ + ".")
    ]
    modules = [minigrad, nn, *map(importlib.import_module, below)]
    exporting = [module for module in modules if module is minigrad or hasattr(module, "__all__")]
    assert len(exporting) > 6
    public = {
        getattr(module, name)
        for module in exporting
        for name in getattr(module, "__all__", vars(module))
        if not name.startswith("_")
    }
    assert {value for value in public if inspect.isclass(value) or inspect.isfunction(value)} <= set(documented)
