"""The second stage of a search: candidates -> scores.

With ``cov(x)`` the idf of the question's terms that ``x`` holds, ``pairs`` the idf of neighbours in the question that
are neighbours in a sentence of the passage too, and ``m`` the idf of all the question's terms:

    sentence = cos(question, sentence) + 0.06 cov(sentence) / sqrt(m)
    passage  = best sentence + (0.08 cov(context and passage) + 0.025 pairs) / sqrt(m)

So the best sentence must mean what the question means *and* say it in the question's words, and the rest of the passage
and its context may hold the words that this sentence leaves out. The three weights were fitted by a softmax over the
candidates on the articles with an even number in SQuAD 1.1 dev; ``benchmarks/retrieval_quality.py`` reports the others.
Tried there, and left out because none adds more than 0.003 to R@1: BM25 itself, the passage's cosine, windows of two
sentences, terms near each other, unstemmed terms, letter 4-grams, and sentences encoded one by one.

The interface is plain arrays, of all candidates one after the other, so that no Python loop runs over candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genaisys.retrieval import words

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.integer]

SENTENCE_COVERAGE = 0.06
PASSAGE_COVERAGE = 0.08
PAIRS = 0.025


def idf(document_frequency: npt.NDArray[np.integer], documents: int) -> Floats:
    """The inverse document frequency of BM25, never negative: ``log(1 + (N - df + .5) / (df + .5))``. [n] -> [n]"""
    df = np.asarray(document_frequency, np.float32)
    return np.log1p((documents - df + np.float32(0.5)) / (df + np.float32(0.5)))


def passage_terms(context: str, sentences: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int32]]:
    """What lexical matching needs of a passage: its terms, and how many are in the context and in each sentence.

    Returns:
        ``terms`` [T], stop words included, and ``counts`` [1 + S] with ``counts.sum() == T``.
    """
    parts = [words.term_ids(text) for text in (context, *sentences)]
    return np.concatenate(parts), np.array([len(part) for part in parts], np.int32)


@dataclass(frozen=True)
class Query:
    """A question: its vector, its terms in order with stop words, and their idf."""

    vector: Floats  # [D]
    terms: Ids  # [n]
    idf: Floats  # [n]


@dataclass(frozen=True)
class Candidates:
    """C passages, each with its S sentences (at least one), one after the other."""

    sentence_vectors: npt.NDArray[np.floating]  # [sum S, D], unit length
    sentence_counts: Counts  # [C], S of each passage
    terms: Ids  # [T], of `passage_terms`
    term_counts: Counts  # [sum (1 + S)], of `passage_terms`


def rank(query: Query, candidates: Candidates) -> tuple[Floats, Floats]:
    """Scores of the passages [C] and of their sentences [sum S]; higher is better, comparable within one query."""
    cosine = candidates.sentence_vectors.astype(np.float32) @ query.vector  # [sum S]
    if not len(cosine):
        return cosine, cosine
    in_sentences, in_passages, pairs = _lexical(query, candidates)
    sentences = cosine + np.float32(SENTENCE_COVERAGE) * in_sentences
    first_sentence = np.cumsum(candidates.sentence_counts) - candidates.sentence_counts  # [C]
    best = np.maximum.reduceat(sentences, first_sentence)
    return best + np.float32(PASSAGE_COVERAGE) * in_passages + np.float32(PAIRS) * pairs, sentences


def _lexical(query: Query, candidates: Candidates) -> tuple[Floats, Floats, Floats]:
    """Coverage by sentences [sum S] and by passages [C], and pairs [C], all divided by the square root of ``m``."""
    terms, first_place, place = np.unique(query.terms, return_index=True, return_inverse=True)  # n distinct terms
    weight = np.where(words.is_stop(terms), 0, query.idf[first_place]).astype(np.float32)  # [n]
    passages = len(candidates.sentence_counts)
    segments_of = candidates.sentence_counts + 1  # the context comes first
    first_segment = np.cumsum(segments_of) - segments_of  # [C]
    passage_of_segment = np.repeat(np.arange(passages), segments_of)
    is_sentence = np.ones(len(passage_of_segment), bool)
    is_sentence[first_segment] = False

    position, which = _occurrences(terms, candidates.terms)
    segment = np.searchsorted(np.cumsum(candidates.term_counts), position, side="right")  # of each occurrence
    present = np.zeros((len(passage_of_segment), len(terms)), np.float32)
    present[segment, which] = 1

    n = len(terms)
    neighbours = np.zeros((n, n), bool)
    neighbours[place[:-1], place[1:]] = True
    left, right = which[:-1], which[1:]
    adjacent = (np.diff(position) == 1) & (segment[1:] == segment[:-1]) & neighbours[left, right]
    paired = np.zeros((passages, n * n), np.float32)
    paired[passage_of_segment[segment[1:][adjacent]], left[adjacent] * n + right[adjacent]] = 1

    mass = math.sqrt(max(float(weight.sum()), 1e-6))
    return (
        present[is_sentence] @ weight / mass,
        np.maximum.reduceat(present, first_segment, axis=0) @ weight / mass,
        paired @ np.add.outer(weight, weight).ravel() / mass,
    )


def _occurrences(terms: Ids, text: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where ``text`` [T] holds one of the sorted ``terms`` [n], and which one, in order of position."""
    if not len(terms):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    possible = np.zeros(1 << 16, bool)  # a table of the low 16 bits leaves few ids to be looked up
    possible[terms.astype(np.uint16)] = True
    position = np.flatnonzero(possible[text.astype(np.uint16)])
    which = np.searchsorted(terms, text[position]).clip(max=len(terms) - 1)
    found = terms[which] == text[position]
    return position[found], which[found]
