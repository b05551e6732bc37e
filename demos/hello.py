"""The lecture's four-letter network learns to spell "hello": every number in it, before and after training.

python -m demos.hello    prints the numbers, and draws them into runs/hello
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import graphviz
import numpy as np

import minigrad as mg
import nn
from minigrad.drawing.export import DotMissing, render
from nn import functional as F
from nn.generation import generate

VOCABULARY = "helo"  # in the lecture's order; a letter's id is its place here
INPUT, TARGET = "hell", "ello"  # at each step the target is the letter that comes next
T, V, H = len(INPUT), len(VOCABULARY), 3  # steps, letters, hidden values
TRAINING_STEPS = 200

# ---------------------------------------------------------------------- the network


def encode(letters: str) -> np.ndarray:
    """The ids of letters: "hello" is 0, 1, 2, 2, 3."""
    return np.array([VOCABULARY.index(letter) for letter in letters])


def one_hot(ids: np.ndarray) -> mg.Tensor:
    """A one at the letter's place, zeros elsewhere: ids (T,) -> x (T, V)."""
    return F.one_hot(ids, V).to("float32")


class Network(nn.Module):
    """Ids (T,) to scores (T, V) of the next letter; a batch of them, (T, B), to (T, B, V).

    h_t = tanh(W_xh x_t + W_hh h_{t-1})
    y_t = W_hy h_t
    """

    def __init__(self) -> None:
        self.rnn = nn.RNN(V, H, bias=False)  # W_xh and W_hh
        self.output = nn.Linear(H, V, bias=False)  # W_hy

    def forward(self, ids: np.ndarray, state: Any = None) -> tuple[mg.Tensor, Any]:
        h, state = self.rnn(one_hot(ids), state)  # (T, H)
        return self.output(h), state


def train(network: Network) -> None:
    """Raise each target's score over the others': Adam on the mean cross-entropy of the steps."""
    optimizer = nn.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(TRAINING_STEPS):
        y, _ = network(encode(INPUT))
        loss = F.cross_entropy(y, encode(TARGET))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Snapshot(NamedTuple):
    """All that the network computes of "hell" at one moment."""

    title: str
    x: np.ndarray  # (T, V), one-hot
    h: np.ndarray  # (T, H), hidden values
    y: np.ndarray  # (T, V), scores
    p: np.ndarray  # (T,), the target's probability


def snapshot(network: Network, moment: str) -> Snapshot:
    """Read every number off the network, and let it write: its likeliest letter is its next input."""
    with mg.no_grad():
        x = one_hot(encode(INPUT))
        h, _ = network.rnn(x)
        y = network.output(h)
        p = F.softmax(y, dim=-1).numpy()[range(T), encode(TARGET)]
    written = generate(network, encode("h")[:, None], T, temperature=0)  # ids (T, 1): a batch of one
    spelled = "h" + "".join(VOCABULARY[i] for i in written[:, 0])
    title = f'{moment} training: loss {-np.log(p).mean():.3f}, writes "{spelled}"'
    return Snapshot(title, x.numpy(), h.numpy(), y.numpy(), p)


# ---------------------------------------------------------------------- as text


def table(shot: Snapshot) -> str:
    """A row for each number of the network, a column for each time step; a star marks the target's score."""
    rows: list[tuple[str, Sequence[Any]]] = [("time step", range(1, T + 1)), ("input", INPUT)]
    rows += [(f"one-hot {letter}", x.astype(int)) for letter, x in zip(VOCABULARY, shot.x.T, strict=True)]
    rows += [(f"hidden {k}", [f"{h:z.2f}" for h in values]) for k, values in enumerate(shot.h.T, start=1)]
    for letter, scores in zip(VOCABULARY, shot.y.T, strict=True):
        stars = ["*" if letter == target else "" for target in TARGET]
        rows.append((f"score {letter}", [f"{star}{y:z.2f}" for star, y in zip(stars, scores, strict=True)]))
    rows += [("target", TARGET), ("its probability", [f"{p:.2f}" for p in shot.p])]
    return "\n".join([shot.title, *(f"{name:>17}" + "".join(f"{cell:>8}" for cell in row) for name, row in rows)])


# ---------------------------------------------------------------------- as a drawing

# The lecture's form: a column for each time step, and these rows, at their heights in inches.
ROWS = {"input chars": 0, "input layer": 0.9, "hidden layer": 2.6, "output layer": 4.3, "target chars": 5.3}
COLUMN = 1.35  # inches from one time step to the next
FONT = "Helvetica,Arial,sans-serif"
GREEN, RED = "#00701A", "#B3261E"


def draw(shots: Sequence[Snapshot]) -> graphviz.Digraph:
    """The snapshots side by side."""
    graph = graphviz.Digraph(
        "hello",
        graph_attr=dict(layout="neato", splines="line", pad="0.2", bgcolor="white"),  # neato leaves nodes at their pos
        node_attr=dict(shape="plain", fontname=FONT, fontsize="15"),
        edge_attr=dict(color="#555555", arrowsize="0.7", fontname=FONT, fontsize="13"),
    )
    for name, height in ROWS.items():
        graph.node(name, pos=f"0,{height}!", fontcolor="#5F5F5F")
    for i, shot in enumerate(shots):
        draw_network(graph, shot, f"{i}, ", left=1.35 + i * (T * COLUMN + 0.2))
    return graph


def draw_network(graph: graphviz.Digraph, shot: Snapshot, prefix: str, left: float) -> None:
    """One snapshot from `left` on, its nodes' names behind a prefix."""
    graph.node(f"{prefix}title", shot.title, pos=f"{left + (T - 1) / 2 * COLUMN},6.1!", fontsize="17")
    for t, (letter, target) in enumerate(zip(INPUT, TARGET, strict=True)):
        inks = [f'COLOR="{GREEN}"><B>{{}}</B>' if v == target else f'COLOR="{RED}">{{}}' for v in VOCABULARY]
        labels = {
            "input chars": f"<<B>“{letter}”</B>>",
            "input layer": box([f"{x:.0f}" for x in shot.x[t]], "#F9DEDC"),
            "hidden layer": box([f"{h:z.2f}" for h in shot.h[t]], "#E3F1DC"),
            "output layer": box(
                [f"<FONT {ink.format(f'{y:z.2f}')}</FONT>" for ink, y in zip(inks, shot.y[t], strict=True)], "#DCE7F5"
            ),
            "target chars": f"<<B>“{target}”</B><BR/>p = {shot.p[t]:.2f}>",
        }
        for row, label in labels.items():
            graph.node(f"{prefix}{row} {t}", label, pos=f"{left + t * COLUMN},{ROWS[row]}!")
        graph.edge(f"{prefix}input layer {t}", f"{prefix}hidden layer {t}", weight_label("xh"))
        graph.edge(f"{prefix}hidden layer {t}", f"{prefix}output layer {t}", weight_label("hy"))
        if t:
            graph.edge(f"{prefix}hidden layer {t - 1}", f"{prefix}hidden layer {t}")
            middle = f"{left + (t - 0.5) * COLUMN},{ROWS['hidden layer'] + 0.17}!"  # just above the arrow
            graph.node(f"{prefix}W_hh {t}", weight_label("hh"), pos=middle, fontsize="13")


def box(numbers: Sequence[str], colour: str) -> str:
    """A vector as a column of numbers."""
    cells = "".join(f"<TR><TD>{number}</TD></TR>" for number in numbers)
    return f'<<TABLE BORDER="1" CELLBORDER="0" CELLSPACING="0" COLOR="#555555" BGCOLOR="{colour}">{cells}</TABLE>>'


def weight_label(ends: str) -> str:
    """A weight's name, as it stands at an arrow."""
    return f"<<I>W</I><SUB>{ends}</SUB>>"


# ---------------------------------------------------------------------- the command line


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; what is wrong with it ends in one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m demos.hello", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/hello"), help="the drawing's folder (%(default)s)")
    out = parser.parse_args(argv).out

    mg.seed(4)
    network = Network()
    before = snapshot(network, "before")
    train(network)
    after = snapshot(network, "after")
    print(f"{table(before)}\n\n{table(after)}")
    print(f"\n* is the target's score. The drawing is in {out}.")
    out.mkdir(parents=True, exist_ok=True)
    graph = draw([before, after])
    graph.save(out / "hello.gv")
    try:
        (out / "hello.svg").write_bytes(render(graph.source, "svg"))
    except DotMissing as missing:
        print(f"no hello.svg: {missing}")


if __name__ == "__main__":
    main()
