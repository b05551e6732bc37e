"""The training run of `demos.captioner`: a source of captioned images, the model that learns them, and its page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from nn.captioning import Captioner, caption_loss
from nn.captions import WordVocabulary, teacher_forced
from nn.checkpoint import write_whole
from nn.streams import IGNORED

from .caption_data import PhotographSource, SceneSource, Shown, Source
from .caption_judging import Judged, captions_of, measures
from .caption_model import captioner_of, deep_net, gradients_of_words
from .caption_page import Example, Told, write_page
from .run_folder import RunFolder
from .running import Run

WATCHED = 100  # images that are validated on at each stage; the first few are shown
TESTED = 1000  # images of each split that the finished model is tested on
ON_PAGE = 12
AT_ONCE = 50  # images
NAMES = {"state": "image as first state", "every": "image at every step", "soft": "soft attention",
         "hard": "hard attention"}  # fmt: skip


class Training(Run):
    """A run that learns to caption images."""

    data: Source
    model: Captioner
    mean: Captioner
    unit = "image"

    def __init__(self, config: dict[str, Any], data: Source, folder: RunFolder) -> None:
        super().__init__(config, data, folder)
        self.watched = data.shown(data.splits[0], WATCHED)

    def new_model(self) -> Captioner:
        """The model of the config."""
        return captioner_of(self.config)

    def learn(self) -> float:
        """One step on a batch of images, each with a caption; gives nats a word."""
        batch = self.data.batch(self.step)
        told = self.model(batch.images, batch.x)
        loss, nats = caption_loss(told, batch.y)
        self.descend(loss, len(batch.images))
        return nats

    @property
    def validation(self) -> list[Sequence[Shown]]:
        """The images that are watched, some at a time."""
        return [self.watched[i : i + AT_ONCE] for i in range(0, len(self.watched), AT_ONCE)]

    def validate(self, batches: Iterable[Sequence[Shown]]) -> float:
        """Mean nats a word of the images' first references."""
        self.mean.eval()
        total, count = 0.0, 0
        with mg.no_grad():
            for some in batches:
                x, y, _ = teacher_forced([self.data.vocabulary.encode(shown.references[0]) for shown in some])
                _, nats = caption_loss(self.mean(np.stack([shown.x for shown in some]), x), y)
                words = int((y != IGNORED).sum())
                total, count = total + nats * words, count + words
        return total / count

    def sample(self) -> str:
        """How many captions of the images that are watched are right, and the first few."""
        judged = captions_of(self.mean, self.data.vocabulary, self.watched, beams=1)
        scores = measures(judged, None)
        right = "true, complete" if "true, complete" in scores else "exact"
        few = [f"{j.sentence}   ({j.shown.references[0]})" for j in judged[:3]]
        return "\n".join([f"{scores[right]:.0%} {right}; captions, and one of people's for each:", *few])

    def in_words(self, nats: float) -> str:
        """A loss in nats."""
        return f"{nats:.3f} nats a word"

    # ---- before and after

    def announce(self) -> None:
        """Say what will be trained, and draw it: the captioner unrolled over the first words, a cluster a step."""
        vocabulary = self.data.vocabulary
        print(f"{self.data.label}, {len(vocabulary)} words, tests: {', '.join(self.data.splits)}")
        super().announce()
        shown = self.watched[0]
        x, y, _ = teacher_forced([vocabulary.encode(shown.references[0])[:2]])
        self.model.eval()
        with mg.unrolled():
            loss, _ = caption_loss(self.model(shown.x[None], x), y)
        self.model.train()
        self.folder.draw(loss)

    def conclude(self) -> None:
        """Test the model, and write what it says on a page."""
        self.folder.plot(f"{NAMES[self.config['look']]}, {self.config['cell'].upper()}", {}, "images seen", "word")
        results = [
            Result(split, captions_of(self.mean, self.data.vocabulary, self.data.shown(split, TESTED), self.config["beams"]))
            for split in self.data.splits
        ]
"""
"""
