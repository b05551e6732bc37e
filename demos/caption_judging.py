"""How good a captioner is: its captions beside people's, beside the scenes that they are of, and where it looked."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nn.caption_scores import attention_entropy, bleu, cider_d, exact_match, pointing_accuracy, rouge_l
from nn.captioning import Caption, Captioner, tell
from nn.captions import WordVocabulary

from . import scene_grammar
from .caption_data import Shown
from .scenes import masks

AT_ONCE = 100  # images
LONGEST = 40  # words of a caption
POINTING = ("colour", "shape")  # the words that should be looked for on the thing itself


class Judged(NamedTuple):
    """A caption, and the verdict where it is of a scene."""

    shown: Shown
    caption: Caption
    words: list[str]
    verdict: scene_grammar.Verdict | None

    @property
    def sentence(self) -> str:
        """The caption in words."""
        return " ".join(self.words)


def captions_of(model: Captioner, vocabulary: WordVocabulary, images: Sequence[Shown], beams: int) -> list[Judged]:
    """What a model says of images, and what is to be thought of it; the model is set to evaluation."""
    model.eval()
    judged = []
    for start in range(0, len(images), AT_ONCE):
        some = images[start : start + AT_ONCE]
        batch = np.stack([shown.x for shown in some])
        told = tell(model, batch, vocabulary.START, vocabulary.END, length=LONGEST, beams=beams)
        for shown, caption in zip(some, told, strict=True):
            words = [vocabulary.decode([i]) for i in caption.ids]
            verdict = scene_grammar.judge(" ".join(words), shown.scene) if shown.scene else None
            judged.append(Judged(shown, caption, words, verdict))
    return judged


def measures(judged: Sequence[Judged], grid: tuple[int, int] | None) -> dict[str, Any]:
    """The measures of a set of captions, by name; shares are from 0 to 1.

    Args:
        judged: the captions.
        grid: rows and columns of the places that attention weighs; None: there is none.
    """
    sentences, references = [j.sentence for j in judged], [j.shown.references for j in judged]
    found: dict[str, Any] = {}
    verdicts = [j.verdict for j in judged if j.verdict]
    if verdicts:
        found["true"] = np.mean([v.true for v in verdicts]).item()
        found["true, complete"] = np.mean([v.complete for v in verdicts]).item()
        found["and detailed"] = np.mean([v.detailed for v in verdicts]).item()
    found |= {f"BLEU-{n}": score for n, score in enumerate(bleu(sentences, references), 1)}
    found |= {"CIDEr-D": cider_d(sentences, references), "ROUGE-L": rouge_l(sentences, references)}
    found["exact"] = exact_match(sentences, references)
    if grid and (pointed := list(pointing(judged, grid))):
        maps, things = zip(*pointed, strict=True)
        found["pointing"], found["by chance"] = pointing_accuracy(np.stack(maps), np.stack(things))
    if grid and (maps := [j.caption.maps for j in judged if j.caption.maps is not None]):
        found["entropy"] = attention_entropy(np.concatenate(maps).reshape(-1, *grid))
    return found


def pointing(judged: Sequence[Judged], grid: tuple[int, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each word for a colour or a shape, in captions that are true, its map and the thing that it speaks of."""
    for j in judged:
        claim = scene_grammar.parse(j.sentence)
        if not claim or not j.verdict or not j.verdict.true or j.caption.maps is None or not j.shown.scene:
            continue
        things = masks(j.shown.scene)
        for word, thing, attribute in claim.mentions:
            if attribute in POINTING:
                yield j.caption.maps[word].reshape(grid), things[j.verdict.things[thing]]
