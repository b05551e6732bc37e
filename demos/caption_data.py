"""What `demos.captioner` learns from: scenes that it draws itself, or captioned photographs."""

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

import nn
from nn.captions import (
    CaptionBatch,
    CaptionBatches,
    Captioned,
    Problems,
    WordVocabulary,
    listed,
    read_captions,
    teacher_forced,
)  # fmt: skip
from nn.images import IMAGENET_MEAN, IMAGENET_STD, FeatureCache, ImageError, read_image

from . import scene_grammar, scenes

HELD_OUT = 10  # of so many photographs one is to test on, where no list says which


class Shown(NamedTuple):
    """An image to test on, and what may be said of it."""

    picture: np.ndarray  # for people: (H, W, 3), uint8
    x: np.ndarray  # for the model
    references: Sequence[str]
    scene: scenes.Scene | None = None


class Source(Protocol):
    """Where batches and tests come from."""

    label: str
    size: int  # of an image, a side
    vocabulary: WordVocabulary
    splits: tuple[str, ...]  # what there is to test on
    fingerprint: str  # of all that a run learns from
    features_of: str | None  # digest of the frozen net that gives its features; None: there is none

    def batch(self, k: int) -> CaptionBatch:
        """Batch k of the training: a function of k and the seed."""

    def shown(self, split: str, count: int) -> list[Shown]:
        """The first images of a split, `count` at most."""


class SceneSource:
    """Scenes, drawn when they are first needed; each time one comes, it is described anew.

    Args:
        count: how many there are to learn from.
        B: captions a batch.
        seed: of the scenes, their order and their captions.
    """

    label, size, features_of = "scenes", scenes.PIXELS, None
    splits = ("test", "compositional")

    def __init__(self, count: int, B: int, seed: int) -> None:
        self.count, self.B, self.seed = count, B, seed
        self.vocabulary = WordVocabulary(tuple(scene_grammar.all_words()))
        self.fingerprint = f"{self.vocabulary.fingerprint}, {count} scenes of seed {seed}"
        self._pictures = np.zeros((count, self.size, self.size, 3), np.uint8)
        self._drawn: dict[int, scenes.Scene] = {}

    def batch(self, k: int) -> CaptionBatch:
        """Batch k, of an epoch's order; scenes and captions are functions of k and the seed."""
        epoch, place = divmod(k * self.B, self.count)
        epochs = range(epoch, epoch + 2 + self.B // self.count)
        order = np.concatenate([np.random.default_rng([self.seed, i]).permutation(self.count) for i in epochs])
        items = order[place : place + self.B]
        generator = np.random.default_rng([self.seed, 2**31, k])
        captions = [scene_grammar.describe(self._scene(int(i)), generator) for i in items]
        x, y, lengths = teacher_forced([self.vocabulary.encode(caption) for caption in captions])
        return CaptionBatch(normalised(self._pictures[items]), x, y, lengths, items)

    def _scene(self, i: int) -> scenes.Scene:
        if i not in self._drawn:
            self._drawn[i] = scenes.scene_at("train", i, self.seed)
            self._pictures[i] = scenes.draw(self._drawn[i])
        return self._drawn[i]

    def shown(self, split: str, count: int) -> list[Shown]:
        """Scenes that training never draws."""
        found = []
        for i in range(count):
            scene = scenes.scene_at(split, i, self.seed)
            picture = scenes.draw(scene)
            found.append(Shown(picture, normalised(picture[None])[0], scene_grammar.references(scene), scene))
        return found


def normalised(pictures: np.ndarray) -> np.ndarray:
    """Pictures (B, H, W, 3) of uint8 as `read_image` gives them: (B, 3, H, W) of float32."""
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    x: np.ndarray = ((pictures / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    return x


def picture_of(x: np.ndarray) -> np.ndarray:
    """What `read_image` gave, as a picture again: (3, S, S) to (S, S, 3) of uint8."""
    pixels = x.transpose(1, 2, 0) * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)


class PhotographSource:
    """Captioned photographs in files; of every ten, one is kept to test on, unless lists say which.

    Args:
        captions, images: a file that `nn.captions.read_captions` takes, and the folder of its images.
        size: S, of the squares that images are cut to.
        minimum: how often a word must come to be known.
        B, seed: captions a batch, and what shuffles them.
        strict: stop at the first entry or image that can't be used, rather than report it.
        test_list: a file with the names of the images to test on.
        memorise: learn from all, and test on the same.
        frozen: a CNN that is not trained, whose features are kept in `features`; None: the model takes images.
    """

    def __init__(
        self,
        captions: Path,
        images: Path,
        *,
        size: int,
        minimum: int,
        B: int,
        seed: int,
        strict: bool = False,
        test_list: Path | None = None,
        memorise: bool = False,
        frozen: nn.Module | None = None,
        features: Path | None = None,
    ) -> None:
        problems = Problems(strict)
        self.label, self.size = captions.name, size
        found = read_captions(captions, images, problems=problems)
        tested = [i % HELD_OUT == 0 for i in range(len(found))]
        if test_list:
            named = images_of(test_list, captions, images, {item.image for item in found}, problems)
            tested = [item.image in named for item in found]
        if not memorise and len(set(tested)) < 2:
            raise ValueError(
                f"{test_list or captions}: expected images to learn from and others to test on, got {sum(tested)} of "
                f"{len(found)} to test on; --memorise learns from all, and tests on the same"
            )
        train = [item for item, test in zip(found, tested, strict=True) if memorise or not test]
        self._shown = [item for item, test in zip(found, tested, strict=True) if memorise or test]
        self.splits = ("train",) if memorise else ("test",)
        self._problems, self._image = problems, functools.partial(read_image, size=size)
        self._read: Any = FeatureCache(features or Path("features"), frozen, size) if frozen else self._image
        self.vocabulary = WordVocabulary.of((c for item in train for c in item.captions), minimum)
        self._batches = CaptionBatches(train, self.vocabulary, B, self._read, seed, problems)
        parts = [[(item.image.name, item.captions) for item in part] for part in (train, self._shown)]
        self.features_of = self._read.of if frozen else None
        entries = json.dumps([parts, self.features_of], ensure_ascii=False)
        self.fingerprint = hashlib.sha256(entries.encode("utf-8", "surrogatepass")).hexdigest()

    def batch(self, k: int) -> CaptionBatch:
        """Batch k of the training."""
        return self._batches.batch(k)

    def shown(self, split: str, count: int) -> list[Shown]:
        """Photographs, those that can be read; ImageError where there are none."""
        if found := list(islice(self._readable(), count)):
            return found
        raise ImageError(f"{self._shown[0].image}: no image can be read, of {len(self._shown)} to test on; check them")

    def _readable(self) -> Iterator[Shown]:
        for item in self._shown:
            try:
                yield self._one(item)
            except ImageError as error:
                self._problems.report(error)

    def _one(self, item: Captioned) -> Shown:
        image = self._image(item.image)
        x = image if self._read is self._image else self._read(item.image)
        captions = [" ".join(nn.captions.words(caption)) for caption in item.captions]
        return Shown(picture_of(image), x, captions)


def images_of(test_list: Path, captions: Path, images: Path, there: set[Path], problems: Problems) -> set[Path]:
    """The images that a list names, of those that are there; others are reported."""
    named = {images / name: number for name, number in listed(test_list).items()}
    for image, number in named.items():
        if image not in there:
            problems.report(ValueError(f"{test_list}: line {number}: {captions} has no image {str(image)!r:.200}"))
    return there & set(named)
