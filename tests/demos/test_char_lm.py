import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import nn
from demos import char_lm

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = ["--lr", "0.02", "--hidden", "8", "--embedding", "4", "--chunk", "10", "--streams", "2", "--length", "20"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def trained(text, tmp_path):
    char_lm.main(["--corpus", str(text), "--steps", "20", "--out", str(tmp_path / "run"), *SMALL])
    return tmp_path / "run"


def error_of(*argv):
    with pytest.raises(SystemExit) as exit_:
        char_lm.main([str(word) for word in argv])
    return str(exit_.value)


def test_a_run_leaves_all_its_files(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "log.csv", "loss.png", "samples.md", "graph.gv", "model.safetensors"} <= names
    assert json.loads((trained / "config.json").read_text())["characters"] == "".join(sorted(set(TEXT)))
    assert "cluster" in (trained / "graph.gv").read_text()


def test_log_has_its_columns_and_the_loss_falls(trained):
    rows = list(csv.DictReader((trained / "log.csv").read_text().splitlines()))
    assert list(rows[0]) == ["step", "seconds", "characters", "train_nats", "val_nats"]
    validated = [float(row["val_nats"]) for row in rows if row["val_nats"]]
    assert len(validated) == len(char_lm.STAGES)
    assert validated[-1] < validated[0] - 0.1
    assert [int(row["characters"]) for row in rows] == [int(row["step"]) * 20 for row in rows]


def test_samples_are_a_ladder_of_every_stage(trained):
    assert (trained / "samples.md").read_text().count("## step") == len(char_lm.STAGES)


@pytest.mark.parametrize("cell", char_lm.CELLS)
def test_every_cell_trains_from_one_hot_characters(cell, text, tmp_path):
    argv = ["--corpus", str(text), "--steps", "2", "--cell", cell, "--one-hot", "--layers", "2", *SMALL]
    char_lm.main([*argv, "--out", str(tmp_path / "run")])
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_the_same_command_gives_the_same_model(text, tmp_path):
    models = []
    for name in ("a", "b"):
        char_lm.main(["--corpus", str(text), "--steps", "5", "--out", str(tmp_path / name), *SMALL])
        models.append(nn.load(tmp_path / name / "model.safetensors"))
    assert all(np.array_equal(models[0][key], models[1][key]) for key in models[0])


def test_sample_continues_its_prompt(trained, capsys):
    capsys.readouterr()
    char_lm.main(["sample", str(trained), "--prompt", "the ", "--length", "30"])
    printed = capsys.readouterr().out
    assert printed.startswith("the ")
    assert len(printed) == len("the ") + 30 + 1


def test_sample_is_repeatable_by_its_seed(trained, capsys):
    outputs = []
    for seed in ("1", "1", "2"):
        capsys.readouterr()
        char_lm.main(["sample", str(trained), "--length", "60", "--seed", seed])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(
    ("content", "extra", "message"),
    [
        (b"", [], "empty"),
        (b"\xff\xfe\x00", [], "UTF-8"),
        (b"too short", [], "characters"),
        (TEXT.encode(), ["--prompt", "\u00e9"], "'\u00e9'"),
        (TEXT.encode(), ["--hidden", "0"], "hidden_size"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(content, extra, message, tmp_path):
    path, out = tmp_path / "text.txt", tmp_path / "run"
    path.write_bytes(content)
    assert message in error_of("--corpus", path, "--out", out, *SMALL, *extra)
    assert not out.exists()


def test_an_unknown_corpus_lists_the_known(tmp_path):
    message = error_of("--corpus", "shakespear", "--out", tmp_path / "run")
    assert "stdlib" in message
    assert "hello" in message


def test_a_folder_with_a_run_is_not_overwritten(trained, text):
    before = {path: path.read_bytes() for path in trained.iterdir()}
    assert "has a run in it" in error_of("--corpus", text, "--steps", 1, "--out", trained, *SMALL)
    assert {path: path.read_bytes() for path in trained.iterdir()} == before


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_model(text, tmp_path, monkeypatch):
    step = nn.optim.Adam.step

    def poisoned(self):
        step(self)
        self.poisonous = getattr(self, "poisonous", 0) + 1
        if self.poisonous == 7:
            for parameter in self.param_groups[0]["params"]:
                parameter.data[...] = np.nan

    monkeypatch.setattr(nn.optim.Adam, "step", poisoned)
    message = error_of("--corpus", text, "--steps", 20, "--out", tmp_path / "run", *SMALL)
    assert "step 7" in message
    assert "nan" in message
    assert all(np.isfinite(array).all() for array in nn.load(tmp_path / "run" / "model.safetensors").values())


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def replaced(path):
    path.write_bytes(b"not safetensors at all")


def of_another_model(path):
    nn.save(path, {**nn.load(path), "output.weight": np.zeros((3, 3), np.float32)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "model.safetensors"),
        (cut_short, "model.safetensors"),
        (replaced, "model.safetensors"),
        (of_another_model, "output.weight"),
        (lambda path: (path.parent / "config.json").unlink(), "config.json"),
    ],
)
def test_a_damaged_run_says_what_is_wrong(damage, message, trained):
    damage(trained / "model.safetensors")
    assert message in error_of("sample", trained)


def test_the_list_of_demos_names_this_one():
    listed = subprocess.run([sys.executable, "-m", "demos"], capture_output=True, text=True, check=True).stdout
    assert "demos.char_lm" in listed
    assert "run_folder" not in listed
