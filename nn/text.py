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
    """A sequence of character ids as an int64 array, the same one where it is one already.

    Args:
        ids: integers of shape (N,).
        V: vocabulary size; None: ids of any size will do.

    Raises:
        TypeError: ids that are not integers.
        ValueError: ids that are not one row, or outside 0..V-1.

    >>> as_ids([2, 0, 1], V=3)
    array([2, 0, 1])
    """
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"ids: expected one sequence of shape (N,), got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"ids: expected integers, got dtype {array.dtype}")
    if V is not None and ((array < 0) | (array >= V)).any():
        i = np.flatnonzero((array < 0) | (array >= V))[0]
        raise ValueError(f"ids: expected integers in 0..V-1 with V = {V}, got {array[i]} at position {i}")
    return array.astype(np.int64, copy=False)


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a text; a character's id is its place among them in code point order.

    Args:
        characters: all of them, as one sorted string, which can be stored (as JSON, say); `of` finds those of a text.

    Raises:
        ValueError: no characters, or unsorted or repeated ones.

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
            raise ValueError("characters: expected at least one, got none; take them from a text that is not empty")
        if list(self.characters) != sorted(set(self.characters)):
            raise ValueError(
                f"characters: expected them sorted and distinct, got {self.characters!r}; "
                "Vocabulary.of(text) takes any text"
            )

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The vocabulary of a text; ValueError for an empty one."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        """The vocabulary size V."""
        return len(self.characters)

    def encode(self, text: str) -> Ids:
        """The ids of a text's characters, of shape (N,); ValueError for a character outside the vocabulary."""
        points, known = _code_points(text), _code_points(self.characters)
        ids = np.searchsorted(known, points)
        outside = np.flatnonzero(known[np.minimum(ids, len(self) - 1)] != points)
        if len(outside):
            listed = ", ".join(f"{text[i]!r} at position {i}" for i in outside[:5])
            more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
            raise ValueError(
                f"text: expected the vocabulary's {len(self)} characters only, got {listed}{more}; "
                "leave them out, or use a model trained on a text that has them"
            )
        return ids.astype(np.int64, copy=False)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids of shape (N,); ValueError for ids outside 0..V-1."""
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
        """The vocabulary of a text's bytes; ValueError for an empty text."""
        return cls(Vocabulary.of(_bytes_as_characters(text)).characters)

    def encode(self, text: str) -> Ids:
        """The ids of a text's bytes, of shape (N,); ValueError for a byte outside the vocabulary."""
        return super().encode(_bytes_as_characters(text))

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids of shape (N,); ValueError for ids outside 0..V-1."""
        return super().decode(ids).encode("latin-1").decode("utf-8", "replace")


def _bytes_as_characters(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


# --- corpora ---


class Corpus(NamedTuple):
    """A text and its name."""

    text: str  #: what to learn from
    label: str  #: what to call it in front of people


def hello() -> Corpus:
    """The lecture's "hello" (V = 4), repeated to 100,000 characters.

    >>> hello().text[:12]
    'hellohellohe'
    """
    return Corpus("hello" * 20_000, 'the lecture\'s "hello", repeated')


def standard_library() -> Corpus:
    """2,000,000 characters of the Python sources of this interpreter's own standard library.

    Whole ASCII files (a few files' accented letters would widen the vocabulary for nothing), without
    tests and tables, in the order of a hash of their paths: the same interpreter always gives the same
    text, and any stretch of it is a fair sample of the packages, so that training and validation look
    alike.

    Raises:
        FileNotFoundError: the interpreter comes without sources.

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
        raise FileNotFoundError(f"{root}: expected Python sources, found none; name a text file as the corpus instead")
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
    """The text and label of a corpus.

    Args:
        name: one of `CORPORA`, or else the path of a text file.
        as_bytes: how to read the file, as for `read_text`.

    Raises:
        ValueError: neither a known name nor a path; and what `read_text` raises.

    >>> load_corpus("hello").label
    'the lecture\\'s "hello", repeated'
    """
    if name in CORPORA:
        return CORPORA[name]()
    if not Path(name).exists():
        raise ValueError(
            f"corpus: expected {', '.join(CORPORA)} or the path of a text file, got {name!r}, which is none of them"
        )
    return Corpus(read_text(name, as_bytes), name)


def read_text(path: str | Path, as_bytes: bool = False) -> str:
    """The text of a UTF-8 file, without a byte-order mark, and with LF for every CR LF.

    Args:
        path: the file.
        as_bytes: leave nothing out, change nothing, and take any file: what is not UTF-8 becomes lone surrogates,
            for `ByteVocabulary` to make bytes of again.

    Raises:
        FileNotFoundError: nothing is there.
        IsADirectoryError: a folder is.
        ValueError: an empty file or, where text is wanted, one that is not UTF-8 (lone surrogates included).
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a text file, got a directory; name one file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a text file, but there is none; check the path")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path}: expected text, got an empty file")
    try:
        if as_bytes:
            return data.decode("utf-8", "surrogateescape")
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8, got byte {data[error.start]:#04x} at offset {error.start} "
            f"({error.reason}); convert it from the encoding it has, by "
            f"iconv -f ENCODING -t UTF-8 {path} > utf8.txt"
        ) from error


# --- parts ---


def split(ids: Ids, fraction: float = 0.1) -> tuple[Ids, Ids]:
    """The training part of a text and its last part, for validation; both share its memory.

    Args:
        ids: integers of shape (N,).
        fraction: how much of the text is for validation.

    Raises:
        ValueError: a part would be empty.

    >>> split(np.arange(20))[1]
    array([18, 19])
    """
    validation = int(len(ids) * fraction)
    if not 0 < validation < len(ids):
        raise ValueError(
            f"ids: expected a character or more for each part, got {validation} of {len(ids)} characters in the last "
            f"{fraction:g}; use a longer text or another fraction"
        )
    return ids[:-validation], ids[-validation:]
