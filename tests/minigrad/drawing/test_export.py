"""minigrad.drawing.export: files by their ending, notebooks, and machines without `dot`."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import minigrad as mg
from minigrad.drawing import export
from minigrad.drawing.export import LARGEST_SHOWN, DotMissing, Drawing

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
SYSTEMS = r"apt install graphviz.*brew install graphviz.*winget install"


def drawing(name: str = "x") -> Drawing:
    x = mg.tensor(3.0, requires_grad=True)
    x.name = name
    with mg.scope(name):
        return mg.draw(x + x)


@pytest.fixture
def without_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


# ---- text


@pytest.mark.usefixtures("without_dot")
@pytest.mark.parametrize("name", ["x.gv", "x.dot", "x.GV"])
def test_text_needs_no_dot(name: str, tmp_path: Path) -> None:
    path = drawing("é").save(tmp_path / name)
    assert path == tmp_path / name
    assert path.read_bytes().decode("utf-8") == drawing("é").dot


def test_the_same_program_gives_the_same_text() -> None:
    assert drawing().dot == drawing().dot


@pytest.mark.parametrize("name", ["x", "x.jpg", ".svg", "x.svg.txt"])
def test_an_unknown_ending_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"save: expected a path ending in \.gv, \.dot, \.svg, \.png, \.pdf, got"):
        drawing().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# ---- without dot


@pytest.mark.usefixtures("without_dot")
@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_without_dot_the_text_is_written_and_a_warning_says_how_to_install_it(ending: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf"wrote .*graph\.gv instead of graph\.{ending}.*{SYSTEMS}"):
        path = drawing().save(tmp_path / f"graph.{ending}")
    assert list(tmp_path.iterdir()) == [path] == [tmp_path / "graph.gv"]
    assert path.read_text(encoding="utf-8") == drawing().dot


@pytest.mark.usefixtures("without_dot")
def test_without_dot_there_is_no_svg_text() -> None:
    with pytest.raises(DotMissing, match=SYSTEMS):
        _ = drawing().svg


@pytest.mark.usefixtures("without_dot")
def test_without_dot_a_notebook_shows_the_text() -> None:
    shown = drawing()._repr_mimebundle_()
    assert list(shown) == ["text/plain"]
    assert shown["text/plain"].endswith(drawing().dot)
    assert "apt install graphviz" in shown["text/plain"].splitlines()[0]


# ---- with dot


@needs_dot
@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_images(ending: str, start: bytes, tmp_path: Path) -> None:
    path = drawing().save(str(tmp_path / f"graph.{ending}"))
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


@needs_dot
@pytest.mark.parametrize(
    "name", ["a < b & c > d", '"quoted"', r"back\slash \N \n", "가 é ∂", "new\nline", "<b>", "\udc80"]
)
def test_names_come_out_as_they_are(name: str) -> None:
    svg = ElementTree.fromstring(drawing(name).svg.encode())
    texts = ["".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    shown = name.replace("\n", r"\n").replace("\udc80", r"\udc80")
    assert texts.count(shown) == 2  # the cluster's label and the variable's


@needs_dot
@pytest.mark.parametrize("name", ["", " "])
def test_names_that_show_nothing_do_no_harm(name: str) -> None:
    assert drawing(name).svg


@needs_dot
def test_a_notebook_shows_the_svg() -> None:
    shown = drawing()._repr_mimebundle_(include=None, exclude=None)
    assert shown == {"image/svg+xml": drawing().svg, "text/plain": "Drawing(2 nodes, 2 edges)"}


def test_a_notebook_does_not_wait_for_a_huge_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dot: str, form: str) -> bytes:
        raise AssertionError("would take minutes")

    monkeypatch.setattr(export, "render", refuse)
    y = mg.tensor(1.0, requires_grad=True)
    for _ in range(LARGEST_SHOWN):
        y = -y
    assert "too large" in mg.draw(y)._repr_mimebundle_()["text/plain"]


@needs_dot
def test_dot_that_gives_up_is_an_error_and_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "graph.svg"
    path.write_text("old")
    broken = drawing()
    broken.dot = "digraph {"  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="dot gave up"):
        broken.save(path)
    assert path.read_text() == "old"
    assert "text/plain" in broken._repr_mimebundle_()
