"""Sentences about scenes: one grammar writes them, and says whether one is true of a scene and tells all of it.

a small red striped circle is left of a large blue square
"""

import itertools
import re
import zlib
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from .scenes import RELATIONS, Scene, Thing

ATTRIBUTES = ("size", "colour", "texture", "shape")
SAYS = {  # what is said for each attribute of a thing, and for a relation: by value, the ways to say it
    "size": {"small": ("small", "little"), "large": ("large", "big")},
    "colour": {
        "red": ("red",),
        "green": ("green",),
        "blue": ("blue",),
        "yellow": ("yellow",),
        "purple": ("purple", "violet"),
        "black": ("black",),
    },
    "texture": {"plain": ("",), "striped": ("striped",), "dotted": ("dotted", "spotted")},
    "shape": {
        "circle": ("circle", "disc"),
        "square": ("square",),
        "triangle": ("triangle",),
        "diamond": ("diamond",),
        "cross": ("cross",),
    },
    "relation": {
        "left of": ("left of", "to the left of"),
        "above": ("above", "over"),
        "inside": ("inside", "within"),
    },
}
THING = ("a {size} {colour} {texture} {shape}", "a {size} {texture} {colour} {shape}")
SENTENCES = {  # by how many things there are
    1: ("{0}", "there is {0}", "{0} is all there is"),
    2: ("{0} is {r0} {1}", "there is {0} {r0} {1}", "{0} {r0} {1}"),
    3: ("{0} is {r0} {1} which is {r1} {2}", "there is {0} {r0} {1} {r1} {2}", "{0} {r0} {1} {r1} {2}"),
}


# ---- writing


def describe(scene: Scene, generator: np.random.Generator) -> str:
    """A sentence about a scene, drawn from all that the grammar has."""

    def drawn(choices: tuple[str, ...]) -> str:
        return choices[generator.integers(len(choices))]

    def thing(of: Thing) -> str:
        return drawn(THING).format(**{name: drawn(SAYS[name][getattr(of, name)]) for name in ATTRIBUTES})

    said = {f"r{i}": drawn(SAYS["relation"][relation]) for i, relation in enumerate(scene.relations)}
    sentence = drawn(SENTENCES[len(scene.things)]).format(*map(thing, scene.things), **said)
    return " ".join(sentence.split())  # what is not said leaves two spaces


def references(scene: Scene, count: int = 5) -> list[str]:
    """Some sentences about a scene, always the same."""
    generator = np.random.default_rng(zlib.crc32(repr(scene).encode()))
    return [describe(scene, generator) for _ in range(count)]


def all_words() -> list[str]:
    """The words that sentences are made of."""
    patterns = [*THING, *itertools.chain(*SENTENCES.values())]
    texts = [re.sub(r"\{\w+\}", " ", pattern) for pattern in patterns]
    texts += [way for values in SAYS.values() for ways in values.values() for way in ways]
    return sorted({word for text in texts for word in text.split()})


# ---- judging


class Mention(NamedTuple):
    """A word of a sentence that says something of a thing."""

    word: int  # its place in the sentence
    thing: int  # of those in the sentence
    attribute: str


class Claim(NamedTuple):
    """What a sentence says."""

    things: tuple[dict[str, str], ...]  # of each its attributes; one that is not said is missing
    relations: tuple[str, ...]  # between neighbours
    mentions: tuple[Mention, ...]


class Verdict(NamedTuple):
    """How a sentence stands to a scene."""

    true: bool  # it is a sentence of the grammar, and all it says holds
    complete: bool  # and it tells of every thing, and of how they stand
    detailed: bool  # and of each thing's texture, if it has one
    things: tuple[int, ...]  # which thing of the scene each of the sentence's is, where it is true


def parse(sentence: str) -> Claim | None:
    """What a sentence says; None: it is none of the grammar's."""
    for count, pattern in _patterns():
        if match := pattern.fullmatch(sentence):
            things, mentions = [], []
            for i in range(count):
                found = {name: match[f"{name}{i}"] for name in ATTRIBUTES if match[f"{name}{i}"]}
                things.append({name: _meaning(name)[way] for name, way in found.items()})
                starts = {name: match.start(f"{name}{i}") for name in found}
                mentions += [Mention(sentence.count(" ", 0, start), i, name) for name, start in starts.items()]
            relations = [_meaning("relation")[match[f"r{i}"]] for i in range(count - 1)]
            return Claim(tuple(things), tuple(relations), tuple(sorted(mentions)))
    return None


def judge(sentence: str, scene: Scene) -> Verdict:
    """Whether a sentence is true of a scene, for some choice of the things that it speaks of, and tells all of it."""
    claim = parse(sentence)
    for chosen in _choices(claim, scene) if claim else ():
        complete = len(chosen) == len(scene.things)
        pairs = zip(chosen, claim.things, strict=True)
        detailed = complete and all("texture" in said or scene.things[i].texture == "plain" for i, said in pairs)
        return Verdict(True, complete, detailed, chosen)
    return Verdict(False, False, False, ())


def _choices(claim: Claim, scene: Scene) -> Iterator[tuple[int, ...]]:
    """The things of a scene that a claim may be about, in the claim's order."""
    things = scene.things
    for chosen in itertools.permutations(range(len(things)), len(claim.things)):
        holds = all(getattr(things[i], name) == value for i, said in zip(chosen, claim.things, strict=True)
                    for name, value in said.items())  # fmt: skip
        neighbours = zip(claim.relations, itertools.pairwise(chosen), strict=True)
        if holds and all(RELATIONS[relation](things[i], things[j]) for relation, (i, j) in neighbours):
            yield chosen


@cache
def _meaning(name: str) -> dict[str, str]:
    """The value of an attribute, or the relation, that a way to say it stands for."""
    return {way: value for value, ways in SAYS[name].items() for way in ways if way}


@cache
def _patterns() -> list[tuple[int, re.Pattern[str]]]:
    """Every form of a sentence as a regular expression, with how many things it has."""
    return [
        (count, re.compile(_expression(sentence, things)))
        for count, sentences in SENTENCES.items()
        for sentence in sentences
        for things in itertools.product(THING, repeat=count)
    ]


def _expression(sentence: str, things: tuple[str, ...]) -> str:
    """A sentence's form, each thing in a form of its own: (?P<colour0>red|...) stands for the first thing's colour."""

    def any_way(name: str, group: str) -> str:
        ways = [way for ways in SAYS[name].values() for way in ways]
        spoken = "|".join(sorted(filter(None, ways), key=len, reverse=True))
        return f"(?:(?P<{group}>{spoken}) )" + ("?" if "" in ways else "")

    def thing(i: int) -> str:
        return re.sub(r"\{(\w+)\} ?", lambda slot: any_way(slot[1], f"{slot[1]}{i}"), things[i])

    expression = re.sub(r"\{(\d)\} ?", lambda slot: thing(int(slot[1])), sentence)
    expression = re.sub(r"\{(r\d)\} ?", lambda slot: any_way("relation", slot[1]), expression)
    return expression.removesuffix(" )") + ")" if expression.endswith(" )") else expression
