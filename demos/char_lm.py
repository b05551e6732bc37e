"""A character language model learns a text, and writes its own: RNN, LSTM or GRU by truncated BPTT.

python -m demos.char_lm                                   train on the Python standard library's sources
python -m demos.char_lm --corpus hello --cell rnn --one-hot --minutes 0.1
python -m demos.char_lm --resume runs/stdlib-lstm         go on with a run that was stopped
python -m demos.char_lm sample runs/stdlib-lstm --prompt "def "
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import minigrad as mg
import nn

from .char_model import CELLS, CharModel, vocabulary_of, write
from .char_training import SCHEDULES, Training
from .corpora import NAMES
from .run_folder import RunFolder


def train(options: dict[str, Any], path: Path | None) -> None:
    """Train a model, in a new folder."""
    folder = RunFolder(path or free_folder(options["corpus"], options["cell"]))
    finish(Training(options, folder, resume=False))


def resume(path: Path, data_dir: str | None) -> None:
    """Go on with the run of a folder, to the bits of a run that was never stopped."""
    folder = RunFolder(path)
    finish(Training(whole(folder.config(), path), folder, resume=True, data_dir=data_dir))


def finish(training: Training) -> None:
    """Run a training; where Ctrl-C ends it, say how to go on."""
    if not training.run():
        print(
            f"stopped after step {training.step:,}; to go on: python -m demos.char_lm --resume {training.folder.path}"
        )
        sys.exit(130)  # what a shell expects after Ctrl-C


def sample(path: Path, options: dict[str, Any], count: int, interactive: bool) -> None:
    """Print texts by the model of a run folder."""
    config = whole(RunFolder(path).config(), path)
    vocabulary, model = vocabulary_of(config), CharModel.of(config)
    model.load_state_dict(nn.load(path / "model.safetensors"))
    generator = mg.generator(options.pop("seed"))

    def show(prompt: str) -> None:
        texts = write(model, vocabulary, prompt, generator=generator, count=count, **options)
        print("\n\n---\n\n".join(texts))

    prompt = options.pop("prompt")
    if not interactive:
        show(prompt)
        return
    print("Each line is the beginning of a text; Ctrl-D ends.")
    for line in prompts():
        try:
            show(line or prompt)
        except ValueError as error:  # a character that the model does not know
            print(error)


def prompts() -> Any:
    """Lines that are typed in, until there are no more."""
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return


def whole(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The config of a run, if no field is missing."""
    expected = {*training_options(parse([])), "characters", "text_sha256"}
    if missing := sorted(expected - set(config)):
        raise ValueError(f"{path / 'config.json'}: expected the config of a run, but it has no {', '.join(missing)}")
    return config


def free_folder(corpus: str, cell: str) -> Path:
    """The first of runs/NAME, runs/NAME-2, ... that holds no run yet."""
    name = f"{Path(corpus).stem}-{cell}"
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(path for n in candidates if not (path := Path("runs") / n).exists())


def training_options(args: argparse.Namespace) -> dict[str, Any]:
    """What of the command line makes the run: all but its folder, which may move."""
    return {name: value for name, value in vars(args).items() if name != "out"}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line: `sample RUN ...`, `--resume RUN`, or else the options of a training run."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.char_lm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data_dir = dict(metavar="FOLDER", help="where the books lie, if they are not to be downloaded")
    if any(word.split("=")[0] == "--resume" for word in argv):
        parser.add_argument("--resume", type=Path, required=True, metavar="RUN", help="the folder of a run")
        parser.add_argument("--data-dir", **data_dir)
        return parser.parse_args(argv)
    parser.add_argument("--length", type=int, default=500, help="characters a sample has (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the likeliest character (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", help="what a sample begins with")
    if argv[:1] == ["sample"]:
        parser.add_argument("sample", type=Path, metavar="RUN", help="the folder of a run")
        parser.add_argument("--count", type=int, default=1, help="how many texts, drawn as one batch (%(default)s)")
        parser.add_argument("--interactive", action="store_true", help="continue what you type, line by line")
        parser.set_defaults(prompt="\n")
        return parser.parse_args(argv[1:])
    corpora = ", ".join(NAMES)
    parser.add_argument("--corpus", default="stdlib", help=f"{corpora}, or the path of a text file (%(default)s)")
    parser.add_argument("--data-dir", **data_dir)
    parser.add_argument("--bytes", action="store_true", help="read bytes, not characters: any file, V at most 256")
    parser.add_argument("--documents", type=unescaped, metavar="SEPARATOR",
                        help="the state begins anew after each SEPARATOR, as in '\\n\\n'")  # fmt: skip
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--hidden", type=int, default=256, help="H (%(default)s)")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--embedding", type=int, default=64, help="size of a character's vector (%(default)s)")
    parser.add_argument("--one-hot", action="store_true", help="characters as one-hot vectors, as in the lecture")
    parser.add_argument("--dropout", type=float, default=0.0, help="a probability (%(default)s)")
    parser.add_argument("--chunk", type=int, default=64, help="T, the steps of truncated BPTT (%(default)s)")
    parser.add_argument("--streams", type=int, default=32, help="B, the parallel streams (%(default)s)")
    parser.add_argument("--lr", type=float, default=4e-3, help="Adam's learning rate, the highest (%(default)s)")
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine", help="of the learning rate (%(default)s)")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=2.0,
                        help="of training, validation included; some first steps are timed, and fix --steps "
                        "(%(default)s)")  # fmt: skip
    parser.add_argument("--steps", type=int, help="bound the run by steps rather than by minutes")
    parser.add_argument("--out", type=Path, help="the run's folder (runs/CORPUS-CELL)")
    return parser.parse_args(argv)


def unescaped(text: str) -> str:
    r"""A text from the command line, where \n and \t are written as two characters."""
    return text.replace(r"\n", "\n").replace(r"\t", "\t")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; what is wrong with it ends in one line on stderr."""
    args = parse(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that can't show a character is no reason to stop
    try:
        if "resume" in args:
            resume(args.resume, args.data_dir)
        elif "sample" in args:
            options = {name: getattr(args, name) for name in ("prompt", "length", "temperature", "seed")}
            sample(args.sample, options, args.count, args.interactive)
        else:
            train(training_options(args), args.out)
    except (ValueError, OSError, FloatingPointError, mg.DeviceError, nn.CheckpointError) as error:
        sys.exit(f"char_lm: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
