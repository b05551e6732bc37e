import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from nn.generation import draw, generate


def counting(ids, state):
    """A model of 5 tokens that is sure of the next number, and whose state counts its calls."""
    return mg.tensor(50.0 * np.eye(5)[(ids + 1) % 5]), (0 if state is None else state) + 1


def test_each_token_is_fed_back_for_each_prompt_of_a_batch():
    drawn = generate(counting, [[0, 3], [1, 4]], 4)
    assert drawn.tolist() == [[2, 0], [3, 1], [4, 2], [0, 3]]


def test_the_state_is_carried_and_the_prompt_read_once():
    calls = []

    def spy(ids, state):
        calls.append((ids.shape, state))
        return counting(ids, state)

    generate(spy, [[0], [1], [2]], 3)
    assert calls == [((3, 1), None), ((1, 1), 1), ((1, 1), 2)]


def test_nothing_is_recorded():
    weight = mg.tensor(np.eye(5), requires_grad=True)
    results = []

    def model(ids, state):
        results.append(mg.take(weight, ids, axis=0))
        return results[-1], state

    generate(model, [[0]], 2)
    assert not any(result.requires_grad for result in results)


@given(st.integers(0, 10**6), st.floats(0.2, 5.0))
def test_frequencies_follow_the_softmax_of_the_tempered_logits(seed, temperature):
    logits = np.array([0.0, 1.0, 2.0])
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    drawn = draw(np.tile(logits, (4000, 1)), temperature, mg.generator(seed))
    assert np.abs(np.bincount(drawn, minlength=3) / 4000 - expected).max() < 0.05  # six standard deviations


def test_temperature_0_takes_the_likeliest_and_a_small_one_does_not_overflow():
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    assert draw(logits, 0, mg.generator(0)).tolist() == [1]
    assert draw(logits * 1e3, 1e-6, mg.generator(0)).tolist() == [1]


def test_the_default_generator_is_seeded_by_mg_seed():
    def uniform(ids, state):
        return mg.tensor(np.zeros((*ids.shape, 5))), state

    runs = []
    for seed in (1, 1, 2):
        mg.seed(seed)
        runs.append(generate(uniform, [[0]], 20).ravel().tolist())
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("prompt", [[], [[]], [1, 2]])
def test_a_prompt_that_is_empty_or_has_no_batch_axis_is_refused(prompt):
    with pytest.raises(ValueError, match=r"prompt: expected ids of shape \(T, B\)"):
        generate(counting, prompt, 1)


def test_a_negative_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        generate(counting, [[0]], 1, temperature=-1.0)
