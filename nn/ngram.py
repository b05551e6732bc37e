"""Interpolated n-gram models: the baselines that a character model must beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nn.text import as_ids, split

Floats = npt.NDArray[np.float64]

BASELINES = ("unigram", "bigram", "trigram")


def ngram_baselines(train: npt.ArrayLike, validation: npt.ArrayLike, V: int) -> dict[str, float]:
    """The losses of the unigram, bigram and trigram models of a text on another, in nats per character.

    The model of order n mixes the relative frequencies f_0, ..., f_n of `NGrams`,

        P(c | h) = sum_k w_k f_k(c | h),        w_k >= 0,  sum_k w_k = 1.

    The weights are those that serve a held-out text best: f is counted on the first nine tenths of the
    training text and w fitted to its last tenth, since on the text of the counts themselves the highest
    order always seems perfect. Then f is counted again on the whole training text, the text that the
    character model learns from, so that the baselines are as strong as they can be.

    Source: F. Jelinek, R. L. Mercer, Interpolated estimation of Markov source parameters from sparse
    data, in Pattern Recognition in Practice, 1980.

    Args:
        train, validation: character ids of shape (N,), in 0..V-1; training needs ten or more.
        V: vocabulary size.

    Raises:
        TypeError: ids that are not integers.
        ValueError: ids outside 0..V-1, or too short a text.

    >>> losses = ngram_baselines([1, 0, 2, 2, 3] * 100, [1, 0, 2, 2, 3] * 10, V=4)
    >>> {name: round(nats, 2) for name, nats in losses.items()}
    {'unigram': 1.33, 'bigram': 0.31, 'trigram': 0.03}
    """
    train, validation = as_ids(train, V), as_ids(validation, V)
    if not len(validation):
        raise ValueError("validation: expected at least one character, got none")
    counted, held_out = split(train)
    order = len(BASELINES)
    fitting = NGrams(counted, V, order).frequencies(held_out)  # (order + 1, N)
    testing = NGrams(train, V, order).frequencies(validation)  # (order + 1, N)
    return {
        name: nats_per_character(interpolation_weights(fitting[: n + 1]), testing[: n + 1])
        for n, name in enumerate(BASELINES, start=1)
    }


class NGrams:
    """The relative frequencies of characters after 0, 1, ..., order - 1 characters of context in a text.

    With N(.) the number of occurrences and h_k the last k - 1 characters before c,

        f_0(c) = 1 / V
        f_k(c | h_k) = N(h_k c) / sum_c' N(h_k c')    where the context h_k is followed by anything, else
                       f_{k-1}(c | h_{k-1})           (it never occurred, or the text has just begun)

    so that every f_k is a distribution over the V characters after any context. Only the k-grams that
    occur are stored, sorted; a k-gram's number among them stands for it as the context of order k + 1, so
    keys stay below N V whatever the order and nothing of size V^k is ever made.

    Args:
        ids: character ids of shape (N,), N >= 1, in 0..V-1.
        V: vocabulary size.
        order: the longest k-gram counted.

    Raises:
        TypeError: ids that are not integers.
        ValueError: ids outside 0..V-1, or none.

    >>> NGrams([1, 0, 2, 2, 3], V=4, order=2).frequencies([2, 3]).round(2)  # rows f_0, f_1, f_2
    array([[0.25, 0.25],
           [0.4 , 0.2 ],
           [0.4 , 0.5 ]])
    """

    def __init__(self, ids: npt.ArrayLike, V: int, order: int) -> None:
        ids = as_ids(ids, V)
        if not len(ids):
            raise ValueError("ids: expected at least one character to count, got none")
        self.V, self.order = V, order
        self._tables = []
        context = np.zeros(len(ids), dtype=np.int64)  # before each character: at first the empty context, 0
        for k in range(order):
            keys = context * V + ids[k:]
            grams, gram, counts = np.unique(keys, return_inverse=True, return_counts=True)
            contexts, which = np.unique(grams // V, return_inverse=True)
            frequency = counts / np.bincount(which, weights=counts)[which]
            self._tables.append((grams, contexts, np.append(frequency, 0.0)))  # 0: grams that never occurred
            context = gram[:-1]

    def frequencies(self, ids: npt.ArrayLike) -> Floats:
        """f_0, ..., f_order of every character of a text of shape (N,), as (order + 1, N)."""
        ids = as_ids(ids, self.V)
        rows = [np.full(len(ids), 1 / self.V)]
        context = np.zeros(len(ids), dtype=np.int64)
        for grams, contexts, frequency in self._tables:
            gram = _find(grams, context * self.V + ids)
            known = np.isin(context, contexts)
            rows.append(np.where(known, frequency[gram], rows[-1]))
            context = np.append(-1, gram)[:-1]  # the first character has no predecessor
        return np.stack(rows)


def interpolation_weights(frequencies: Floats, tolerance: float = 1e-4) -> Floats:
    """The mixture weights, of shape (K,), that give a held-out text its highest likelihood.

    Expectation maximisation from equal weights. The log-likelihood is concave in w, so it lies below its
    tangent and the best weights are at most max_k g_k - 1 nats per character better than the present
    ones, g as in `em_factors`: the iteration ends when that is below `tolerance`.

    Args:
        frequencies: the probability that each of K models gives to each of N characters, of shape (K, N); no
            column all 0.
        tolerance: nats per character.

    >>> interpolation_weights(np.array([[0.5, 0.5], [1.0, 0.5]])).round(2)
    array([0., 1.])
    """
    weights = np.full(len(frequencies), 1 / len(frequencies))
    while (factors := em_factors(weights, frequencies)).max() > 1 + tolerance:
        weights = weights * factors
    return weights


def em_factors(weights: Floats, frequencies: Floats) -> Floats:
    """The factors, of shape (K,), by which one step of expectation maximisation multiplies the mixture weights.

    The expectation step finds how likely model k was the one that produced character i,
    w_k f_ki / sum_j w_j f_ji; the maximisation step makes its mean over i the new w_k. Hence

        w_k <- w_k g_k,        g_k = (1/N) sum_i f_ki / sum_j w_j f_ji

    and g is the gradient of the mean log-likelihood in w.

    Source: Dempster, Laird, Rubin, Maximum likelihood from incomplete data via the EM algorithm, 1977.

    Args:
        weights: w, of shape (K,).
        frequencies: f, of shape (K, N).

    >>> em_factors(np.array([0.5, 0.5]), np.array([[0.2, 0.2], [0.6, 0.6]]))
    array([0.5, 1.5])
    """
    return np.asarray(frequencies @ (1 / (weights @ frequencies)) / frequencies.shape[1])


def nats_per_character(weights: Floats, frequencies: Floats) -> float:
    """The mean of -log P over a text, in nats per character, of the mixture of K models.

    Args:
        weights: of shape (K,).
        frequencies: the probability that each model gives to each of N characters, of shape (K, N).

    >>> round(nats_per_character(np.array([0.5, 0.5]), np.array([[0.25, 0.25], [0.75, 0.75]])), 4)
    0.6931
    """
    return float(-np.log(weights @ frequencies).mean())


def _find(table: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each key stands in a sorted table, -1 where it doesn't."""
    return np.where(np.isin(keys, table), np.searchsorted(table, keys), -1)
