"""A captioner learns to tell what is in an image: a CNN looks, an RNN, LSTM or GRU tells, and attention shows where.

python -m demos.captioner                                 train on scenes that it draws itself
python -m demos.captioner --look hard --minutes 20        or state, every, soft: what the recurrent network is given
python -m demos.captioner --captions captions.csv --images folder --size 96 --minutes 30
python -m demos.captioner --captions captions.json --images folder --encoder vgg16 --weights vgg16.safetensors --frozen
python -m demos.captioner --resume runs/scenes-soft-gru  go on with a run that was stopped
python -m demos.captioner tell runs/scenes-soft-gru picture.png
python -m demos.captioner compare runs/scenes-soft-gru runs/scenes-hard-gru
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import minigrad as mg
from nn.captioning import CELLS, LOOKS, tell
from nn.captions import Problems, WordVocabulary
from nn.images import FeatureCache, ImageError, read_image

from .caption_data import Source
from .caption_model import ENCODERS, deep_net
from .caption_training import SCENES, Tested, Training, finished, in_columns, read, tested_page
from .command_line import (
    add_training_options,
    at_least_0,
    begin_run,
    count,
    free_folder,
    goes_on,
    parser_of,
    resume_run,
    told_in_one_line,
    training_options,
    whole_config,
)
from .run_folder import RunFolder

SMALL, PUBLISHED = 64, 224  # pixels a side, of images for the small net and for those that were trained on ImageNet
CHOICES = {"look": LOOKS, "cell": CELLS, "encoder": ENCODERS}


def train(options: dict[str, Any], path: Path | None) -> None:
    """Train a model, in a new folder."""
    source = "scenes" if options["captions"] is None else Path(options["captions"]).stem
    folder = folder_of(path or free_folder(f"{source}-{options['look']}-{options['cell']}"))
    folder.check_new()
    published = options["captions"] is not None and options["encoder"] != "small"
    options |= {"size": options["size"] or (PUBLISHED if published else SMALL)}
    data = read(options)
    learned = dict(words=list(data.vocabulary.words), fingerprint=data.fingerprint, features_of=data.features_of)
    config = options | learned
    begin_run(Training, config, data, folder)


def resume(path: Path) -> None:
    """Go on with the run of a folder, to the bits of a run that was never stopped."""
    folder = folder_of(path)
    config = config_of(folder)
    resume_run(Training, config, data_of(path, config), folder)


def tell_of(path: Path, pictures: list[Path], beams: int | None, temperature: float, seed: int) -> None:
    """Print a caption for each picture by the model of a run folder."""
    if temperature and (beams or 1) > 1:
        raise ValueError(f"--temperature: expected --beams 1 with it, as words are drawn one by one, got {beams}")
    folder = folder_of(path)
    config = config_of(folder)
    model = finished(folder, config)
    vocabulary = WordVocabulary(tuple(config["words"]))
    net = deep_net(config).eval() if config["frozen"] else None
    if net and FeatureCache(Path(), net, config["size"]).of != config["features_of"]:
        raise ValueError(f"{config['weights']}: expected the weights that {path} began with, got others; put them back")
    problems, generator, told = Problems(), mg.generator(seed), 0
    for picture in pictures:
        try:
            x: Any = read_image(picture, config["size"])[None]
        except ImageError as error:
            problems.report(error)
            continue
        with mg.no_grad():
            x = x if net is None else net(x).numpy()
        options = dict(beams=beams or (1 if temperature else 3), temperature=temperature, generator=generator)
        (caption,) = tell(model, x, vocabulary.START, vocabulary.END, **options)
        print(f"{picture}: {vocabulary.decode(caption.ids)}  ({caption.log_probability:.2f} nats)")
        told += 1
    if not told:
        sys.exit(1)


def compare(paths: list[Path], out: Path) -> None:
    """Test the models of several runs on the same images, and write a page with all of them."""
    folders = [folder_of(path) for path in paths]
    configs = [config_of(folder) for folder in folders]
    for path, config in zip(paths, configs, strict=True):
        if config["fingerprint"] != configs[0]["fingerprint"]:
            raise ValueError(f"{path} learned from other data than {paths[0]}; compare runs on the same")
    looks, tested = [config["look"] for config in configs], []
    data: Source
    for folder, config in zip(folders, configs, strict=True):
        data = data_of(folder.path, config)
        if not (folder.path / "measures.json").exists():
            print(f"{folder.path} has not come to its end; this is its model of the last stage:")
        run = folder.path.name if looks.count(config["look"]) > 1 else ""
        tested.append(Tested.of(config, finished(folder, config), data, run))
        print(in_columns(tested[-1].measures))
    tested_page(out, data, tested, {}, {})
    print(f"side by side: {out}")


def folder_of(path: Path) -> RunFolder:
    """The folder of a run, there already or not."""
    return RunFolder(path, counted="images")


def config_of(folder: RunFolder) -> dict[str, Any]:
    """The config of the run in a folder."""
    like = training_options(train_parser().parse_args([])) | dict(words=[], fingerprint="", features_of=None)
    return whole_config(folder, like, choices=CHOICES)


def data_of(path: Path, config: dict[str, Any]) -> Source:
    """What the run in a folder learned from; ValueError where it is not the same any more."""
    data = read(config)
    if data.fingerprint != config["fingerprint"] or list(data.vocabulary.words) != config["words"]:
        raise ValueError(
            f"{config['captions'] or 'the scenes'}: the captions or their words are not those any more that {path} "
            "began with; put them back, or begin a new run"
        )
    return data


def train_parser() -> argparse.ArgumentParser:
    """The command line of a new run."""
    command = parser_of("demos.captioner", __doc__)
    add = command.add_argument
    add("--scenes", type=count, help=f"how many scenes to learn from ({SCENES:,})")
    add("--captions", help="learn from photographs: COCO's JSON, Flickr8k's tokens, or a CSV file image,caption")
    add("--images", help="the folder of the photographs")
    add("--test-list", help="a file with the names of the photographs to test on (every tenth)")
    add("--memorise", action="store_true", help="learn from all photographs, and test on the same")
    add("--minimum", type=count, default=1, help="how often a word must come to be known (%(default)s)")
    add("--strict", action="store_true", help="stop at the first entry or image that can't be used")
    add("--size", type=count, help="photographs are cut to squares of so many pixels (64; 224 for a published net)")
    add("--encoder", choices=ENCODERS, default="small", help="(%(default)s)")
    add("--weights", help="a safetensors file with the published weights of vgg16 or resnet18")
    add("--frozen", action="store_true", help="don't train the encoder; its features are computed once")
    add("--features", help="the folder where these features are kept (features)")
    add("--look", choices=LOOKS, default="soft", help="what the recurrent network is given of the image (%(default)s)")
    add("--cell", choices=CELLS, default="gru", help="(%(default)s)")
    add("--hidden", type=count, default=128, help="H (%(default)s)")
    add("--embedding", type=count, default=64, help="size of a word's vector (%(default)s)")
    add("--batch", type=count, default=32, help="B, captions a step (%(default)s)")
    add("--beams", type=count, default=1, help="of the search for the likeliest caption, in tests (%(default)s)")
    add("--seed", type=int, default=0, help="(%(default)s)")
    add_training_options(command, lr=2e-3, minutes=10.0, out="runs/SOURCE-LOOK-CELL")
    return command


def resume_parser() -> argparse.ArgumentParser:
    """The command line with `--resume`: all else is in the run's config."""
    command = parser_of("demos.captioner", __doc__)
    command.add_argument("--resume", dest="path", type=Path, required=True, metavar="RUN", help="the folder of a run")
    return command


def tell_parser() -> argparse.ArgumentParser:
    """The command line after `tell`."""
    command = parser_of("demos.captioner", __doc__, "tell")
    command.add_argument("path", type=Path, metavar="RUN", help="the folder of a run")
    command.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="image files")
    command.add_argument("--beams", type=count, help="1: greedy (3; 1 with --temperature)")
    command.add_argument("--temperature", type=at_least_0, default=0.0, help="above 0: draw each word (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    return command


def compare_parser() -> argparse.ArgumentParser:
    """The command line after `compare`."""
    command = parser_of("demos.captioner", __doc__, "compare")
    command.add_argument("paths", type=Path, nargs="+", metavar="RUN", help="folders of runs on the same images")
    command.add_argument("--out", type=Path, default=Path("compared.html"), help="the page (%(default)s)")
    return command


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    with told_in_one_line("captioner"):
        if words[:1] == ["tell"]:
            args = vars(tell_parser().parse_args(words[1:]))
            tell_of(**args)
        elif words[:1] == ["compare"]:
            compare(**vars(compare_parser().parse_args(words[1:])))
        elif goes_on(words):
            resume(**vars(resume_parser().parse_args(words)))
        else:
            args = train_parser().parse_args(words)
            train(training_options(args), args.out)


if __name__ == "__main__":
    main()
