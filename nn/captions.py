"""Captioned photographs as data: readers of the formats people have, words and their ids, and batches of both."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import reprlib
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .checkpoint import write_whole
from .images import ImageError
from .streams import IGNORED
from .text import Ids, as_ids, read_text

TOLD = 20  # problems that are told one by one


class Problems:
    """What is wrong with single entries of a data set: each is noted and left out, or raised where that is wanted.

    Readers and batches report to it. The same problem, met again in the next epoch, is noted once.

    Args:
        strict: raise the first.
        tell: called with the line of each, up to 20 of them; they go to stderr by default.

    >>> problems = Problems(tell=print)
    >>> problems.report(ValueError("a.jpg: it is damaged"))
    a.jpg: it is damaged; left out
    >>> problems.report(ValueError("a.jpg: it is damaged"))
    >>> len(problems.lines)
    1
    """

    def __init__(self, strict: bool = False, tell: Callable[[str], object] | None = None) -> None:
        self.strict = strict
        self.lines: dict[str, None] = {}  #: all of them, in order
        self._tell = tell or (lambda line: print(line, file=sys.stderr))

    def report(self, problem: ValueError) -> None:
        """Note a problem, or raise it."""
        if self.strict:
            raise problem
        if (line := f"{problem}; left out") in self.lines:
            return
        self.lines[line] = None
        if len(self.lines) <= TOLD:
            self._tell(line)
        elif len(self.lines) == TOLD + 1:
            self._tell(f"more than {TOLD} problems; the others are counted, but not told")


# --- words and ids ---


class _WordCharacters(dict[int, str]):
    """For `str.translate`: letters, marks, digits and apostrophes stay, all else becomes a space."""

    def __missing__(self, point: int) -> str:
        kept = unicodedata.category(chr(point))[0] in "LMN" or chr(point) == "'"
        self[point] = chr(point) if kept else " "
        return self[point]


_WORD_CHARACTERS = _WordCharacters({ord("’"): "'"})


def words(caption: str) -> list[str]:
    """The words of a caption: its runs of letters, marks and digits, in lower case.

    An apostrophe within a word belongs to it; all other punctuation and symbols go. The rule is of Unicode's
    categories, after normalisation (NFC): it fits every language that puts spaces between its words.

    >>> words("A dog's red-white ball, 2 m away!")
    ['a', "dog's", 'red', 'white', 'ball', '2', 'm', 'away']
    >>> words("공을 쫓는 개.")
    ['공을', '쫓는', '개']
    """
    text = unicodedata.normalize("NFC", caption.lower())
    return [word for run in text.translate(_WORD_CHARACTERS).split() if (word := run.strip("'"))]


@dataclass(frozen=True)
class WordVocabulary:
    """The words that a captioner knows, whose ids are 3 and on; 0 begins a caption, 1 ends it, 2 is every other word.

    Args:
        words: all of them, sorted, which can be stored (as JSON, say); `of` finds those of captions.

    Raises:
        ValueError: no words, unsorted or repeated ones, or what is no word.

    >>> vocabulary = WordVocabulary.of(["A dog runs.", "A red dog."], minimum=2)
    >>> vocabulary.words, len(vocabulary)
    (('a', 'dog'), 5)
    >>> vocabulary.encode("A dog sleeps")
    array([3, 4, 2])
    >>> vocabulary.decode([0, 3, 4, 2, 1, 4])
    'a dog <UNK>'
    """

    words: tuple[str, ...]

    START, END, UNK = range(3)
    SPECIAL = ("<START>", "<END>", "<UNK>")

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))  # JSON has lists only
        if not self.words:
            raise ValueError("words: expected at least one, got none; lower the minimum count, or use other captions")
        if wrong := [word for word in self.words if not isinstance(word, str) or words(word) != [word]]:
            raise ValueError(f"words: expected single words in lower case, got {wrong[0]!r:.40}")
        if list(self.words) != sorted(set(self.words)):
            raise ValueError("words: expected them sorted and distinct; WordVocabulary.of(captions) takes any captions")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, len(self.SPECIAL))}

    @classmethod
    def of(cls, captions: Iterable[str], minimum: int = 1) -> WordVocabulary:
        """The words that are in the captions `minimum` times or more; ValueError where there are none."""
        counts = Counter(word for caption in captions for word in words(caption))
        return cls(tuple(sorted(word for word, count in counts.items() if count >= minimum)))

    def __len__(self) -> int:
        """The vocabulary size V, with the three ids that are no words."""
        return len(self.SPECIAL) + len(self.words)

    def encode(self, caption: str) -> Ids:
        """The ids of a caption's words, of shape (N,), without those of its beginning and end."""
        return np.array([self._ids.get(word, self.UNK) for word in words(caption)], np.int64)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The words of ids of shape (N,) up to the first END; ValueError for ids outside 0..V-1."""
        named = []
        for i in as_ids(ids, V=len(self)).tolist():
            if i == self.END:
                break
            if i != self.START:
                named.append((*self.SPECIAL, *self.words)[i])
        return " ".join(named)

    @property
    def fingerprint(self) -> str:
        """V and a digest of the words, for a model to note which vocabulary it was trained with."""
        return f"{len(self)}-{hashlib.sha256(' '.join(self.words).encode()).hexdigest()[:16]}"

    def save(self, path: str | Path) -> None:
        """Write it to a JSON file, whole or not at all; CheckpointError if it can't be."""
        contents = {"fingerprint": self.fingerprint, "words": self.words}
        write_whole(Path(path), json.dumps(contents, ensure_ascii=False, indent=0).encode())

    @classmethod
    def load(cls, path: str | Path, fingerprint: str | None = None) -> WordVocabulary:
        """Read what `save` wrote.

        Args:
            path: the file.
            fingerprint: that of the vocabulary which the model was trained with; None takes any.

        Raises:
            ValueError: the file is damaged or no vocabulary, or one of another run; and what `read_text` raises.
        """
        text = read_text(path)
        try:
            contents = json.loads(text)
            vocabulary = cls(contents["words"])
            if contents["fingerprint"] != vocabulary.fingerprint:
                raise ValueError("words: expected those that were saved, got others")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError(
                f"{path}: expected a vocabulary, but it is damaged or none ({error}); use a copy"
            ) from error
        if fingerprint not in (None, vocabulary.fingerprint):
            raise ValueError(
                f"{path}: expected the vocabulary {fingerprint} (V and digest), got {vocabulary.fingerprint}: it is of "
                "another run than the model; give the one that was saved beside the model"
            )
        return vocabulary


# --- readers ---


class Captioned(NamedTuple):
    """An image file and the captions that people wrote for it."""

    image: Path  #: the file
    captions: tuple[str, ...]  #: one or more, as they were written


class Entry(NamedTuple):
    """A caption as a file has it."""

    where: str  #: in the file
    image: str  #: the name of the image
    caption: str


Entries = Callable[[Path, str, Problems], Iterator[Entry]]  # of a path and the file's text


def read_coco(
    path: str | Path, image_folder: str | Path, split_list: str | Path | None = None, problems: Problems | None = None
) -> list[Captioned]:
    """Read COCO's caption annotations: JSON with images (id, file_name) and annotations (image_id, caption).

    All readers take the same arguments and raise the same. No image is opened.

    Args:
        path: the file of captions.
        image_folder: where the images are that it names.
        split_list: a file with the name of an image a line: only these are wanted.
        problems: what is told of captions that are empty or damaged or name no image, and of images without a caption,
            each with its file and line or place; they are left out. None tells on stderr.

    Raises:
        OSError: a file that can't be read.
        ValueError: a file that is cut short, of another format, not UTF-8, or without any caption that can be used; a
            problem, where `problems` is strict. Its line begins with the file's name.
    """
    return gathered(Path(path), coco_entries, image_folder, split_list, problems)


def read_flickr8k(
    path: str | Path, image_folder: str | Path, split_list: str | Path | None = None, problems: Problems | None = None
) -> list[Captioned]:
    """Read Flickr8k's token file, with lines of a name, #, a number, a tab and a caption; see `read_coco`.

    Flickr8k's splits are the files Flickr_8k.trainImages.txt, devImages and testImages, for `split_list`.
    """
    return gathered(Path(path), flickr8k_entries, image_folder, split_list, problems)


def read_csv(
    path: str | Path, image_folder: str | Path, split_list: str | Path | None = None, problems: Problems | None = None
) -> list[Captioned]:
    """Read a CSV file with the header image,caption, the form in which Kaggle has Flickr8k; see `read_coco`."""
    return gathered(Path(path), csv_entries, image_folder, split_list, problems)


def read_captions(
    path: str | Path, image_folder: str | Path, split_list: str | Path | None = None, problems: Problems | None = None
) -> list[Captioned]:
    """Read captions of any format that there is a reader for, told by what the file says; see `read_coco`."""
    return gathered(Path(path), entries_of_any_format, image_folder, split_list, problems)


def coco_entries(path: Path, text: str, problems: Problems) -> Iterator[Entry]:
    """The captions of COCO's JSON, each with its place among the annotations."""
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected COCO's JSON, but it is cut short or damaged ({error}); get a copy"
        ) from None
    if not has(contents, images=(list,), annotations=(list,)):
        raise ValueError(
            f"{path}: expected COCO's captions, a JSON object with the lists images and annotations, got "
            f"{reprlib.repr(contents)}; give a file such as captions_val2017.json"
        )
    names: dict[Any, str] = {}
    for i, image in enumerate(contents["images"]):
        if has(image, id=(int, str), file_name=(str,)) and image["id"] not in names:
            names[image["id"]] = image["file_name"]
        else:
            problems.report(ValueError(f"{path}: images[{i}]: expected a new id and a file_name, got {image!r:.80}"))
    captioned = set()
    for i, one in enumerate(contents["annotations"]):
        if not has(one, image_id=(int, str), caption=(str,)):
            problems.report(ValueError(f"{path}: annotations[{i}]: expected image_id and caption, got {one!r:.80}"))
        elif one["image_id"] not in names:
            problems.report(ValueError(f"{path}: annotations[{i}]: no image has the id {one['image_id']!r:.40}"))
        else:
            captioned.add(one["image_id"])
            yield Entry(f"annotations[{i}]", names[one["image_id"]], one["caption"])
    for key, name in names.items():
        if key not in captioned:
            problems.report(ValueError(f"{path}: the image {name!r:.80} with id {key!r:.40} has no caption"))


TOKEN_LINE = re.compile(r"(.+)#\d+\t(.*)")


def flickr8k_entries(path: Path, text: str, problems: Problems) -> Iterator[Entry]:
    """The captions of a token file, each with its line."""
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, for which more than line feeds ends a line
        if match := TOKEN_LINE.fullmatch(line):
            yield Entry(f"line {number}", match[1], match[2])
        elif line.strip():
            expected = "expected NAME#NUMBER, a tab and a caption"
            problems.report(ValueError(f"{path}: line {number}: {expected}, got {line!r:.80}"))


HEADER = ["image", "caption"]


def csv_entries(path: Path, text: str, problems: Problems) -> Iterator[Entry]:
    """The captions of a CSV file, each with its line."""
    rows = csv_rows(path, text, problems)
    number, header = next(rows, (1, []))
    if [name.strip().lower() for name in header] != HEADER:
        raise ValueError(f"{path}: line {number}: expected the header image,caption, got {','.join(header)!r:.80}")
    for number, row in rows:
        if len(row) == len(HEADER):
            yield Entry(f"line {number}", *row)
        else:
            problems.report(
                ValueError(
                    f"{path}: line {number}: expected an image and a caption, got {len(row)} fields; "
                    "put a caption with commas between quotation marks"
                )
            )


def csv_rows(path: Path, text: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file and the lines where they begin.

    What is quoted may go on in the next line. A mark that nobody closes would so take thousands of lines with it; only
    its own is left out.
    """
    lines = text.split("\n")
    i = 0
    while i < len(lines):
        rows = csv.reader((f"{lines[j]}\n" for j in range(i, len(lines))), strict=True)
        try:
            row, taken = next(rows), rows.line_num
        except csv.Error as error:
            row, taken = [], 1
            mend = 'end what is quoted by ", and write "" for a mark inside'
            problems.report(ValueError(f"{path}: line {i + 1}: its quotation marks are wrong ({error}); {mend}"))
        if any(row):
            yield i + 1, row
        i += taken


def entries_of_any_format(path: Path, text: str, problems: Problems) -> Iterator[Entry]:
    """The captions of a file of any format."""
    for beginning, entries in FORMATS:
        if beginning.search(text):
            return entries(path, text, problems)
    raise ValueError(
        f"{path}: expected COCO's JSON, a CSV file with the header image,caption, or Flickr8k's tokens (NAME#NUMBER, a "
        f"tab, a caption), got {text.lstrip()[:40]!r}"
    )


FORMATS: list[tuple[re.Pattern[str], Entries]] = [
    (re.compile(r"\A\s*[{\[]"), coco_entries),
    (re.compile(r'\A\s*"?image"?\s*,\s*"?caption', re.IGNORECASE), csv_entries),
    (re.compile(r"^.+#\d+\t", re.MULTILINE), flickr8k_entries),
]


def has(entry: Any, **types: tuple[type, ...]) -> bool:
    """Whether an entry of JSON is an object with these keys, with values of these types."""
    return isinstance(entry, dict) and all(type(entry.get(key)) in wanted for key, wanted in types.items())


def gathered(
    path: Path, entries: Entries, image_folder: str | Path, split_list: str | Path | None, problems: Problems | None
) -> list[Captioned]:
    """The captions of a file by their images, in the file's order; see `read_coco`."""
    problems = problems or Problems()
    before = len(problems.lines)
    wanted = None if split_list is None else listed(Path(split_list))
    if not Path(image_folder).is_dir():
        raise ValueError(f"{image_folder}: expected the folder of the images that {path} names, but it is none")
    is_there: dict[str, bool] = {}
    captions: dict[str, list[str]] = {}
    for where, name, caption in entries(path, read_text(path), problems):
        if wanted is not None and name not in wanted:
            continue
        if name not in is_there:
            is_there[name] = os.path.isfile(image := Path(image_folder, name))
            if not is_there[name]:
                missing = f"there is no file {str(image)!r:.200}" if name.strip() else "the name is empty"
                problems.report(ValueError(f"{path}: {where}: names no image: {missing}"))
        if not words(caption):
            problems.report(ValueError(f"{path}: {where}: expected a caption, got {caption!r:.40}, without a word"))
        elif is_there[name]:
            captions.setdefault(name, []).append(caption)
    for name, number in (wanted or {}).items():
        if name not in is_there:
            problems.report(ValueError(f"{split_list}: line {number}: {name!r:.80} has no caption in {path}"))
    if not captions:
        first = next(islice(problems.lines, before, None), "it has no captions")
        raise ValueError(
            f"{path}: expected captions of the images in {image_folder}, got none that can be used; the first problem: "
            f"{first}"
        )
    return [Captioned(Path(image_folder, name), tuple(captions[name])) for name in captions]


def listed(split_list: Path) -> dict[str, int]:
    """The names in a split list, each with its line."""
    lines = enumerate(read_text(split_list).split("\n"), 1)
    return {line.strip(): number for number, line in lines if line.strip()}


# --- batches ---


class CaptionBatch(NamedTuple):
    """B captions, each beside its image, as teacher forcing reads them."""

    images: npt.NDArray[np.floating[Any]]  #: (B, ...), of each what `read` gave
    x: Ids  #: (T, B), START and the words; END behind them
    y: Ids  #: (T, B), the words and END, one ahead of x; `IGNORED` behind it
    lengths: Ids  #: (B,), the steps that count
    items: Ids  #: (B,), the places of the images in the data


def teacher_forced(captions: Sequence[Ids]) -> tuple[Ids, Ids, Ids]:
    """Captions, each the ids of its words, as a captioner reads them: x, y and lengths of a `CaptionBatch`.

    >>> x, y, lengths = teacher_forced([np.array([7, 8]), np.array([9])])
    >>> x.T, y.T, lengths
    (array([[0, 7, 8],
           [0, 9, 1]]), array([[   7,    8,    1],
           [   9,    1, -100]]), array([3, 2]))
    """
    lengths = np.array([len(ids) + 1 for ids in captions])
    x = np.full((lengths.max(), len(captions)), WordVocabulary.END)
    y = np.full_like(x, IGNORED)
    for b, ids in enumerate(captions):
        x[: len(ids) + 1, b] = [WordVocabulary.START, *ids]
        y[: len(ids) + 1, b] = [*ids, WordVocabulary.END]
    return x, y, lengths


class CaptionBatches:
    """Batches of images and captions, shuffled in every epoch, of which no more than one is in memory.

    Each pair of an image and one of its captions comes once an epoch; the last batch may be smaller. A batch is a
    function of k and the seed alone: training resumes at step k with `batch(k)`. `len` is the number of batches in an
    epoch; iterating gives the first. An image that can't be read is reported, and the pair that follows in the epoch's
    order stands in its place.

    Args:
        data: images and their captions, as a reader gives them.
        vocabulary: gives the ids of the words.
        B: captions a batch.
        read: from the path of an image to an array, of one shape for all: `read_image` with a size, or a
            `FeatureCache`. What it raises as ImageError is a problem of that image alone.
        seed: of the order, not negative.
        problems: what is told of images that can't be read. None tells on stderr.

    Raises:
        ValueError: no data, or B below 1.

    >>> data = [Captioned(Path("a.jpg"), ("A dog.", "A red dog")), Captioned(Path("b.jpg"), ("A cat",))]
    >>> vocabulary = WordVocabulary(("a", "cat", "dog", "red"))
    >>> batches = CaptionBatches(data, vocabulary, B=3, read=lambda path: np.zeros((3, 8, 8), np.float32))
    >>> batch = batches.batch(0)
    >>> batch.images.shape, batch.items
    ((3, 3, 8, 8), array([1, 0, 0]))
    >>> batch.x.T
    array([[0, 3, 4, 1],
           [0, 3, 5, 1],
           [0, 3, 6, 5]])
    >>> batch.y.T
    array([[   3,    4,    1, -100],
           [   3,    5,    1, -100],
           [   3,    6,    5,    1]])
    """

    def __init__(
        self,
        data: Sequence[Captioned],
        vocabulary: WordVocabulary,
        B: int,
        read: Callable[[Path], npt.NDArray[np.floating[Any]]],
        seed: int = 0,
        problems: Problems | None = None,
    ) -> None:
        if not data or B < 1:
            raise ValueError(f"data and B: expected 1 or more each, got {len(data)} images and B = {B}")
        self._data, self._vocabulary, self._B, self._read, self._seed = data, vocabulary, B, read, seed
        self._problems = problems or Problems()
        counts = [len(item.captions) for item in data]
        self._item = np.repeat(np.arange(len(data)), counts)  # (N,), of each pair
        self._first = np.cumsum([0, *counts])  # of each image, the first of its pairs
        self._epoch, self._order = -1, self._item  # the order is that of this epoch; of none yet

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self._item) // self._B)

    def __iter__(self) -> Iterator[CaptionBatch]:
        """The batches of the first epoch in order."""
        return map(self.batch, range(len(self)))

    def batch(self, k: int) -> CaptionBatch:
        """Batch k, counted on through all epochs; ImageError if no image at all can be read."""
        epoch, place = divmod(k, len(self))
        if epoch != self._epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._item))
            self._epoch, self._order = epoch, order
        start = place * self._B
        found = [self._readable(i) for i in range(start, min(start + self._B, len(self._order)))]
        x, y, lengths = teacher_forced([self._vocabulary.encode(self._caption(pair)) for pair, _ in found])
        items = np.array([self._item[pair] for pair, _ in found])
        return CaptionBatch(np.stack([image for _, image in found]), x, y, lengths, items)

    def _readable(self, i: int) -> tuple[int, npt.NDArray[np.floating[Any]]]:
        """The first pair from place i of the order on, and round, whose image can be read; and that image."""
        for j in range(i, i + len(self._order)):
            pair = int(self._order[j % len(self._order)])
            try:
                return pair, self._read(self._data[self._item[pair]].image)
            except ImageError as error:
                self._problems.report(error)
        raise ImageError(f"{self._data[0].image}: no image can be read, of {len(self._data)} beside it; check them")

    def _caption(self, pair: int) -> str:
        item = self._item[pair]
        caption: str = self._data[item].captions[pair - self._first[item]]
        return caption
