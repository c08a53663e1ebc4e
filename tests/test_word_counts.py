"""Bags of words and tf-idf, against the numbers worked out by hand and against scikit-learn."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from genaisys.encoders import Chain, DataEncoder
from genaisys.word_counts import BagOfWords, TfIdf, WordCountsBroken

DOCUMENTS = ["The cat sat.", "The cat, the dog!", "A bird"]
TERMS = ["a", "bird", "cat", "dog", "sat", "the"]
WORDS = st.lists(st.sampled_from(["cat", "Dog", "bird", "naïve", "x1", "the"])).map(" ".join)
CORPORA = st.lists(WORDS, min_size=1, max_size=6).filter(lambda texts: any(texts))


def test_a_bag_counts_its_words() -> None:
    bag = BagOfWords.fit(DOCUMENTS)
    assert bag.vocabulary == TERMS
    expected = [[0, 0, 1, 0, 1, 1], [0, 0, 1, 1, 0, 2], [1, 1, 0, 0, 0, 0]]
    assert bag.counts(DOCUMENTS).tolist() == expected
    assert bag.counts(["THE the unknown", ""]).tolist() == [[0, 0, 0, 0, 0, 2], [0] * 6]


def test_tf_idf_by_hand() -> None:
    model = TfIdf.fit(DOCUMENTS)
    one, two = math.log(4 / 2) + 1, math.log(4 / 3) + 1  # of 3 documents, 1 or 2 hold the term
    assert model.idf == pytest.approx([one, one, two, one, one, two])
    expected = [
        [0, 0, two / 3, 0, one / 3, two / 3],
        [0, 0, two / 4, one / 4, 0, two * 2 / 4],
        [one / 2, one / 2, 0, 0, 0, 0],
    ]
    torch.testing.assert_close(model.weights(DOCUMENTS), torch.tensor(expected))
    # Words that are not in the vocabulary make a text longer, too.
    torch.testing.assert_close(model.weights(["cat and mouse"])[0, 2], torch.tensor(two / 3))
    first = torch.tensor(expected[0])
    torch.testing.assert_close(model.encode(DOCUMENTS[:1])[0], first / first.square().sum().sqrt())


def test_a_term_that_no_document_holds_has_a_finite_weight() -> None:
    model = TfIdf.fit(DOCUMENTS, BagOfWords(["cat", "unicorn"]))
    assert model.idf == pytest.approx([math.log(4 / 3) + 1, math.log(4) + 1])
    assert model.weights(["unicorn", ""]).tolist() == [[0, pytest.approx(math.log(4) + 1)], [0, 0]]
    assert TfIdf.fit([], BagOfWords(["cat"])).idf == [1]


@given(texts=CORPORA, longest=st.integers(1, 3))
def test_counts_are_those_of_scikit_learn(texts: list[str], longest: int) -> None:
    theirs = CountVectorizer(token_pattern=r"\w+", ngram_range=(1, longest))
    expected = theirs.fit_transform(texts).toarray()
    ours = BagOfWords.fit(texts, longest=longest)
    assert ours.vocabulary == theirs.get_feature_names_out().tolist()
    assert ours.counts(texts).tolist() == expected.tolist()


@given(texts=CORPORA, longest=st.integers(1, 2))
def test_tf_idf_is_that_of_scikit_learn(texts: list[str], longest: int) -> None:
    theirs = TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, longest))
    expected = torch.tensor(theirs.fit_transform(texts).toarray(), dtype=torch.float32)
    ours = TfIdf.fit(texts, BagOfWords.fit(texts, longest=longest))
    torch.testing.assert_close(ours.encode(texts), expected)


def test_the_terms_of_most_documents_are_kept() -> None:
    texts = ["b b b b", "a c", "c a"]
    assert BagOfWords.fit(texts, vocabulary_size=2).vocabulary == ["a", "c"]
    assert BagOfWords.fit(texts, vocabulary_size=1).vocabulary == ["a"]
    assert BagOfWords.fit(iter(texts)).vocabulary == ["a", "b", "c"]


@given(texts=st.lists(st.text(), max_size=5), queries=st.lists(st.one_of(st.text(), WORDS), max_size=5))
def test_both_are_encoders_of_unit_length(texts: list[str], queries: list[str]) -> None:
    encoders: list[DataEncoder] = [BagOfWords.fit(texts), TfIdf.fit(texts)]
    for encoder in encoders:
        vectors = encoder.encode(queries)
        assert vectors.shape == (len(queries), encoder.dimension)
        assert vectors.dtype == torch.float32
        for length in vectors.norm(dim=-1).tolist():
            assert length == 0 or length == pytest.approx(1)


def test_they_compose_with_other_encoders() -> None:
    chain = Chain(lambda numbers: ["cat" * number for number in numbers], BagOfWords(["cat"]))
    assert chain.encode([1, 0]).tolist() == [[1], [0]]


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    bag = BagOfWords.fit([*DOCUMENTS, "naïve 日本"], longest=2)
    model = TfIdf.fit(DOCUMENTS, bag)
    bag.save(tmp_path / "bag.json")
    model.save(tmp_path / "tf-idf.json")
    for loaded, saved in ((BagOfWords.load(tmp_path / "bag.json"), bag), (TfIdf.load(tmp_path / "tf-idf.json"), model)):
        assert torch.equal(loaded.encode(DOCUMENTS), saved.encode(DOCUMENTS))
        assert loaded.dimension == saved.dimension
    again = TfIdf.load(tmp_path / "tf-idf.json")
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tf-idf.json").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", "{}", '{"vocabulary": "abc", "longest": 1}', '{"vocabulary": [1], "longest": 1}',
        '{"vocabulary": ["a"], "longest": "1"}', '{"vocabulary": ["a"], "longest": 0}', "[" * 100_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [BagOfWords, TfIdf])
def test_broken_files_are_named(tmp_path: Path, kind: type[BagOfWords] | type[TfIdf], content: str) -> None:
    file = tmp_path / "counts.json"
    file.write_text(content)
    with pytest.raises(WordCountsBroken, match=r"counts\.json"):
        kind.load(file)


@pytest.mark.parametrize("idf", [None, [], [1.0], ["1", "2"], "12", [None, None], {"0": 1, "1": 2}])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, idf: object) -> None:
    file = tmp_path / "counts.json"
    file.write_text(json.dumps({"vocabulary": ["a", "b"], "longest": 1, "idf": idf}))
    with pytest.raises(WordCountsBroken, match=r"counts\.json"):
        TfIdf.load(file)
    assert BagOfWords.load(file).dimension == 2


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WordCountsBroken, match="nowhere"):
        BagOfWords.load(tmp_path / "nowhere")
