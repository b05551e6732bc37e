"""The README's Python examples run, one after the other, as a reader would type them."""

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.filterwarnings("ignore:.*Graphviz")  # where there is no `dot`, rnn.gv is written
def test_examples_run_and_draw(tmp_path, monkeypatch):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL))
    assert "check_grads" in code
    (tmp_path / "example.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path("example.py")
    assert names["ddW"].shape == names["W"].shape == (4, 4)
    assert list(tmp_path.glob("rnn.*"))
