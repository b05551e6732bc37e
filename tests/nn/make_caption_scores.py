"""Draw captions, score them by COCO's evaluation code, and store the results for test_caption_scores.py.

    python -m tests.nn.make_caption_scores    # writes fixtures/caption_scores.json; made with pycocoevalcap 1.2

It needs pycocoevalcap, and runs from the root of the checkout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

VOCABULARY = ["a", "the", "red", "blue", "small", "circle", "square", "star", "is", "above", "left", "of", "inside"]
SETS = 12
FIXTURE = Path(__file__).parent / "fixtures/caption_scores.json"


def drawn(rng: np.random.Generator) -> tuple[list[str], list[list[str]]]:
    """Captions and references of some images: the first reference, changed here and there, cut or lengthened."""

    def sentence() -> list[str]:
        return [str(word) for word in rng.choice(VOCABULARY, size=rng.integers(1, 13))]

    def near(words: list[str]) -> list[str]:
        changed = [str(rng.choice(VOCABULARY)) if rng.random() < 0.2 else word for word in words]
        return (changed + sentence() if rng.random() < 0.3 else changed)[: rng.integers(1, 25)]

    captions, references = [], []
    for _ in range(rng.integers(1, 13)):
        words = sentence()
        captions.append(" ".join(near(words)))
        references.append(
            [" ".join(near(words) if rng.random() < 0.7 else sentence()) for _ in range(rng.integers(1, 6))]
        )
    return captions, references


def scored(captions: list[str], references: list[list[str]]) -> dict[str, Any]:
    """The set, with COCO's scores of it."""
    those, told = dict(enumerate(references)), {i: [caption] for i, caption in enumerate(captions)}
    return {
        "captions": captions,
        "references": references,
        "bleu": Bleu().compute_score(those, told, verbose=0)[0],
        "cider_d": float(Cider().compute_score(those, told)[0]),
        "rouge_l": float(Rouge().compute_score(those, told)[0]),
    }


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    sets = [scored(*drawn(rng)) for _ in range(SETS)]
    FIXTURE.write_text(json.dumps(sets, indent=1) + "\n", encoding="utf-8")
    print(f"{FIXTURE.name}: {sum(len(one['captions']) for one in sets)} captions, {FIXTURE.stat().st_size} bytes")
