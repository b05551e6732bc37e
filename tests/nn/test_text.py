"""nn.text: characters and bytes to ids and back, corpora and their errors."""

from __future__ import annotations

import itertools
import json
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn import text as module
from nn.text import (
    CORPORA,
    ByteVocabulary,
    Corpus,
    Vocabulary,
    as_ids,
    load_corpus,
    read_text,
    split,
    standard_library,
)

any_character = st.characters() | st.characters(categories=["Cs"])  # lone surrogates too
texts = st.text(any_character, min_size=1)


@given(texts)
def test_ids_count_the_sorted_distinct_characters(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == [sorted(set(text)).index(character) for character in text]
    assert len(vocabulary) == len(set(text))
    assert vocabulary.decode(ids) == text


@given(texts)
def test_vocabulary_survives_json(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert Vocabulary(json.loads(json.dumps(vocabulary.characters))) == vocabulary


@given(texts, st.text(any_character))
def test_encode_names_what_is_outside(known: str, text: str) -> None:
    vocabulary = Vocabulary.of(known)
    outside = [i for i, character in enumerate(text) if character not in known]
    if not outside:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    with pytest.raises(ValueError, match=f"vocabulary's {len(vocabulary)} characters") as error:
        vocabulary.encode(text)
    for i in outside[:5]:
        assert f"{text[i]!r} at position {i}" in str(error.value)
    assert ("more" in str(error.value)) == (len(outside) > 5)


@pytest.mark.parametrize("characters", ["", "ba", "aa"])
def test_vocabulary_refuses_what_is_not_sorted_and_distinct(characters: str) -> None:
    with pytest.raises(ValueError, match="character"):
        Vocabulary(characters)


def test_empty_text_has_no_vocabulary_but_encodes() -> None:
    with pytest.raises(ValueError, match="expected at least one, got none"):
        Vocabulary.of("")
    assert Vocabulary("a").encode("").tolist() == []
    assert Vocabulary("a").decode([]) == ""


@pytest.mark.parametrize("wrong", [-1, 3])
def test_decode_refuses_ids_outside(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"V = 3, got {wrong} at position 1"):
        Vocabulary("abc").decode([0, wrong])


def test_ids_are_one_row_of_integers() -> None:
    with pytest.raises(TypeError, match="float64"):
        as_ids([0.0])
    with pytest.raises(ValueError, match=re.escape("(1, 2)")):
        as_ids([[0, 1]])
    assert as_ids(np.array([1, 2], dtype=np.uint8)).dtype == np.int64


@pytest.mark.parametrize("text", ["a\r\nb\rc\n", "\ufeffmark", "\U0001f600 é \0"])
def test_read_text_gives_the_file_but_for_its_mark_and_cr_lf(tmp_path: Path, text: str) -> None:
    (tmp_path / "text").write_bytes(text.encode())
    assert read_text(tmp_path / "text", as_bytes=True) == text
    assert read_text(tmp_path / "text") == text.removeprefix("\ufeff").replace("\r\n", "\n")


@pytest.mark.parametrize("bad", [b"\xff", b"\xe9 in Latin 1", "\ud800".encode("utf-8", "surrogatepass")])
def test_read_text_says_where_a_file_is_not_utf8(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes("é: ".encode() + bad)
    with pytest.raises(ValueError, match=r"offset 4.*iconv") as error:
        read_text(path)
    assert str(path) in str(error.value)


def test_read_text_refuses_what_holds_no_text(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path, kind, message in [
        (tmp_path / "missing", FileNotFoundError, "there is none"),
        (tmp_path, IsADirectoryError, "got a directory"),
        (tmp_path / "empty", ValueError, "got an empty file"),
    ]:
        with pytest.raises(kind, match=message) as error:
            read_text(path)
        assert str(path) in str(error.value)


def test_load_corpus_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("roses", encoding="utf-8")
    assert load_corpus(str(path)) == ("roses", str(path))
    monkeypatch.setitem(CORPORA, "poem", lambda: Corpus("violets", "a poem"))
    assert load_corpus("poem") == ("violets", "a poem")
    assert set(load_corpus("hello").text) == set("helo")


def test_unknown_corpus_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"stdlib, hello.*'shakespear'"):
        load_corpus("shakespear")


def test_standard_library_takes_plain_code_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {
        "ast.py": b"one",
        "json/deep/decoder.py": b"two\r\n2",
        "json/tests/test_decoder.py": b"a test",
        "encodings/cp037.py": b"a table",
        "csv.py": "déjà vu".encode(),
        "heapq.py": b"\xff",
        "html/entities.py": b"x" * 70_000,
        "site-packages/numpy/__init__.py": b"somebody else's",
        "sitecustomize.py": b"this machine's",
        "ast.pyc": b"compiled",
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(source)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert standard_library().text in ("one\ntwo\n2\n", "two\n2\none\n")
    monkeypatch.setattr(module, "STDLIB_CHARACTERS", 5)
    assert standard_library().text in ("one\nt", "two\n2")


def test_standard_library_mixes_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(sys.stdlib_module_names - {"stringprep"})
    for name in names:
        (tmp_path / f"{name}.py").write_text(name, encoding="ascii")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    lines = standard_library().text.splitlines()
    assert sorted(lines) == names
    neighbours = sum(after[0] == before[0] for before, after in itertools.pairwise(lines))
    assert neighbours < len(names) / 2  # alphabetically, nearly every module would follow one of its initial


def test_standard_library_without_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="text file"):
        standard_library()


def test_standard_library_is_the_same_each_time_and_alike_throughout() -> None:
    corpus = load_corpus("stdlib")
    assert corpus == load_corpus("stdlib")
    assert corpus.text.isascii()
    assert len(corpus.text) <= 2_000_000
    vocabulary = Vocabulary.of(corpus.text)
    train, validation = (np.bincount(part, minlength=128) for part in split(vocabulary.encode(corpus.text)))
    assert abs(train / train.sum() - validation / validation.sum()).sum() < 0.2


@given(st.integers(10, 1000))
def test_split_takes_the_last_tenth(N: int) -> None:
    train, validation = split(np.arange(N))
    assert len(validation) == N // 10
    assert np.concatenate([train, validation]).tolist() == list(range(N))


@pytest.mark.parametrize(("N", "fraction"), [(0, 0.1), (9, 0.1), (10, 0.0), (10, 1.0)])
def test_split_refuses_an_empty_part(N: int, fraction: float) -> None:
    with pytest.raises(ValueError, match=f"{N} characters"):
        split(np.arange(N), fraction)


# ---- bytes


@given(st.binary(min_size=1))
def test_any_bytes_come_back_from_their_ids(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a"
    path.write_bytes(data)
    text = read_text(path, as_bytes=True)
    vocabulary = ByteVocabulary.of(text)
    assert len(vocabulary) == len(set(data))
    ids = vocabulary.encode(text)
    assert len(ids) == len(data)
    assert vocabulary.characters.encode("latin-1") == bytes(sorted(set(data)))
    assert vocabulary.decode(ids) == data.decode("utf-8", "replace")


def test_a_byte_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the vocabulary's 6 characters only"):
        ByteVocabulary.of("무정").encode("한")
