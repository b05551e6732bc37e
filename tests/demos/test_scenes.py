"""Scenes: what is drawn is where it is said to be, and can be described in one way only."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demos.scenes import (
    ALL_PAIRS,
    COLOURS,
    HELD_OUT_PAIRS,
    LAYOUTS,
    PIXELS,
    RELATIONS,
    SHAPES,
    SPLITS,
    TRAIN_PAIRS,
    Scene,
    draw,
    masks,
    scene_at,
)

scenes = st.builds(scene_at, st.sampled_from(sorted(SPLITS)), st.integers(0, 10**6), st.integers(0, 99))


def pairs(scene: Scene) -> set[tuple[str, str]]:
    return {(thing.colour, thing.shape) for thing in scene.things}


@given(scene=scenes)
def test_every_thing_shows_within_the_picture_and_apart_from_the_others(scene: Scene) -> None:
    shown = masks(scene)
    assert shown.shape == (len(scene.things), PIXELS, PIXELS)
    assert shown.any(axis=(1, 2)).all()
    assert shown.sum(axis=0).max() == 1
    border = np.ones((PIXELS, PIXELS), bool)
    border[1:-1, 1:-1] = False
    assert not (shown.any(axis=0) & border).any()


@given(scene=scenes)
def test_a_picture_is_background_but_for_its_things(scene: Scene) -> None:
    picture, shown = draw(scene), masks(scene).any(axis=0)
    assert picture.shape == (PIXELS, PIXELS, 3)
    assert picture.dtype == np.uint8
    plain = (picture == scene.background).all(axis=-1)
    assert not plain[shown].any()
    near = np.zeros_like(shown)  # a pixel that is covered by less than half lies beside one that is covered by more
    for i, j in itertools.product((-1, 0, 1), repeat=2):
        near |= np.roll(shown, (i, j), (0, 1))
    assert plain[~near].all()


@given(scene=scenes)
def test_the_middle_of_a_plain_thing_has_its_colour(scene: Scene) -> None:
    picture = draw(scene)
    for thing, mask in zip(scene.things, masks(scene), strict=True):
        y, x = int(thing.y), int(thing.x)
        if thing.texture == "plain" and mask[y, x]:
            np.testing.assert_array_equal(picture[y, x], COLOURS[thing.colour])


@given(scene=scenes)
def test_things_stand_as_the_relations_say_and_in_no_other_chain(scene: Scene) -> None:
    chains = [relations for layouts in LAYOUTS for relations in layouts if len(relations) == len(scene.relations)]
    assert scene.relations in chains
    found = [
        (order, relations)
        for order in itertools.permutations(range(len(scene.things)))
        for relations in chains
        if all(
            RELATIONS[relation](scene.things[i], scene.things[j])
            for relation, (i, j) in zip(relations, itertools.pairwise(order), strict=True)
        )
    ]
    assert found == [(tuple(range(len(scene.things))), scene.relations)]


@given(split=st.sampled_from(sorted(SPLITS)), index=st.integers(0, 10**6), seed=st.integers(0, 99))
def test_a_scene_is_a_function_of_its_number(split: str, index: int, seed: int) -> None:
    scene = scene_at(split, index, seed)
    assert scene == scene_at(split, index, seed)
    assert draw(scene).tobytes() == draw(scene).tobytes()
    assert scene != scene_at(split, index + 1, seed)
    assert scene != scene_at(split, index, seed + 1)


@given(index=st.integers(0, 10**6))
def test_splits_differ_in_the_pairs_of_colour_and_shape(index: int) -> None:
    for split in ("train", "test"):
        assert pairs(scene_at(split, index)) <= set(TRAIN_PAIRS)
    assert pairs(scene_at("compositional", index)) & set(HELD_OUT_PAIRS)
    assert scene_at("train", index) != scene_at("test", index)


def test_every_colour_and_every_shape_is_learned() -> None:
    assert set(TRAIN_PAIRS).isdisjoint(HELD_OUT_PAIRS)
    assert {*TRAIN_PAIRS, *HELD_OUT_PAIRS} == set(ALL_PAIRS)
    assert {colour for colour, _ in TRAIN_PAIRS} == set(COLOURS)
    assert {shape for _, shape in TRAIN_PAIRS} == set(SHAPES)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(ValueError, match="split: expected train, test, compositional, got 'val'"):
        scene_at("val", 0)
