"""The grammar: what it writes it understands, and what is not so it does not believe."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from demos.scene_grammar import ATTRIBUTES, SAYS, all_words, describe, judge, parse, references
from demos.scenes import RELATIONS, SPLITS, Scene, Thing, scene_at

scenes = st.builds(scene_at, st.sampled_from(sorted(SPLITS)), st.integers(0, 10**6))
generators = st.integers(0, 10**6).map(np.random.default_rng)


@given(scene=scenes, generator=generators)
def test_a_description_is_true_complete_and_detailed(scene: Scene, generator: np.random.Generator) -> None:
    sentence = describe(scene, generator)
    verdict = judge(sentence, scene)
    assert verdict[:3] == (True, True, True)
    assert set(sentence.split()) <= set(all_words())
    chosen = [scene.things[i] for i in verdict.things]
    for thing, own in zip(chosen, scene.things, strict=True):  # the same, or one that looks like it
        assert all(getattr(thing, name) == getattr(own, name) for name in ATTRIBUTES)


@given(scene=scenes)
def test_references_are_always_the_same(scene: Scene) -> None:
    assert references(scene) == references(scene)
    assert all(judge(reference, scene).detailed for reference in references(scene))


@given(scene=scenes, generator=generators)
def test_words_are_of_the_things_that_they_stand_for(scene: Scene, generator: np.random.Generator) -> None:
    sentence = describe(scene, generator)
    words, claim = sentence.split(), parse(sentence)
    assert claim is not None
    for word, thing, attribute in claim.mentions:
        assert words[word] in SAYS[attribute][getattr(scene.things[thing], attribute)]
    said = sum(2 + (thing.texture != "plain") + 1 for thing in scene.things)
    assert len(claim.mentions) == said


def is_believed(things: tuple[Thing, ...], relations: tuple[str, ...], scene: Scene) -> bool:
    """Whether a scene has things like these that stand so; a texture that is plain is not spoken of."""
    return any(
        all(
            getattr(scene.things[i], name) == getattr(thing, name)
            for i, thing in zip(order, things, strict=True)
            for name in ATTRIBUTES
            if name != "texture" or thing.texture != "plain"
        )
        and all(
            RELATIONS[relation](scene.things[i], scene.things[j])
            for relation, (i, j) in zip(relations, itertools.pairwise(order), strict=True)
        )
        for order in itertools.permutations(range(len(scene.things)), len(things))
    )


@given(scene=scenes, generator=generators, data=st.data())
def test_a_wrong_word_is_not_believed_unless_another_thing_is_so(
    scene: Scene, generator: np.random.Generator, data: st.DataObject
) -> None:
    things, relations = list(scene.things), list(scene.relations)
    what = data.draw(st.sampled_from([*ATTRIBUTES, *["relation"] * bool(relations)]))
    if what == "relation":
        i = data.draw(st.integers(0, len(relations) - 1))
        relations[i] = data.draw(st.sampled_from([r for r in RELATIONS if r != relations[i]]))
    else:
        i = data.draw(st.integers(0, len(things) - 1))
        others = [value for value in SAYS[what] if value != getattr(things[i], what)]
        things[i] = replace(things[i], **{what: data.draw(st.sampled_from(others))})
    told = Scene(tuple(things), tuple(relations), scene.background)
    assert judge(describe(told, generator), scene).true == is_believed(told.things, told.relations, scene)


@given(scene=scenes, generator=generators, first=st.booleans())
def test_a_sentence_that_leaves_out_a_thing_is_not_complete(
    scene: Scene, generator: np.random.Generator, first: bool
) -> None:
    assume(len(scene.things) > 1)
    some = slice(1, None) if first else slice(None, -1)
    part = Scene(scene.things[some], scene.relations[some], scene.background)
    verdict = judge(describe(part, generator), scene)
    assert verdict.true
    assert not verdict.complete


@given(scene=scenes, generator=generators)
def test_a_sentence_that_leaves_out_a_texture_is_not_detailed(scene: Scene, generator: np.random.Generator) -> None:
    assume(any(thing.texture != "plain" for thing in scene.things))
    things = tuple(replace(thing, texture="plain") for thing in scene.things)
    verdict = judge(describe(replace(scene, things=things), generator), scene)
    assert verdict.complete
    assert not verdict.detailed


@given(scene=scenes, words=st.lists(st.sampled_from(all_words()), max_size=25), text=st.text())
def test_nonsense_is_not_true(scene: Scene, words: list[str], text: str) -> None:
    for sentence in (" ".join(words), text):
        if parse(sentence) is None:
            assert judge(sentence, scene) == (False, False, False, ())


@given(scene=scenes, generator=generators, data=st.data())
def test_words_in_disorder_say_what_they_say_or_nothing(
    scene: Scene, generator: np.random.Generator, data: st.DataObject
) -> None:
    mixed = " ".join(data.draw(st.permutations(describe(scene, generator).split())))
    claim = parse(mixed)
    if claim is None:
        assert not judge(mixed, scene).true
    else:
        assert len(claim.relations) == len(claim.things) - 1


@pytest.mark.parametrize(
    "sentence",
    ["", "a", "a small red", "a red circle", "a small red circle is left of", "a small red circle a big blue square",
     "a small small red circle", "A small red circle", "a small red circle is left a big blue square"],
)  # fmt: skip
def test_what_is_no_sentence_says_nothing(sentence: str) -> None:
    assert parse(sentence) is None
