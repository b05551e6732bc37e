"""How near captions come to their references, and whether attention lies where a word points."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Words = list[str]
Weights = dict[tuple[str, ...], float]

ORDER = 4  # of the longest n-grams, in BLEU and in CIDEr-D
SIGMA = 6.0  # of CIDEr-D's penalty on length, in words
BETA = 1.2  # of ROUGE-L's F: how much more recall counts than precision


# ---- captions


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4 of a set of captions, from 0 to 1.

    With p_k the share of all captions' k-grams that occur in a reference of theirs, each as often as it does there,
    c the captions' words, and r the words of the references nearest to them in length,

        BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1/n)

    as sacrebleu counts them, on words as they stand and without smoothing: a set with no n-gram right has 0.

    Source: Papineni, Roukos, Ward, Zhu, BLEU: a method for automatic evaluation of machine translation, 2002.

    Args:
        captions: one sentence an image, its words with spaces between.
        references: of each image, the sentences that people wrote.

    Raises:
        ValueError: no captions, not as many captions as lists of references, or an image without a reference.
        TypeError: a sentence that is no string, or one string where a list of them belongs.

    >>> bleu(["a red circle above a square"], [["a red circle over a square"]])
    (0.83, 0.71, 0.50, 0.0)
    """
    from sacrebleu.metrics.bleu import BLEU  # of the extra `demos`

    words = list(_in_words(captions, references))
    most = max(len(those) for _, those in words)
    # As many references an image as the most of one: a sentence given twice counts once.
    streams = [[" ".join(those[j % len(those)]) for _, those in words] for j in range(most)]
    counter = BLEU(tokenize="none", smooth_method="none", max_ngram_order=ORDER, force=True)
    found = counter.corpus_score([" ".join(caption) for caption, _ in words], streams)

    def score(n: int) -> float:
        counts, totals = found.counts[:n], found.totals[:n]
        percent = BLEU.compute_bleu(counts, totals, found.sys_len, found.ref_len, max_ngram_order=n).score
        return min(1.0, percent / 100)  # it goes through logarithms, and so a little beyond

    return score(1), score(2), score(3), score(4)


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D of a set of captions, from 0 to 10: n-grams in common, of which rare ones count most.

    An n-gram that a sentence s has tf(s) times, and that occurs in the references of df of the N images, weighs

        g(s) = tf(s) log(N / max(1, df))

    and with g_n(s) the vector of all n-grams' weights, l(s) the number of words, sigma 6, and m references s_j,

        CIDEr-D_n(c) = 10 / m  sum_j exp(-(l(c) - l(s_j))^2 / (2 sigma^2))
                                     min(g_n(c), g_n(s_j)) . g_n(s_j) / (|g_n(c)| |g_n(s_j)|)

    of which this is the mean over n = 1..4 and over the images. What is in every image's references weighs nothing,
    so the score of one image alone is 0, and scores of different sets cannot be compared.

    Source: Vedantam, Zitnick, Parikh, CIDEr: consensus-based image description evaluation, 2015; tf is a count, as
    in COCO's evaluation code, where the paper has a share.

    Args:
        captions, references: as for `bleu`.

    Raises:
        ValueError, TypeError: as `bleu`.

    >>> cider_d(["a red circle", "a blue square"], [["a red circle"], ["a blue star"]])  # 7.5, without 4-grams, and 2.5
    5.0
    """
    words = list(_in_words(captions, references))
    images = Counter(gram for _, those in words for gram in {gram for s in those for gram in _ngrams(s)})

    def weights(sentence: Words) -> list[Weights]:
        """Of the n-grams of each length n."""
        found: list[Weights] = [{} for _ in range(ORDER)]
        for gram, times in _ngrams(sentence).items():
            found[len(gram) - 1][gram] = times * math.log(len(words) / max(1, images[gram]))
        return found

    def similarity(caption: Words, reference: Words) -> float:
        pairs = zip(weights(caption), weights(reference), strict=True)
        penalty = math.exp(-((len(caption) - len(reference)) ** 2) / (2 * SIGMA**2))
        return penalty * _mean([_clipped_cosine(*pair) for pair in pairs])

    return 10 * _mean([_mean([similarity(caption, s) for s in those]) for caption, those in words])


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L of a set of captions, from 0 to 1: how long a part of the words comes in the same order.

    With LCS(c, s) the length of the longest common subsequence of a caption's and a reference's words, which may have
    others in between,

        P = max_j LCS(c, s_j) / l(c)        R = max_j LCS(c, s_j) / l(s_j)
        F = (1 + beta^2) P R / (R + beta^2 P),    beta = 1.2

    of which this is the mean over the images. P and R may come from different references, as in COCO's evaluation code.

    Source: Lin, ROUGE: a package for automatic evaluation of summaries, 2004.

    Args:
        captions, references: as for `bleu`.

    Raises:
        ValueError, TypeError: as `bleu`.

    >>> rouge_l(["a circle above a red square"], [["a red circle above a square"]])
    0.83
    """
    return _mean([_f_measure(caption, those) for caption, those in _in_words(captions, references)])


def exact_match(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of captions that are one of their references, word for word.

    Args:
        captions, references: as for `bleu`.

    Raises:
        ValueError, TypeError: as `bleu`.

    >>> exact_match(["a red circle", "a star"], [["one circle", "a red  circle"], ["a blue star"]])
    0.5
    """
    return _mean([caption in those for caption, those in _in_words(captions, references)])


def _in_words(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Iterator[tuple[Words, list[Words]]]:
    """Each caption with its references, split at spaces."""
    if isinstance(captions, str):
        raise TypeError(f"captions: expected a list of sentences, got one string, {captions!r:.60}; put it in a list")
    if len(captions) != len(references):
        raise ValueError(
            f"references: expected one list for each of the {len(captions)} captions, got {len(references)}"
        )
    if not len(captions):
        raise ValueError("captions: expected at least one, got none")
    for i, (caption, those) in enumerate(zip(captions, references, strict=True)):
        if isinstance(those, str):
            raise TypeError(f"references[{i}]: expected a list of sentences, got the string {those!r:.60}")
        if not len(those):
            raise ValueError(f"references[{i}]: expected at least one sentence, got none; leave the image out")
        for name, sentence in ((f"captions[{i}]", caption), *((f"references[{i}]", s) for s in those)):
            if not isinstance(sentence, str):
                raise TypeError(
                    f"{name}: expected sentences as strings, words with spaces between, got {sentence!r:.60}"
                )
        yield caption.split(), [sentence.split() for sentence in those]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _ngrams(words: Words) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDER + 1) for i in range(len(words) - n + 1))


def _clipped_cosine(a: Weights, b: Weights) -> float:
    """min(a, b) . b / (|a| |b|), and 0 where one of them is."""
    common = math.fsum(min(weight, b[gram]) * b[gram] for gram, weight in a.items() if gram in b)
    return common / (math.hypot(*a.values()) * math.hypot(*b.values())) if common else 0.0


def _f_measure(caption: Words, references: list[Words]) -> float:
    common = [_longest_common_subsequence(caption, s) for s in references]
    if not any(common):
        return 0.0
    P = max(common) / len(caption)
    R = max(n / len(s) for n, s in zip(common, references, strict=True) if s)
    return (1 + BETA**2) * P * R / (R + BETA**2 * P)


def _longest_common_subsequence(a: Words, b: Words) -> int:
    lengths = [0] * (len(b) + 1)  # of the words of `a` so far with the first 0, 1, ... words of `b`
    for word in a:
        before = lengths
        lengths = [0]
        for j, other in enumerate(b):
            lengths.append(before[j] + 1 if word == other else max(before[j + 1], lengths[j]))
    return lengths[-1]


# ---- attention


class Pointing(NamedTuple):
    """How often attention is highest on the thing that a word speaks of."""

    accuracy: float  #: the share of maps
    chance: float  #: what a cell drawn at random, each as likely as the others, would reach


def pointing_accuracy(maps: npt.ArrayLike, masks: npt.ArrayLike) -> Pointing:
    """The share of words whose attention is highest within the thing they speak of, and the share by chance.

    A cell of the grid lies within a thing if the pixel at its centre does. Where several cells share the maximum each
    counts by its part, so that maps without any preference score chance.

    Args:
        maps: attention of M words over a grid, (M, h, w).
        masks: the things they speak of, (M, H, W), true within, over the image that the grid divides.

    Raises:
        ValueError: other shapes, no maps, values that are not finite, or a mask that is true nowhere.

    >>> maps, masks = np.eye(4).reshape(4, 2, 2), np.zeros((4, 64, 64), bool)
    >>> masks[:, :32, :] = True  # of the four cells each map looks at another; the upper two are right
    >>> pointing_accuracy(maps, masks)
    Pointing(accuracy=0.5, chance=0.5)
    """
    grids, things = _maps(maps), np.asarray(masks, dtype=bool)  # (M, h, w), (M, H, W)
    if things.ndim != 3 or len(things) != len(grids):
        raise ValueError(f"masks: expected one for each of the {len(grids)} maps, (M, H, W), got shape {things.shape}")
    if not things.any(axis=(1, 2)).all():
        m = int(np.argmin(things.any(axis=(1, 2))))
        raise ValueError(
            f"masks[{m}]: expected a pixel or more of the thing the word speaks of, got none; leave it out"
        )
    rows, columns = (
        (2 * np.arange(n) + 1) * N // (2 * n) for n, N in zip(grids.shape[1:], things.shape[1:], strict=True)
    )
    within = things[:, rows[:, None], columns]  # (M, h, w)
    highest = grids == grids.max(axis=(1, 2), keepdims=True)
    hits = (within & highest).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))
    return Pointing(accuracy=float(hits.mean()), chance=float(within.mean()))


def attention_entropy(maps: npt.ArrayLike) -> float:
    """The mean entropy of attention in nats: 0 where all lies on one cell, log(h w) where it is even.

        H = -sum_l a_l log a_l

    Args:
        maps: attention of M words over a grid, (M, h, w), each nowhere negative and 1 in sum.

    Raises:
        ValueError: other shapes, no maps, values that are not finite, or a map that is no distribution.

    >>> attention_entropy(np.full((1, 8, 8), 1 / 64)), math.log(64)
    (4.16, 4.16)
    """
    a = _maps(maps)
    sums = a.sum(axis=(1, 2))
    wrong = (a < 0).any(axis=(1, 2)) | (abs(sums - 1) > 1e-3)  # float16 holds weights to about that
    if wrong.any():
        m = int(np.argmax(wrong))
        raise ValueError(
            f"maps[{m}]: expected weights of 0 or more that sum to 1, got a least one of {a[m].min():g} and a sum of "
            f"{sums[m]:g}; take those after the softmax"
        )
    return float(-(a * np.log(np.where(a > 0, a, 1))).sum(axis=(1, 2)).mean())


def _maps(maps: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim != 3 or not array.size:
        raise ValueError(f"maps: expected a map or more, (M, h, w), got shape {array.shape}")
    if not np.isfinite(array).all():
        m = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"maps[{m}]: expected finite weights, got NaN or infinite ones")
    return array
