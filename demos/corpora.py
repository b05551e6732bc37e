"""Texts to learn from, by name: the standard library's sources, "hello", three books, or any text file."""

from pathlib import Path
from typing import NamedTuple

from nn import text
from nn.text import Corpus


class Download(NamedTuple):
    """A text that is fetched once and kept, checked by its SHA-256."""

    label: str
    file: str  # what it is called in a data folder
    url: str
    sha256: str


RAW = "https://raw.githubusercontent.com"
DOWNLOADS = {
    "shakespeare": Download(
        "works of Shakespeare",
        "tinyshakespeare.txt",
        f"{RAW}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "war-and-peace": Download(
        "Tolstoy's War and Peace",
        "war_and_peace.txt",
        f"{RAW}/MrHereward/machine_learning_sandbox/2d0fdf30f4afbcf01c1b8c7b408e738a0161d613/warpeace_input.txt",
        "b0fc81c399971eaf738c8be89809e6a0d95c151749112b04f06b6af648d8a39f",
    ),
    "mujeong": Download(
        "Yi Kwang-su's Mujeong",
        "mujeong.txt",
        f"{RAW}/mingyeong21/mujeong-gpt/5de2dee22a9e801d618c4c759090c648042e322d/data/input.txt",
        "1a43d287a674b2636ba92742937d5c9619b0ea4a17ca48e5f704444cfecf3d7d",
    ),
}
NAMES = (*text.CORPORA, *DOWNLOADS)


def load_corpus(name: str, data_dir: Path | None = None, as_bytes: bool = False) -> Corpus:
    """The text of a corpus: a name in `NAMES`, or else the path of a UTF-8 text file.

    Args:
        data_dir: where the books lie; None: they are downloaded, once, into the user's cache folder.
        as_bytes: as in `nn.text.read_text`.

    Raises:
        ValueError: neither a name nor a file, or a file that is not text.
        FileNotFoundError: a book that is not in `data_dir`.
        ConnectionError: a book that can't be downloaded; says where to put it instead.
    """
    if name not in DOWNLOADS:
        if name not in text.CORPORA and not Path(name).exists():
            raise ValueError(
                f"corpus: expected {', '.join(NAMES)} or the path of a text file, got {name!r}; "
                f"in {Path.cwd()} there is no such file"
            )
        return text.load_corpus(name, as_bytes)
    book = DOWNLOADS[name]
    return Corpus(text.read_text(found(book, data_dir) if data_dir else fetched(book), as_bytes), book.label)


def found(book: Download, data_dir: Path) -> Path:
    """The file of a book in a data folder."""
    path = data_dir / book.file
    if not path.exists():
        raise FileNotFoundError(f"--data-dir: expected {book.file} in {data_dir}; it comes from {book.url}")
    return path


def fetched(book: Download) -> Path:
    """The file of a book in the user's cache folder; downloaded where it is not there yet, or not as it should be."""
    import pooch

    folder = pooch.os_cache("minigrad")
    try:
        return Path(pooch.retrieve(book.url, book.sha256, book.file, folder, progressbar=True))
    except (OSError, ValueError) as error:  # no network; a file that is not what its SHA-256 says
        raise ConnectionError(
            f"{book.url} could not be downloaded ({type(error).__name__}); get it elsewhere, "
            f"and put it as {book.file} into a folder that you name with --data-dir"
        ) from error
