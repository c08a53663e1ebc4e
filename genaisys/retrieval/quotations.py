"""Choosing the sentences that answer a question, and knowing when none does.

Both are log-linear models with a few weights, over features that do not depend on the size of the collection: the score
of a sentence is the log-odds, up to a constant, that it holds the answer. The weights were fitted on one half of the
articles of SQuAD 1.1 dev; ``benchmarks/answer_quality.py`` reports on the other half.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from genaisys.retrieval.documents import Chunk, Hit
from genaisys.retrieval.questions import WORD, Question, could_answer, term_pairs
from genaisys.retrieval.words import term_ids

PASSAGES = 5  # sentences are taken from so many of the best passages
QUOTATIONS = 3
CELL = " | "  # separates the cells of a row
SAME = 0.8  # sentences that share so much of their terms say the same

# Weights of a sentence.
SIMILARITY = 13.4  # by vector and words: see `ranking`
COVERAGE = 5.5  # share of the question's terms in the sentence, by importance
NEARBY = 5.6  # share of the question's terms that are not in it, but in its neighbours or headings
PAIRS = 3.1  # share of the question's pairs of adjacent terms
NOTHING_NEW = -2.4  # holds nothing of the kind that the question asks for

# Log-odds that the documents hold the answer at all, from the score of the best sentence.
EVIDENCE = 1.01
MISSING_NAMES = -1.3  # share of the question's names that are not even in the passage around it
NO_EVIDENCE = -10.8
REFUSE_BELOW = 0.4


@dataclass(frozen=True, slots=True)
class Quotation:
    """A sentence of a passage, word for word. Offsets are into ``Document.text``."""

    chunk: Chunk
    start: int
    end: int
    score: float  # log-odds that it holds the answer, up to a constant
    terms: frozenset[int]

    @property
    def text(self) -> str:
        return self.chunk.text[self.start - self.chunk.start : self.end - self.chunk.start]


def rank_sentences(question: Question, hits: Sequence[Hit]) -> list[Quotation]:
    """The sentences of the best passages, the likeliest to hold the answer first."""
    importance = _importance(question, hits)
    sentences = [sentence for hit in hits[:PASSAGES] for sentence in _score_sentences(question, hit, importance)]
    return sorted(sentences, key=lambda sentence: -sentence.score)


def choose_quotations(ranked: Sequence[Quotation]) -> list[Quotation]:
    """At most three sentences, best first, no two of which say the same."""
    chosen: list[Quotation] = []
    for sentence in ranked:
        if len(chosen) == QUOTATIONS:
            break
        if not any(_alike(sentence.terms, other.terms) for other in chosen):
            chosen.append(sentence)
    return chosen


def probability_of_answer(question: Question, ranked: Sequence[Quotation]) -> float:
    """How likely it is that the documents hold the answer, from the best of ``ranked``. -> [0, 1]"""
    if not ranked:
        return 0.0
    odds = EVIDENCE * ranked[0].score + MISSING_NAMES * missing_names(question, ranked[0].chunk) + NO_EVIDENCE
    return 1 / (1 + math.exp(-odds))


def missing_names(question: Question, chunk: Chunk) -> float:
    """The share of the question's names and numbers that are not in ``chunk`` and its context. -> [0, 1]"""
    return _share(question.names - _terms(chunk.context) - _terms(chunk.text), question.names)


def _importance(question: Question, hits: Sequence[Hit]) -> dict[int, float]:
    """Weights of the question's terms that add up to 1.

    A term that few of the passages found hold tells them apart, so it counts more; names and numbers count twice.
    """
    passages = [_terms(hit.chunk.text) for hit in hits]
    weights: dict[int, float] = {}
    for term in question.terms:
        found = sum(term in passage for passage in passages)
        rarity = 1 + math.log1p((len(hits) - found + 0.5) / (found + 0.5))
        weights[term] = 2 * rarity if term in question.names else rarity
    total = sum(weights.values())
    return {term: weight / total for term, weight in weights.items()}


def _score_sentences(question: Question, hit: Hit, importance: Mapping[int, float]) -> Iterator[Quotation]:
    chunk = hit.chunk
    spans = chunk.sentences or ((chunk.start, chunk.end),)
    texts = [chunk.text[start - chunk.start : end - chunk.start] for start, end in spans]
    terms = [_terms(text) for text in texts]
    context = _terms(chunk.context)
    for i, (start, end) in enumerate(spans):
        # A row of a table is explained by the header, the first row; a sentence by its neighbours.
        around = terms[:1] if CELL in texts[i] else terms[max(i - 1, 0) : i + 2]
        nearby = context.union(*around) - terms[i]
        score = (
            SIMILARITY * hit.sentence_scores[i]
            + COVERAGE * sum(importance[term] for term in question.terms & terms[i])
            + NEARBY * sum(importance[term] for term in question.terms & nearby)
            + PAIRS * _share(question.pairs & term_pairs(texts[i]), question.pairs)
            + NOTHING_NEW * (not could_answer(question.kind, WORD.findall(texts[i]), question))
        )
        yield Quotation(chunk, start, end, score, terms[i])


def _terms(text: str) -> frozenset[int]:
    return frozenset(term_ids(text).tolist())


def _share(part: frozenset[object], whole: frozenset[object]) -> float:
    return len(part) / max(len(whole), 1)


def _alike(a: frozenset[int], b: frozenset[int]) -> bool:
    return len(a & b) > SAME * max(len(a | b), 1)
