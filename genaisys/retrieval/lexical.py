"""BM25 over inverted indexes.

A :class:`Segment` is the inverted index of a run of chunks and never changes. A collection is a list of them: one big
one from the cache file, and small ones for what came since. Document frequencies, the number of chunks and their mean
length are always those of the chunks alive now, so the scores are the same however the chunks are spread over segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genaisys.retrieval.ranking import idf
from genaisys.retrieval.words import is_stop

# Fitted on the articles with an even number in SQuAD 1.1 dev.
BM25_K1 = 0.7
BM25_B = 0.75
MAX_RECENT_SEGMENTS = 8  # beyond that they are merged


@dataclass(frozen=True, eq=False)
class Segment:
    """The inverted index of N chunks with V distinct terms. Its rows are its chunks in ascending order of ids."""

    ids: npt.NDArray[np.int64]  # [N]
    lengths: npt.NDArray[np.int32]  # [N], terms that are not stop words
    terms: npt.NDArray[np.uint32]  # [V], ascending
    starts: npt.NDArray[np.int64]  # [V + 1], where the postings of each term begin
    rows: npt.NDArray[np.int32]  # [postings]
    counts: npt.NDArray[np.uint16]  # [postings], times that the term occurs in the row

    @classmethod
    def of(cls, ids: npt.NDArray[np.int64], passages: Sequence[npt.NDArray[np.uint32]]) -> "Segment":
        """Index the ``passages``, each the terms of one chunk, stop words included."""
        terms = np.concatenate([np.empty(0, np.uint32), *passages])  # [all terms]
        rows = np.repeat(np.arange(len(ids)), [len(passage) for passage in passages])
        content = ~is_stop(terms)
        terms, rows = terms[content], rows[content]
        pairs, counts = np.unique(terms.astype(np.uint64) << 32 | rows.astype(np.uint64), return_counts=True)
        return cls(
            ids,
            np.bincount(rows, minlength=len(ids)).astype(np.int32),
            *_starts((pairs >> 32).astype(np.uint32)),
            (pairs & 0xFFFFFFFF).astype(np.int32),
            counts.clip(max=0xFFFF).astype(np.uint16),
        )

    def postings(self, term: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]]:
        """The rows that hold ``term``, and how often."""
        place = int(np.searchsorted(self.terms, np.uint32(term)))
        if place == len(self.terms) or self.terms[place] != term:
            return self.rows[:0], self.counts[:0]
        span = slice(self.starts[place], self.starts[place + 1])
        return self.rows[span], self.counts[span]


def merge(segments: Sequence[Segment]) -> Segment:
    """One segment for all of ``segments``, whose ids must ascend from each to the next."""
    if len(segments) == 1:
        return segments[0]
    firsts = np.cumsum([0, *(len(segment.ids) for segment in segments)])
    terms = np.concatenate([np.repeat(segment.terms, np.diff(segment.starts)) for segment in segments])
    rows = np.concatenate([segment.rows + np.int32(first) for segment, first in zip(segments, firsts, strict=False)])
    order = np.argsort(terms, kind="stable")  # stable: the rows of a term stay ascending
    return Segment(
        np.concatenate([segment.ids for segment in segments]),
        np.concatenate([segment.lengths for segment in segments]),
        *_starts(terms[order]),
        rows[order],
        np.concatenate([segment.counts for segment in segments])[order],
    )


def _starts(terms: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The distinct terms of a sorted array, and where each begins. [postings] -> [V], [V + 1]"""
    distinct, starts = np.unique(terms, return_index=True)
    return distinct, np.append(starts, len(terms))


class Lexical:
    """BM25 search over segments, less what was deleted since they were made."""

    def __init__(self, base: Segment) -> None:
        self.base = base
        self._recent: list[Segment] = []
        self._deleted = np.empty(0, np.int64)
        self._count_living()

    def add(self, segment: Segment) -> None:
        """Take in a segment of chunks that are newer than all others."""
        self._recent.append(segment)
        if len(self._recent) > MAX_RECENT_SEGMENTS:
            self._recent = [merge(self._recent)]
        self._count_living()

    def delete(self, ids: npt.NDArray[np.int64]) -> None:
        """Ignore these chunks from now on."""
        self._deleted = np.union1d(self._deleted, ids)
        self._count_living()

    def idf(self, terms: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
        """The inverse document frequency of each term. [n] -> [n]"""
        frequencies = np.zeros(len(terms), np.int64)
        for segment, alive in zip(self._segments, self._alive, strict=True):
            for place, term in enumerate(terms):
                frequencies[place] += np.count_nonzero(alive[segment.postings(term)[0]])
        return idf(frequencies, self._chunks)

    def search(
        self, terms: npt.NDArray[np.uint32], n: int, allowed: npt.NDArray[np.int64] | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The ``n`` best chunks, in no order; fewer, if fewer hold any of the terms.

        Args:
            terms: of the query; stop words are ignored.
            allowed: the ids, ascending, that may be found; None: all.

        Returns:
            Their ids [<= n] and BM25 scores [<= n].
        """
        terms, times = np.unique(terms[~is_stop(terms)], return_counts=True)
        weights = times * self.idf(terms)
        found = [(np.empty(0, np.int64), np.empty(0, np.float32))]
        for segment, alive, norms in zip(self._segments, self._alive, self._norms, strict=True):
            scores = np.zeros(len(segment.ids), np.float32)  # [N]
            for term, weight in zip(terms, weights, strict=True):
                rows, counts = segment.postings(term)
                scores[rows] += weight * counts / (counts + norms[rows])
            permitted = alive if allowed is None else alive & _contains(allowed, segment.ids)
            best = _largest(np.where(permitted, scores, 0), n)
            found.append((segment.ids[best], scores[best]))
        ids, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best = _largest(scores, n)
        return ids[best], scores[best]

    def _count_living(self) -> None:
        self._segments = [self.base, *self._recent]
        self._alive = [~_contains(self._deleted, segment.ids) for segment in self._segments]  # each [N]
        self._chunks = sum(int(alive.sum()) for alive in self._alive)
        total = sum(int(s.lengths[alive].sum()) for s, alive in zip(self._segments, self._alive, strict=True))
        mean = max(1.0, total / max(1, self._chunks))
        self._norms = [
            np.asarray(BM25_K1 * (1 - BM25_B + BM25_B * segment.lengths / mean), np.float32)
            for segment in self._segments
        ]


def _contains(members: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which ``ids`` are in the ascending array ``members``. [N] -> [N]"""
    if not len(members):
        return np.zeros(len(ids), bool)
    return members[np.searchsorted(members, ids).clip(max=len(members) - 1)] == ids


def _largest(scores: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.int64]:
    """Where the ``n`` largest positive scores are, in no order. [N] -> [<= n]"""
    positive = np.flatnonzero(scores > 0)
    if len(positive) <= n:
        return positive
    return positive[np.argpartition(scores[positive], -n)[-n:]]
