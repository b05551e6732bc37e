"""nn.captioning: what a recurrent network is given of the image, how captions are told, and the losses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import nn
from minigrad.testing import check_grads
from nn import captioning
from nn.captioning import CELLS, LOOKS, Caption, Captioner, HardAttention, Told, caption_loss, log_softmax, tell
from nn.streams import IGNORED

START, END = 0, 1
B, T, D, V, H, L = 2, 3, 2, 5, 4, 4  # an image of 4 x 4 pixels has 2 x 2 places
EXACT = dict(rtol=1e-10, atol=1e-12)  # float64: the same sums in another order

every_look = pytest.mark.parametrize("look", LOOKS)
every_cell = pytest.mark.parametrize("cell", CELLS)
attends = pytest.mark.parametrize("look", [name for name, look in LOOKS.items() if look.attends])  # type: ignore[attr-defined]


def captioner(look: str, cell: str = "lstm", seed: int = 0, V: int = V, H: int = H) -> Captioner:
    """A tiny model in float64, whose words depend on what it sees, set to evaluation."""
    mg.seed(seed)
    encoder = nn.Sequential(nn.Conv2d(3, D, 2, stride=2), nn.Tanh())
    model = Captioner(encoder, D, V, look, cell, hidden=H, embedding=3, side=2)
    model.to("float64").eval()
    for parameter in model.parameters():
        parameter.data[...] *= 3
    if isinstance(model.look, HardAttention):
        model.look.share = 1.0
    return model


def images(count: int = B, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 4, 4))


def captions(count: int = B, length: int = T, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right words and those that come after them, (T, B); the first is the longest."""
    generator = np.random.default_rng(seed)
    x = generator.integers(2, V, (length, count))
    y = np.vstack([x[1:], np.full((1, count), END)])
    x[0] = START
    y[-1, 1:] = IGNORED
    return x, y


# ---- what is given of the image


@every_look
@every_cell
def test_shapes(look: str, cell: str) -> None:
    model = captioner(look, cell)
    x, _ = captions()
    for module in (model.train(), model.eval()):
        logits, maps, chosen = module(images(), x)
        assert logits.shape == (T, B, V)
        assert maps is None if not model.look.attends else maps.shape == (T, B, L)
        assert chosen is None if look != "hard" else chosen.shape == (T, B)


@every_look
@every_cell
def test_gradients_of_images_and_of_every_parameter(look: str, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = captions()
    places = drawn_places(monkeypatch, np.random.default_rng(1).integers(0, L, (T, B)))

    class Loss(nn.Module):
        def __init__(self) -> None:
            self.model = captioner(look, cell, H=10).train()  # large enough to be proved in random directions

        def forward(self, images: Any) -> mg.Tensor:
            places.clear()
            return caption_loss(self.model(images, x)._replace(chosen=None), y)[0]

    check_grads(Loss(), images(), order=1)


@every_look
@every_cell
def test_every_parameter_has_a_part_in_the_loss(look: str, cell: str) -> None:
    model = captioner(look, cell).train()
    x, y = captions()
    caption_loss(model(images(), x), y)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad.numpy()).max() > 0, name


@every_look
@every_cell
def test_teacher_forcing_is_step_by_step(look: str, cell: str) -> None:
    model = captioner(look, cell)
    x, _ = captions()
    told = model(images(), x)
    state, memory = model.begin(images())
    for t in range(T):
        h, state, glimpse = model.steps(model.embedding(x[t : t + 1]), state, memory)
        np.testing.assert_allclose(model.output(h).numpy()[0], told.logits.numpy()[t], **EXACT)
        if told.maps is not None:
            assert glimpse.a is not None
            np.testing.assert_allclose(glimpse.a.numpy(), told.maps.numpy()[t], **EXACT)


@every_look
def test_a_word_depends_on_no_word_to_come(look: str) -> None:
    model = captioner(look)
    x, _ = captions()
    other = x.copy()
    other[-1] = END
    np.testing.assert_array_equal(model(images(), x).logits.numpy()[:-1], model(images(), other).logits.numpy()[:-1])


@every_look
def test_words_depend_on_the_image(look: str) -> None:
    model = captioner(look)
    x, _ = captions()
    assert np.abs(model(images(), x).logits.numpy() - model(images(seed=1), x).logits.numpy()).min() > 0


@attends
@every_cell
def test_the_first_glimpse_comes_of_the_first_state(look: str, cell: str) -> None:
    model = captioner(look, cell)
    x, _ = captions()
    features = model.encoder(images())
    first, (_, keys) = model.look.begin(features)
    assert first is not None
    h_0 = first[:, :H]  # of an LSTM the rest is c_0
    np.testing.assert_allclose(h_0.numpy(), model.look.first(features).numpy()[:, :H], **EXACT)  # type: ignore[attr-defined]
    a_1 = model.look.map(h_0, keys)  # type: ignore[attr-defined]
    np.testing.assert_allclose(a_1.numpy(), model(images(), x).maps.numpy()[0], **EXACT)


def glimpse_of(model: Captioner) -> tuple[np.ndarray, captioning.Glimpse]:
    """The places of images, (B, L, D), and a glimpse at them."""
    features = model.encoder(images())
    first, memory = model.look.begin(features)
    assert first is not None
    places = np.stack([features.numpy()[:, :, i, j] for i in range(2) for j in range(2)], axis=1)
    return places, model.look(first[:, :H], memory)


def test_soft_attention_sees_the_mean_of_the_places() -> None:
    places, glimpse = glimpse_of(captioner("soft"))
    assert glimpse.a is not None
    assert glimpse.z is not None
    a = glimpse.a.numpy()
    np.testing.assert_allclose(a.sum(axis=1), 1, **EXACT)
    np.testing.assert_allclose(glimpse.z.numpy(), (a[..., None] * places).sum(axis=1), **EXACT)


@pytest.mark.parametrize("training", [True, False])
def test_hard_attention_sees_one_place(training: bool) -> None:
    places, glimpse = glimpse_of(captioner("hard").train(training))
    assert glimpse.z is not None
    assert glimpse.a is not None
    assert glimpse.chosen is not None
    np.testing.assert_array_equal(glimpse.z.numpy(), places[np.arange(B), glimpse.chosen])
    if not training:
        np.testing.assert_array_equal(glimpse.chosen, glimpse.a.numpy().argmax(axis=1))


def test_in_training_hard_attention_is_given_the_mean_of_half_the_images() -> None:
    model = captioner("hard").train()
    assert isinstance(model.look, HardAttention)
    model.look.share, model.look.generator = 0.5, np.random.default_rng(0)
    places, glimpse = glimpse_of(model)
    assert glimpse.z is not None
    assert glimpse.a is not None
    assert glimpse.chosen is not None
    mean, drawn = np.nonzero(glimpse.chosen < 0)[0], np.nonzero(glimpse.chosen >= 0)[0]
    assert len(mean) == len(drawn) == 1
    z, a = glimpse.z.numpy(), glimpse.a.numpy()
    np.testing.assert_allclose(z[mean], (a[..., None] * places).sum(axis=1)[mean], **EXACT)
    np.testing.assert_array_equal(z[drawn], places[drawn, glimpse.chosen[drawn]])


def test_hard_attention_draws_with_its_weights() -> None:
    model = captioner("hard").train()
    model.look.generator = np.random.default_rng(0)  # type: ignore[attr-defined]
    first, memory = model.look.begin(model.encoder(images(1)))
    assert first is not None
    draws = 4000
    many = mg.as_tensor(np.repeat(first.numpy()[:, :H], draws, axis=0))
    glimpse = model.look(many, captioning.picked(memory, np.zeros(draws, int)))
    assert glimpse.a is not None
    found = np.bincount(glimpse.chosen, minlength=L) / draws  # type: ignore[arg-type]
    np.testing.assert_allclose(found, glimpse.a.numpy()[0], atol=4 * 0.5 / np.sqrt(draws))  # four standard errors


@every_look
@every_cell
def test_models_run_on_every_device(look: str, cell: str, device: str) -> None:
    x, y = captions()
    losses, told = [], []
    for model in (captioner(look, cell), captioner(look, cell).to(device)):  # images of NumPy go where the model is
        loss, _ = caption_loss(model(images(), x), y)
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        losses.append(float(loss))
        told.append(tell(model, images(), START, END, length=4, beams=2))  # type: ignore[arg-type]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)  # another device sums in another order
    for one, other in zip(*told, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)


# ---- the loss


@every_look
def test_the_loss_is_the_mean_of_words_alone(look: str) -> None:
    model = captioner(look)
    x, y = captions()
    told = model(images(), x)
    logs = log_softmax(told.logits.numpy())
    expected = -np.mean([logs[t, b, y[t, b]] for t in range(T) for b in range(B) if y[t, b] != IGNORED])
    loss, nats = caption_loss(told, y)
    assert nats == pytest.approx(expected, rel=1e-12)
    if told.maps is None:
        assert float(loss) == nats
    elif told.chosen is None:
        a, counts = told.maps.numpy(), (y != IGNORED)
        moved = 0.5 * (np.abs(np.diff(a, axis=0)).sum(-1) * counts[1:]).sum() / counts.sum()
        assert float(loss) == pytest.approx(nats + 0.2 * moved, rel=1e-12)


@every_look
@every_cell
def test_what_lies_beyond_the_lengths_makes_no_difference(look: str, cell: str) -> None:
    """Neither to the loss nor to any gradient; there logits are zeros where attention skips them."""
    model = captioner(look, cell)
    x, y = captions()
    lengths = (y != IGNORED).sum(axis=0)
    other = np.where(y == IGNORED, (x + 1) % V, x)
    found = []
    for ids, n in ((x, None), (x, lengths), (other, lengths)):
        told = model(images(), ids, n)
        loss, _ = caption_loss(told, y)
        found.append([loss.numpy(), *[g.numpy() for g in mg.grad(loss, list(model.parameters()))]])
    for full, short, changed in zip(*found, strict=True):
        np.testing.assert_allclose(short, full, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(changed, full, rtol=1e-9, atol=1e-12)
    if model.look.attends:
        assert not told.logits.numpy()[y == IGNORED].any()


def drawn_places(monkeypatch: pytest.MonkeyPatch, places: np.ndarray) -> list[int]:
    """Let the steps of hard attention draw these places (T, B) in turn; to clear what is given begins again."""
    steps: list[int] = []

    def draw(*_: Any) -> np.ndarray:
        steps.append(1)
        return np.asarray(places[len(steps) - 1])

    monkeypatch.setattr(captioning, "draw", draw)
    return steps


@every_cell
def test_reinforce_expects_the_gradient_of_the_expected_loss(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact sum over all that can be drawn, where the captions have the same words."""
    model, T = captioner("hard", cell).train(), 2
    x, _ = captions(length=T)
    y = np.array([[2, 3], [3, 2]])
    parameters = list(model.parameters())
    expected: Any = 0.0
    found = [np.zeros(p.shape) for p in parameters]
    through_words = [np.zeros(p.shape) for p in parameters]
    total = 0.0
    pictures = images()[..., :2]  # of 2 places
    for places in itertools.product(range(2), repeat=T * B):
        drawn_places(monkeypatch, np.reshape(places, (T, B)))
        told = model(pictures, x)
        a = mg.take_along_axis(told.maps, told.chosen[..., None], -1)
        probability = mg.exp(mg.sum(mg.log(a)))
        words, _ = caption_loss(told._replace(chosen=None), y, moving=0.0)
        loss, _ = caption_loss(told, y, moving=0.0, reinforce=1.0, entropy=0.0, discount=1.0)
        total += float(probability)
        for sums, output, times in (
            (found, loss, float(probability)),
            (through_words, words, float(probability)),
        ):
            for sum_, g in zip(sums, mg.grad(output, parameters, retain_graph=True, allow_unused=True), strict=True):
                sum_ += times * (0 if g is None else g.numpy())
        expected = expected + probability * words
    assert total == pytest.approx(1, rel=1e-12)
    true = mg.grad(expected, parameters)
    drawing = False
    for parameter, one, direct, g in zip(parameters, found, through_words, true, strict=True):
        np.testing.assert_allclose(one, g.numpy(), rtol=1e-8, atol=1e-10, err_msg=str(parameter.shape))
        drawing = drawing or not np.allclose(direct, g.numpy(), rtol=1e-3)
    assert drawing  # has a part in it


def test_the_entropy_keeps_maps_spread() -> None:
    told = Told(mg.as_tensor(np.zeros((1, 1, V))), mg.tensor([[[0.7, 0.2, 0.1]]], requires_grad=True), np.array([[0]]))
    y = np.array([[2]])
    assert told.maps is not None
    loss, nats = caption_loss(told, y, reinforce=0.5, entropy=4.0)  # one caption alone earns nothing
    a = told.maps.numpy()
    assert float(loss) == pytest.approx(nats + 2.0 * float((a * np.log(a)).sum()), rel=1e-6)
    loss.backward()
    assert told.maps.grad is not None
    assert told.maps.grad.numpy()[0, 0].argmin() == 2  # to descend is to give more to where there is least


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=20)
def test_places_behind_the_end_learn_nothing(seed: int, discount: float) -> None:
    generator = np.random.default_rng(seed)
    maps = mg.tensor(generator.dirichlet(np.ones(L), (T, B)), requires_grad=True)
    told = Told(mg.as_tensor(generator.normal(size=(T, B, V))), maps, generator.integers(0, L, (T, B)))
    y = generator.integers(1, V, (T, B))
    y[1:, 0] = IGNORED
    caption_loss(told, y, discount=discount)[0].backward()
    assert maps.grad is not None
    gradient = maps.grad.numpy()
    assert not gradient[1:, 0].any()
    changed = told._replace(
        logits=mg.as_tensor(
            told.logits.numpy() + 5 * np.eye(V)[generator.integers(0, V, (T, B))] * (y == IGNORED)[..., None]
        )
    )
    assert float(caption_loss(changed, y)[0]) == float(caption_loss(told, y)[0])


@every_look
def test_what_can_not_be_told_or_learned(look: str) -> None:
    model = captioner(look)
    x, _ = captions()
    assert tell(model, images(0), START, END) == []
    for lengths in ([0, 0], [1], [-1, 2], [T + 1, 1]):
        with pytest.raises(ValueError, match=f"expected 2 lengths of at most T = {T}"):
            model(images(), x, lengths)
    for count in (1, 3):
        with pytest.raises(ValueError, match=rf"expected ids \(T, B\) for {count} images, got shape"):
            model(images(count), x)
    with pytest.raises(ValueError, match="expected words to come in target"):
        caption_loss(model(images(), x), np.full_like(x, IGNORED))


def test_half_precision_learns_to_draw_from_maps_that_have_ends() -> None:
    maps = mg.tensor(np.array([[[0.5, 0.5]], [[0, 0]]], np.float16), requires_grad=True)
    told = Told(mg.as_tensor(np.zeros((2, 1, V), np.float16)), maps, np.array([[0], [0]]))
    loss, _ = caption_loss(told, np.array([[2], [IGNORED]]))
    loss.backward()
    assert np.isfinite(float(loss))
    assert maps.grad is not None
    assert np.isfinite(maps.grad.numpy()).all()


def test_a_place_after_which_the_word_is_likelier_becomes_likelier() -> None:
    logits = np.zeros((1, 2, V))
    logits[0, 0, 2] = 3.0  # the first image's word is told well, the second's is not
    maps = mg.tensor(np.full((1, 2, L), 0.25), requires_grad=True)
    loss, _ = caption_loss(Told(mg.as_tensor(logits), maps, np.array([[1, 3]])), np.array([[2, 2]]), entropy=0.0)
    loss.backward()
    assert maps.grad is not None
    gradient = maps.grad.numpy()[0]
    assert gradient[0, 1] < 0 < gradient[1, 3]
    assert np.count_nonzero(gradient) == 2


# ---- telling


def scores_of(model: Captioner, image: np.ndarray, every: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """The log probabilities of captions, and of END where there is room for one, by teacher forcing."""
    y = np.full((length, len(every)), END)
    for caption, ids in zip(y.T, every, strict=True):
        caption[: len(ids)] = ids
    x = np.vstack([np.full((1, len(every)), START), y[:-1]])
    logs = log_softmax(model(np.repeat(image[None], len(every), axis=0), x).logits.numpy())
    counted = np.arange(length)[:, None] <= [len(ids) for ids in every]
    return (np.take_along_axis(logs, y[..., None], -1)[..., 0] * counted).sum(axis=0)


def same(one: Caption, other: Caption) -> None:
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.log_probability, other.log_probability, **EXACT)
    assert (one.maps is None) == (other.maps is None)
    if one.maps is not None and other.maps is not None:
        np.testing.assert_allclose(one.maps, other.maps, **EXACT)


WAYS: dict[str, dict[str, Any]] = {"greedy": {}, "beams": {"beams": 3}, "drawn": {"temperature": 1.5}}
every_way = pytest.mark.parametrize("way", WAYS)


def told_by(way: str, model: Captioner, images: np.ndarray, length: int = 6) -> list[Caption]:
    return tell(model, images, START, END, length=length, generator=np.random.default_rng(5), **WAYS[way])


@every_look
@every_cell
@every_way
def test_log_probability_and_maps_are_those_of_teacher_forcing(look: str, cell: str, way: str) -> None:
    for seed in range(3):
        model = captioner(look, cell, seed)
        model.output.bias.data[END] += 1  # so that END stops some, and the bound others
        for image, caption in zip(images(3, seed), told_by(way, model, images(3, seed)), strict=True):
            ids = caption.ids
            assert END not in ids
            assert caption.log_probability == pytest.approx(scores_of(model, image, [ids], 6)[0], rel=1e-9)
            maps = model(image[None], np.insert(ids, 0, START)[:-1, None]).maps if len(ids) else None
            assert (caption.maps is None) == (maps is None)
            if maps is not None:
                assert caption.maps is not None
                np.testing.assert_allclose(caption.maps, maps.numpy()[:, 0], **EXACT)  # a row a word


@every_look
def test_greedy_takes_the_likeliest_word(look: str) -> None:
    model = captioner(look)
    (caption,) = told_by("greedy", model, images(1))
    ids = [START]
    while ids[-1] != END and len(ids) <= 6:
        ids.append(int(model(images(1), np.array(ids)[:, None]).logits.numpy()[-1, 0].argmax()))
    assert caption.ids.tolist() == [i for i in ids[1:] if i != END]


@every_look
@pytest.mark.parametrize("seed", range(3))
def test_many_beams_find_the_likeliest_caption_of_all(look: str, seed: int) -> None:
    V, length = 4, 3
    model = captioner(look, "gru", seed, V=V)
    words = [i for i in range(V) if i != END]
    every = [ids for n in range(length + 1) for ids in itertools.product(words, repeat=n)]
    found = tell(model, images(2, seed), START, END, length=length, beams=V**length)
    for image, caption in zip(images(2, seed), found, strict=True):
        scores = scores_of(model, image, every, length)
        assert caption.ids.tolist() == list(every[int(np.argmax(scores))])
        assert caption.log_probability == pytest.approx(scores.max(), rel=1e-9)


@pytest.mark.parametrize("beams", [2, 3, 8])
def test_more_beams_keep_the_likeliest_beginnings(beams: int) -> None:
    """The search, written with lists of one image."""
    model, length = captioner("soft", seed=3), 5
    (caption,) = tell(model, images(1), START, END, length=length, beams=beams)
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(length):
        more = [(score, ids) for score, ids in kept if ids[-1:] == [END]]
        for _, ids in (one for one in kept if one[1][-1:] != [END]):
            longer = [[*ids, i] for i in range(V)]
            more += zip(scores_of(model, images(1)[0], longer, len(ids) + 1), longer, strict=True)
        kept = sorted(more, key=lambda one: -one[0])[:beams]
    score, ids = kept[0]
    assert caption.ids.tolist() == [i for i in ids if i != END]
    assert caption.log_probability == pytest.approx(score, rel=1e-9)


class Chain:
    """Words that depend on the word before alone; it looks at the word before that."""

    probabilities = np.array(
        [  # after START "2" is likelier than "3", but goes on with less: it is overtaken by the fourth word
            [0.00, 0.00, 0.60, 0.40],
            [0.25, 0.25, 0.25, 0.25],
            [0.10, 0.10, 0.80, 0.00],
            [0.00, 0.05, 0.00, 0.95],
        ]
    )

    def begin(self, images: np.ndarray) -> tuple[mg.Tensor, None]:
        return mg.as_tensor(np.zeros((1, len(images), 4))), None

    def embedding(self, ids: np.ndarray) -> mg.Tensor:
        return mg.as_tensor(np.eye(4)[ids])

    def steps(self, words: mg.Tensor, state: mg.Tensor, memory: None) -> tuple[mg.Tensor, mg.Tensor, Any]:
        return words, words, captioning.Glimpse(None, state[0])

    def output(self, words: mg.Tensor) -> mg.Tensor:
        return mg.log(mg.maximum(words @ self.probabilities, 1e-30))


def test_maps_go_with_a_beginning_that_overtakes() -> None:
    for beams, word, probability in ((1, 2, 0.6 * 0.8**3), (2, 3, 0.4 * 0.95**3)):
        (caption,) = tell(Chain(), images(1), START, END, length=4, beams=beams)  # type: ignore[arg-type]
        assert caption.ids.tolist() == [word] * 4
        assert caption.log_probability == pytest.approx(np.log(probability), rel=1e-12)
        assert caption.maps is not None
        np.testing.assert_array_equal(caption.maps, [np.zeros(4), *np.eye(4)[[START, word, word]]])


@every_look
@every_cell
@pytest.mark.parametrize("way", ["greedy", "beams"])
def test_an_image_is_told_alike_in_any_batch(look: str, cell: str, way: str) -> None:
    model = captioner(look, cell, seed=2)
    batch = images(4)
    for i, caption in enumerate(told_by(way, model, batch)):
        same(caption, told_by(way, model, batch[i : i + 1])[0])


@every_look
def test_drawing_is_repeated_by_a_generator(look: str) -> None:
    model = captioner(look)
    drawn = [tell(model, images(8), START, END, temperature=2.0, generator=np.random.default_rng(s)) for s in (3, 3, 4)]
    for one, other in zip(drawn[0], drawn[1], strict=True):
        same(one, other)
    assert any(one.ids.tolist() != other.ids.tolist() for one, other in zip(drawn[0], drawn[2], strict=True))


def test_a_low_temperature_is_greedy() -> None:
    model = captioner("soft")
    for one, other in zip(
        tell(model, images(), START, END, length=5, temperature=1e-9),
        tell(model, images(), START, END, length=5),
        strict=True,
    ):
        same(one, other)


@every_way
def test_end_stops_and_the_length_bounds(way: str) -> None:
    model = captioner("soft")
    model.output.bias.data[...] = 0
    model.output.bias.data[END] = 1e3
    for caption in told_by(way, model, images()):
        assert len(caption.ids) == 0
        assert caption.maps is None
        assert caption.log_probability == pytest.approx(0, abs=1e-9)
    model.output.bias.data[END] = -1e3
    for length in (1, 4):
        for caption in told_by(way, model, images(), length):
            assert caption.ids.shape == (length,)
            assert caption.maps is not None
            assert caption.maps.shape == (length, L)


def test_telling_leaves_no_graph() -> None:
    model = captioner("soft")
    tell(model, images(), START, END, length=2)
    assert all(parameter.grad is None for parameter in model.parameters())


# ---- what is refused


@pytest.mark.parametrize(
    "options",
    [
        {"beams": 0},
        {"length": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 1.0, "beams": 2},
    ],
)
def test_tell_refuses(options: dict[str, Any]) -> None:
    ((name, value), *_) = options.items()
    with pytest.raises(ValueError, match=f"{name} {value}"):
        tell(captioner("soft"), images(), START, END, **options)


@pytest.mark.parametrize(("name", "value"), [("look", "sharp"), ("cell", "mlp")])
def test_captioners_that_there_are_not(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"Captioner: expected {name} to be one of .*, got '{value}'"):
        Captioner(nn.Conv2d(3, D, 2), D, V, **{name: value})  # type: ignore[arg-type]
