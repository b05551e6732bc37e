"""Captioners: a convolutional network looks, a recurrent one tells.

    images (B, 3, H, W) -> features (B, D, rows, columns), L = rows * columns places -> words, one a step

They differ in what the recurrent network is given of the image: its first state alone (`FirstState`), the whole image
at every step (`EveryStep`), or at each step what it attends to: a mean of the places (`SoftAttention`) or one of them
(`HardAttention`). Sources: Vinyals, Toshev, Bengio, Erhan, Show and tell, 2015; Karpathy, Fei-Fei, Deep visual-semantic
alignments, 2015; Xu et al., Show, attend and tell, 2015.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

import minigrad as mg
from minigrad import Tensor
from minigrad.backend import default_generator, to_numpy

from . import functional as F
from .convolution import AdaptiveAvgPool2d
from .generation import draw
from .layers import Embedding, Flatten, Linear, ReLU, Sequential, Tanh
from .module import Module
from .recurrent import GRU, LSTM, RNN
from .streams import IGNORED

if TYPE_CHECKING:
    from numpy.random import Generator

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def tiny(maps: Tensor) -> float:
    """The least normal number of the dtype of maps, which has a logarithm where 0 has none."""
    return float(np.finfo(maps.dtype).tiny)


class Glimpse(NamedTuple):
    """What a step is given of the image."""

    z: Tensor | None = None  # (B, size)
    a: Tensor | None = None  # how much each place weighs, (B, L)
    chosen: npt.NDArray[np.int64] | None = None  # the one place that was looked at, (B,); -1: all were


class Sizes(NamedTuple):
    """What the parts of a captioner must know of each other."""

    D: int  # how many features a place has
    side: int  # without attention, features are averaged to so many rows and columns
    H: int  # the length of the state
    states: int  # 2 for an LSTM, which has c too, else 1


def whole(sizes: Sizes, size: int, activation: Module) -> Sequential:
    """Features (B, D, rows, columns) -> one vector (B, size)."""
    return Sequential(AdaptiveAvgPool2d(sizes.side), Flatten(), Linear(sizes.side**2 * sizes.D, size), activation)


class MeanAndGreatest(Module):
    """Features (B, D, rows, columns) -> (B, 2 D): of each feature the mean over all places, and the greatest."""

    def forward(self, x: Tensor) -> Tensor:
        """What there is, by the means; how far it reaches, by the greatest of features that tell where they are."""
        return mg.concatenate([mg.mean(x, axis=(2, 3)), mg.max(x, axis=(2, 3))], axis=1)


# ---- what the recurrent network is given


class Look(Module):
    """How a recurrent network is given an image; the base of the four."""

    size = 0  #: how long z is
    attends = False  #: whether what a step sees depends on the state before it

    def begin(self, features: Tensor) -> tuple[Tensor | None, Any]:
        """Of features (B, D, rows, columns) the first state, (B, states * H) or None: zeros; and what steps want."""
        raise NotImplementedError

    def forward(self, h: Tensor, memory: Any) -> Glimpse:
        """What a step sees, after the state h (B, H)."""
        return Glimpse()


class FirstState(Look):
    """The image makes the first state, h_0 = tanh(W v); the steps see nothing of it."""

    def __init__(self, sizes: Sizes) -> None:
        self.first = whole(sizes, sizes.states * sizes.H, Tanh())

    def begin(self, features: Tensor) -> tuple[Tensor | None, Any]:
        """The first state."""
        return self.first(features), None


class EveryStep(Look):
    """Each step sees the whole image, as one vector: h = tanh(W_xh x + W_hh h + W_ih v)."""

    def __init__(self, sizes: Sizes) -> None:
        self.size = sizes.H
        self.vector = whole(sizes, sizes.H, ReLU())

    def begin(self, features: Tensor) -> tuple[Tensor | None, Any]:
        """The vector v (B, H)."""
        return None, self.vector(features)

    def forward(self, h: Tensor, memory: Any) -> Glimpse:
        """The same v at each step."""
        return Glimpse(memory)


class SoftAttention(Look):
    """Each step sees a mean of the places, z = sum_i a_i v_i, a = softmax(e), e_i = (W_q h) . (W_k v_i) / sqrt(A)."""

    attends = True

    def __init__(self, sizes: Sizes) -> None:
        self.first = Sequential(MeanAndGreatest(), Linear(2 * sizes.D, sizes.states * sizes.H), Tanh())
        self.size, A = sizes.D, max(1, sizes.H // 4)
        self.key, self.query = Linear(sizes.D, A, bias=False), Linear(sizes.H, A, bias=False)

    def begin(self, features: Tensor) -> tuple[Tensor | None, Any]:
        """The first state, and of each place its features v (B, L, D) and by what h is compared with it, (B, L, A)."""
        B, D = features.shape[:2]
        v = features.transpose((0, 2, 3, 1)).reshape(B, -1, D)
        return self.first(features), (v, self.key(v))

    def forward(self, h: Tensor, memory: Any) -> Glimpse:
        """What h attends to."""
        v, a = memory[0], self.map(h, memory[1])
        return Glimpse(mg.squeeze(a[:, None] @ v, axis=1), a)

    def map(self, h: Tensor, keys: Tensor) -> Tensor:
        """How much each place weighs, (B, L)."""
        query = self.query(h) * (1 / math.sqrt(keys.shape[-1]))
        return F.softmax(mg.squeeze(keys @ query[:, :, None], axis=-1), dim=-1)


class HardAttention(SoftAttention):
    """Each step sees one place, drawn with the probabilities a; out of training, the likeliest.

    A draw has no derivative: `caption_loss` trains a by REINFORCE. So that it is not alone in that, some images of a
    batch are given the mean of the places in training, as by soft attention: Xu et al., 2015, section 4.1.
    """

    generator: Generator | None = None  #: what draws, or None for the default generator of minigrad
    share = 0.5  #: of the images that places are drawn for in training

    def begin(self, features: Tensor) -> tuple[Tensor | None, Any]:
        """As of soft attention; in training also whether places are drawn, (B,)."""
        first, memory = super().begin(features)
        if not self.training:
            return first, memory
        drawn = (self.generator or default_generator()).random(len(features)) < self.share
        return first, (*memory, mg.tensor(drawn, device=features.device))

    def forward(self, h: Tensor, memory: Any) -> Glimpse:
        """The place that is looked at after h, or the mean of all; where it is the mean, `chosen` is -1."""
        v, a = memory[0], self.map(h, memory[1])
        weights = to_numpy(a.data)
        if not self.training:
            chosen = weights.argmax(axis=-1)
            return Glimpse(v[np.arange(len(v)), chosen], a, chosen)
        drawn = memory[2]
        chosen = draw(np.log(np.maximum(weights, tiny(a))), 1.0, self.generator or default_generator())
        mean = mg.squeeze(a[:, None] @ v, axis=1)
        z = mg.where(drawn[:, None], v[np.arange(len(v)), chosen], mean)
        return Glimpse(z, a, np.where(to_numpy(drawn.data), chosen, -1))


LOOKS: dict[str, Callable[[Sizes], Look]] = {
    "state": FirstState,
    "every": EveryStep,
    "soft": SoftAttention,
    "hard": HardAttention,
}


# ---- the captioner


class Told(NamedTuple):
    """What a captioner says at each step, and where it looked before."""

    logits: Tensor  # (T, B, V)
    maps: Tensor | None  # (T, B, L)
    chosen: npt.NDArray[np.int64] | None  # (T, B), the one place that was looked at; -1: all were


class Captioner(Module):
    """An image to a sentence.

    Args:
        encoder: images (B, 3, H, W) -> features (B, D, rows, columns).
        D: how many features a place has.
        V: vocabulary size.
        look: a key of `LOOKS`.
        cell: "rnn", "lstm" or "gru".
        hidden, embedding: the lengths of the state and of a word's vector.
        side: without attention, features are averaged to so many rows and columns; 1 for an encoder that gives one
            vector, (B, D, 1, 1).

    Raises:
        ValueError: an unknown look or cell.

    >>> import nn
    >>> model = Captioner(nn.Conv2d(3, 2, 8, stride=8), D=2, V=5, hidden=6)
    >>> told = model(np.ones((1, 3, 32, 32), np.float32), np.array([[0], [3], [4]]))
    >>> told.logits.shape, told.maps.shape
    ((3, 1, 5), (3, 1, 16))
    """

    def __init__(
        self,
        encoder: Module,
        D: int,
        V: int,
        look: str = "soft",
        cell: str = "lstm",
        hidden: int = 256,
        embedding: int = 64,
        side: int = 4,
    ) -> None:
        for name, value, known in (("look", look, LOOKS), ("cell", cell, CELLS)):
            if value not in known:
                raise ValueError(f"Captioner: expected {name} to be one of {', '.join(known)}, got {value!r}")
        self.encoder, self.hidden = encoder, hidden
        self.states = 2 if cell == "lstm" else 1
        self.look: Look = LOOKS[look](Sizes(D, side, hidden, self.states))
        self.embedding = Embedding(V, embedding)
        self.rnn = CELLS[cell](embedding + self.look.size, hidden)
        self.output = Linear(hidden + self.look.size, V)

    def begin(self, images: Any) -> tuple[Any, Any]:
        """The first state, and what the look keeps of the images."""
        weight = self.output.weight
        if not isinstance(images, Tensor):
            images = mg.tensor(images, device=weight.device)
        first, memory = self.look.begin(self.encoder(images))
        if first is None:
            zeros = np.zeros((len(images), self.states * self.hidden))
            first = mg.tensor(zeros, dtype=weight.dtype, device=weight.device)
        parts = mg.split(first[None], self.states, axis=-1)  # (1, B, H) each
        return (parts if self.states > 1 else parts[0]), memory

    def steps(self, words: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any, Glimpse]:
        """What the next words are told by, after words (T, B, E) that are read with one glimpse.

        Returns:
            h and z, (T, B, H + size); the last state; the glimpse.
        """
        glimpse = self.look(state[0][0] if self.states > 1 else state[0], memory)
        if glimpse.z is None:
            h, state = self.rnn(words, state)
            return h, state, glimpse
        z = mg.broadcast_to(glimpse.z, (len(words), *glimpse.z.shape))
        h, state = self.rnn(mg.concatenate([words, z], axis=-1), state)
        return mg.concatenate([h, z], axis=-1), state, glimpse

    def forward(self, images: Any, ids: npt.NDArray[np.int64], lengths: npt.ArrayLike | None = None) -> Told:
        """What it says after each of the right words.

        Args:
            images: (B, 3, H, W), or what the encoder takes.
            ids: (T, B), the first of which begin the captions.
            lengths: how many of each caption's words count, (B,); None: all. With attention the others cost nothing;
                logits and maps are zeros there.

        Raises:
            ValueError: no words, or not a caption and a length for each image.
        """
        if ids.ndim != 2 or len(images) != ids.shape[1]:
            raise ValueError(f"Captioner: expected ids (T, B) for {len(images)} images, got shape {ids.shape}")
        T, B = ids.shape
        lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
        if not T * B or lengths.shape != (B,) or not 0 < lengths.max() <= T or lengths.min() < 0:
            raise ValueError(f"Captioner: expected {B} lengths of at most T = {T}, and words that count, got {lengths}")
        order = np.argsort(-lengths, kind="stable")  # the longest first: what is over drops off behind
        state, memory = self.begin(images[order])
        words = self.embedding(ids[:, order])  # (T, B, E)
        parts: Sequence[Tensor] = [words]
        counts = [B]
        if self.look.attends:
            parts, counts = mg.split(words, T), [int((lengths > t).sum()) for t in range(T)]
        said, glimpses, places = [], [], []
        for t, (part, n) in enumerate(zip(parts, counts, strict=True)):
            if n < part.shape[1]:
                part, state, memory = leading(part, n, axis=1), leading(state, n, axis=1), leading(memory, n)
            if not n:
                break
            with mg.scope(f"t={t}" if self.look.attends else "steps"):
                h, state, glimpse = self.steps(part, state, memory)
            said.append(h.reshape(-1, h.shape[-1]))
            glimpses.append(glimpse)
            places.append(((t + np.arange(len(part)))[:, None] * B + order[:n]).ravel())
        place = np.concatenate(places)  # of each word that was said, in (T, B)

        def placed(rows: Tensor) -> Tensor:
            return mg.scatter(rows, (place,), (T * B, rows.shape[-1])).reshape(T, B, -1)

        logits = placed(self.output(mg.concatenate(said)))
        if not self.look.attends:
            return Told(logits, None, None)
        chosen = None
        if glimpses[0].chosen is not None:
            chosen = np.zeros((T, B), np.int64)
            chosen.ravel()[place] = np.concatenate([glimpse.chosen for glimpse in glimpses])
        return Told(logits, placed(mg.concatenate([glimpse.a for glimpse in glimpses])), chosen)


def leading(tensors: Any, n: int, axis: int = 0) -> Any:
    """The first n rows of a tensor, or of each in a tuple; the tensor itself if it has no more."""
    if tensors is None:
        return None
    if isinstance(tensors, tuple):
        return tuple(leading(tensor, n, axis) for tensor in tensors)
    return tensors if tensors.shape[axis] == n else tensors[(slice(None),) * axis + (slice(n),)]


# ---- telling


class Caption(NamedTuple):
    """A caption that was told, and where each of its words was looked for."""

    ids: npt.NDArray[np.int64]  # (T,), END left out
    maps: npt.NDArray[np.floating[Any]] | None  # (T, L), what was attended to just before each word
    log_probability: float  # of the words and END, in nats


def tell(
    model: Captioner,
    images: Any,
    start: int,
    end: int,
    *,
    length: int = 40,
    beams: int = 1,
    temperature: float = 0.0,
    generator: Generator | None = None,
) -> list[Caption]:
    """A caption for each image: the likeliest that a beam search finds, or one that is drawn.

    A beam search keeps the `beams` likeliest beginnings of captions and lets each go on with every word; with 1 it is
    greedy, and takes the likeliest word at each step.

    Args:
        model: set to evaluation.
        images: (B, 3, H, W), or what the model's encoder takes.
        start, end: the ids that begin and end a caption.
        length: the most words that a caption may have.
        beams: how many beginnings are kept.
        temperature: above 0 each word is drawn, from the logits divided by it.
        generator: what draws; None: minigrad's default generator.

    Raises:
        ValueError: no beams or no length; a temperature below 0, or beside more than one beam.

    >>> import nn
    >>> model = Captioner(nn.Conv2d(3, 2, 8, stride=8), D=2, V=5, hidden=6).eval()
    >>> model.output.bias.data[3] = 100.0  # it is sure of one word
    >>> (caption,) = tell(model, np.ones((1, 3, 32, 32), np.float32), start=0, end=1, length=4, beams=2)
    >>> caption.ids, caption.maps.shape
    (array([3, 3, 3, 3]), (4, 16))
    """
    if beams < 1 or length < 1 or not temperature >= 0 or (temperature and beams > 1):
        raise ValueError(
            f"tell: expected beams and length of at least 1, and a temperature of at least 0 with one beam, got beams "
            f"{beams}, length {length}, temperature {temperature}"
        )
    if not len(images):
        return []
    B, rows = len(images), np.repeat(np.arange(len(images)), beams)  # a row for each beginning, K for each image
    with mg.no_grad():
        state, memory = model.begin(images)
        state, memory = picked(state, rows, axis=1), picked(memory, rows)
        ids = np.full((1, B * beams), start)
        maps: list[np.ndarray] = []
        scores = np.where(np.arange(B * beams) % beams, -np.inf, 0.0)  # all begin alike: one of them is enough
        for _ in range(length):
            hidden, state, glimpse = model.steps(model.embedding(ids[-1:]), state, memory)
            logits = to_numpy(model.output(hidden).data)[0]
            going_on = log_softmax(logits)  # (B K, V)
            over = (ids[1:] == end).any(axis=0)
            going_on[over] = np.where(np.arange(going_on.shape[1]) == end, 0.0, -np.inf)  # END for ever, at no cost
            if temperature:
                word = draw(logits, temperature, generator or default_generator())
                word[over], parent = end, np.arange(B)
                scores = scores + going_on[parent, word]
            else:
                parent, word, scores = best(scores, going_on, B)
            state = picked(state, parent, axis=1)
            ids = np.vstack([ids[:, parent], word])
            maps = [a[parent] for a in maps]
            if glimpse.a is not None:
                maps.append(to_numpy(glimpse.a.data)[parent])
            if (ids[1:] == end).any(axis=0).all():
                break
    return [told(ids[1:, k], [a[k] for a in maps], float(scores[k]), end) for k in range(0, B * beams, beams)]


def told(ids: np.ndarray, maps: list[np.ndarray], score: float, end: int) -> Caption:
    """A caption of ids that may go on behind END."""
    T = int(np.argmax([*(ids == end), True]))
    return Caption(ids[:T], np.stack(maps[:T]) if maps and T else None, score)


def best(scores: np.ndarray, going_on: np.ndarray, B: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of K beginnings each of B images and their ways to go on, (B K,) and (B K, V), the K likeliest of each image.

    Returns:
        Which beginning each goes on from, by which word, and its score, (B K,); the likeliest of an image first.
    """
    V = going_on.shape[1]
    K = len(scores) // B
    totals = (scores[:, None] + going_on).reshape(B, K * V)
    chosen = np.argsort(-totals, axis=1, kind="stable")[:, :K]  # (B, K)
    parent = (chosen // V + np.arange(B)[:, None] * K).ravel()
    return parent, (chosen % V).ravel(), np.take_along_axis(totals, chosen, 1).ravel()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log(softmax(x)) of each row, in float64."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def picked(tensors: Any, rows: np.ndarray, axis: int = 0) -> Any:
    """Rows of a tensor, or of each in a tuple."""
    if tensors is None:
        return None
    if isinstance(tensors, tuple):
        return tuple(picked(tensor, rows, axis) for tensor in tensors)
    return mg.take(tensors, rows, axis=axis)


# ---- learning


def caption_loss(
    told: Told,
    target: npt.NDArray[np.int64],
    *,
    moving: float = 0.2,
    reinforce: float = 0.1,
    entropy: float = 0.01,
    discount: float = 0.5,
) -> tuple[Tensor, float]:
    """Mean cross-entropy of the words, in nats, and what attention is trained by besides.

    Moving the eyes costs, where there is attention: moving * sum_t sum_i |a_t,i - a_{t-1},i| / 2. A state that has seen
    a thing has no need to look at it any more while it tells of it, and would look anywhere; so it stays.

    Where places were drawn, REINFORCE makes those likelier after which the right words were likelier than the same
    words in other captions of the batch were:

        - reinforce * sum_t ((R_t - b_t) log a_t[chosen_t] + entropy * H(a_t)),    R_t = log p(y_t) + discount R_{t+1}

    b_t is the mean R of the word y_t in the other captions; H(a), the entropy, keeps it drawing. With `reinforce` and
    `discount` of 1 it expects the gradient of the expected loss; less of it is less noise beside the words' gradient.
    Sources: Williams, Simple statistical gradient-following algorithms, 1992; Xu et al., 2015.

    Args:
        told: what a captioner said of the right words.
        target: the words that were to come, (T, B), `IGNORED` behind the end.
        moving: what it costs to move all attention elsewhere, in nats.
        reinforce: how much what draws earn counts, beside the words.
        entropy: how much H(a) counts, beside what draws earn.
        discount: how much of what comes later a place is held to account for.

    Returns:
        What to descend, and the mean cross-entropy alone.

    >>> told = Told(mg.as_tensor(np.zeros((2, 1, 4))), None, None)  # 4 words that are alike
    >>> loss, nats = caption_loss(told, np.array([[3], [1]]))
    >>> round(nats, 3)
    1.386
    """
    words = F.cross_entropy(told.logits.swapaxes(1, 2), target, ignore_index=IGNORED, reduction="none")  # (T, B)
    counts = target != IGNORED
    if not counts.any():
        raise ValueError("caption_loss: expected words to come in target, got none")
    mean = mg.sum(words) / int(counts.sum())
    nats = float(mean)
    if told.maps is not None:
        mean = mean + moving * movement(told.maps, counts)
    if told.maps is not None and told.chosen is not None:
        drawn = counts & (told.chosen >= 0)
        advantages = advantages_of(-to_numpy(words.data), target, drawn, discount)
        mean = mean - reinforce * earned(told.maps, told.chosen, advantages, drawn, entropy)
    return mean, nats


def movement(maps: Tensor, counts: npt.NDArray[np.bool_]) -> Tensor:
    """How much attention moves from step to step, from 0 to 1, a mean over the steps that count (T, B)."""
    moved = mg.absolute(maps[1:] - maps[:-1]).sum(axis=-1) * 0.5  # (T - 1, B)
    return mg.sum(moved * counts[1:]) / int(counts.sum())


def advantages_of(
    log_probability: np.ndarray, target: npt.NDArray[np.int64], drawn: npt.NDArray[np.bool_], discount: float
) -> np.ndarray:
    """R - b of each draw (T, B), as `caption_loss` has them; 0 for a word that no other caption has."""
    rewards = np.where(drawn, log_probability, 0.0)
    for later, reward in itertools.pairwise(rewards[::-1]):
        reward += discount * later
    t, b = np.nonzero(drawn)
    word, B = target[t, b], target.shape[1]
    sums, counts = np.zeros((2, word.max(initial=0) + 1, B))  # of each word in each caption
    np.add.at(sums, (word, b), rewards[t, b])
    np.add.at(counts, (word, b), 1)
    others = counts.sum(axis=1, keepdims=True) - counts
    baseline = (sums.sum(axis=1, keepdims=True) - sums) / np.maximum(others, 1)
    advantages = np.zeros(rewards.shape)
    advantages[t, b] = np.where(others[word, b] > 0, rewards[t, b] - baseline[word, b], 0.0)
    return advantages


def earned(
    maps: Tensor, chosen: npt.NDArray[np.int64], advantages: np.ndarray, drawn: npt.NDArray[np.bool_], entropy: float
) -> Tensor:
    """What the draws earned and the entropy of what they were drawn from, a mean over the draws."""
    logarithms = mg.log(mg.maximum(maps, tiny(maps)))
    likely = mg.squeeze(mg.take_along_axis(logarithms, np.maximum(chosen, 0)[..., None], -1), axis=-1)  # (T, B)
    spread = -(maps * logarithms).sum(axis=-1) * drawn
    total = likely * mg.tensor(advantages, dtype=maps.dtype, device=maps.device) + entropy * spread
    return mg.sum(total) / max(1, int(drawn.sum()))
