"""List the demos: every module of this folder that has a `main`, with the first line of its docstring."""

import ast
from pathlib import Path

print("The demos, each with --help:\n")
for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
        print(f"  python -m demos.{path.stem:10} {(ast.get_docstring(tree) or '').splitlines()[0]}")
