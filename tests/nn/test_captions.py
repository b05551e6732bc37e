"""nn.captions: readers that skip what is bad and say so, words and ids, batches that are a function of k."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn.captions import (
    CaptionBatches,
    Captioned,
    Problems,
    WordVocabulary,
    read_captions,
    read_coco,
    read_csv,
    read_flickr8k,
    words,
)
from nn.images import ImageError
from nn.streams import IGNORED

any_caption = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("aB'’. 개\n"))
sentences = st.lists(st.sampled_from(["a", "red", "dog", "공을", "runs"]), min_size=1, max_size=9).map(" ".join)

# ---- words and ids


@given(any_caption)
def test_words_are_lower_case_and_their_own_words(caption: str) -> None:
    found = words(caption)
    assert words(" ".join(found)) == found
    for word in found:
        assert word == word.lower()
        assert re.fullmatch(r"[^\s!-&(-/:-@\[-`{-~]+", word)
    assert words(caption.upper().lower()) == words(caption.upper())


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man's hat, isn’t it?", ["a", "man's", "hat", "isn't", "it"]),
        ("'quoted' ''", ["quoted"]),
        ("빨간 공을 쫓는 개 두 마리.", ["빨간", "공을", "쫓는", "개", "두", "마리"]),
        ("개", ["개"]),  # decomposed, as some systems write it
        ("हिन्दी में", ["हिन्दी", "में"]),  # with marks, which \w leaves out
        ("snake_case 3.5km…", ["snake", "case", "3", "5km"]),
        (" . ! ", []),
    ],
)
def test_words_of_many_languages(caption: str, expected: list[str]) -> None:
    assert words(caption) == expected


@given(st.lists(sentences, min_size=1), st.integers(1, 3))
def test_a_vocabulary_has_the_words_of_the_minimum_count(captions: list[str], minimum: int) -> None:
    all_words = " ".join(captions).split()
    expected = sorted({word for word in all_words if all_words.count(word) >= minimum})
    if not expected:
        with pytest.raises(ValueError, match="lower the minimum count"):
            WordVocabulary.of(captions, minimum)
        return
    vocabulary = WordVocabulary.of(captions, minimum)
    assert list(vocabulary.words) == expected
    assert len(vocabulary) == len(expected) + 3
    for caption in captions:
        ids = vocabulary.encode(caption)
        assert ids.dtype == np.int64
        known = [word if word in expected else "<UNK>" for word in caption.split()]
        assert vocabulary.decode(ids) == " ".join(known)
        assert vocabulary.decode([vocabulary.START, *ids, vocabulary.END, *ids]) == " ".join(known)


@given(st.lists(any_caption, min_size=1))
def test_a_vocabulary_survives_json_and_its_file(tmp_path_factory: Any, captions: list[str]) -> None:
    if not any(map(words, captions)):
        return
    vocabulary = WordVocabulary.of(captions)
    assert WordVocabulary(json.loads(json.dumps(vocabulary.words))) == vocabulary
    path = tmp_path_factory.getbasetemp() / "vocabulary.json"
    vocabulary.save(path)
    assert WordVocabulary.load(path, vocabulary.fingerprint) == vocabulary


@pytest.mark.parametrize("wrong", [[], ["b", "a"], ["a", "a"], ["A"], ["a b"], [""], [7], ["<END>"]])
def test_what_is_no_vocabulary_is_refused(wrong: list[Any]) -> None:
    with pytest.raises(ValueError, match="words: expected"):
        WordVocabulary(tuple(wrong))


def test_ids_outside_are_refused() -> None:
    with pytest.raises(ValueError, match="V = 4, got 4 at position 1"):
        WordVocabulary(("a",)).decode([0, 4])


def test_a_damaged_vocabulary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    vocabulary = WordVocabulary(("a", "cat", "dog"))
    vocabulary.save(path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole.rstrip()))]
    damaged += [whole.replace(b'"dog"', b'"dot"'), whole.replace(b'"dog"', b'"do"'), whole.replace(b"words", b"ids")]
    damaged += [b"[]", b"7", b'{"words": 7}', b"[" * 100_000, b"\xff\xfe"]
    for contents in damaged:
        path.write_bytes(contents)
        with pytest.raises(ValueError, match=r"vocabulary, but it is damaged|empty file|expected UTF-8") as error:
            WordVocabulary.load(path)
        assert str(error.value).startswith(f"{path}: ")


def test_the_vocabulary_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    model = WordVocabulary(("a", "cat", "dog"))
    for other in (("a", "cat"), ("a", "cat", "dot")):  # of another V, and of the same
        WordVocabulary(other).save(path)
        with pytest.raises(ValueError, match=r"of another run than the model") as error:
            WordVocabulary.load(path, model.fingerprint)
        assert str(error.value).startswith(f"{path}: expected the vocabulary 6-")


# ---- readers

CAPTIONS = {
    "a.jpg": ("A dog, red and small.", 'He says "no".'),
    "b b.jpg": ("고양이 한 마리", "A cat.", " A dog. "),
    "c#1.png": ("It isn't,\there.\u2028Or is it?\x85",),
}


def coco(captions: dict[str, tuple[str, ...]]) -> str:
    images = [{"id": i, "file_name": name} for i, name in enumerate(captions, 10)]
    notes = [{"image_id": i, "id": 7, "caption": c} for i, name in enumerate(captions, 10) for c in captions[name]]
    return json.dumps({"info": {}, "images": images, "annotations": notes})


def tokens(captions: dict[str, tuple[str, ...]]) -> str:
    return "".join(f"{name}#{i}\t{c}\n" for name in captions for i, c in enumerate(captions[name]))


def table(captions: dict[str, tuple[str, ...]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([("image", "caption"), *((name, c) for name in captions for c in captions[name])])
    return file.getvalue()


FORMATS: dict[str, tuple[Callable[..., str], Callable[..., list[Captioned]]]] = {
    "coco": (coco, read_coco),
    "flickr8k": (tokens, read_flickr8k),
    "csv": (table, read_csv),
}
each_format = pytest.mark.parametrize("kind", FORMATS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in CAPTIONS:
        (tmp_path / name).touch()
    return tmp_path


def expected(folder: Path, names: Any = CAPTIONS) -> list[Captioned]:
    return [Captioned(folder / name, CAPTIONS[name]) for name in names]


@each_format
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_format_is_read_whole_and_told_by_itself(folder: Path, kind: str, encoding: str, line_end: str) -> None:
    write, read = FORMATS[kind]
    text = write(CAPTIONS).replace("\r\n", "\n").replace("\n", line_end)
    (path := folder / "captions").write_bytes(text.encode(encoding))
    problems = Problems(strict=True)
    assert read(path, folder, problems=problems) == expected(folder)
    assert read_captions(path, folder, problems=problems) == expected(folder)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=9).filter(words), min_size=1, max_size=3
    )
)
def test_any_caption_survives_a_csv_file(tmp_path_factory: Any, captions: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "a.jpg").touch()
    (path := folder / "captions.csv").write_text(table({"a.jpg": tuple(captions)}), encoding="utf-8", newline="")
    assert read_csv(path, folder, problems=Problems(strict=True)) == [Captioned(folder / "a.jpg", tuple(captions))]


@each_format
def test_a_split_list_chooses(folder: Path, kind: str) -> None:
    write, read = FORMATS[kind]
    (path := folder / "captions").write_text(write(CAPTIONS), encoding="utf-8")
    (split_list := folder / "split.txt").write_text("c#1.png\r\n\na.jpg", encoding="utf-8")
    assert read(path, folder, split_list, Problems(strict=True)) == expected(folder, ["a.jpg", "c#1.png"])
    split_list.write_text("a.jpg\nz.jpg\n", encoding="utf-8")
    problems = Problems(tell=lambda line: None)
    assert read(path, folder, split_list, problems) == expected(folder, ["a.jpg"])
    assert [*problems.lines] == [f"{split_list}: line 2: 'z.jpg' has no caption in {path}; left out"]


# Additions to a file, each of which is one problem, and a part of its line.
BAD = {
    "coco": [
        ('"annotations": [', '"annotations": [{"image_id": 10, "caption": " .. "}, ', "annotations[0]: expected a cap"),
        ('"annotations": [', '"annotations": [{"image_id": 99, "caption": "A dog"}, ', "no image has the id 99"),
        ('"annotations": [', '"annotations": [{"image_id": [], "caption": "A dog"}, ', "annotations[0]: expected im"),
        ('"annotations": [', '"annotations": [7, ', "annotations[0]: expected image_id and caption, got 7"),
        ('"annotations": [', '"annotations": [{"image_id": 10, "caption": null}, ', "annotations[0]: expected image_i"),
        ('"images": [', '"images": [{"id": 1, "file_name": "a.jpg"}, ', "the image 'a.jpg' with id 1 has no caption"),
        ('"images": [', '"images": [{"id": 1}, ', "images[0]: expected a new id and a file_name"),
        ('"images": [', '"images": [null, ', "images[0]: expected a new id and a file_name, got None"),
        ('], "annotations"', ', {"id": 10, "file_name": "z.jpg"}], "annotations"', "images[3]: expected a new id and"),
        ("}]}", '}, {"image_id": 10, "caption": ""}]}', "annotations[6]: expected a caption, got ''"),
    ],
    "flickr8k": [
        ("a.jpg#0", "z.jpg.1#0\tA dog\na.jpg#0", "line 1: names no image: there is no file"),
        ("b b.jpg#0", "a.jpg#5\t \nb b.jpg#0", "line 3: expected a caption, got ' ', without a word"),
        ("b b.jpg#0", "a dog\nb b.jpg#0", "line 3: expected NAME#NUMBER, a tab and a caption, got 'a dog'"),
        ("b b.jpg#0", "#0\ta dog\nb b.jpg#0", "line 3: expected NAME#NUMBER"),
        ("b b.jpg#0", "..#0\ta dog\nb b.jpg#0", "line 3: names no image"),
        ("b b.jpg#0", f"{'a' * 5000}#0\ta dog\nb b.jpg#0", "line 3: names no image"),
        ("b b.jpg#0", "\0#0\ta dog\nb b.jpg#0", "line 3: names no image"),
    ],
    "csv": [
        ("image,caption", "image,caption\nz.jpg,A dog", "line 2: names no image"),
        ("image,caption", "image,caption\na.jpg,", "line 2: expected a caption, got ''"),
        ("image,caption", "image,caption\n,A dog", "line 2: names no image"),
        ("image,caption", "image,caption\na.jpg,A dog, red", "line 2: expected an image and a caption, got 3 fields"),
        ("image,caption", "image,caption\na.jpg", "line 2: expected an image and a caption, got 1 fields"),
        ("image,caption", 'image,caption\na.jpg,"A dog', "line 2: its quotation marks are wrong"),
        ("image,caption", 'image,caption\na.jpg,"A "dog""', "line 2: its quotation marks are wrong"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "at", "bad", "message"), [(kind, *case) for kind in BAD for case in BAD[kind]], ids=itertools.count()
)
def test_a_bad_entry_is_told_and_left_out_or_raised(folder: Path, kind: str, at: str, bad: str, message: str) -> None:
    write, read = FORMATS[kind]
    text = write(CAPTIONS)
    head, found, tail = text.rpartition(at) if at == "}]}" else text.partition(at)
    assert found
    (path := folder / "captions").write_text(head + bad + tail, encoding="utf-8", newline="")
    problems = Problems(tell=(told := []).append)
    assert read(path, folder, problems=problems) == expected(folder)
    assert told == [*problems.lines]
    (line,) = told
    assert line.startswith(f"{path}: ")
    assert message in line
    assert len(line) < 500
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as error:
        read(path, folder, problems=Problems(strict=True))
    assert f"{error.value}; left out" == line


@each_format
def test_every_beginning_of_a_file_is_refused_or_right(folder: Path, kind: str) -> None:
    write, read = FORMATS[kind]
    whole = write(CAPTIONS).encode()
    path = folder / "captions"
    every = {caption for captions in CAPTIONS.values() for caption in captions}
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        try:
            found = read(path, folder, problems=(problems := Problems(tell=lambda line: None)))
        except ValueError as error:
            line = str(error)
        else:
            assert kind != "coco"  # of JSON, no beginning is whole
            captions = [caption for item in found for caption in item.captions]
            cut = [caption for caption in captions if caption not in every]
            assert cut in ([], captions[-1:])
            assert len(problems.lines) <= 1
            continue
        assert line.startswith(f"{path}: ")


@each_format
@given(data=st.data())
def test_damaged_bytes_are_refused_or_told(tmp_path_factory: Any, kind: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in CAPTIONS:
        (folder / name).touch()
    damaged = bytearray(FORMATS[kind][0](CAPTIONS).encode())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=5)):
        damaged[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'{}[]",:\t\n#\\'))
    (path := folder / "captions").write_bytes(damaged)
    for read in (FORMATS[kind][1], read_captions):
        problems = Problems(tell=lambda line: None)
        try:
            found = read(path, folder, problems=problems)
        except ValueError as error:
            line = str(error)
        else:
            assert all(item.image.is_file() and all(map(words, item.captions)) for item in found)
            continue
        assert line.startswith(f"{path}: ")


def test_a_file_that_can_t_be_used_is_refused(folder: Path) -> None:
    path = folder / "captions"
    for read, contents, message in [
        (read_coco, b"[]", "lists images and annotations, got []"),
        (read_coco, b"[" + b"7," * 9999 + b"7]", "got [7, 7"),
        (read_coco, b'{"images": [], "annotations": {}}', "lists images and annotations"),
        (read_coco, b"[" * 100_000, "cut short or damaged"),
        (read_coco, b'{"images": [], "annotations": []}', "it has no captions"),
        (read_coco, b'{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}', "id 1 has no caption"),
        (read_csv, b"a.jpg,A dog\n", "line 1: expected the header image,caption, got 'a.jpg,A dog'"),
        (read_csv, b"image;caption\na.jpg;A dog\n", "line 1: expected the header"),
        (read_csv, b"\n\n", "line 1: expected the header"),
        (read_csv, b"image,caption\nz.jpg,A dog\n", "line 2: names no image"),
        (read_flickr8k, b"image,caption\n", "line 1: expected NAME#NUMBER"),
        (read_captions, b"<html>", "expected COCO's JSON, a CSV file"),
        (read_captions, b"a.jpg#0\tCaf\xe9", "expected UTF-8, got byte 0xe9 at offset 11"),
        (read_captions, "a.jpg#0\tA dog".encode("utf-16"), "expected UTF-8"),
        (read_captions, b"", "empty file"),
    ]:
        path.write_bytes(contents)
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            read(path, folder, problems=Problems(tell=lambda line: None))
        assert str(error.value).startswith(f"{path}: ")
        assert len(str(error.value)) < 500
    with pytest.raises(FileNotFoundError, match="there is none"):
        read_captions(folder / "missing", folder)
    path.write_text(tokens(CAPTIONS), encoding="utf-8")
    with pytest.raises(ValueError, match=r"elsewhere: expected the folder of the images that .*captions names"):
        read_captions(path, folder / "elsewhere", problems=Problems(tell=lambda line: None))


def test_an_open_quotation_mark_takes_its_line_alone(folder: Path) -> None:
    rows = "a.jpg,A dog\n" * 50_000
    (path := folder / "captions.csv").write_text(f'image,caption\na.jpg,"A cat\n{rows}', encoding="utf-8")
    problems = Problems(tell=lambda line: None)
    ((_, captions),) = read_csv(path, folder, problems=problems)
    assert len(captions) == 50_000
    assert len(problems.lines) == 1


def test_problems_are_told_on_stderr_up_to_twenty(capsys: pytest.CaptureFixture[str]) -> None:
    problems = Problems()
    for i in [*range(9), *range(9), *range(30)]:
        problems.report(ValueError(f"line {i}"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:20] == [f"line {i}; left out" for i in range(20)]
    assert lines[20:] == ["more than 20 problems; the others are counted, but not told"]
    assert len(problems.lines) == 30


# ---- batches


def made(counts: list[int]) -> tuple[list[Captioned], WordVocabulary]:
    data = [
        Captioned(Path(f"{i}"), tuple(f"image {i} caption{' very' * j}" for j in range(count)))
        for i, count in enumerate(counts)
    ]
    return data, WordVocabulary.of(caption for item in data for caption in item.captions)


def number(path: Path) -> np.ndarray:
    return np.full((3, 2, 2), float(path.name), np.float32)


some_counts = st.lists(st.integers(1, 4), min_size=1, max_size=8)


@given(some_counts, st.integers(1, 9), st.integers(0, 3), st.integers(0, 3))
def test_each_pair_comes_once_an_epoch(counts: list[int], B: int, seed: int, epoch: int) -> None:
    data, vocabulary = made(counts)
    batches = CaptionBatches(data, vocabulary, B, number, seed)
    assert len(batches) == -(-sum(counts) // B)
    seen = []
    for k in range(epoch * len(batches), (epoch + 1) * len(batches)):
        images, x, y, lengths, items = batches.batch(k)
        T, b = x.shape
        assert b == min(B, sum(counts) - k % len(batches) * B)
        assert images.shape == (b, 3, 2, 2)
        assert images.dtype == np.float32
        assert y.shape == (T, b)
        assert {x.dtype, y.dtype, lengths.dtype, items.dtype} == {np.dtype(np.int64)}
        assert lengths.max() == T
        for j in range(b):
            n = lengths[j]
            assert x[0, j] == vocabulary.START
            np.testing.assert_array_equal(x[1:n, j], y[: n - 1, j])
            assert y[n - 1, j] == vocabulary.END
            assert (y[n:, j] == IGNORED).all()
            assert (x[n:, j] == vocabulary.END).all()
            assert (images[j] == items[j]).all()
            seen.append((items[j], vocabulary.decode(y[:n, j])))
    assert sorted(seen) == sorted((i, caption) for i, item in enumerate(data) for caption in item.captions)


@given(some_counts, st.integers(1, 5), st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_a_batch_depends_on_its_number_alone(counts: list[int], B: int, ks: list[int]) -> None:
    data, vocabulary = made(counts)
    batches = CaptionBatches(data, vocabulary, B, number, seed=5)
    for k in ks:
        for now, then in zip(batches.batch(k), CaptionBatches(data, vocabulary, B, number, 5).batch(k), strict=True):
            np.testing.assert_array_equal(now, then, strict=True)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    data, vocabulary = made([1] * 50)
    orders = [
        tuple(CaptionBatches(data, vocabulary, 50, number, seed).batch(k).items) for seed in range(4) for k in range(4)
    ]
    assert len(set(orders)) == 16
    assert tuple(range(50)) not in orders


def test_images_are_read_when_they_are_needed() -> None:
    data, vocabulary = made([2] * 6)
    read: list[Path] = []
    batches = CaptionBatches(data, vocabulary, 4, lambda path: read.append(path) or number(path))
    assert not read
    items = batches.batch(1).items
    assert [path.name for path in read] == [str(i) for i in items]


@given(some_counts, st.integers(1, 5), st.data())
def test_a_bad_image_is_told_once_and_another_stands_in_its_place(
    counts: list[int], B: int, data: st.DataObject
) -> None:
    items, vocabulary = made(counts)
    bad = data.draw(st.sets(st.integers(0, len(counts) - 1)))

    def read(path: Path) -> np.ndarray:
        if int(path.name) in bad:
            raise ImageError(f"{path}: bad")
        return number(path)

    problems = Problems(tell=lambda line: None)
    batches = CaptionBatches(items, vocabulary, B, read, problems=problems)
    if len(bad) == len(counts):
        with pytest.raises(ImageError, match="no image can be read, of"):
            batches.batch(0)
        return
    whole = CaptionBatches(items, vocabulary, B, number)
    for k in range(3 * len(batches)):
        found, without = batches.batch(k), whole.batch(k)
        assert not bad & set(found.items.tolist())
        good = [b for b in range(len(without.items)) if without.items[b] not in bad]
        assert found.items.shape == without.items.shape
        np.testing.assert_array_equal(found.items[good], without.items[good])
    assert sorted(problems.lines) == sorted(f"{i}: bad; left out" for i in bad)
    if bad:
        strict = CaptionBatches(items, vocabulary, sum(counts), read, problems=Problems(strict=True))
        with pytest.raises(ImageError, match=r"\d: bad$"):
            strict.batch(0)


def test_no_data_and_no_batch_are_refused() -> None:
    data, vocabulary = made([1])
    for wrong, B in [([], 1), (data, 0)]:
        with pytest.raises(ValueError, match=f"got {len(wrong)} images and B = {B}"):
            CaptionBatches(wrong, vocabulary, B, number)
