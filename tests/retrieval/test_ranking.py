from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from genaisys.retrieval import ranking
from genaisys.retrieval.ranking import Candidates, Query, idf, passage_terms, rank
from genaisys.retrieval.words import is_stop, split, term_id, term_ids

Passage = tuple[str, Sequence[str]]  # context, sentences
DIMENSION = 16

QUESTION = "Who built the old Vienna clock tower?"
PASSAGES: list[Passage] = [
    ("Vienna", ["The old clock was moved.", "A tower of stone, built in 1730 by the Vienna guild."]),
    ("", ["Rain fell.", "The clock tower is old.", "Nobody built the clock tower twice."]),
    ("Clock", ["Tower"]),
    ("", ["Nothing of the kind."]),
    ("The old Vienna", ["clock tower"]),
]


def vectors_of(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def query_of(question: str, idf_of: dict[str, float] | None = None) -> Query:
    words = split(question)
    values = np.array([(idf_of or {}).get(word, 1.0) for word in words], np.float32)
    return Query(vectors_of(1, seed=1)[0], term_ids(question), values)


def candidates_of(passages: Sequence[Passage], vectors: np.ndarray) -> Candidates:
    terms, counts = zip(*(passage_terms(*passage) for passage in passages), strict=True)
    sizes = np.array([len(sentences) for _, sentences in passages])
    return Candidates(vectors, sizes, np.concatenate(terms), np.concatenate(counts))


def by_definition(question: str, query: Query, passages: Sequence[Passage], vectors: np.ndarray) -> list[float]:
    """The formula of the module, word by word."""
    weight = {
        term: 0.0 if stop else float(value)
        for term, stop, value in zip(query.terms.tolist(), is_stop(query.terms), query.idf, strict=True)
    }
    scale = sum(weight.values()) ** -0.5

    def coverage(texts: Sequence[str]) -> float:
        held = {term_id(word) for text in texts for word in split(text)}
        return scale * sum(value for term, value in weight.items() if term in held)

    def neighbours(text: str) -> set[tuple[int, int]]:
        terms = [term_id(word) for word in split(text)]
        return set(pairwise(terms))

    scores, row = [], iter(vectors)
    for context, sentences in passages:
        best = max(
            float(next(row) @ query.vector) + ranking.SENTENCE_COVERAGE * coverage([sentence]) for sentence in sentences
        )
        shared = set().union(*(neighbours(text) for text in (context, *sentences))) & neighbours(question)
        pairs = scale * sum(weight[a] + weight[b] for a, b in shared)
        scores.append(best + ranking.PASSAGE_COVERAGE * coverage([context, *sentences]) + ranking.PAIRS * pairs)
    return scores


@pytest.mark.parametrize(
    "question",
    [QUESTION, "the clock tower and the clock tower", "clock", "zeppelin tower", "tower clock tower clock"],
)
def test_the_score_is_the_documented_formula(question: str) -> None:
    vectors = vectors_of(sum(len(sentences) for _, sentences in PASSAGES))
    query = query_of(question, {"vienna": 5.0, "clock": 2.0, "tower": 3.0, "zeppelin": 7.0})
    scores, _ = rank(query, candidates_of(PASSAGES, vectors))
    np.testing.assert_allclose(scores, by_definition(question, query, PASSAGES, vectors), rtol=1e-5)


def test_a_score_does_not_depend_on_the_other_candidates() -> None:
    vectors = vectors_of(sum(len(sentences) for _, sentences in PASSAGES))
    query = query_of(QUESTION)
    scores, sentence_scores = rank(query, candidates_of(PASSAGES, vectors))
    first = 0
    for passage, score in zip(PASSAGES, scores, strict=True):
        last = first + len(passage[1])
        alone, sentences_alone = rank(query, candidates_of([passage], vectors[first:last]))
        assert alone[0] == pytest.approx(score, rel=1e-6)
        np.testing.assert_allclose(sentences_alone, sentence_scores[first:last], rtol=1e-6)
        first = last


def test_the_sentence_that_says_it_scores_above_its_neighbours() -> None:
    sentences = ["It rained all day.", "The old clock tower was built in Vienna.", "People left."]
    _, scores = rank(query_of(QUESTION), candidates_of([("", sentences)], np.zeros((3, DIMENSION), np.float32)))
    assert scores.argmax() == 1
    assert scores[0] == scores[2] == 0


def test_neighbours_count_only_inside_a_sentence_and_in_order() -> None:
    together, apart, turned = ("", ["clock tower here"]), ("", ["here clock", "tower"]), ("", ["tower clock here"])
    zeros = np.zeros((4, DIMENSION), np.float32)
    scores, _ = rank(query_of("clock tower"), candidates_of([together, apart, turned], zeros))
    both = 2 / np.sqrt(2)
    assert scores[0] - scores[2] == pytest.approx(ranking.PAIRS * both)
    assert scores[0] - scores[1] == pytest.approx(ranking.PAIRS * both + ranking.SENTENCE_COVERAGE * both / 2)


def test_a_question_without_content_words_is_ranked_by_meaning_alone() -> None:
    vectors = vectors_of(sum(len(sentences) for _, sentences in PASSAGES))
    for question in ("what is it?", ""):
        query = query_of(question)
        _, sentence_scores = rank(query, candidates_of(PASSAGES, vectors))
        np.testing.assert_allclose(sentence_scores, vectors @ query.vector, rtol=1e-5)


def test_half_precision_vectors_give_nearly_the_same_scores() -> None:
    vectors = vectors_of(sum(len(sentences) for _, sentences in PASSAGES))
    query = query_of(QUESTION)
    full, _ = rank(query, candidates_of(PASSAGES, vectors))
    half, _ = rank(query, candidates_of(PASSAGES, vectors.astype(np.float16)))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=1e-3)


def test_no_candidates_no_scores() -> None:
    nothing = np.empty(0, np.int64)
    none = Candidates(np.empty((0, DIMENSION), np.float16), nothing, np.empty(0, np.uint32), nothing)
    scores, sentence_scores = rank(query_of(QUESTION), none)
    assert len(scores) == len(sentence_scores) == 0


def test_idf_is_that_of_bm25_and_falls_with_frequency() -> None:
    values = idf(np.array([0, 1, 5, 10]), 10)
    assert values[1] == pytest.approx(np.log(1 + 9.5 / 1.5))
    assert (np.diff(values) < 0).all()
    assert values[-1] > 0


def test_passage_terms_count_the_terms_of_each_part() -> None:
    terms, counts = passage_terms("Old Vienna", ["The clock, the tower.", "—", "It struck twelve."])
    assert counts.tolist() == [2, 4, 0, 3]
    assert terms.tolist() == term_ids("Old Vienna The clock the tower It struck twelve").tolist()
