"""demos.hello: what it prints and draws is what the network computes."""

import re

import numpy as np
import pytest

import minigrad as mg
from demos import hello
from nn import functional as F


@pytest.fixture(scope="module")
def shots():
    mg.seed(4)
    network = hello.Network()
    before = hello.snapshot(network, "before")
    hello.train(network)
    return network, before, hello.snapshot(network, "after")


def test_the_network_learns_to_spell(shots):
    network, before, after = shots
    logits, _ = network(hello.encode(hello.INPUT))
    assert "".join(hello.VOCABULARY[i] for i in logits.data.argmax(axis=1)) == hello.TARGET
    assert F.cross_entropy(logits, hello.encode(hello.TARGET)).item() < 0.01
    assert 'writes "hello"' in after.title
    assert 'writes "hello"' not in before.title


def test_every_number_follows_from_the_weights(shots):
    network, _, after = shots
    W_xh, W_hh, W_hy = (p.data for p in network.parameters())
    h = np.zeros(hello.H)
    for t, letter in enumerate(hello.INPUT):
        x = np.array([float(letter == v) for v in hello.VOCABULARY])
        h = np.tanh(W_xh @ x + W_hh @ h)
        y = W_hy @ h
        p = np.exp(y) / np.exp(y).sum()
        np.testing.assert_array_equal(after.x[t], x)
        np.testing.assert_allclose(after.h[t], h, rtol=1e-5, atol=1e-5)  # float32
        np.testing.assert_allclose(after.y[t], y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(after.p[t], p[hello.VOCABULARY.index(hello.TARGET[t])], rtol=1e-5)


def test_the_table_has_every_number(shots):
    _, before, _ = shots
    title, *lines = hello.table(before).splitlines()
    assert title == before.title
    rows = {re.split(r" {2,}", line.strip())[0]: re.split(r" {2,}", line.strip())[1:] for line in lines}
    assert rows["input"] == list("hell")
    assert rows["target"] == list("ello")
    assert [rows[f"one-hot {v}"] for v in "helo"] == before.x.T.astype(int).astype(str).tolist()
    assert [rows[f"hidden {k}"] for k in (1, 2, 3)] == [[f"{h:z.2f}" for h in row] for row in before.h.T]
    starred = {(v, t) for v in "helo" for t, cell in enumerate(rows[f"score {v}"]) if cell.startswith("*")}
    assert starred == {(target, t) for t, target in enumerate("ello")}
    for v, scores in zip("helo", before.y.T, strict=True):
        assert [cell.lstrip("*") for cell in rows[f"score {v}"]] == [f"{y:z.2f}" for y in scores]


def test_the_drawing_has_the_lectures_form(shots):
    _, before, after = shots
    source = hello.draw([before, after]).source
    for i, shot in enumerate((before, after)):
        names = re.findall(rf'^\t"{i}, ([^"]+)" \[', source, re.MULTILINE)
        assert sorted(names) == sorted(
            ["title", *(f"{row} {t}" for row in hello.ROWS for t in range(4)), *(f"W_hh {t}" for t in (1, 2, 3))]
        )
        edges = re.findall(rf'^\t"{i}, (\w+) layer (\d)" -> "{i}, (\w+) layer (\d)"', source, re.MULTILINE)
        expected = [("input", t, "hidden", t) for t in "0123"] + [("hidden", t, "output", t) for t in "0123"]
        assert sorted(edges) == sorted(expected + [("hidden", s, "hidden", t) for s, t in ("01", "12", "23")])
        for t, target in enumerate(hello.encode(hello.TARGET)):
            assert f'COLOR="{hello.GREEN}"><B>{shot.y[t, target]:z.2f}</B>' in source


def test_the_command_prints_and_draws_the_same_each_time(tmp_path, capsys):
    outputs = []
    for _ in range(2):
        hello.main(["--out", str(tmp_path)])
        outputs.append((capsys.readouterr().out, (tmp_path / "hello.gv").read_bytes()))
    assert outputs[0] == outputs[1]
    assert outputs[0][0].count("its probability") == 2


def test_without_dot_one_line_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    hello.main(["--out", str(tmp_path / "hello")])
    assert "no hello.svg: Graphviz's program `dot` is not on the PATH" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "hello").iterdir()] == ["hello.gv"]
