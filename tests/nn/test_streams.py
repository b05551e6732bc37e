"""nn.streams: the chunks of truncated BPTT, of one text and of documents."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nn.streams import IGNORED, Documents, Streams, document_ends

sizes = st.integers(1, 12)


@given(T=sizes, B=sizes, extra=st.integers(0, 200))
def test_streams_are_contiguous_and_go_on_from_chunk_to_chunk(T: int, B: int, extra: int) -> None:
    N = T * B + 1 + extra
    streams = Streams(np.arange(N), T, B)  # each id is its own position in the text
    L = (N - 1) // B
    assert len(streams) == L // T >= 1
    for k, (x, y, fresh, lengths) in enumerate(streams):
        assert fresh.tolist() == [k == 0] * B
        assert lengths is None
        assert x.shape == y.shape == (T, B)
        assert x.dtype == y.dtype == np.int64
        np.testing.assert_array_equal(x, np.arange(B) * L + np.arange(k * T, k * T + T)[:, None])
        np.testing.assert_array_equal(y, x + 1)
    assert k == len(streams) - 1


@given(T=sizes, B=sizes, extra=st.integers(0, 50), k=st.integers(0, 10**9))
def test_chunks_repeat_each_epoch(T: int, B: int, extra: int, k: int) -> None:
    streams = Streams(np.arange(T * B + 1 + extra), T, B)
    for now, then in zip(streams.chunk(k), streams.chunk(k + len(streams)), strict=True):
        np.testing.assert_array_equal(now, then)
    assert streams.chunk(k).fresh.all() == (streams.chunk(k).x[0, 0] == 0)


@given(T=sizes, B=sizes, data=st.data())
def test_too_short_a_text_says_what_would_fit(T: int, B: int, data: st.DataObject) -> None:
    N = data.draw(st.integers(0, T * B))
    with pytest.raises(ValueError, match=f"{T * B + 1} characters.*got {N};") as error:
        Streams(np.arange(N), T, B)
    if N >= 2:  # fewer characters hold no pair (x, y) at all
        advice = {name: int(n) for name, n in re.findall(r"([TB]) to (\d+)", str(error.value))}
        assert len(Streams(np.arange(N), **({"T": T, "B": B} | advice))) >= 1


@pytest.mark.parametrize(("T", "B"), [(0, 1), (1, 0), (-2, -2)])
def test_streams_refuse_sizes_below_one(T: int, B: int) -> None:
    with pytest.raises(ValueError, match=f"T = {T} and B = {B}"):
        Streams(np.arange(10), T, B)


def test_writing_to_a_chunk_leaves_the_text_alone() -> None:
    ids = np.arange(13)
    for chunk in (Streams(ids, T=3, B=2).chunk(0), *Documents(ids, T=3, B=1, separator=[5])):
        chunk.x[:] = chunk.y[:] = 99
    assert ids.tolist() == list(range(13))


# ---- documents


@given(st.text("ab.", min_size=2, max_size=40), sizes, st.integers(1, 4), st.sampled_from([".", "..", "b"]))
def test_documents_give_every_character_once_with_its_own_past(text: str, T: int, B: int, separator: str) -> None:
    ids, mark = (np.array([ord(c) for c in part]) for part in (text, separator))
    ends = document_ends(ids, mark)
    assume(len(ends) >= B)
    # an end is behind a separator, of adjoining ends the last, or the end of the text
    behind = [i for i in range(2, len(ids)) if text[:i].endswith(separator) and not text[: i + 1].endswith(separator)]
    assert ends.tolist() == sorted({*behind, len(ids)})
    documents = Documents(ids, T, B, mark)
    begun, seen = [np.full(0, 0)] * B, []
    for chunk in documents:
        for b in range(B):
            n = chunk.lengths[b]
            assert (chunk.y[n:, b] == IGNORED).all()
            if (chunk.y[:, b] == IGNORED).all():
                continue  # this stream is through
            begun[b] = chunk.y[:n, b] if chunk.fresh[b] else np.append(begun[b], chunk.y[:n, b])
            np.testing.assert_array_equal(chunk.x[1:n, b], chunk.y[: n - 1, b])
            seen += [(b, tuple(chunk.y[:n, b]))]
    # stream after stream, the targets are the text but for its first character
    joined = [c for b in range(B) for stream, ys in seen if stream == b for c in ys]
    assert joined == ids[1:].tolist()


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 100))
def test_chunks_of_documents_depend_on_their_number_alone(T: int, B: int, k: int) -> None:
    ids = np.array([ord(c) for c in "one. two, and two. three. the fourth is long."])
    first, second = (Documents(ids, T, B, [ord(".")]) for _ in range(2))
    for i in range(3):
        first.chunk(i)
    for now, then in zip(first.chunk(k), second.chunk(k), strict=True):
        np.testing.assert_array_equal(now, then)
    assert (first.chunk(k).lengths >= 1).all()


def test_documents_that_are_too_few_or_have_no_separator_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of B = 4 streams, got 3; lower B to 3, or"):
        Documents(np.array([1, 0, 1, 0, 1]), 5, 4, [0])
    with pytest.raises(ValueError, match=r"got 0; lower B, or"):
        Documents(np.array([1]), 5, 1, [0])
    with pytest.raises(ValueError, match="at least one character"):
        Documents(np.array([1, 0, 1]), 5, 1, [])
