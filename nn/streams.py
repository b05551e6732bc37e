"""A text in chunks, as truncated BPTT reads it: parallel streams of T steps, of one text or of documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .text import Ids, as_ids


class Chunk(NamedTuple):
    """T steps of B parallel streams, as truncated BPTT reads them."""

    x: Ids  #: (T, B)
    y: Ids  #: (T, B), the characters that follow; `IGNORED` where there is none
    fresh: npt.NDArray[np.bool_]  #: (B,), the streams that begin anew here, whose recurrent state is to be reset
    lengths: Ids | None = None  #: (B,), the steps that count, where not all do


IGNORED = -100  # a target that adds nothing to the loss: `cross_entropy`'s default


class Streams:
    """A text cut into B contiguous streams, read T steps at a time: the chunks of truncated BPTT.

    Stream b covers ids[b L : b L + L] with L = (N - 1) // B, and chunk k its steps k T .. k T + T - 1, so
    every stream goes on in the next chunk where it stopped in this one and the recurrent state can be
    carried along. A chunk is a function of k alone: training resumes at step k with `chunk(k)`. The
    steps that fill no chunk (fewer than T a stream) are left out. `len` is the number of chunks in an epoch;
    iterating gives one epoch.

    Args:
        ids: integers of shape (N,).
        T: steps a chunk.
        B: parallel streams, the batch.

    Raises:
        TypeError: ids that are not integers.
        ValueError: T or B below 1, or a text shorter than one chunk: T B + 1 characters.

    >>> streams = Streams(np.arange(14), T=3, B=2)
    >>> chunk = streams.chunk(1)
    >>> chunk.x.T
    array([[ 3,  4,  5],
           [ 9, 10, 11]])
    >>> chunk.y.T
    array([[ 4,  5,  6],
           [10, 11, 12]])
    >>> len(streams), [bool(streams.chunk(k).fresh.all()) for k in range(4)]
    (2, [True, False, True, False])
    """

    def __init__(self, ids: npt.ArrayLike, T: int, B: int) -> None:
        ids = as_ids(ids)
        _check_sizes(T, B)
        N = len(ids)
        if N <= T * B:
            lower = f"lower B to {(N - 1) // T}" if N > T else f"lower T to {max(N - 1, 1)} and B to 1"
            raise ValueError(
                f"ids: expected T * B + 1 = {T * B + 1} characters or more, for one chunk of T = {T} steps of "
                f"B = {B} streams, got {N}; {lower}, or use a longer text"
            )
        L = (N - 1) // B
        self.T = T
        self._chunks = L // T
        self._x = ids[: B * L].reshape(B, L).T  # (L, B)
        self._y = ids[1 : B * L + 1].reshape(B, L).T  # (L, B)

    def __len__(self) -> int:
        """The number of chunks in an epoch."""
        return self._chunks

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks of one epoch in order."""
        return map(self.chunk, range(len(self)))

    def chunk(self, k: int) -> Chunk:
        """Chunk k, counted on through all epochs; the first of an epoch is fresh."""
        start = k % len(self) * self.T
        steps = slice(start, start + self.T)
        x, y = np.array(self._x[steps], order="C"), np.array(self._y[steps], order="C")
        return Chunk(x, y, np.full(x.shape[1], start == 0))


class Documents:
    """A text of many documents as the chunks of truncated BPTT, each document on its own.

    A document ends with its separator. It is read in pieces of at most T steps, from the character before it (the
    last of the separator) on; where a document begins, `fresh` says so, and where a piece is shorter than T, `lengths`
    do. Each of the B streams has its share of the documents, in order, and begins again when it is through. `len` is
    the number of chunks after which every stream is through; iterating gives these, with every piece once.

    Args:
        ids: integers of shape (N,).
        T: steps a chunk, at most.
        B: parallel streams, the batch.
        separator: the ids that end a document, of shape (S,), S >= 1; of repeated ones the last counts.

    Raises:
        TypeError: ids that are not integers.
        ValueError: T or B below 1, fewer than B documents, or an empty separator.

    >>> from nn.text import Vocabulary
    >>> ids = Vocabulary.of("ab.abcde.").encode("ab.abcde.")
    >>> chunk = Documents(ids, T=4, B=2, separator=ids[2:3]).chunk(0)
    >>> chunk.x.T, chunk.y.T
    (array([[1, 2, 0, 0],
           [0, 1, 2, 3]]), array([[   2,    0, -100, -100],
           [   1,    2,    3,    4]]))
    >>> chunk.fresh, chunk.lengths
    (array([ True,  True]), array([2, 4]))
    """

    def __init__(self, ids: npt.ArrayLike, T: int, B: int, separator: npt.ArrayLike) -> None:
        self._ids, self.T = as_ids(ids), T
        _check_sizes(T, B)
        ends = document_ends(self._ids, as_ids(separator))
        if len(ends) < B:
            raise ValueError(
                f"ids: expected a document for each of B = {B} streams, got {len(ends)}; "
                f"lower B{f' to {len(ends)}' if len(ends) else ''}, or use another separator"
            )
        starts = np.append(1, ends[:-1])  # nothing comes before the first character, so it is no target
        pieces = [(start, stop) for first, end in zip(starts, ends, strict=True) for start, stop in _cut(first, end, T)]
        self._start, self._stop = np.array(pieces, np.int64).T  # (P,)
        self._fresh = np.isin(self._start, starts)
        self.documents = len(ends)  #: how many there are
        documents = np.flatnonzero(self._fresh)  # (number of documents,), the first piece of each
        shares = [share[0] for share in np.array_split(documents, B)]
        self._first = np.array(shares)  # (B,), the first piece of each stream
        self._count = np.diff([*shares, len(pieces)])  # (B,), how many it has

    def __len__(self) -> int:
        """The number of chunks after which every stream is through."""
        return int(self._count.max())

    def __iter__(self) -> Iterator[Chunk]:
        """Every piece once; a stream that is through has ignored targets only."""
        for k in range(len(self)):
            chunk = self.chunk(k)
            chunk.y[:, k >= self._count] = IGNORED
            yield chunk

    def chunk(self, k: int) -> Chunk:
        """Chunk k, counted on for ever: each stream's piece k, modulo how many it has."""
        piece = self._first + k % self._count  # (B,)
        start, stop = self._start[piece], self._stop[piece]
        position = start + np.arange(self.T)[:, None]  # (T, B)
        counts = position < stop
        position = np.where(counts, position, start)
        x = np.where(counts, self._ids[position - 1], 0)
        y = np.where(counts, self._ids[position], IGNORED)
        return Chunk(x, y, self._fresh[piece], stop - start)


def document_ends(ids: Ids, separator: Ids) -> Ids:
    """Where the documents of a text end, behind their separators, of shape (M,); the text's end is one.

    Args:
        ids: of shape (N,), N >= 2.
        separator: of shape (S,).

    Raises:
        ValueError: an empty separator.

    >>> document_ends(np.array([5, 0, 6, 0, 0, 7]), np.array([0]))
    array([2, 5, 6])
    """
    S, N = len(separator), len(ids)
    if not S:
        raise ValueError("separator: expected at least one character, got none")
    found = np.zeros(N + 1, bool)
    if N >= S:
        found[S:] = (np.lib.stride_tricks.sliding_window_view(ids, S) == separator).all(axis=1)
    found[:-1] &= ~found[1:]  # an end right behind an end is the same end
    found[N], found[:2] = True, False  # a document of the first character alone has no target
    return np.flatnonzero(found).astype(np.int64, copy=False)


def _cut(start: int, stop: int, T: int) -> Iterator[tuple[int, int]]:
    return ((i, min(i + T, stop)) for i in range(start, stop, T))


def _check_sizes(T: int, B: int) -> None:
    if T < 1 or B < 1:
        raise ValueError(f"T and B: expected 1 or more each, got T = {T} and B = {B}")
