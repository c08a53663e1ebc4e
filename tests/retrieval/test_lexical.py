import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from genaisys.retrieval.lexical import BM25_B, BM25_K1, MAX_RECENT_SEGMENTS, Lexical, Segment, merge
from genaisys.retrieval.words import term_ids

WORDS = [f"word{letter}{digit}" for letter in "abcdef" for digit in range(5)] + ["the", "of"]
QUERY = term_ids("the worda1 wordb2 of wordb2 wordc3 missing")


def passages(count: int, seed: int) -> dict[int, npt.NDArray[np.uint32]]:
    """Chunk ids, with gaps, and their terms; some chunks are empty."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 30))) for _ in range(count)]
    return {3 * number + 5: term_ids(text) for number, text in enumerate(texts)}


def segment(chunks: dict[int, npt.NDArray[np.uint32]]) -> Segment:
    return Segment.of(np.array(list(chunks), np.int64), list(chunks.values()))


def bm25(query: npt.NDArray[np.uint32], chunks: dict[int, npt.NDArray[np.uint32]]) -> dict[int, float]:
    """The formula, term by term, over Python integers."""
    stop = {int(term) for term in term_ids("the of")}
    bags = {key: [int(term) for term in terms if int(term) not in stop] for key, terms in chunks.items()}
    mean = sum(map(len, bags.values())) / len(bags)
    scores = {}
    for key, bag in bags.items():
        counts = Counter(bag)
        score = 0.0
        for term in (int(term) for term in query if int(term) not in stop):
            df = sum(term in other for other in bags.values())
            idf = math.log(1 + (len(bags) - df + 0.5) / (df + 0.5))
            tf = counts[term]
            score += idf * tf / (tf + BM25_K1 * (1 - BM25_B + BM25_B * len(bag) / mean))
        if score > 0:
            scores[key] = score
    return scores


def searched(lexical: Lexical, n: int = 10_000, allowed: npt.NDArray[np.int64] | None = None) -> dict[int, float]:
    ids, scores = lexical.search(QUERY, n, allowed)
    return dict(zip(ids.tolist(), scores.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_bm25(seed: int) -> None:
    chunks = passages(200, seed)
    assert searched(Lexical(segment(chunks))) == pytest.approx(bm25(QUERY, chunks), rel=1e-5)


def test_the_best_are_the_best() -> None:
    chunks = passages(300, 1)
    expected = sorted(bm25(QUERY, chunks).values(), reverse=True)[:7]
    assert sorted(searched(Lexical(segment(chunks)), 7).values(), reverse=True) == pytest.approx(expected, rel=1e-5)


def test_growing_and_shrinking_equals_building_anew() -> None:
    chunks = passages(400, 2)
    keys = list(chunks)
    lexical = Lexical(segment({key: chunks[key] for key in keys[:100]}))
    added = 0
    for start in range(100, 400, 15):  # more segments than are kept apart
        lexical.add(segment({key: chunks[key] for key in keys[start : start + 15]}))
        added += 1
    assert added > 2 * MAX_RECENT_SEGMENTS
    gone = np.array(keys[50:200:3])
    lexical.delete(gone[:20])
    lexical.delete(gone[20:])
    living = {key: terms for key, terms in chunks.items() if key not in gone}
    anew = Lexical(segment(living))
    assert searched(lexical) == pytest.approx(searched(anew), rel=1e-6)
    np.testing.assert_array_equal(lexical.idf(QUERY), anew.idf(QUERY))
    assert searched(lexical) == pytest.approx(bm25(QUERY, living), rel=1e-5)


def test_merging_is_indexing_together() -> None:
    chunks = passages(90, 3)
    keys = list(chunks)
    parts = [segment({key: chunks[key] for key in keys[start : start + 30]}) for start in (0, 30, 60)]
    merged, whole = merge(parts), segment(chunks)
    for name in ("ids", "lengths", "terms", "starts", "rows", "counts"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))


def test_only_what_is_allowed() -> None:
    chunks = passages(200, 4)
    scores = bm25(QUERY, chunks)
    allowed = np.array(sorted(scores)[::17])
    found = searched(Lexical(segment(chunks)), allowed=allowed)
    # The statistics stay those of the whole collection.
    assert found == pytest.approx({key: scores[key] for key in allowed.tolist()}, rel=1e-5)


def test_nothing_to_find() -> None:
    assert searched(Lexical(segment({}))) == {}
    lexical = Lexical(segment(passages(10, 5)))
    for text in ("", "the of the", "neverseen"):
        assert len(lexical.search(term_ids(text), 5)[0]) == 0
