import csv
import signal

import numpy as np
import pytest

import minigrad as mg
import nn
from demos.run_folder import RunFolder
from demos.running import Run, rehearsed
from nn import functional as F

CONFIG = dict(seed=0, device="cpu", lr=0.1, weight_decay=0.0, schedule="cosine", clip=1.0, steps=25, threads=1)


class Line(Run):
    """Learns y = x W from batches that it draws; its batch norm has buffers, an integer among them."""

    unit = "point"
    validation = (np.ones((4, 3), np.float32),) * 5

    def new_model(self):
        return nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 1))

    def learn(self):
        loss = self.error(self.model, mg.default_generator().normal(size=(8, 3)).astype(np.float32))
        self.descend(loss, 8)
        return float(loss)

    def error(self, model, x):
        return F.mse_loss(model(x[:, :, None, None]), x @ self.data)

    def validate(self, batches):
        self.validated = list(batches)
        return float(np.mean([float(self.error(self.mean.eval(), x)) for x in self.validated]))

    def sample(self):
        return f"{self.mean[2].weight.data}"

    def in_words(self, nats):
        return f"{nats:.2f} a point"

    def conclude(self):
        raise AssertionError("a run does not conclude itself")


def line(path, **config):
    return Line(CONFIG | config, np.array([[1], [-2], [3]], np.float32), RunFolder(path, counted="points"))


def begun(path):
    run = line(path)
    run.folder.begin(run.config)
    return run


def traces(run):
    rows = list(csv.DictReader((run.folder.path / "log.csv").read_text().splitlines()))
    return [{**row, "seconds": None} for row in rows], (run.folder.path / "samples.md").read_text()


def test_a_run_of_any_kind_goes_on_to_the_same_bits_and_counts_its_own_units(tmp_path):
    whole = begun(tmp_path / "whole")
    assert whole.run()
    stopped = begun(tmp_path / "stopped")
    learn = stopped.learn
    stopped.learn = lambda: (stopped.step == 12 and signal.raise_signal(signal.SIGINT), learn())[1]
    assert not stopped.run()
    resumed = line(tmp_path / "stopped")
    resumed.load_state(resumed.folder.load(CONFIG))
    assert (resumed.step, resumed.seen) == (13, 13 * 8)
    assert resumed.run()
    assert traces(resumed) == traces(whole)
    for name in ("model", "mean"):
        states = [getattr(run, name).state_dict() for run in (whole, resumed)]
        for key, value in states[0].items():
            np.testing.assert_array_equal(states[1][key], value)
    rows, _ = traces(whole)
    assert list(rows[0]) == ["step", "seconds", "points", "train_nats", "val_nats"]
    assert [int(row["points"]) for row in rows] == [8 * int(row["step"]) for row in rows]


def test_the_mean_follows_floats_and_leaves_integers_their_type(tmp_path):
    run = begun(tmp_path / "run")
    run.run()
    mean, last = run.mean.state_dict(), run.model.state_dict()
    assert {key: value.dtype for key, value in mean.items()} == {key: value.dtype for key, value in last.items()}
    np.testing.assert_allclose(mean["2.weight"], last["2.weight"], atol=0.5)
    assert (mean["2.weight"] != last["2.weight"]).all()


def test_all_batches_validate_the_end_and_a_quarter_of_them_a_stage_before(tmp_path):
    run, counts = begun(tmp_path / "run"), []
    validate = run.validate
    run.validate = lambda batches: (validate(batches), counts.append(len(run.validated)))[0]
    run.run()
    assert counts == [2, 2, 2, 2, 2, 5]


def test_a_rehearsal_leaves_no_trace(tmp_path):
    run = line(tmp_path / "run")
    found = rehearsed(Line, CONFIG | dict(minutes=0.001, threads=1), run.data, run.folder)
    assert found["threads"] == 1 <= found["steps"]
    assert not (tmp_path / "run").exists()
    assert not run.folder.rows


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_changes_nothing(loss, tmp_path):
    run = line(tmp_path / "run")
    before = {key: value.copy() for key, value in run.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match="the loss became"):
        run.descend(mg.tensor(loss), 8)
    assert (run.step, run.seen) == (0, 0)
    for key, value in run.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
