import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import nn
from demos import char_lm, char_training, running
from demos.char_model import CharModel, by_documents, continuations, loss_of, validate
from nn.streams import IGNORED, Chunk
from nn.text import Vocabulary

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = ["--lr", "0.02", "--hidden", "8", "--embedding", "4", "--chunk", "10", "--streams", "2", "--length", "20"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text(TEXT)
    char_lm.main(["--corpus", str(folder / "text.txt"), "--steps", "20", "--out", str(folder / "run"), *SMALL])
    return folder / "run"


@pytest.fixture
def trained(finished_run, tmp_path):
    """A copy of a run's folder, to be damaged at will."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


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
    assert len(validated) == len(running.STAGES)
    assert validated[-1] < validated[0] - 0.1
    assert [int(row["characters"]) for row in rows] == [int(row["step"]) * 20 for row in rows]


def test_samples_are_a_ladder_of_every_stage(trained):
    assert (trained / "samples.md").read_text().count("## step") == len(running.STAGES)


@pytest.mark.parametrize("cell", char_lm.CELLS)
def test_every_cell_trains_from_one_hot_characters(cell, text, tmp_path):
    argv = ["--corpus", str(text), "--steps", "2", "--cell", cell, "--one-hot", "--layers", "2", "--dropout", "0.1"]
    char_lm.main([*argv, *SMALL, "--out", str(tmp_path / "run")])
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


def test_samples_are_drawn_as_a_batch(trained, capsys):
    capsys.readouterr()
    char_lm.main(["sample", str(trained), "--prompt", "the ", "--length", "30", "--count", "3"])
    texts = capsys.readouterr().out.removesuffix("\n").split("\n\n---\n\n")
    assert [text[:4] for text in texts] == ["the "] * 3
    assert len(set(texts)) == 3


def test_an_interactive_sample_continues_each_line_and_outlives_unknown_characters(trained, capsys, monkeypatch):
    lines = iter(["fox", "\u00e9", ""])

    def typed(prompt):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    capsys.readouterr()
    char_lm.main(["sample", str(trained), "--interactive", "--length", "10", "--prompt", "dog"])
    _, first, *rest = capsys.readouterr().out.split("\n", 2)
    assert first.startswith("fox")
    assert "'\u00e9' at position 0" in rest[0]
    assert "\ndog" in rest[0]


def test_bytes_of_a_text_without_lines_train(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("형식은 영어 교사다 " * 40, encoding="utf-8")
    char_lm.main(["--corpus", str(path), "--bytes", "--steps", "1", "--out", str(tmp_path / "run"), *SMALL])
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["prompt"] == "형"


@pytest.mark.parametrize("bytes_", [[], ["--bytes"]])
def test_any_language_trains_and_samples(bytes_, tmp_path, capsys):
    path, run = tmp_path / "무정.txt", tmp_path / "무정"
    path.write_text("형식은 영어 교사다. « Война и мир » 🙂\n" * 40, encoding="utf-8")
    argv = ["--corpus", str(path), "--steps", "30", "--out", str(run), "--prompt", "형식", *bytes_, *SMALL]
    char_lm.main(argv)
    assert (run / "samples.md").read_text(encoding="utf-8").count("## step") == len(running.STAGES)
    assert f"bits a {'byte' if bytes_ else 'character'}" in (run / "samples.md").read_text(encoding="utf-8")
    capsys.readouterr()
    char_lm.main(["sample", str(run), "--prompt", "형식", "--length", "20"])
    assert capsys.readouterr().out.startswith("형식")


def test_bytes_that_are_no_text_train_too(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 8)
    char_lm.main(["--corpus", str(path), "--bytes", "--steps", "2", "--out", str(tmp_path / "run"), *SMALL])
    assert len(json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["characters"]) == 256


def test_the_state_begins_anew_with_each_document(text, tmp_path):
    run = tmp_path / "run"
    argv = ["--corpus", str(text), "--documents", r".\n", "--steps", "5", "--out", str(run), *SMALL]
    char_lm.main(argv)
    assert json.loads((run / "config.json").read_text())["documents"] == ".\n"
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert 0 < int(rows[-1]["characters"]) < 5 * 20  # pieces at the end of a document are shorter


def test_a_sample_begins_anew_behind_each_separator():
    model = CharModel(V=4, cell="lstm", hidden=4, layers=1, embedding=2, dropout=0.0).to("float64")
    read, ids = by_documents(model, np.array([0, 1])), np.array([[2, 0, 1, 3, 0, 1, 2], [0, 1, 0, 2, 1, 3, 3]]).T
    _, state = read(ids[:4], None)
    for row in ids[4:-1]:
        _, state = read(row[None], state)
    logits, _ = read(ids[-1:], state)
    for b, begins in enumerate([5, 1]):  # at the last character of the last separator
        expected, _ = model(ids[begins:, b : b + 1])
        np.testing.assert_allclose(logits.data[-1, b], expected.data[-1, 0], rtol=1e-12)


# ---- the model and its training


def small(cell="lstm", **options):
    shape = dict(V=4, cell=cell, hidden=4, layers=2, embedding=3, dropout=0.0) | options
    return CharModel(**shape).to("float64")


def test_dropout_acts_on_the_way_up_in_training_alone():
    ids = np.zeros((1, 1), int)
    model = small(dropout=1.0)
    assert (model(ids)[0].data == model.output.bias.data).all()  # nothing reaches the outputs
    seen = []
    for part in (model.embedding, model.rnn):
        monitor = part.forward
        part.forward = lambda *args, monitor=monitor: seen.append(args[0]) or monitor(*args)
    model(ids)
    assert not seen[1].data.any()  # nor the recurrent layers
    assert model.rnn.dropout == 1.0  # nor the second of them: nn's own tests
    quiet, same = small(dropout=1.0).eval(), small()
    same.load_state_dict(quiet.state_dict())
    np.testing.assert_array_equal(quiet(ids)[0].data, same(ids)[0].data)


def test_what_lies_beyond_a_chunks_lengths_is_not_read():
    model, rng = small(), np.random.default_rng(0)
    ids, targets = rng.integers(4, size=(3, 2)), np.array([[1, 2], [3, IGNORED], [0, IGNORED]])
    losses, states = [], []
    for beyond in (0, 3):
        x = np.where(targets == IGNORED, beyond, ids)
        loss, (h, c) = loss_of(model, Chunk(x, targets, np.array([True, True]), np.array([3, 1])), None)
        losses.append(loss.item())
        states.append(np.stack([h.data, c.data]))
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(*states)


def test_validation_is_the_mean_over_characters_with_the_state_carried_on():
    model, ids = small(), np.random.default_rng(0).integers(4, size=23)
    whole, _ = loss_of(model, Chunk(ids[:-1, None], ids[1:, None], np.array([True])), None)
    pieces = [(0, 9), (9, 11), (11, 22)]  # of different lengths
    chunks = [Chunk(ids[a:b, None], ids[a + 1 : b + 1, None], np.array([a == 0])) for a, b in pieces]
    assert validate(model, chunks) == pytest.approx(whole.item(), rel=1e-12)
    assert model.training


def test_a_temperature_of_zero_is_greedy():
    model, vocabulary = small(), Vocabulary("abcd")
    texts = continuations(model, vocabulary, "a", 30, 0.0, np.random.default_rng(0), count=5)
    assert len(set(texts)) == 1
    assert len(set(continuations(model, vocabulary, "a", 30, 1.0, np.random.default_rng(0), count=5))) == 5


def test_steps_are_clipped_and_the_rate_falls(text, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for run, clip in ((before, "1e-9"), (after, "1.0")):
        char_lm.main(["--corpus", str(text), "--steps", "4", "--clip", clip, "--out", str(run), *SMALL])
    weights = [nn.load(run / "model.safetensors")["output.weight"] for run in (before, after)]
    assert np.abs(weights[0] - weights[1]).max() > 1e-3  # Adam's eps outweighs so small a gradient
    (group,) = nn.load(after / "checkpoint.safetensors")["optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(0.02 / 20)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_fresh_streams_begin_at_zero_and_the_others_go_on(cell):
    model = CharModel(V=3, cell=cell, hidden=4, layers=2, embedding=2, dropout=0.0).to("float64")
    ids = np.array([[0, 1], [2, 0]])  # (T, B)
    _, state = model(ids)
    _, expected = model(ids[:, 1:], part(state, np.s_[:, 1:]))
    _, from_zero = model(ids[:, :1])
    _, got = loss_of(model, Chunk(ids, ids, np.array([True, False])), state)
    for ours, alone, other in zip(*map(members, (got, from_zero, expected)), strict=True):
        np.testing.assert_allclose(ours.data, np.concatenate([alone.data, other.data], axis=1), rtol=1e-12)


def members(state):
    return state if isinstance(state, tuple) else (state,)


def part(state, index):
    return tuple(s[index] for s in state) if isinstance(state, tuple) else state[index]


def test_minutes_become_a_number_of_steps_that_repeats_the_run(text, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    char_lm.main(["--corpus", str(text), "--minutes", "0.01", "--out", str(first), "--dropout", "0.1", *SMALL])
    config = json.loads((first / "config.json").read_text())
    found = ["--steps", str(config["steps"]), "--threads", str(config["threads"])]
    char_lm.main(["--corpus", str(text), *found, "--out", str(second), "--dropout", "0.1", *SMALL])
    assert traces(first) == traces(second)


def test_the_rehearsal_takes_the_threads_that_are_fastest(text, tmp_path, monkeypatch):
    now = []

    @contextmanager
    def blas_on(threads):
        now.append(threads)
        yield

    monkeypatch.setattr(running, "blas_on", blas_on)
    monkeypatch.setattr(running, "most_threads", lambda: 2)
    for slow, fast in (1, 2), (2, 1):
        seconds = {slow: 0.02, fast: 0.01}
        monkeypatch.setattr(running, "timed", lambda f, seconds=seconds: (f(), seconds[now[-1]])[1])
        run = tmp_path / f"on-{fast}"
        char_lm.main(["--corpus", str(text), "--minutes", "0.01", "--out", str(run), *SMALL])
        assert json.loads((run / "config.json").read_text())["threads"] == now[-1] == fast


# ---- stopping and going on


def traces(run):
    """What a run left, to the bit, but for the time it took."""
    rows = [{**row, "seconds": None} for row in csv.DictReader((run / "log.csv").read_text().splitlines())]
    return rows, (run / "samples.md").read_bytes(), (run / "model.safetensors").read_bytes()


def options(text, run, *more):
    return ["--corpus", str(text), "--steps", "30", "--dropout", "0.2", "--out", str(run), *SMALL, *more]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_run_that_control_c_stopped_goes_on_to_the_same_bits(cell, text, tmp_path, monkeypatch, capsys):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    char_lm.main(options(text, whole, "--cell", cell))
    learn = char_training.Training.learn

    def interrupted(self):
        if self.step % 7 == 6:
            signal.raise_signal(signal.SIGINT)
        return learn(self)

    monkeypatch.setattr(char_training.Training, "learn", interrupted)
    argv = options(text, stopped, "--cell", cell)
    seconds = []
    for step in (7, 14, 21, 28):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            char_lm.main(argv)
        assert exit_.value.code == 130
        seconds.append(nn.load(stopped / "checkpoint.safetensors")["progress"][3])
        assert (
            f"stopped after step {step}; to go on: {sys.executable} -m demos.char_lm --resume {stopped}"
            in capsys.readouterr().out
        )
        argv = ["--resume", str(stopped)]
    char_lm.main(argv)
    assert seconds == sorted(seconds)  # they go on too
    assert traces(stopped) == traces(whole)
    char_lm.main(argv)  # and once more, when all is done
    assert traces(stopped) == traces(whole)


def test_a_full_disk_ends_in_one_line_and_the_run_can_go_on(text, tmp_path, monkeypatch):
    whole, run = tmp_path / "whole", tmp_path / "run"
    char_lm.main(options(text, whole))
    calls = 0

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls == 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    assert "No space left on device" in error_of(*options(text, run))
    char_lm.main(["--resume", str(run)])
    assert traces(run) == traces(whole)


def of_another_run(run):
    state = nn.load(run / "checkpoint.safetensors")
    state["model"]["output.weight"] = np.zeros((3, 3), np.float32)
    nn.save(run / "checkpoint.safetensors", state)


def edited(**fields):
    def damage(run):
        path = run / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


def without(field):
    def damage(run):
        path = run / "config.json"
        config = json.loads(path.read_text())
        del config[field]
        path.write_text(json.dumps(config))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "config.json is missing"),
        (lambda run: (run / "config.json").write_text('{"hidden": 3'), "config.json: expected the config of a run"),
        (lambda run: (run / "config.json").write_text("[]"), "a JSON object was expected, not list"),
        (without("dropout"), "has no dropout"),
        (edited(hidden=9), "hidden is 8 in the checkpoint and 9 in the config"),
        (edited(lr=0.5), "lr is 0.02 in the checkpoint and 0.5 in the config"),
        (edited(lr=None), "expected lr to be of type float, got None"),
        (edited(hidden="8"), "expected hidden to be of type int, got '8'"),
        (edited(prompt=5), "expected prompt to be of type str, got 5"),
        (edited(cell="foo"), "expected cell to be one of rnn, lstm, gru, got 'foo'"),
        (edited(schedule="foo"), "expected schedule to be one of cosine, constant, got 'foo'"),
        (edited(text_sha256="0"), "is not the text any more"),
        (lambda run: cut_short(run / "checkpoint.safetensors"), "checkpoint.safetensors: expected a safetensors file"),
        (of_another_run, "output.weight: expected shape"),
        (lambda run: (run / "model.safetensors").replace(run / "checkpoint.safetensors"), "no config"),
    ],
)  # fmt: skip
def test_what_can_not_go_on_says_why(damage, message, trained):
    damage(trained)
    before = {path: path.read_bytes() for path in trained.iterdir()}
    assert message in error_of("--resume", trained)
    assert {path: path.read_bytes() for path in trained.iterdir()} == before


def test_a_run_remembers_where_its_book_lies_until_it_is_told_otherwise(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mujeong.txt").write_text("형식은 영어 교사다.\n" * 40, encoding="utf-8")
    run = tmp_path / "run"
    char_lm.main(
        ["--corpus", "mujeong", "--data-dir", str(tmp_path / "here"), "--steps", "3", "--out", str(run), *SMALL]
    )
    before = traces(run)
    char_lm.main(["--resume", str(run)])
    (tmp_path / "here").rename(tmp_path / "there")
    assert "expected mujeong.txt in" in error_of("--resume", run)
    char_lm.main(["--resume", str(run), "--data-dir", str(tmp_path / "there")])
    assert traces(run) == before


def test_a_run_that_got_no_checkpoint_begins_again(trained):
    before = traces(trained)
    for name in ("checkpoint.safetensors", "model.safetensors", "log.csv", "samples.md"):
        (trained / name).unlink()
    char_lm.main(["--resume", str(trained)])
    assert traces(trained) == before


@pytest.mark.parametrize(
    ("content", "extra", "message"),
    [
        (b"", [], "empty"),
        (b"\xff\xfe\x00", [], "UTF-8"),
        (b"too short", [], "characters"),
        (TEXT.encode(), ["--prompt", "\u00e9"], "'\u00e9'"),
        (TEXT.encode(), ["--hidden", "0"], "hidden_size"),
        (TEXT.encode(), ["--dropout", "1.5"], "Dropout: p: expected a probability"),
        (TEXT.encode(), ["--documents", "#"], "--documents: expected what ends a document, but the text has no '#'"),
        (TEXT.encode() + b"#" + TEXT.encode(), ["--documents", "#", "--streams", "5"], "B = 5 streams, got 2"),
        (TEXT.encode(), ["--documents", ""], "at least one character"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(content, extra, message, tmp_path):
    path, out = tmp_path / "text.txt", tmp_path / "run"
    path.write_bytes(content)
    assert message in error_of("--corpus", path, "--out", out, *SMALL, *extra)
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--length", ["0", "-1", "x"]), ("--steps", ["0", "-5"]), ("--embedding", ["0"]),
        ("--temperature", ["-1", "nan", "inf"]), ("--minutes", ["0", "-1", "nan", "inf"]), ("--clip", ["0", "-1"]),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(option, values, text, tmp_path, capsys):
    for value in values:
        with pytest.raises(SystemExit):
            char_lm.main(["--corpus", str(text), "--out", str(tmp_path / "run"), option, value])
        assert f"argument {option}: " in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_few_long_documents_leave_few_streams_for_validation(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(("a line of a document. " * 40 + "#") * 30)
    argv = ["--corpus", str(path), "--documents", "#", "--steps", "1", "--out", str(tmp_path / "run"), *SMALL]
    char_lm.main(argv)


def test_what_a_killed_process_left_is_removed(trained):
    left = trained / ".checkpoint.safetensors.12345-67.tmp"
    left.write_bytes(b"half")
    char_lm.main(["--resume", str(trained)])
    assert not left.exists()


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
        (of_another_model, "model.safetensors: expected the weights of the run's model"),
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
