"""The page of a captioner: everything is shown, nothing is fetched, and what does not fit is refused by name."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.caption_page import Example, Told, write_page


def picture(H: int = 8, W: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def attention(T: int, h: int, w: int) -> np.ndarray:
    a = np.random.default_rng(1).random((T, h, w))
    return a / a.sum(axis=(1, 2), keepdims=True)


def page(folder: Path, *told: Told, **options: Any) -> str:
    example = Example(picture(), options.pop("references", ["a reference"]), told)
    write_page(folder / "index.html", options.pop("title", "title"), options.pop("facts", {}), [example], **options)
    return (folder / "index.html").read_text(encoding="utf-8")


@settings(max_examples=10)
@given(
    words=st.lists(st.text(st.characters(categories=["L"]), min_size=1), max_size=26),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    gradients=st.booleans(),
)
def test_each_word_has_its_tiles(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], grid: tuple[int, int], gradients: bool
) -> None:
    T = len(words)
    of_pixels = np.random.default_rng(2).random((T, 8, 6)) if gradients else None
    html = page(tmp_path_factory.mktemp("page"), Told("soft", words, attention(T, *grid), gradients=of_pixels))
    assert html.count('<div class="word">') == T
    assert html.count('class="photo grid"') == T * (1 + gradients)
    assert html.count("<img ") == T * (3 + gradients)


def test_a_place_that_was_drawn_is_framed(tmp_path: Path) -> None:
    html = page(tmp_path, Told("hard", ["a", "dog"], attention(2, 4, 4), cells=np.array([5, 15])))
    assert html.count('class="box"') == 3 * 2
    assert "left: 25.00%; top: 25.00%" in html
    assert "left: 75.00%; top: 75.00%" in html


def test_nothing_is_fetched_and_what_people_write_is_text(tmp_path: Path) -> None:
    strange = "<script>alert('&\"')</script>"
    told = Told(strange, [strange], attention(1, 2, 2), note=strange, right=False)
    measures = [{"model": strange, "score": 0.5}, {"model": "other", "other": 1}]
    html = page(tmp_path, told, title=strange, facts={strange: strange}, references=[strange], measures=measures)
    assert "<script" not in html
    assert re.findall(r'(?:src|href)="(?!data:image/)|url\((?!data:image/)|https?:', html) == []
    assert html.count("&lt;script&gt;") >= 8


def test_a_score_that_a_variant_lacks_is_a_dash(tmp_path: Path) -> None:
    html = page(tmp_path, Told("soft", []), measures=[{"model": "a", "BLEU": 0.25}, {"model": "b"}])
    assert "<td>0.25</td>" in html
    assert "<td>–</td>" in html


def test_the_same_run_has_the_same_page(tmp_path: Path) -> None:
    told = Told("soft", ["a"], attention(1, 2, 3))
    assert page(tmp_path, told) == page(tmp_path, told)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(maps=np.zeros((1, 2, 2))), "maps of soft: expected 3 axes, the first of them the 2 words"),
        (dict(maps=np.zeros((2, 4))), "maps of soft: expected 3 axes"),
        (dict(gradients=np.full((2, 3, 3), np.nan)), "gradients of soft: expected finite numbers"),
        (dict(cells=np.array([0, 1])), "cells of soft: expected maps with them"),
    ],
)
def test_what_does_not_fit_the_words_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Told("soft", ["a", "dog"], **wrong)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="image: expected"):
        Example(image, [], [])
