"""What a training run leaves behind: its config, log, plot, ladder of samples, drawing, model and checkpoint."""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

import minigrad as mg
import nn
from nn.checkpoint import write_whole


class RunFolder:
    """The folder of one run.

    The checkpoint is the run: it holds the log and the ladder too, from which a resumed run writes these files again.

    Args:
        path: the folder; it need not exist.
        counted: what the run learns from, as "characters": the name of its column in the log.
    """

    def __init__(self, path: Path, counted: str) -> None:
        self.path, self.counted = path, counted
        self.columns = ("step", "seconds", counted, "train_nats", "val_nats")
        self.rows: list[dict[str, Any]] = []  # of the log
        self.rungs: list[dict[str, Any]] = []  # of the ladder: step, title and text

    # ---- config and checkpoint

    def check_new(self) -> None:
        """Raise FileExistsError if there is a run already."""
        if (self.path / "config.json").exists():
            raise FileExistsError(
                f"--out: {self.path} has a run in it already; go on with it by --resume {self.path}, "
                "name another folder, or remove this one"
            )

    def begin(self, config: dict[str, Any]) -> None:
        """Write the config of a new run; FileExistsError if there is a run already."""
        self.check_new()
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(config, indent=2, ensure_ascii=False)
        write_whole(self.path / "config.json", f"{text}\n".encode("utf-8", "surrogatepass"))
        self.write_log_and_ladder()

    def read_config(self) -> dict[str, Any]:
        """The config of the run in this folder; FileNotFoundError or ValueError where there is none."""
        path = self.path / "config.json"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: expected the folder of a run, as in runs/")
        try:
            config = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
            if not isinstance(config, dict):
                raise ValueError(f"a JSON object was expected, not {type(config).__name__}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: expected the config of a run, but it is cut short or edited ({error})") from None
        return config

    def save(self, config: dict[str, Any], state: dict[str, Any]) -> None:
        """Write the checkpoint: all that a run goes on from."""
        folder = {"rows": self.rows, "rungs": self.rungs}
        nn.save(self.path / "checkpoint.safetensors", {"config": config, "folder": folder, **state})

    def load(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """What `save` was given, once the log and ladder are as they were then; None: nothing was saved yet.

        Raises:
            CheckpointError: the checkpoint is no checkpoint, or one of another config; it names the field.
        """
        path = self.path / "checkpoint.safetensors"
        for abandoned in self.path.glob(".*.tmp"):  # by a process that was killed while it wrote
            abandoned.unlink()
        if not path.exists():
            self.write_log_and_ladder()
            return None
        state = nn.load(path)
        saved = state.pop("config", None) if isinstance(state, dict) else None
        if not isinstance(saved, dict):
            raise nn.CheckpointError(f"{path}: expected the checkpoint of a run, but it has no config")
        for name in config.keys() | saved.keys():
            if config.get(name) != saved.get(name):
                raise nn.CheckpointError(
                    f"{path} is of another configuration than config.json: {name} is {saved.get(name)!r:.60} in the "
                    f"checkpoint and {config.get(name)!r:.60} in the config; put back the one that was changed"
                )
        folder = state.pop("folder")
        self.rows, self.rungs = folder["rows"], folder["rungs"]
        self.write_log_and_ladder()
        return state

    def write_model(self, model: nn.Module) -> None:
        """Write the model's weights alone, for what comes after the run and for other programs."""
        nn.save(self.path / "model.safetensors", model.state_dict())

    def read_model(self, model: nn.Module) -> None:
        """Load the weights that were written into a model like it; CheckpointError where they are another's."""
        path = self.path / "model.safetensors"
        state = nn.load(path)
        try:
            model.load_state_dict(state)
        except (ValueError, TypeError) as error:
            problems = "; ".join(line.strip() for line in str(error).splitlines())
            raise nn.CheckpointError(f"{path}: expected the weights of the run's model, but {problems}") from None

    # ---- log and ladder

    def log(self, **row: Any) -> None:
        """Append a row to log.csv; a missing column stays empty."""
        self.rows.append(row)
        with (self.path / "log.csv").open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def rung(self, **rung: Any) -> None:
        """Append a rung to the ladder of samples, samples.md: its step, title and text."""
        self.rungs.append(rung)
        longest = max((len(run) for run in re.findall("`+", rung["text"])), default=0)
        fence = "`" * max(3, longest + 1)
        with (self.path / "samples.md").open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"## {rung['title']}\n\n{fence}text\n{rung['text']}\n{fence}\n\n")

    def write_log_and_ladder(self) -> None:
        """Write log.csv and samples.md from the start."""
        rows, rungs, self.rows, self.rungs = self.rows, self.rungs, [], []
        with (self.path / "log.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(self.columns)
        (self.path / "samples.md").write_text("")
        for row in rows:
            self.log(**row)
        for rung in rungs:
            self.rung(**rung)

    # ---- pictures

    def draw(self, output: mg.Tensor) -> None:
        """Write the graph of a tensor: graph.gv, and graph.svg where `dot` is installed."""
        drawing = mg.draw(output)
        drawing.save(self.path / "graph.gv")
        try:
            (self.path / "graph.svg").write_text(drawing.svg, encoding="utf-8")
        except mg.drawing.DotMissing as missing:
            print(f"no graph.svg: {missing}")

    def plot(self, title: str, baselines: dict[str, float], xlabel: str, unit: str) -> None:
        """Write loss.png: training and validation loss, of a unit, against what was counted, beside the baselines."""
        figure, axes = plt.subplots(figsize=(10, 6), dpi=128, layout="constrained")
        for column, label, style in (
            ("train_nats", "training", dict(color="#9ecae1", linewidth=1)),
            ("val_nats", "validation", dict(color="#08519c", linewidth=2, marker="o")),
        ):
            rows = [row for row in self.rows if column in row and row[self.counted]]
            axes.plot([row[self.counted] for row in rows], [row[column] for row in rows], label=label, **style)
        for name, nats in baselines.items():
            axes.axhline(nats, color="0.5", linewidth=1, linestyle="--")
            place = dict(
                xycoords=("axes fraction", "data"), ha="left", va="top", color="0.35"
            )  # the curves begin above
            axes.annotate(f"{name} {nats:.2f}", (0.005, nats), **place)
        axes.set(xlabel=xlabel, ylabel=f"loss (nats a {unit})", xscale="log")
        axes.set_title(title, loc="left")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        bits = axes.secondary_yaxis("right", functions=(lambda n: n / math.log(2), lambda b: b * math.log(2)))
        bits.set_ylabel(f"bits a {unit}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        figure.savefig(self.path / "loss.png")
        plt.close(figure)
