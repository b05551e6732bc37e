"""What a training run leaves behind: its config, log, plot, ladder of samples, drawing and model, in one folder."""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import minigrad as mg
import nn

LOG_COLUMNS = ("step", "seconds", "characters", "train_nats", "val_nats")


class RunFolder:
    """A new folder for one run; every method writes one of its files.

    Raises FileExistsError if the folder has a run in it already.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        if (path / "config.json").exists():
            raise FileExistsError(f"--out: {path} has a run in it already; name another folder, or remove this one")
        self.path = path
        self.rows: list[dict[str, Any]] = []
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(
            json.dumps(config, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
        )
        with (path / "log.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(LOG_COLUMNS)

    def log(self, **row: Any) -> None:
        """Append a row to log.csv; a missing column stays empty."""
        self.rows.append(row)
        with (self.path / "log.csv").open("a", newline="", encoding="utf-8") as file:
            rounded = {column: round(value, 4) for column, value in row.items()}
            csv.DictWriter(file, LOG_COLUMNS).writerow(rounded)

    def sample(self, title: str, text: str) -> None:
        """Append a rung to the ladder of samples."""
        longest = max((len(run) for run in re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        with (self.path / "samples.md").open("a", encoding="utf-8") as file:
            file.write(f"## {title}\n\n{fence}text\n{text}\n{fence}\n\n")

    def model(self, model: nn.Module) -> None:
        """Write the model's weights."""
        nn.save(self.path / "model.safetensors", model.state_dict())

    def drawing(self, output: mg.Tensor) -> None:
        """Write the graph of a tensor: graph.gv, and graph.svg where `dot` is installed."""
        drawing = mg.draw(output)
        drawing.save(self.path / "graph.gv")
        try:
            (self.path / "graph.svg").write_text(drawing.svg, encoding="utf-8")
        except RuntimeError as missing:
            print(f"no graph.svg: {missing}")

    def plot(self, baselines: dict[str, float]) -> None:
        """Write loss.png: training and validation loss against characters read, beside the baselines."""
        figure, axes = plt.subplots(figsize=(10, 6), dpi=128, layout="constrained")
        for column, label, style in (
            ("train_nats", "training", dict(color="#9ecae1", linewidth=1)),
            ("val_nats", "validation", dict(color="#08519c", linewidth=2, marker="o")),
        ):
            rows = [row for row in self.rows if column in row and row["characters"]]
            axes.plot([row["characters"] for row in rows], [row[column] for row in rows], label=label, **style)
        for name, nats in baselines.items():
            axes.axhline(nats, color="0.5", linewidth=1, linestyle="--")
            axes.annotate(f"{name} {nats:.2f}", (1, nats), xycoords=("axes fraction", "data"), ha="right", va="bottom")
        axes.set(xlabel="characters read", ylabel="loss (nats a character)", title=self.path.name, xscale="log")
        bits = axes.secondary_yaxis("right", functions=(lambda n: n / math.log(2), lambda b: b * math.log(2)))
        bits.set_ylabel("bits a character")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left")
        figure.savefig(self.path / "loss.png")
        plt.close(figure)
