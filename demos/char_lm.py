"""A character language model learns a text, and writes its own: RNN, LSTM or GRU by truncated BPTT.

python -m demos.char_lm                                   train on the Python standard library's sources
python -m demos.char_lm --corpus hello --cell rnn --one-hot --minutes 0.1
python -m demos.char_lm --resume runs/stdlib-lstm         go on with a run that was stopped
python -m demos.char_lm sample runs/stdlib-lstm --prompt "def "
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import minigrad as mg

from .char_model import CELLS, CharModel, continuations, vocabulary_of
from .char_training import Training, read
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
from .corpora import NAMES
from .run_folder import RunFolder
from .running import blas_on


def train(options: dict[str, Any], path: Path | None) -> None:
    """Train a model, in a new folder."""
    data = read(options, options["data_dir"])
    config = options | dict(prompt=data.prompt, characters=data.vocabulary.characters, text_sha256=data.sha256)
    folder = folder_of(path or free_folder(f"{Path(options['corpus']).stem}-{options['cell']}"))
    folder.check_new()
    begin_run(Training, config, data, folder)


def resume(path: Path, data_dir: str | None) -> None:
    """Go on with the run of a folder, to the bits of a run that was never stopped."""
    folder = folder_of(path)
    config = config_of(folder)
    data = read(config, data_dir or config["data_dir"])
    if data.sha256 != config["text_sha256"]:
        raise ValueError(f"--resume: {config['corpus']} is not the text any more that this run began with")
    resume_run(Training, config, data, folder)


def sample(path: Path, prompt: str | None, seed: int, count: int, interactive: bool, **options: Any) -> None:
    """Print texts by the model of a run folder."""
    folder = folder_of(path)
    config = config_of(folder)
    vocabulary, model = vocabulary_of(config), CharModel.of(config)
    folder.read_model(model)
    generator = mg.generator(seed)

    def show(prompt: str) -> None:
        options["separator"] = config["documents"]
        with blas_on(1):  # for products as small as these
            texts = continuations(model, vocabulary, prompt, generator=generator, count=count, **options)
        print("\n\n---\n\n".join(texts))

    if not interactive:
        show(prompt or config["prompt"])
        return
    print("Each line is the beginning of a text; Ctrl-D ends.")
    for line in typed_lines():
        try:
            show(line or prompt or config["prompt"])
        except ValueError as error:  # a character that the model does not know
            print(error)


def typed_lines() -> Iterator[str]:
    """Lines from the keyboard, until there are no more."""
    with suppress(ImportError):  # which is not everywhere
        import readline  # noqa: F401 (it makes input() edit lines)
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return


def folder_of(path: Path) -> RunFolder:
    """The folder of a run, there already or not."""
    return RunFolder(path, counted="characters")


def config_of(folder: RunFolder) -> dict[str, Any]:
    """The config of the run in a folder."""
    like = training_options(train_parser().parse_args([])) | dict(prompt="", characters="", text_sha256="")
    return whole_config(folder, like, choices={"cell": CELLS})


def add_sampling_options(command: argparse.ArgumentParser) -> None:
    """What training and sampling have in common."""
    command.add_argument("--length", type=count, default=500, help="characters a sample has (%(default)s)")
    command.add_argument("--temperature", type=at_least_0, default=0.8, help="0: the likeliest character (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    command.add_argument("--prompt", help="what a sample begins with (a new line, where the text has any)")


def add_data_dir(command: argparse.ArgumentParser) -> None:
    """What training and going on have in common."""
    command.add_argument("--data-dir", metavar="FOLDER", help="where the books lie, if they are not to be downloaded")


def sample_parser() -> argparse.ArgumentParser:
    """The command line after `sample`."""
    command = parser_of("demos.char_lm", __doc__, "sample")
    command.add_argument("path", type=Path, metavar="RUN", help="the folder of a run")
    command.add_argument("--count", type=count, default=1, help="how many texts, drawn as one batch (%(default)s)")
    command.add_argument("--interactive", action="store_true", help="continue what you type, line by line")
    add_sampling_options(command)
    return command


def resume_parser() -> argparse.ArgumentParser:
    """The command line with `--resume`: all else is in the run's config."""
    command = parser_of("demos.char_lm", __doc__)
    command.add_argument("--resume", dest="path", type=Path, required=True, metavar="RUN", help="the folder of a run")
    add_data_dir(command)
    return command


def train_parser() -> argparse.ArgumentParser:
    """The command line of a new run."""
    command = parser_of("demos.char_lm", __doc__)
    add = command.add_argument
    corpora = ", ".join(NAMES)
    add("--corpus", default="stdlib", help=f"{corpora}, or the path of a text file (%(default)s)")
    add_data_dir(command)
    add("--bytes", action="store_true", help="read bytes, not characters: any file, V at most 256")
    add("--documents", type=unescaped, metavar="SEPARATOR", help="the state begins anew after each, as in '\\n\\n'")
    add("--cell", choices=CELLS, default="lstm", help="(%(default)s)")
    add("--hidden", type=int, default=256, help="H (%(default)s)")
    add("--layers", type=int, default=1, help="(%(default)s)")
    add("--embedding", type=count, default=64, help="size of a character's vector (%(default)s)")
    add("--one-hot", action="store_true", help="characters as one-hot vectors, as in the lecture")
    add("--dropout", type=float, default=0.0, help="a probability (%(default)s)")
    add("--chunk", type=int, default=32, help="T, the steps of truncated BPTT (%(default)s)")
    add("--streams", type=int, default=32, help="B, the parallel streams (%(default)s)")
    add_training_options(command, lr=4e-3, minutes=2.0, out="runs/CORPUS-CELL")
    add_sampling_options(command)
    return command


def unescaped(text: str) -> str:
    r"""A text from the command line, where \n and \t are written as two characters."""
    return text.replace(r"\n", "\n").replace(r"\t", "\t")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; what is wrong with it ends in one line on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    with told_in_one_line("char_lm"):
        if argv[:1] == ["sample"]:
            sample(**vars(sample_parser().parse_args(argv[1:])))
        elif goes_on(argv):
            resume(**vars(resume_parser().parse_args(argv)))
        else:
            args = train_parser().parse_args(argv)
            train(training_options(args), args.out)


if __name__ == "__main__":
    main()
