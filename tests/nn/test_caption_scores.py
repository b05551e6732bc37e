"""nn.caption_scores: COCO's own scores of stored captions, what every score must obey, and attention against loops."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nn.caption_scores import attention_entropy, bleu, cider_d, exact_match, pointing_accuracy, rouge_l

FIXTURE = Path(__file__).parent / "fixtures/caption_scores.json"  # by make_caption_scores.py
STORED = json.loads(FIXTURE.read_text(encoding="utf-8"))
SCORES: list[Callable[..., Any]] = [bleu, cider_d, rouge_l, exact_match]

sentences = st.lists(st.sampled_from(["a", "red", "blue", "star", "above"]), max_size=8).map(" ".join)
images = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3))
sets = st.lists(images, min_size=1, max_size=5).map(lambda drawn: tuple(map(list, zip(*drawn, strict=True))))
sides = st.integers(1, 5)


# ---- captions


@pytest.mark.parametrize("stored", STORED)
def test_scores_are_those_of_coco_s_code(stored):
    told = stored["captions"], stored["references"]
    assert cider_d(*told) == pytest.approx(stored["cider_d"], abs=1e-9)
    assert rouge_l(*told) == pytest.approx(stored["rouge_l"], abs=1e-9)
    for ours, theirs in zip(bleu(*told), stored["bleu"], strict=True):
        # It adds 1e-15 to what it counts, of which the fourth root is left where nothing is right; BLEU says 0.
        assert ours == pytest.approx(theirs, abs=1e-9) or (ours == 0 and theirs < 1e-3)


def test_the_stored_captions_reach_every_case():
    assert any(min(one["bleu"]) < 1e-3 for one in STORED)
    lengths = [(len(c.split()), len(s.split())) for one in STORED for c, those in pairs(one) for s in those]
    assert any(c < s for c, s in lengths)
    assert any(c > s for c, s in lengths)
    assert len({len(those) for one in STORED for those in one["references"]}) > 3


def pairs(one):
    return zip(one["captions"], one["references"], strict=True)


@given(sets, st.randoms(use_true_random=False))
def test_no_order_counts_and_no_space(told, random):
    captions, references = told
    order = random.sample(range(len(captions)), len(captions))
    shuffled = [f"  {captions[i].replace(' ', '   ')} " for i in order]
    others = [random.sample(references[i], len(references[i])) for i in order]
    for score in SCORES:
        assert score(shuffled, others) == pytest.approx(score(captions, references), abs=1e-12)


@given(sets)
def test_scores_keep_within_their_range(told):
    for score, highest in zip(SCORES, (1, 10, 1, 1), strict=True):
        assert np.all(np.array(score(*told)) >= 0)
        assert np.all(np.array(score(*told)) <= highest + 1e-9)


@given(sets)
def test_references_given_as_captions_are_right_and_words_never_seen_are_wrong(told):
    references = [[f"one two three four {s}" for s in those] for those in told[1]]
    first = [those[0] for those in references]
    assert bleu(first, references) == pytest.approx((1, 1, 1, 1))
    assert rouge_l(first, references) == pytest.approx(1)
    assert exact_match(first, references) == 1
    for captions in (["giraffe"] * len(first), [""] * len(first)):
        assert not np.any([np.sum(score(captions, references)) for score in SCORES])


def test_cider_d_of_a_right_caption_is_ten_where_no_other_image_shares_its_words():
    references = [["a small red circle"], ["one big blue star"]]
    assert cider_d([those[0] for those in references], references) == pytest.approx(10)
    assert cider_d([those[0] for those in references[::-1]], references) == 0
    assert cider_d(["a small red circle"], references[:1]) == 0  # alone, all its words are in every image


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("captions", "references", "error", "message"),
    [
        ([], [], ValueError, "captions: expected at least one"),
        (["a"], [], ValueError, "references: expected one list for each of the 1 captions, got 0"),
        (["a", "b"], [["a"], []], ValueError, r"references\[1\]: expected at least one sentence"),
        ("a star", [["a star"]], TypeError, "captions: expected a list of sentences, got one string"),
        (["a"], ["a"], TypeError, r"references\[0\]: expected a list of sentences, got the string 'a'"),
        ([["a", "star"]], [["a star"]], TypeError, r"captions\[0\]: expected sentences as strings"),
        (["a star"], [[["a", "star"]]], TypeError, r"references\[0\]: expected sentences as strings"),
    ],
)
def test_what_is_no_set_of_captions_is_refused(score, captions, references, error, message):
    with pytest.raises(error, match=message):
        score(captions, references)


# ---- attention


@st.composite
def maps_and_masks(draw):
    """Grids of few different values, so that maxima are shared, and things over images that cells need not divide."""
    M, h, w = (draw(sides) for _ in range(3))
    H, W = h + draw(st.integers(0, 9)), w + draw(st.integers(0, 9))
    maps = draw(hnp.arrays(np.float64, (M, h, w), elements=st.sampled_from([0.0, 0.25, 0.5])))
    masks = draw(hnp.arrays(np.bool_, (M, H, W)))
    masks[:, draw(st.integers(0, H - 1)), draw(st.integers(0, W - 1))] = True
    return maps, masks


@given(maps_and_masks())
def test_pointing_agrees_with_loops_over_cells(drawn):
    maps, masks = drawn
    (M, h, w), (_, H, W) = maps.shape, masks.shape
    hits, inside = [], []
    for m in range(M):
        cells = {(i, j): masks[m, math.floor((i + 0.5) * H / h), math.floor((j + 0.5) * W / w)]
                 for i in range(h) for j in range(w)}  # fmt: skip
        inside.append(np.mean(list(cells.values())))
        hits.append(np.mean([cells[cell] for cell in cells if maps[m][cell] == maps[m].max()]))
    assert pointing_accuracy(maps, masks) == pytest.approx((np.mean(hits), np.mean(inside)))


@given(maps_and_masks())
def test_even_maps_point_as_chance_does(drawn):
    maps, masks = drawn
    accuracy, chance = pointing_accuracy(np.ones_like(maps), masks)
    assert accuracy == pytest.approx(chance)
    assert pointing_accuracy(maps, np.ones_like(masks)) == (1, 1)


@given(maps_and_masks())
def test_entropy_is_the_sum_over_cells(drawn):
    weights = drawn[0] + np.eye(1, drawn[0][0].size).reshape(drawn[0].shape[1:])  # no map of zeros alone
    maps = weights / weights.sum(axis=(1, 2), keepdims=True)
    expected = np.mean([-sum(p * math.log(p) for p in one.ravel() if p) for one in maps])
    assert attention_entropy(maps) == pytest.approx(expected)
    assert attention_entropy(np.ones_like(maps) / maps[0].size) == pytest.approx(math.log(maps[0].size))
    assert attention_entropy(maps.astype(np.float16)) == pytest.approx(expected, abs=0.01)  # float16: 11 bits


def test_hard_attention_has_no_entropy():
    assert attention_entropy(np.eye(4).reshape(4, 2, 2)) == 0


EVEN = np.full((2, 2, 2), 0.25)


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((0, 2, 2)), np.ones((0, 4, 4)), r"maps: expected a map or more, \(M, h, w\), got shape \(0, 2, 2\)"),
        (np.ones((2, 4)), np.ones((2, 4, 4)), r"maps: .* got shape \(2, 4\)"),
        (EVEN * [[[1]], [[np.nan]]], np.ones((2, 4, 4)), r"maps\[1\]: expected finite weights"),
        (EVEN, np.ones((3, 4, 4)), r"masks: expected one for each of the 2 maps, .* got shape \(3, 4, 4\)"),
        (EVEN, np.ones((2, 4)), r"masks: .* got shape \(2, 4\)"),
        (EVEN, np.ones((2, 4, 4)) * [[[1]], [[0]]], r"masks\[1\]: expected a pixel or more"),
    ],
)
def test_pointing_refuses_what_it_cannot_judge(maps, masks, message):
    with pytest.raises(ValueError, match=message):
        pointing_accuracy(maps, masks)


@pytest.mark.parametrize("maps", [EVEN * 2, EVEN * [[[1]], [[0]]], EVEN + np.array([[0.5], [-0.5]]), EVEN * np.inf])
def test_entropy_refuses_what_is_no_distribution(maps):
    with pytest.raises(ValueError, match=r"maps\[\d\]: expected"):
        attention_entropy(maps)
