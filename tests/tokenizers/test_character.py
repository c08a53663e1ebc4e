"""A token a character, and bytes for those that were not seen."""

from hypothesis import given
from hypothesis import strategies as st

from genaisys.tokenizers import character_tokenizer


@given(text=st.text())
def test_characters_that_were_seen_are_one_token_each(text: str) -> None:
    tokenizer = character_tokenizer([text])
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert [tokenizer.decode([token]) for token in ids] == list(text)
    assert len(set(ids)) == len(set(text))


@given(text=st.text())
def test_characters_that_were_not_seen_are_their_bytes(text: str) -> None:
    tokenizer = character_tokenizer(["é"])
    assert len(tokenizer.encode(text)) == sum(1 if character == "é" else len(character.encode()) for character in text)


def test_the_vocabulary_is_special_tokens_bytes_and_characters() -> None:
    tokenizer = character_tokenizer(["ab", "éa€", "a"])
    assert tokenizer.vocabulary_size == 4 + 256 + 2
    assert tokenizer.encode("é€") == [260, 261]
    ascii_ids = tokenizer.encode("".join(map(chr, range(128))))
    assert len(set(ascii_ids)) == 128
    assert set(ascii_ids) < set(range(4, 260))


def test_the_order_of_the_texts_does_not_matter() -> None:
    one, other = character_tokenizer(["éa", "ü€"]), character_tokenizer(iter(["€", "ü", "aé"]))
    assert one.backend.to_str() == other.backend.to_str()


def test_no_text_at_all_leaves_bytes() -> None:
    tokenizer = character_tokenizer([])
    assert tokenizer.vocabulary_size == 260
    assert tokenizer.decode(tokenizer.encode("é")) == "é"


def test_texts_with_lone_surrogates_are_learnt_from() -> None:
    assert character_tokenizer(["\ud800é"]).encode("é") == [260]
