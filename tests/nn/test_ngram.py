"""nn.ngram: frequencies against dictionaries, expectation maximisation, and the baselines themselves."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn.ngram import NGrams, em_factors, interpolation_weights, nats_per_character, ngram_baselines
from nn.text import split

V = 4
orders = st.integers(1, 4)


def characters(min_size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, V - 1), min_size=min_size, max_size=80)


@st.composite
def frequency_tables(draw: st.DrawFn) -> np.ndarray:
    """What `NGrams.frequencies` gives for a text that was not counted."""
    return NGrams(draw(characters(1)), V, draw(orders)).frequencies(draw(characters(1)))


def by_dictionary(counted: list[int], text: list[int], V: int, order: int) -> list[list[float]]:
    """`NGrams(counted, V, order).frequencies(text)`, from the formula with tuples and dictionaries."""
    grams: Counter[tuple[int, ...]] = Counter()
    contexts: Counter[tuple[int, ...]] = Counter()
    for k in range(1, order + 1):
        for i in range(len(counted) - k + 1):
            grams[tuple(counted[i : i + k])] += 1
            contexts[tuple(counted[i : i + k - 1])] += 1

    def frequency(k: int, i: int) -> float:
        if k == 0:
            return 1 / V
        start = i - k + 1
        if start < 0 or not (times := contexts[tuple(text[start:i])]):
            return frequency(k - 1, i)
        return grams[tuple(text[start : i + 1])] / times

    return [[frequency(k, i) for i in range(len(text))] for k in range(order + 1)]


@given(characters(1), characters(0), orders)
def test_frequencies_agree_with_dictionaries(counted: list[int], text: list[int], order: int) -> None:
    expected = np.reshape(by_dictionary(counted, text, V, order), (order + 1, len(text)))
    np.testing.assert_allclose(NGrams(counted, V, order).frequencies(text), expected, rtol=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3), min_size=1))
def test_nothing_grows_with_a_power_of_the_vocabulary(counted: list[int], text: list[int]) -> None:
    V = 10**12  # V^2 overflows int64
    spread = [[V - 1 - i for i in ids] for ids in (counted, text)]
    expected = by_dictionary(*spread, V, order=6)
    np.testing.assert_allclose(NGrams(spread[0], V, order=6).frequencies(spread[1]), expected, rtol=1e-12)


@given(characters(1), characters(0), orders)
def test_after_any_context_each_order_is_a_distribution(counted: list[int], context: list[int], order: int) -> None:
    ngrams = NGrams(counted, V, order)
    after = sum(ngrams.frequencies([*context, c])[:, -1] for c in range(V))
    np.testing.assert_allclose(after, np.ones(order + 1))


@given(frequency_tables())
def test_weights_are_a_distribution_that_keeps_the_uniform_one(frequencies: np.ndarray) -> None:
    weights = interpolation_weights(frequencies)
    assert np.isclose(weights.sum(), 1)
    assert (weights >= 0).all()
    assert weights[0] > 0


@given(frequency_tables(), st.integers(1, 20))
def test_em_never_lowers_the_likelihood(frequencies: np.ndarray, steps: int) -> None:
    weights = np.full(len(frequencies), 1 / len(frequencies))
    for _ in range(steps):
        better = weights * em_factors(weights, frequencies)
        assert np.isclose(better.sum(), 1)
        assert nats_per_character(better, frequencies) <= nats_per_character(weights, frequencies) + 1e-12
        weights = better


@given(frequency_tables(), st.data())
def test_no_weights_beat_those_found_by_more_than_the_tolerance(frequencies: np.ndarray, data: st.DataObject) -> None:
    K = len(frequencies)
    rival = np.array(data.draw(st.lists(st.floats(1e-3, 1), min_size=K, max_size=K)))
    found = nats_per_character(interpolation_weights(frequencies), frequencies)
    assert found <= nats_per_character(rival / rival.sum(), frequencies) + 1e-4


@given(frequency_tables())
def test_a_higher_order_is_never_worse_on_the_text_it_was_fitted_to(frequencies: np.ndarray) -> None:
    nats = [
        nats_per_character(interpolation_weights(frequencies[:n]), frequencies[:n])
        for n in range(1, len(frequencies) + 1)
    ]
    assert (np.diff(nats) <= 1e-4).all()


@given(characters(10), characters(1))
def test_baselines_fit_on_the_last_tenth_and_count_on_the_whole(train: list[int], validation: list[int]) -> None:
    counted, held_out = (part.tolist() for part in split(np.array(train)))
    fitting, testing = (
        np.array(by_dictionary(*texts, V, order=3)) for texts in [(counted, held_out), (train, validation)]
    )
    for n, nats in enumerate(ngram_baselines(train, validation, V).values(), start=1):
        weights = interpolation_weights(fitting[: n + 1])
        assert np.isclose(nats, nats_per_character(weights, testing[: n + 1]))


def test_baselines_on_texts_whose_entropy_is_known() -> None:
    noise = np.random.default_rng(0).integers(8, size=50_000)
    for nats in ngram_baselines(*split(noise), V=8).values():
        assert nats == pytest.approx(np.log(8), abs=0.01)
    hello = np.array([1, 0, 2, 2, 3] * 1000)  # what follows an l is known only from the character before it
    baselines = ngram_baselines(*split(hello), V=4)
    assert list(baselines) == ["unigram", "bigram", "trigram"]
    unigram = 0.6 * np.log(5) + 0.4 * np.log(5 / 2)
    assert list(baselines.values()) == pytest.approx([unigram, 0.4 * np.log(2), 0], abs=0.01)


def test_a_character_never_trained_on_has_a_finite_loss() -> None:
    assert np.isfinite(list(ngram_baselines([0, 1] * 100, [2, 3, 0], V).values())).all()


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([0] * 9, [0], "9 characters"),
        ([0] * 10, [], "validation: expected at least one"),
        ([0] * 10, [4], "V = 4"),
        ([-1] * 10, [0], "got -1 at position 0"),
    ],
)
def test_baselines_refuse_what_they_cannot_use(train: list[int], validation: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ngram_baselines(train, validation, V)


def test_counting_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one character to count"):
        NGrams([], V, order=2)
