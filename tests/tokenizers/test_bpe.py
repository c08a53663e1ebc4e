"""Byte-level BPE: the library's own training, digits apart, nothing lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from genaisys.tokenizers import SPECIAL_TOKENS, Tokenizer, VocabularyTooSmall, train_bpe

CORPUS = ["low lower lowest newest widest, 2024 and 2025\n", "naïve Straße straße 10 000 €", "    return x\n"] * 9


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text)]


def test_merges_are_the_librarys() -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, min_frequency=3, initial_alphabet=alphabet))
    theirs = json.loads(backend.to_str())["model"]["merges"]
    ours = json.loads(train_bpe(CORPUS, vocabulary_size=304, min_frequency=3).backend.to_str())["model"]["merges"]
    assert len(ours) == 44
    assert ours == theirs


def test_the_first_merge_is_the_most_frequent_pair() -> None:
    tokenizer = train_bpe(["xy xy xy xz"], vocabulary_size=261)
    assert tokenizer.vocabulary_size == 261
    assert pieces(tokenizer, "xy xz") == ["xy", " ", "x", "z"]


def test_a_word_that_is_repeated_becomes_one_token() -> None:
    tokenizer = train_bpe(["hello world"] * 2)
    assert pieces(tokenizer, "hello world") == ["hello", " world"]


def test_rare_pairs_are_not_merged() -> None:
    assert train_bpe(["abc"] * 4, min_frequency=5).vocabulary_size == 260
    assert train_bpe(["abc"] * 5, min_frequency=5).vocabulary_size == 262


@given(number=st.integers(0, 10**12))
def test_digits_stand_alone(number: int) -> None:
    tokenizer = train_bpe(["1000 2024 2024 a1 b22"] * 20)
    assert pieces(tokenizer, str(number)) == list(str(number))
    assert pieces(tokenizer, f"a{number}b") == ["a", *str(number), "b"]


@given(texts=st.lists(st.text(), max_size=5), text=st.text())
def test_nothing_is_lost_whatever_it_learnt_from(texts: list[str], text: str) -> None:
    tokenizer = train_bpe(texts, vocabulary_size=300, min_frequency=1)
    for some in (text, *texts):
        assert tokenizer.decode(tokenizer.encode(some)) == some


def test_special_tokens_in_the_corpus_stay_data() -> None:
    tokenizer = train_bpe(["".join(SPECIAL_TOKENS.values())] * 50)
    for token in SPECIAL_TOKENS.values():
        assert tokenizer.special_ids.isdisjoint(tokenizer.encode(token))
        assert tokenizer.decode(tokenizer.encode(token)) == token


@pytest.mark.parametrize("size", [260, 261, 280])
def test_the_vocabulary_has_at_most_the_wanted_size(size: int) -> None:
    assert train_bpe(CORPUS, vocabulary_size=size).vocabulary_size == size


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(VocabularyTooSmall, match="259"):
        train_bpe(CORPUS, vocabulary_size=259)


def test_generators_and_lone_surrogates_are_learnt_from() -> None:
    tokenizer = train_bpe(text for text in ["naïve \ud800"] * 3)
    assert pieces(tokenizer, "naïve") == ["naïve"]


def test_training_twice_gives_the_same() -> None:
    assert train_bpe(CORPUS).backend.to_str() == train_bpe(iter(CORPUS)).backend.to_str()


def test_the_template_and_the_length_are_kept() -> None:
    tokenizer = train_bpe(CORPUS, chat_template="{{ messages[0].content }}", context_length=128)
    assert tokenizer.render_chat([{"role": "user", "content": "hey"}]) == "hey"
    assert tokenizer.context_length == 128
