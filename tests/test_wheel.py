"""The wheel: it holds what it should, and works where nothing else of this project can be imported."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"  # as pip calls it

PROOFS = """
import sys
import numpy as np, minigrad as mg, nn
from minigrad.testing import gradient_test, laws
from minigrad.testing.strategies import layer_calls
from hypothesis import given, settings

settings.register_profile("repeat", deadline=None, derandomize=True, max_examples=3)
settings.load_profile("repeat")
test_cube = gradient_test(cube, examples=3)
test_gru = gradient_test(nn.GRU, order=1, examples=2)

@given(layer_calls(nn.LSTM, batch_first=False))
def test_laws(call):
    laws.hold(call.layer, np.random.default_rng(0).normal(size=(3, 2, call.x.shape[-1])))

def test_everything_is_the_wheels():
    here = {path for name, module in sys.modules.items() if (path := getattr(module, "__file__", None))
            and name.partition(".")[0] in ("minigrad", "nn")}
    assert len(here) > 20
    assert all(path.startswith(SITE) for path in here), here
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy: a build leaves folders behind, and an old one would get into the new."""
    try:
        major = int(importlib.metadata.version("setuptools").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        major = 0
    if major < 77:
        pytest.skip("setuptools 77 or newer builds the wheel, and is not installed here")
    path = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, path)
    for name in ("minigrad", "nn"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    built = subprocess.run([sys.executable, "-c", BUILD, "dist"], cwd=path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (found,) = path.glob("dist/*.whl")
    return found


def test_it_holds_every_source_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    sources = [path for package in ("minigrad", "nn") for path in (ROOT / package).rglob("*")]
    sources = [path for path in sources if path.suffix in (".py", ".cu", ".typed")]
    assert held == {path.relative_to(ROOT).as_posix() for path in sources}
    assert {"minigrad/testing/strategies.py", "minigrad/kernels/recurrent.cu"} <= held
    assert "Provides-Extra: test" in text
    assert re.search(r"^Requires-Dist: hypothesis.*extra == .test", text, re.MULTILINE)


def test_the_readme_s_examples_and_proofs_run_with_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # a wheel of pure Python is installed so
    work.mkdir()
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(examples)
    assert "def cube" in code
    (work / "test_example.py").write_text(f"SITE = {str(site)!r}\n{code}\n{PROOFS}", encoding="utf-8")
    # Before site-packages, where the checkout may be installed as an editable package; PYTHONSAFEPATH leaves out ".".
    path = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"]
    run = subprocess.run(command, cwd=work, env=os.environ | path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert "4 passed" in run.stdout
