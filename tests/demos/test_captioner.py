"""demos.captioner from its command line: what runs leave, going on, telling, comparing, photographs of all kinds."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nn
from demos import caption_judging, caption_training, captioner
from demos.caption_data import PhotographSource, SceneSource
from demos.caption_model import DEEP, captioner_of, gradients_of_words
from demos.caption_training import Training
from nn.captioning import LOOKS
from nn.images import ImageError
from nn.vision import ResNet18

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("sacrebleu")

TINY = ["--hidden", "16", "--embedding", "8", "--batch", "8"]
SCENES = ["--scenes", "60", "--steps", "6", *TINY]
PHOTOGRAPHS = ["--steps", "3", "--size", "16", *TINY]
LEFT = {"config.json", "log.csv", "loss.png", "samples.md", "checkpoint.safetensors", "model.safetensors",
        "measures.json", "index.html", "graph.gv"}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_images() -> Iterator[None]:
    """Validate and test on a few images only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caption_training, "WATCHED", 4)
        patch.setattr(caption_training, "TESTED", 5)
        patch.setattr(caption_training, "ON_PAGE", 2)
        patch.setattr(caption_judging, "LONGEST", 5)
        patch.setattr(caption_training.RunFolder, "plot", lambda self, *_: (self.path / "loss.png").write_bytes(b""))
        yield


def run(*argv: Any) -> None:
    captioner.main([str(word) for word in argv])


def error_of(*argv: Any) -> str:
    """The line that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        run(*argv)
    line = str(ended.value)
    assert line.startswith("captioner: ")
    assert "\n" not in line
    return line


def weights_of(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    run(*SCENES, "--out", path)
    return path


@pytest.fixture
def trained(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a run's folder, to be damaged at will."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return saved(tmp_path / "picture.png", "RGB", (70, 50))


def saved(path: Path, mode: str, size: tuple[int, int], seed: int = 0) -> Path:
    """An image file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(Image.new(mode, (1, 1)).getbands())))
    Image.fromarray(
        np.squeeze(pixels.astype(np.uint8), 2) if pixels.shape[2] == 1 else pixels.astype(np.uint8), mode
    ).save(path)
    return path


# ---- a run


def test_a_run_leaves_all_its_files(finished_run: Path) -> None:
    assert {path.name for path in finished_run.iterdir()} >= LEFT
    rows = json.loads((finished_run / "measures.json").read_text())
    assert [row["images"] for row in rows] == ["test, 5", "compositional, 5"]
    for row in rows:
        assert {"true, complete", "BLEU-4", "CIDEr-D", "exact", "entropy"} <= set(row)
    page = (finished_run / "index.html").read_text()
    assert page.count("where it looked") == page.count("pixels that mattered") >= 1
    assert "cluster" in (finished_run / "graph.gv").read_text()
    log = list(csv.DictReader((finished_run / "log.csv").read_text().splitlines()))
    assert [int(row["images"]) for row in log] == [int(row["step"]) * 8 for row in log]


@pytest.mark.parametrize(("look", "cell"), [("state", "rnn"), ("every", "gru"), ("hard", "lstm")])
def test_every_look_runs(look: str, cell: str, tmp_path: Path) -> None:
    run(*SCENES, "--steps", "2", "--look", look, "--cell", cell, "--beams", "2", "--out", tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= LEFT
    page = (tmp_path / "run" / "index.html").read_text()
    assert ("where it looked" in page) == LOOKS[look].attends  # type: ignore[attr-defined]


@pytest.mark.parametrize("look", ["soft", "hard"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    look: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished_run
    if look != "soft":
        run(*SCENES, "--look", look, "--out", whole := tmp_path / "whole")
    learn = Training.learn

    def killed(self: Training) -> float:
        if self.step == 4:
            self.save()
            raise KeyboardInterrupt
        return learn(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "learn", killed)
        with pytest.raises(SystemExit) as ended:
            run(*SCENES, "--look", look, "--out", tmp_path / "run")
    assert ended.value.code == 130
    run("--resume", tmp_path / "run")
    assert weights_of(tmp_path / "run") == weights_of(whole)
    assert (tmp_path / "run" / "measures.json").read_text() == (whole / "measures.json").read_text()


def test_another_seed_makes_another_run(finished_run: Path, tmp_path: Path) -> None:
    run(*SCENES, "--seed", "1", "--out", tmp_path / "other")
    assert weights_of(finished_run) != weights_of(tmp_path / "other")


def test_minutes_are_rehearsed(tmp_path: Path) -> None:
    run("--scenes", "20", "--minutes", "0.01", *TINY, "--batch", "2", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] >= 1


@pytest.mark.parametrize("look", ["every", "hard"])
def test_what_a_page_needs_is_computed_where_the_model_is(look: str, finished_run: Path, device: str) -> None:
    config = json.loads((finished_run / "config.json").read_text()) | {"look": look}
    model = captioner_of(config).eval()
    shown = SceneSource(60, 8, 0).shown("test", 1)
    ids = np.array([3, 4])
    expected = gradients_of_words(model, shown[0].x, ids), caption_training.grid_of(model, shown)
    model.to(device)
    np.testing.assert_allclose(gradients_of_words(model, shown[0].x, ids), expected[0], rtol=1e-3, atol=1e-6)  # float32
    assert caption_training.grid_of(model, shown) == expected[1]


def test_a_new_run_takes_no_others_folder(trained: Path) -> None:
    assert "has a run in it already" in error_of(*SCENES, "--out", trained)


def test_batches_of_scenes_are_functions_of_their_number() -> None:
    first, second = SceneSource(20, 8, seed=3), SceneSource(20, 8, seed=3)
    for k in (4, 0, 4):
        one, other = first.batch(k), second.batch(k)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    epoch = np.concatenate([SceneSource(20, 8, seed=3).batch(k).items for k in range(5)])
    assert (np.bincount(epoch[:40], minlength=20) == 2).all()


def test_gradients_of_words_are_those_of_their_scores(finished_run: Path) -> None:
    config = json.loads((finished_run / "config.json").read_text())
    model = caption_training.finished(captioner.folder_of(finished_run), config).to("float64")
    image, ids = np.random.default_rng(0).normal(size=(3, 64, 64)), np.array([5, 7, 6])
    found = gradients_of_words(model, image, ids)
    assert found.shape == (3, 64, 64)
    x, h = np.array([[0], [5], [7]]), 1e-6
    at = tuple(np.unravel_index(found[2].argmax(), found[2].shape))
    total = 0.0
    for colour in range(3):
        step = np.zeros_like(image)
        step[(colour, *at)] = h
        up, down = (model((image + sign * step)[None], x).logits.numpy()[2, 0, 6] for sign in (1, -1))
        total += abs(up - down) / (2 * h)
    assert found[2][at] == pytest.approx(total, rel=1e-5)  # of central differences


# ---- tell


def test_tell_says_a_sentence_of_each_picture(finished_run: Path, picture: Path, capsys: Any) -> None:
    run("tell", finished_run, picture, picture)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert out[0] == out[1]
    assert re.fullmatch(rf"{re.escape(str(picture))}: .*  \(-\d+\.\d\d nats\)", out[0])


def test_tell_draws_by_its_seed(finished_run: Path, picture: Path, capsys: Any) -> None:
    said = []
    for seed in (1, 1, 2):
        run("tell", finished_run, picture, "--temperature", "1.5", "--seed", seed)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]
    assert "--beams 1" in error_of("tell", finished_run, picture, "--temperature", "1", "--beams", "2")


def test_tell_goes_on_past_bad_pictures(finished_run: Path, picture: Path, capsys: Any) -> None:
    damaged = picture.with_name("damaged.png")
    damaged.write_bytes(picture.read_bytes()[:100])
    missing = picture.with_name("missing.png")
    run("tell", finished_run, missing, damaged, picture)
    told = capsys.readouterr()
    assert told.out.startswith(f"{picture}: ")
    assert len(told.out.splitlines()) == 1
    lines = told.err.splitlines()
    assert [str(missing) in lines[0], str(damaged) in lines[1]] == [True, True]
    assert len(lines) == 2
    for bad in ([missing], [missing, damaged], [missing, missing]):
        with pytest.raises(SystemExit) as ended:
            run("tell", finished_run, *bad)
        assert ended.value.code == 1
        assert capsys.readouterr().out == ""


def test_tell_needs_a_run(tmp_path: Path, picture: Path) -> None:
    assert f"{tmp_path / 'config.json'} is missing" in error_of("tell", tmp_path, picture)


def test_weights_of_another_net_are_refused(trained: Path, picture: Path) -> None:
    nn.save(trained / "model.safetensors", nn.Linear(2, 3).state_dict())
    assert str(trained / "model.safetensors") in error_of("tell", trained, picture)
    assert str(trained / "model.safetensors") in error_of("compare", trained, "--out", trained / "page.html")


def test_a_vocabulary_of_another_run_is_refused(trained: Path, picture: Path) -> None:
    path = trained / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"words": ["a", "dog"]}))
    assert str(trained) in error_of("tell", trained, picture)
    assert str(trained) in error_of("--resume", trained)
    assert str(trained) in error_of("compare", trained)
    path.write_text(json.dumps(config | {"words": ["a dog"]}))
    assert str(trained) in error_of("tell", trained, picture)


# ---- compare


def test_compare_tells_runs_of_one_kind_apart(finished_run: Path, trained: Path, tmp_path: Path, capsys: Any) -> None:
    (trained / "measures.json").unlink()  # as if it had been stopped
    run("compare", finished_run, trained, "--out", tmp_path / "page.html")
    out = capsys.readouterr().out
    assert f"({finished_run.name})" in out
    assert f"({trained.name})" in out
    assert f"{trained} has not come to its end" in out


def test_compare_shows_runs_side_by_side(finished_run: Path, tmp_path: Path, capsys: Any) -> None:
    run(*SCENES, "--steps", "1", "--look", "hard", "--out", tmp_path / "hard")
    capsys.readouterr()
    run("compare", finished_run, tmp_path / "hard", "--out", tmp_path / "page.html")
    assert len(capsys.readouterr().out.splitlines()) == 5  # two splits of each
    page = (tmp_path / "page.html").read_text()
    assert "soft attention" in page
    assert "hard attention" in page


def test_compare_refuses_runs_on_other_data(finished_run: Path, tmp_path: Path) -> None:
    run(*SCENES, "--steps", "1", "--scenes", "30", "--out", tmp_path / "other")
    line = error_of("compare", finished_run, tmp_path / "other", "--out", tmp_path / "page.html")
    assert f"{tmp_path / 'other'} learned from other data than {finished_run}" in line
    assert not (tmp_path / "page.html").exists()


# ---- photographs


CAPTIONS = {
    "rgb.png": ("a red dog runs", "the dog runs"),
    "grey.png": ("a grey cat",),
    "rgba.png": ("a bird, flying!",),
    "cmyk.jpg": ("two dogs play",),
    "dot.png": ("a dot",),
    "wide.png": ("a wide road",),
    "tall.png": ("a tall tower", "a tower"),
    "last.png": ("the last one",),
}
BAD = {"corrupt.png": ("a damaged thing",), "missing.png": ("a thing that is not there",)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    sizes = {"dot.png": (1, 1), "wide.png": (60, 9), "tall.png": (9, 60)}
    modes = {"grey.png": "L", "rgba.png": "RGBA", "cmyk.jpg": "CMYK"}
    for seed, name in enumerate(CAPTIONS):
        saved(folder / name, modes.get(name, "RGB"), sizes.get(name, (24, 20)), seed)
    (folder / "corrupt.png").write_bytes((folder / "rgb.png").read_bytes()[:90])
    return folder


def as_csv(path: Path, entries: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *entries])
    return path


def as_tokens(path: Path, entries: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{name}#{i}\t{caption}\n" for i, (name, caption) in enumerate(entries)))
    return path


def as_coco(path: Path, entries: list[tuple[str, str]]) -> Path:
    names = list(dict.fromkeys(name for name, _ in entries))
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    annotations = [{"image_id": names.index(name), "caption": caption} for name, caption in entries]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


Writer = Callable[[Path, list[tuple[str, str]]], Path]
ENTRIES = [(name, caption) for name, those in CAPTIONS.items() for caption in those]
BAD_ENTRIES = [(name, caption) for name, those in BAD.items() for caption in those] + [("rgb.png", "")]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    return as_csv(tmp_path / "captions.csv", ENTRIES)


@pytest.mark.parametrize("write", [as_csv, as_tokens, as_coco])
def test_photographs_of_all_kinds_are_learned_and_bad_ones_told_once(
    write: Writer, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    path = write(tmp_path / "captions.txt", ENTRIES + BAD_ENTRIES)
    options = ["--captions", path, "--images", folder, *PHOTOGRAPHS, "--steps", "5"]
    run(*options, "--out", tmp_path / "run")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith("left out")]
    assert sum("corrupt.png" in line for line in lines) == 1
    assert sum("missing.png" in line for line in lines) == 1
    assert sum("without a word" in line for line in lines) == 1
    assert len(lines) == 3
    assert {path.name for path in (tmp_path / "run").iterdir()} >= LEFT


@pytest.mark.parametrize("bad", BAD_ENTRIES)
def test_strict_stops_at_the_first(bad: tuple[str, str], folder: Path, tmp_path: Path) -> None:
    path = as_csv(tmp_path / "captions.csv", [*ENTRIES, bad])
    name, caption = bad
    line = error_of("--captions", path, "--images", folder, *PHOTOGRAPHS, "--strict", "--out", tmp_path / "run")
    assert str(folder / name if caption else path) in line


def test_memorising_learns_and_tests_all(captions: Path, folder: Path, tmp_path: Path) -> None:
    run("--captions", captions, "--images", folder, *PHOTOGRAPHS, "--memorise", "--out", tmp_path / "run")
    (row,) = json.loads((tmp_path / "run" / "measures.json").read_text())
    assert row["images"] == "train, 5"
    source = PhotographSource(captions, folder, size=8, minimum=1, B=4, seed=0, memorise=True)
    assert len(source.shown("train", 100)) == len(CAPTIONS)
    assert {i for k in range(4) for i in source.batch(k).items} == set(range(len(CAPTIONS)))


def test_what_is_tested_is_not_learned(captions: Path, folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "tests.txt"
    names.write_text("grey.png\nlast.png\n")
    source = PhotographSource(captions, folder, size=8, minimum=1, B=20, seed=0, test_list=names)
    assert [shown.references for shown in source.shown("test", 9)] == [["a grey cat"], ["the last one"]]
    assert not {"cat", "last"} & set(source.vocabulary.words)
    assert len(source.batch(0).items) == len(ENTRIES) - 2


def test_images_in_folders_are_told_apart_by_a_list(folder: Path, tmp_path: Path) -> None:
    for part in ("a", "b"):
        (folder / part).mkdir()
        shutil.copy(folder / "rgb.png", folder / part / "same.png")
    path = as_csv(tmp_path / "captions.csv", [("a/same.png", "one thing"), ("b/same.png", "another")])
    (names := tmp_path / "tests.txt").write_text("b/same.png\n")
    source = PhotographSource(path, folder, size=8, minimum=1, B=2, seed=0, test_list=names)
    assert [shown.references for shown in source.shown("test", 9)] == [["another"]]


def test_names_in_a_list_that_no_photograph_has_are_told(
    captions: Path, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    names = tmp_path / "tests.txt"
    names.write_text("grey.png\nsome.png\n")
    PhotographSource(captions, folder, size=8, minimum=1, B=2, seed=0, test_list=names)
    assert f"{names}: line 2: {captions} has no image '{folder / 'some.png'}'; left out" in capsys.readouterr().err
    with pytest.raises(ValueError, match="line 2"):
        PhotographSource(captions, folder, size=8, minimum=1, B=2, seed=0, test_list=names, strict=True)


@pytest.mark.parametrize("names", ["none.png\n", "".join(f"{name}\n" for name in CAPTIONS)])
def test_lists_that_leave_nothing_are_refused(names: str, captions: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tests.txt"
    path.write_text(names)
    options = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, "--test-list", path]
    assert str(path) in error_of(*options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_lists_that_are_none_are_refused(content: bytes | None, captions: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tests.txt"
    if content:
        path.write_bytes(content)
    options = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, "--test-list", path]
    assert str(path) in error_of(*options, "--out", tmp_path / "run")


def test_one_photograph_alone_can_only_be_memorised(folder: Path, tmp_path: Path) -> None:
    path = as_csv(tmp_path / "captions.csv", [("rgb.png", "a dog")])
    options = ["--captions", path, "--images", folder, *PHOTOGRAPHS, "--steps", "1"]
    line = error_of(*options, "--out", tmp_path / "run")
    assert str(path) in line
    assert "--memorise" in line
    run(*options, "--memorise", "--out", tmp_path / "run")


def test_no_image_that_can_be_read(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "captions.csv", [(f"{i}.png", "a dog") for i in range(4)])
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    line = error_of("--captions", path, "--images", tmp_path, *PHOTOGRAPHS, "--out", tmp_path / "run")
    assert str(tmp_path) in line
    assert "no image can be read" in line


def test_captions_that_changed_are_not_gone_on_with(captions: Path, folder: Path, tmp_path: Path) -> None:
    run("--captions", captions, "--images", folder, *PHOTOGRAPHS, "--out", tmp_path / "run")
    as_csv(captions, [*ENTRIES, ("rgb.png", "a dog runs")])  # no new word
    assert str(captions) in error_of("--resume", tmp_path / "run")
    captions.unlink()
    assert str(captions) in error_of("--resume", tmp_path / "run")


def test_compare_refuses_runs_that_test_on_others(captions: Path, folder: Path, tmp_path: Path) -> None:
    options = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, "--steps", "1"]
    run(*options, "--out", tmp_path / "one")
    run(*options, "--memorise", "--out", tmp_path / "other")
    line = error_of("compare", tmp_path / "one", tmp_path / "other", "--out", tmp_path / "page.html")
    assert "learned from other data" in line


def test_captions_without_images(captions: Path, tmp_path: Path) -> None:
    assert "--images" in error_of("--captions", captions, *PHOTOGRAPHS, "--out", tmp_path / "run")


# ---- published nets


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Weights of a ResNet-18 of a sixteenth of the channels, which stands for it."""

    def net(output: str) -> ResNet18:
        return ResNet18(output, width=4)

    monkeypatch.setitem(DEEP, "resnet18", (net, {"vector": 32, "grid14": 16}))
    nn.save(tmp_path / "resnet18.safetensors", ResNet18(width=4).state_dict())
    return tmp_path / "resnet18.safetensors"


@pytest.mark.parametrize("look", ["every", "soft"])
def test_features_of_a_frozen_net_are_kept(
    look: str, narrow: Path, captions: Path, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    cache = tmp_path / "features"
    options = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, "--size", "32", "--look", look]
    options += ["--encoder", "resnet18", "--weights", narrow, "--frozen", "--features", cache]
    run(*options, "--out", tmp_path / "run")
    assert len(list(cache.rglob("*.safetensors"))) == len(CAPTIONS)
    assert not any("encoder" in name for name in nn.load(tmp_path / "run" / "model.safetensors"))
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    run(*options, "--out", tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")} == kept
    capsys.readouterr()
    run("tell", tmp_path / "run", folder / "rgb.png")
    assert capsys.readouterr().out.startswith(str(folder / "rgb.png"))
    nn.save(narrow, ResNet18(width=4).state_dict())  # other weights of the same shapes
    assert f"{narrow}: expected the weights" in error_of("tell", tmp_path / "run", folder / "rgb.png")
    assert "not those any more" in error_of("--resume", tmp_path / "run")


def test_a_net_that_is_trained_on_begins_with_its_weights(
    narrow: Path, captions: Path, folder: Path, tmp_path: Path
) -> None:
    options = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, "--size", "32", "--steps", "1"]
    run(*options, "--encoder", "resnet18", "--weights", narrow, "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    given = nn.load(narrow)["layer1.0.conv1.weight"]
    assert (captioner_of(config).state_dict()["encoder.0.layer1.0.conv1.weight"] == given).all()
    narrow.unlink()
    run("tell", tmp_path / "run", folder / "rgb.png")  # its weights are in the run's folder


def test_weights_of_another_net_as_encoder_are_refused(
    narrow: Path, captions: Path, folder: Path, tmp_path: Path
) -> None:
    nn.save(narrow, nn.Linear(2, 3).state_dict())
    options = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, "--encoder", "resnet18", "--weights", narrow]
    options += ["--size", "32"]
    assert str(narrow) in error_of(*options, "--out", tmp_path / "run")
    assert str(narrow) in error_of(*options, "--frozen", "--out", tmp_path / "run")
    narrow.unlink()
    assert str(narrow) in error_of(*options, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--frozen"], "--frozen"),
        (["--frozen", "--encoder", "small"], "--frozen"),
        (["--weights", "some.safetensors"], "--weights"),
        (["--features", "folder"], "--features"),
        (["--memorise", "--test-list", "names.txt"], "--test-list"),
        (["--scenes", "20"], "--scenes"),
        (["--encoder", "resnet18"], "--size"),  # 16
    ],
)
def test_options_that_do_not_go_with_photographs_so(
    options: list[str], named: str, captions: Path, folder: Path, tmp_path: Path
) -> None:
    given = ["--captions", captions, "--images", folder, *PHOTOGRAPHS, *options]
    assert f"captioner: {named}" in error_of(*given, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    "options", [["--frozen"], ["--memorise"], ["--images", "x"], ["--test-list", "x"], ["--size", "9"]]
)
def test_options_that_go_with_photographs_alone(options: list[str], tmp_path: Path) -> None:
    assert f"captioner: {options[0]}" in error_of(*SCENES, *options, "--out", tmp_path / "run")


# ---- the command line


@pytest.mark.parametrize("words", [["--help"], ["tell", "--help"], ["compare", "--help"], ["--resume", "x", "--help"]])
def test_help(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 0
    assert "python -m demos.captioner" in capsys.readouterr().out


def test_options_are_not_abbreviated(finished_run: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run("--resum", finished_run)
    assert "unrecognized arguments: --resum" in capsys.readouterr().err


def test_control_c_in_the_tests_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(self: Training) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "conclude", interrupted)
    with pytest.raises(SystemExit) as ended:
        run(*SCENES, "--out", tmp_path / "run")
    assert ended.value.code == 130
    assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().out


def test_resume_needs_a_run(tmp_path: Path) -> None:
    assert f"{tmp_path / 'config.json'} is missing" in error_of("--resume", tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("look", "sharp"), ("hidden", "many"), ("fingerprint", 3), ("device", "tpu")]
)
def test_configs_that_were_edited_are_refused(name: str, value: Any, trained: Path) -> None:
    path = trained / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    line = error_of("--resume", trained)
    assert str(path) in line
    assert name in line


def test_batches_are_full_however_few_scenes_there_are() -> None:
    assert [len(SceneSource(5, 32, 0).batch(k).items) for k in range(4)] == [32] * 4


def test_images_are_reported_by_the_source_alone(captions: Path, folder: Path) -> None:
    source = PhotographSource(captions, folder, size=8, minimum=1, B=4, seed=0)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ImageError, match="no image can be read"):
        source.shown("test", 9)
