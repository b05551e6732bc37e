"""Text as data for character models: corpora, and vocabularies of characters or bytes."""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

STDLIB_CHARACTERS = 2_000_000
LARGEST_SOURCE = 65_536  # bytes: many a larger file is a table, and one alone would fill the validation part
NOT_PLAIN_CODE = {"test", "tests", "idlelib", "encodings", "pydoc_data", "stringprep.py"}


# --- characters and ids ---


def as_ids(ids: npt.ArrayLike, V: int | None = None) -> Ids:
    """Return a sequence of character ids as an int64 array of shape (N,).

    Shares memory where `ids` is one already. Raises TypeError if they are not integers, and ValueError if
    they are not one row, or (where `V` is given) not all in 0..V-1.

    >>> as_ids([2, 0, 1], V=3)
    array([2, 0, 1])
    """
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"ids must be one sequence of shape (N,), but their shape is {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, but their dtype is {array.dtype}")
    if V is not None and ((array < 0) | (array >= V)).any():
        i = np.flatnonzero((array < 0) | (array >= V))[0]
        raise ValueError(f"ids must lie in 0..V-1 with V = {V}, but id {array[i]} stands at position {i}")
    return array.astype(np.int64, copy=False)


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a text; a character's id is its place among them in code point order.

    `characters` is the whole vocabulary as one sorted string, to be stored (as JSON, say) and passed to
    the constructor again, which raises ValueError if it is empty, unsorted or repeats a character.

    >>> vocabulary = Vocabulary.of("hello")
    >>> vocabulary.characters, len(vocabulary)
    ('ehlo', 4)
    >>> vocabulary.encode("hello")
    array([1, 0, 2, 2, 3])
    >>> vocabulary.decode([1, 0, 2, 2, 3])
    'hello'
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters:
            raise ValueError("a vocabulary needs at least one character, but the text is empty")
        if list(self.characters) != sorted(set(self.characters)):
            raise ValueError(
                f"characters must be sorted and distinct, but are {self.characters!r}: "
                "Vocabulary.of(text) takes any text"
            )

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Return the vocabulary of a text; an empty text raises ValueError."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        """The vocabulary size V."""
        return len(self.characters)

    def encode(self, text: str) -> Ids:
        """Return the ids of a text's characters, shape (N,); a character outside raises ValueError."""
        points, known = _code_points(text), _code_points(self.characters)
        ids = np.searchsorted(known, points)
        outside = np.flatnonzero(known[np.minimum(ids, len(self) - 1)] != points)
        if len(outside):
            listed = ", ".join(f"{text[i]!r} at position {i}" for i in outside[:5])
            more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
            raise ValueError(
                f"text must keep to the vocabulary's {len(self)} characters, but has {listed}{more}: "
                "leave them out, or use a model trained on a text that has them"
            )
        return ids.astype(np.int64, copy=False)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of ids of shape (N,); ids outside 0..V-1 raise ValueError."""
        points = _code_points(self.characters)[as_ids(ids, V=len(self))]
        return points.tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True)
class ByteVocabulary(Vocabulary):
    """The distinct bytes of a text's UTF-8 form, for models that read bytes: at most 256, in any language.

    Byte b stands in `characters` as the character of code point b. A byte that was no UTF-8 in the file, a lone
    surrogate in the text (`read_text` with as_bytes=True), is itself again. Bytes that a model
    strings together to no character are decoded to U+FFFD.

    >>> vocabulary = ByteVocabulary.of("무정")
    >>> vocabulary.encode("무")
    array([4, 2, 3])
    >>> vocabulary.decode([4, 2, 3, 4])
    '무\N{REPLACEMENT CHARACTER}'
    """

    @classmethod
    def of(cls, text: str) -> ByteVocabulary:
        """Return the vocabulary of a text's bytes; an empty text raises ValueError."""
        return cls(Vocabulary.of(_bytes_as_characters(text)).characters)

    def encode(self, text: str) -> Ids:
        """Return the ids of a text's bytes, shape (N,); a byte outside raises ValueError."""
        return super().encode(_bytes_as_characters(text))

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of ids of shape (N,); ids outside 0..V-1 raise ValueError."""
        return super().decode(ids).encode("latin-1").decode("utf-8", "replace")


def _bytes_as_characters(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


# --- corpora ---


class Corpus(NamedTuple):
    """A text to learn from, and what to call it in front of people."""

    text: str
    label: str


def hello() -> Corpus:
    """Return the lecture's "hello" (V = 4), repeated to 100,000 characters.

    >>> hello().text[:12]
    'hellohellohe'
    """
    return Corpus("hello" * 20_000, 'the lecture\'s "hello", repeated')


def standard_library() -> Corpus:
    """Return 2,000,000 characters of the Python sources of this interpreter's own standard library.

    Whole ASCII files (a few files' accented letters would widen the vocabulary for nothing), without
    tests and tables, in the order of a hash of their paths: the same interpreter always gives the same
    text, and any stretch of it is a fair sample of the packages, so that training and validation look
    alike. Raises FileNotFoundError where the interpreter comes without sources.

    >>> standard_library() == standard_library()
    True
    """
    root = Path(sysconfig.get_path("stdlib"))
    text = ""
    for path in sorted(_library_sources(root), key=lambda path: _hash(path.relative_to(root))):
        source = path.read_bytes()
        if len(source) <= LARGEST_SOURCE and source.isascii():
            text += source.decode("ascii").replace("\r\n", "\n") + "\n"
        if len(text) >= STDLIB_CHARACTERS:
            break
    if not text:
        raise FileNotFoundError(f"no Python sources under {root}: name a text file as the corpus instead")
    return Corpus(text[:STDLIB_CHARACTERS], f"the standard library of Python {platform.python_version()}")


def _library_sources(root: Path) -> Iterator[Path]:
    for module in sorted(sys.stdlib_module_names):  # not every file under root: site-packages lies there too
        for path in (*root.glob(f"{module}.py"), *root.glob(f"{module}/**/*.py")):
            if NOT_PLAIN_CODE.isdisjoint(path.relative_to(root).parts):
                yield path


def _hash(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode()).hexdigest()


CORPORA: dict[str, Callable[[], Corpus]] = {"stdlib": standard_library, "hello": hello}


def load_corpus(name: str, as_bytes: bool = False) -> Corpus:
    """Return the text and label of a corpus: a name in `CORPORA`, or else the path of a UTF-8 text file.

    Raises ValueError, listing the known names, if `name` is neither, and what `read_text`, which gets
    `as_bytes`, raises.

    >>> load_corpus("hello").label
    'the lecture\\'s "hello", repeated'
    """
    if name in CORPORA:
        return CORPORA[name]()
    if not Path(name).exists():
        raise ValueError(
            f"corpus must be {', '.join(CORPORA)} or the path of a text file, but {name!r} is none of them"
        )
    return Corpus(read_text(name, as_bytes), name)


def read_text(path: str | Path, as_bytes: bool = False) -> str:
    r"""Return the text of a UTF-8 file, without a byte-order mark, and its ends of line all \n.

    With `as_bytes` nothing is left out or changed, and any file will do: what is not UTF-8 becomes lone surrogates,
    for `ByteVocabulary` to make bytes of again.

    Raises FileNotFoundError or IsADirectoryError if there is no such file, and ValueError if it is empty or, where
    text is wanted, not UTF-8 (lone surrogates included), each naming the path.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a text file, but is a directory: name one file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path} must be a text file, but does not exist")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} must hold text, but is empty")
    try:
        if as_bytes:
            return data.decode("utf-8", "surrogateescape")
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be UTF-8, but byte {data[error.start]:#04x} at offset {error.start} is not "
            f"({error.reason}): convert it from the encoding it has, as in "
            f"iconv -f ISO-8859-1 -t UTF-8 {path} > utf8.txt"
        ) from error


# --- parts ---


def split(ids: Ids, fraction: float = 0.1) -> tuple[Ids, Ids]:
    """Return the training part of a text and its last `fraction`, the validation part.

    Both share memory with `ids`, of shape (N,). Raises ValueError if either would be empty.

    >>> split(np.arange(20))[1]
    array([18, 19])
    """
    validation = int(len(ids) * fraction)
    if not 0 < validation < len(ids):
        raise ValueError(
            f"ids must leave a character for both parts, but the last {fraction:g} of {len(ids)} characters "
            f"is {validation}: use a longer text or another fraction"
        )
    return ids[:-validation], ids[-validation:]
