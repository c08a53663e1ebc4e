import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaisys.retrieval.words import STOP_WORDS, is_stop, split, term_id, term_ids


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The well-known max_length of os.path", ["the", "well", "known", "max", "length", "of", "os", "path"]),
        ("1,234,567 people, 3.14 and 3.11.2; 1,2,3", ["1,234,567", "people", "3.14", "and", "3.11.2", "1", "2", "3"]),
        ("the 50th x86_64 (2015).", ["the", "50th", "x86", "64", "2015"]),
        ("Tesla's don’t naïve ÜBUNG Straße", ["tesla's", "don’t", "naive", "ubung", "straße"]),
        ("東京タワー tower", ["東", "京", "タ", "ワ", "ー", "tower"]),
        ("C++ !? …", ["c"]),
        ("", []),
    ],
)
def test_splits_where_people_would_search(text: str, words: list[str]) -> None:
    assert split(text) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,234,567", "1234567"),
        ("Tesla's", "Tesla"),
        ("Tesla’s", "tesla"),
        ("founded", "founding"),
        ("Zürich", "Zurich"),
        ("Zu\u0308rich", "Z\u00fcrich"),
        ("ﬁnancial", "financial"),
    ],
)
def test_equal_terms(one: str, other: str) -> None:
    assert term_ids(one).tolist() == term_ids(other).tolist()


@pytest.mark.parametrize(
    ("one", "other"), [("3.14", "314"), ("2015", "2016"), ("university", "unit"), ("1.234", "1,234")]
)
def test_different_terms(one: str, other: str) -> None:
    assert term_ids(one).tolist() != term_ids(other).tolist()


def test_an_id_is_the_hash_of_the_stem() -> None:
    assert term_id("running") == zlib.crc32(b"run")


def test_stop_words_are_stop_words_whatever_surrounds_them() -> None:
    ids = term_ids("When did the observatory open? It was opened in 1889, and not by Who")
    names = split("When did the observatory open? It was opened in 1889, and not by Who")
    content = [name for name, stop in zip(names, is_stop(ids), strict=True) if not stop]
    assert content == ["observatory", "open", "opened", "1889"]
    assert is_stop(term_ids(" ".join(STOP_WORDS))).all()
    assert not len(is_stop(term_ids("")))


@given(st.text(max_size=200))
def test_any_text_has_terms_that_do_not_depend_on_case_or_on_what_follows(text: str) -> None:
    ids = term_ids(text)
    assert ids.dtype == np.uint32
    assert len(ids) == len(split(text))
    assert term_ids(text + " zebra").tolist() == [*ids.tolist(), term_id("zebra")]
    assert term_ids(text.lower()).tolist() == ids.tolist()


def test_lone_surrogates_separate() -> None:
    assert split("left\ud800right") == ["left", "right"]


def test_threads_give_the_same_terms() -> None:
    texts = [" ".join(f"w{i}ing{j}ly relational" for j in range(200)) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(term_ids, texts))
    term_id.cache_clear()
    assert all((term_ids(text) == ids).all() for text, ids in zip(texts, together, strict=True))
