"""The training run of `demos.captioner`: a source of captioned images, the model that learns them, and its page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from nn.captioning import Captioner, HardAttention, caption_loss
from nn.captions import teacher_forced
from nn.checkpoint import write_whole
from nn.streams import IGNORED

from .caption_data import PhotographSource, SceneSource, Shown, Source
from .caption_judging import Judged, captions_of, measures
from .caption_model import captioner_of, deep_net, gradients_of_words
from .caption_page import Example, Told, write_page
from .run_folder import RunFolder
from .running import Run

WATCHED = 100  # images that are validated on at each stage; the first few are shown
TESTED = 1000  # images of each split that the finished model is tested on
ON_PAGE = 12
AT_ONCE = 50  # images
LEAST = 32  # pixels a side that published nets need, which halve them five times
SCENES = 16_000  # to learn from
NAMES = {"state": "image as first state", "every": "image at every step", "soft": "soft attention",
         "hard": "hard attention"}  # fmt: skip


class Training(Run):
    """A run that learns to caption images."""

    data: Source
    model: Captioner
    mean: Captioner
    unit = "image"
    betas = 0.9, 0.98  # a run has few steps
    program, afterwards = "demos.captioner", "look at {path}/index.html"

    def __init__(self, config: dict[str, Any], data: Source, folder: RunFolder) -> None:
        super().__init__(config, data, folder)
        self.watched = data.shown(data.splits[0], WATCHED)

    def new_model(self) -> Captioner:
        """The model of the config."""
        return captioner_of(self.config)

    def learn(self) -> float:
        """One step on a batch of images, each with a caption; gives nats a word."""
        batch = self.data.batch(self.step)
        told = self.model(batch.images, batch.x, batch.lengths)
        loss, nats = caption_loss(told, batch.y)
        self.descend(loss, len(batch.images))
        return nats

    @property
    def validation(self) -> list[Sequence[Shown]]:
        """The images that are watched, some at a time."""
        return [self.watched[i : i + AT_ONCE] for i in range(0, len(self.watched), AT_ONCE)]

    def validate(self, batches: Iterable[Sequence[Shown]]) -> float:
        """Mean nats a word of the images' first references."""
        self.mean.eval()
        total, count = 0.0, 0
        with mg.no_grad():
            for some in batches:
                x, y, _ = teacher_forced([self.data.vocabulary.encode(shown.references[0]) for shown in some])
                _, nats = caption_loss(self.mean(np.stack([shown.x for shown in some]), x), y)
                words = int((y != IGNORED).sum())
                total, count = total + nats * words, count + words
        return total / count

    def sample(self) -> str:
        """How many captions of the images that are watched are right, and the first few."""
        judged = captions_of(self.mean, self.data.vocabulary, self.watched, beams=1)
        scores = measures(judged, None)
        right = "true, complete" if "true, complete" in scores else "exact"
        few = [f"{j.sentence}   ({j.shown.references[0]})" for j in judged[:3]]
        return "\n".join([f"{scores[right]:.0%} {right}; captions, and one of people's for each:", *few])

    def in_words(self, nats: float) -> str:
        """A loss in nats."""
        return f"{nats:.3f} nats a word"

    # ---- before and after

    def announce(self) -> None:
        """Say what will be trained, and draw it: the captioner unrolled over the first words, a cluster a step."""
        vocabulary = self.data.vocabulary
        print(f"{self.data.label}, {len(vocabulary)} words, tests: {', '.join(self.data.splits)}")
        super().announce()
        shown = self.watched[0]
        x, y, _ = teacher_forced([vocabulary.encode(shown.references[0])[:2]])
        self.model.eval()
        with mg.unrolled():
            loss, _ = caption_loss(self.model(shown.x[None], x), y)
        self.model.train()
        self.folder.draw(loss)

    def conclude(self) -> None:
        """Test the model on every split, and write the measures and the page."""
        config, path = self.config, self.folder.path
        self.folder.plot(f"{NAMES[config['look']]}, {config['cell'].upper()}", {}, "images seen", "word")
        tested = Tested.of(config, self.mean, self.data)
        write_whole(path / "measures.json", json.dumps(tested.measures, indent=2).encode())
        print(in_columns(tested.measures))
        plots = {"loss on the way": (path / "loss.png").read_bytes()}
        drawings = (
            {"the captioner unrolled, a cluster a step": svg.read_text()}
            if (svg := path / "graph.svg").exists()
            else {}
        )
        tested_page(path / "index.html", self.data, [tested], plots, drawings)


# ---- what came of it


class Tested(NamedTuple):
    """What a finished model says of the images of each split."""

    name: str
    model: Captioner
    said: dict[str, list[Judged]]
    measures: list[dict[str, Any]]  # a row for each split

    @classmethod
    def of(cls, config: Mapping[str, Any], model: Captioner, data: Source, run: str = "") -> "Tested":
        """Test a model; `run` is added to its name, where that is not enough."""
        said, rows, suffix = {}, [], f" ({run})" if run else ""
        for split in data.splits:
            shown = data.shown(split, TESTED)
            said[split] = captions_of(model, data.vocabulary, shown, config["beams"])
            name = f"{NAMES[config['look']]}, {config['cell'].upper()}{suffix}"
            about = {"model": name, "images": f"{split}, {len(shown)}"}
            rows.append(about | measures(said[split], grid_of(model, shown)))
        return cls(NAMES[config["look"]] + suffix, model, said, rows)


def grid_of(model: Captioner, shown: Sequence[Shown]) -> tuple[int, int] | None:
    """Rows and columns of the places that a model attends to; None: it does not attend."""
    if not model.look.attends:
        return None
    with mg.no_grad():
        x = mg.tensor(shown[0].x[None], device=model.output.weight.device)
        rows, columns = model.encoder(x).shape[2:]
    return rows, columns


def tested_page(
    path: Path, data: Source, tested: Sequence[Tested], plots: Mapping[str, bytes], drawings: Mapping[str, str]
) -> None:
    """Write a page of what models say of the same images, side by side."""
    examples = []
    for split in data.splits:
        for i in range(min(ON_PAGE // len(data.splits), len(tested[0].said[split]))):
            shown = tested[0].said[split][i].shown
            told = [told_by(one, one.said[split][i]) for one in tested]
            examples.append(Example(shown.picture, shown.references, told))
    facts = {"images": data.label, "words": len(data.vocabulary)}
    facts |= {f"parameters, {one.name}": f"{sum(p.size for p in one.model.parameters()):,}" for one in tested}
    rows = [row for one in tested for row in one.measures]
    title = f"{data.label[0].upper()}{data.label[1:]}, captioned: {', '.join(one.name for one in tested)}"
    write_page(path, title, facts, examples, rows, plots, drawings)


def told_by(tested: Tested, judged: Judged) -> Told:
    """A caption as the page shows it, with what each of its words owes to the pixels where the model takes these."""
    model, caption, shown = tested.model, judged.caption, judged.shown
    grid = grid_of(model, [shown])
    maps = caption.maps.reshape(-1, *grid) if grid and caption.maps is not None else None
    cells = caption.maps.argmax(axis=1) if isinstance(model.look, HardAttention) and caption.maps is not None else None
    takes_pixels = shown.x.shape[1:] == shown.picture.shape[:2]
    gradients = gradients_of_words(model, shown.x, caption.ids) if takes_pixels and judged.words else None
    note, right = in_a_word(judged)
    return Told(tested.name, judged.words, maps, cells, gradients, note, right)


def in_a_word(judged: Judged) -> tuple[str, bool | None]:
    """What to think of a caption, and whether it is right; None: a person must say."""
    if judged.verdict is None:
        exact = judged.sentence in judged.shown.references
        return ("word for word", True) if exact else ("", None)
    if not judged.verdict.complete:
        return ("true, not complete" if judged.verdict.true else "not true"), False
    return "true and complete" + ", detailed" * judged.verdict.detailed, True


def in_columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of measures as lines of text."""
    lines = []
    for row in rows:
        shown = [f"{name} {value:.3f}" if isinstance(value, float) else str(value) for name, value in row.items()]
        lines.append(", ".join(shown))
    return "\n".join(lines)


# ---- what it learns from

OF_PHOTOGRAPHS = {  # options that scenes have no use for, and what they are then
    "images": None,
    "test_list": None,
    "memorise": False,
    "minimum": 1,
    "strict": False,
    "size": SceneSource.size,
    "frozen": False,
    "features": None,
}


def read(config: Mapping[str, Any]) -> Source:
    """The source that a config names; ValueError or OSError where it can't be used."""
    for name in ("frozen", "weights"):
        if config[name] and config["encoder"] == "small":
            raise ValueError(f"--{name}: expected --encoder vgg16 or resnet18 with it, got small")
    if config["encoder"] != "small" and config["size"] < LEAST:
        raise ValueError(f"--size: expected at least {LEAST} for a published net, got {config['size']}")
    if config["features"] and not config["frozen"]:
        raise ValueError("--features: expected --frozen with it, as features of a net that learns are not kept")
    if config["memorise"] and config["test_list"]:
        raise ValueError("--test-list: expected it without --memorise, which tests on all that it learns from")
    if config["captions"] is None:
        for name, value in OF_PHOTOGRAPHS.items():
            if config[name] != value:
                option = name.replace("_", "-")
                raise ValueError(f"--{option}: expected photographs with it, by --captions and --images, got scenes")
        return SceneSource(config["scenes"] or SCENES, config["batch"], config["seed"])
    if config["scenes"]:
        raise ValueError("--scenes: expected it without --captions, which names photographs to learn from")
    if config["images"] is None:
        raise ValueError("--images: expected the folder of the images that --captions names, got none")
    if config["frozen"] and config["weights"] is None:
        raise ValueError("--frozen: expected --weights with it, the file of the encoder's weights, got none")
    names = ("size", "minimum", "seed", "strict", "memorise")
    return PhotographSource(
        Path(config["captions"]),
        Path(config["images"]),
        B=config["batch"],
        test_list=config["test_list"] and Path(config["test_list"]),
        frozen=deep_net(config) if config["frozen"] else None,
        features=config["features"] and Path(config["features"]),
        **{name: config[name] for name in names},
    )


def finished(folder: RunFolder, config: Mapping[str, Any]) -> Captioner:
    """The model of a run folder, of its last stage, set to evaluation; CheckpointError where it is another's."""
    model = captioner_of({**config, "weights": None})  # those of an encoder that was trained on are among the run's
    folder.read_model(model)
    model.eval()
    return model
