"""Who may import whom: backend <- kernels <- graph <- autodiff <- ops <- {drawing, testing} <- nn <- demos."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import minigrad
from minigrad.methods import functions

ROOT = Path(minigrad.__file__).parents[1]
PACKAGES = [name for name in ("minigrad", "nn", "demos") if (ROOT / name).is_dir()]

# The levels, lowest first. A module belongs to the longest of these names that begins its own, and may import what
# lies on lower levels, or belongs to the same name.
LEVELS = [
    {"minigrad.backend", "minigrad.threads"},
    {"minigrad.kernels"},
    {"minigrad.adding", "minigrad.methods", "minigrad.multiplying", "minigrad.operands"},
    {"minigrad.pending"},
    {"minigrad.graph"},
    {"minigrad.watching"},
    {"minigrad.creation", "minigrad.guarding", "minigrad.registry"},
    {"minigrad.autodiff"},
    {"minigrad.anomalies", "minigrad.derivatives"},
    {"minigrad.ops"},
    {"minigrad.drawing", "minigrad.testing"},
    {"minigrad"},  # the public names of all of these
    {"nn"},
    {"demos"},
]

# Only while a call runs, and so no dependency of the module: Tensor.backward lies on a lower level than the walk.
LAZY = {("minigrad.graph", "minigrad.autodiff")}

# Each library, and where alone it may be imported.
ONLY_IN = {
    "cupy": ["minigrad.backend"],
    "graphviz": ["minigrad.drawing", "demos"],
    "hypothesis": ["minigrad.testing"],
    "safetensors": ["nn"],
    "threadpoolctl": ["minigrad.threads", "demos"],
    "matplotlib": ["demos"],
    "pooch": ["demos"],
    "PIL": ["nn", "demos"],
    "sacrebleu": ["nn"],
    "tqdm": ["demos"],
    "torch": [],
}


class Import(NamedTuple):
    importer: str
    imported: str
    lazy: bool  # inside a function

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imports_of(importer: str, path: Path) -> Iterator[Import]:
    """Each module that a file names in an import statement, but for those for type checkers alone."""
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    skipped = {inner for branch in for_types for inner in ast.walk(branch)}
    in_functions = {
        inner
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(function)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in submodules]
        else:
            continue
        for name in names:
            yield Import(importer, name, lazy=node in in_functions)


IMPORTS = sorted({one for module, path in MODULES.items() for one in imports_of(module, path)})


def unit(module: str) -> str | None:
    """The name in LEVELS that a module belongs to; None: a library."""
    names = [name for names in LEVELS for name in names if f"{module}.".startswith(f"{name}.")]
    return max(names, key=len, default=None)


def level(name: str) -> int:
    return next(i for i, names in enumerate(LEVELS) if name in names)


def test_the_sources_are_found() -> None:
    assert {"minigrad", "minigrad.graph", "minigrad.ops.elementwise"} <= set(MODULES)
    assert Import("minigrad.autodiff", "minigrad.graph", lazy=False) in IMPORTS
    assert Import("minigrad.graph", "minigrad.autodiff", lazy=True) in IMPORTS
    assert any(one.imported == "numpy" for one in IMPORTS)


def test_imports_go_one_way() -> None:
    wrong = []
    for one in IMPORTS:
        source, target = unit(one.importer), unit(one.imported)
        if source is None or target is None or source == target or (one.lazy and (source, target) in LAZY):
            continue
        if level(target) >= level(source):
            wrong.append(str(one))
    assert not wrong


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_are_imported_only_where_they_belong(library: str) -> None:
    allowed = ONLY_IN[library]
    wrong = [
        str(one)
        for one in IMPORTS
        if one.imported.partition(".")[0] == library
        and not any(f"{one.importer}.".startswith(f"{name}.") for name in allowed)
    ]
    assert not wrong


def test_only_the_backend_names_cupy() -> None:
    wrong = [
        name
        for name, path in MODULES.items()
        if name != "minigrad.backend"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id in {"cupy", "cp"})
        or (isinstance(node, ast.Constant) and node.value == "cupy")
    ]
    assert not wrong


def test_no_module_shares_its_name_with_a_public_function() -> None:
    public = {name for name in dir(minigrad) if callable(getattr(minigrad, name))} | set(functions)
    packages = [importlib.import_module(name) for name in MODULES if MODULES[name].name == "__init__.py"]
    names = {module.name for package in packages for module in pkgutil.iter_modules(package.__path__)}
    assert not names & public


def test_importing_minigrad_loads_no_library_that_one_can_do_without() -> None:
    code = "import sys, minigrad; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "minigrad" in loaded.stdout.split()
    assert not set(loaded.stdout.split()) & {*ONLY_IN, "nn", "demos"}


def test_every_promise_names_tests_that_are_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = text.partition("## What is promised")[2].partition("## How to add")[0].splitlines()
    promises = [row for row in rows if row.startswith("|")][2:]
    assert len(promises) == 15
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", promise)
        assert named, promise
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8") or not name, f"{path}::{name}"
