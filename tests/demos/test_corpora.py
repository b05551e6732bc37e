import hashlib
import urllib.parse

import pooch
import pytest

from demos import corpora


@pytest.mark.parametrize("name", corpora.DOWNLOADS)
def test_a_book_is_read_from_a_data_folder(name, tmp_path):
    book = corpora.DOWNLOADS[name]
    (tmp_path / book.file).write_text("무정 (1917)\n", encoding="utf-8")
    assert corpora.load_corpus(name, tmp_path) == ("무정 (1917)\n", book.label)


def test_a_book_that_is_not_in_the_folder_is_named_with_its_address(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mujeong\.txt in .*https://"):
        corpora.load_corpus("mujeong", tmp_path)


def test_a_book_is_downloaded_under_its_name_and_checked(tmp_path, monkeypatch):
    (tmp_path / "cached").write_text("text")
    asked = {}

    def retrieve(url, known_hash, fname, path, progressbar):
        asked.update(url=url, known_hash=known_hash, fname=fname)
        return str(tmp_path / "cached")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert corpora.load_corpus("shakespeare").text == "text"
    book = corpora.DOWNLOADS["shakespeare"]
    assert asked == dict(url=book.url, known_hash=book.sha256, fname=book.file)


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("another hash")])
def test_without_network_one_line_says_what_to_put_where(error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(ConnectionError, match=r"mujeong-gpt.*as mujeong\.txt into a folder .*--data-dir"):
        corpora.load_corpus("mujeong")


def test_addresses_are_pinned_and_hashes_whole():
    for book in corpora.DOWNLOADS.values():
        commit = urllib.parse.urlparse(book.url).path.split("/")[3]
        assert len(commit) == 40
        assert len(book.sha256) == hashlib.sha256().digest_size * 2


def test_an_unknown_name_lists_all(tmp_path):
    with pytest.raises(ValueError, match="stdlib, hello, shakespeare, war-and-peace, mujeong"):
        corpora.load_corpus("tolstoy")
