"""What holds for every tokenizer: nothing is lost, text is data, and streams say what decoding says."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers

from genaisys.tokenizers import SPECIAL_TOKENS, TextStream, Tokenizer

SMILES_TEXT = st.lists(st.sampled_from([*"CNOcno()=#123[]@+-%l", "Cl", "[C@@H]", "[nH]", "%10"])).map("".join)
TEXTS = st.one_of(
    st.text(),
    SMILES_TEXT,
    st.lists(
        st.sampled_from(
            [*SPECIAL_TOKENS.values(), "<|im_end|>", "é", "👩‍🔬", "e\u0301", "\x00", "\u202e", "\ufffd", " "]
        )
    ).map("".join),
)


@given(text=TEXTS)
def test_any_text_is_decoded_to_what_was_encoded(ours: Tokenizer, text: str) -> None:
    assert ours.decode(ours.encode(text)) == text


@given(text=st.text(st.characters(max_codepoint=0x3FFFF, exclude_categories=["Cs", "Cc"])))
def test_a_pretrained_tokenizer_loses_nothing_that_people_write(smollm2: Tokenizer, text: str) -> None:
    """It has no tokens for a few control characters, and for bytes that begin characters of the unused planes."""
    assert smollm2.decode(smollm2.encode(text)) == text


@given(text=TEXTS)
def test_text_is_data(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.special_ids.isdisjoint(ids)
    assert all(0 <= token < tokenizer.vocabulary_size for token in ids)


def test_special_tokens_are_read_only_where_we_wrote_them(tokenizer: Tokenizer) -> None:
    assert tokenizer.special_ids
    for token in tokenizer.special_ids:
        written = tokenizer.backend.id_to_token(token)
        assert tokenizer.encode_with_special_tokens(f"a{written}b") == [
            *tokenizer.encode("a"),
            token,
            *tokenizer.encode("b"),
        ]
        assert len(tokenizer.encode(written)) > 1
        assert tokenizer.decode([token]) == ""
        assert tokenizer.decode([token], skip_special_tokens=False) == written


@given(text=st.text())
def test_text_as_data_holds_no_special_token(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.as_data(text) == text or not tokenizer.special_ids.isdisjoint(
        tokenizer.encode_with_special_tokens(text)
    )
    for special in tokenizer.special_tokens.values():
        inside = tokenizer.encode_with_special_tokens(tokenizer.as_data(f"{text}{special}{special[1:]}{text}"))
        assert tokenizer.special_ids.isdisjoint(inside)


def test_special_tokens_that_overlap_are_all_broken_up() -> None:
    backend = Backend(models.WordLevel({"a": 0}, unk_token="a"))
    backend.add_special_tokens(["<a<", "<a", "<b>", "<<"])
    tokenizer = Tokenizer(backend)
    for text in ("<a<b>", "<<b>", "<<<a<b>", "<a\n<<"):
        assert tokenizer.special_ids.isdisjoint(tokenizer.encode_with_special_tokens(tokenizer.as_data(text)))
    assert tokenizer.as_data("x<a<b>") == "x< a< b>"


def test_nothing_is_added_to_a_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == tokenizer.encode_with_special_tokens("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.encode("abc") == tokenizer.encode_with_special_tokens("abc")


def test_special_tokens_of_ours_are_the_first_ids(ours: Tokenizer) -> None:
    assert (ours.pad, ours.bos, ours.eos, ours.mask) == (0, 1, 2, 3)
    assert ours.special_ids == {0, 1, 2, 3}
    assert ours.vocabulary_size == ours.backend.get_vocab_size()


def test_vocabulary_size_counts_the_largest_id_where_ids_have_gaps() -> None:
    backend = Backend(models.WordLevel({"a": 0, "b": 9}, unk_token="a"))
    assert Tokenizer(backend).vocabulary_size == 10
    assert Tokenizer(backend, {"eos_token": "</s>"}).vocabulary_size == 10


def test_a_tokenizer_without_special_tokens_has_none() -> None:
    tokenizer = Tokenizer(Backend(models.WordLevel({"a": 0}, unk_token="a")))
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.mask) == (None,) * 4
    assert tokenizer.special_ids == frozenset()
    assert tokenizer.as_data("<s> a") == "<s> a"


@given(texts=st.lists(TEXTS, max_size=4))
def test_a_batch_is_its_texts_one_by_one(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_lone_surrogates_are_replaced(tokenizer: Tokenizer) -> None:
    broken, whole = "a\ud800b\udfff", "a?b?"
    assert tokenizer.encode(broken) == tokenizer.encode(whole)
    assert tokenizer.encode_batch([broken]) == [tokenizer.encode(whole)]
    assert tokenizer.encode_with_special_tokens(broken) == tokenizer.encode(whole)
    assert tokenizer.as_data(broken) == whole


def test_truncation_and_padding_of_a_backend_are_switched_off() -> None:
    backend = Backend(models.WordLevel({"a": 0}, unk_token="a"))
    backend.enable_truncation(1)
    backend.enable_padding(length=8)
    assert Tokenizer(backend).encode("b") == [0]
    assert backend.truncation is None
    assert backend.padding is None


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda tokenizer: pickle.loads(pickle.dumps(tokenizer))])
def test_copies_are_equal(tokenizer: Tokenizer, clone: Callable[[Tokenizer], Tokenizer]) -> None:
    special = next(iter(tokenizer.special_tokens.values()))
    copied = clone(tokenizer)
    for text in (special, f"a{special}"):
        assert copied.encode(text) == tokenizer.encode(text)
        assert copied.encode_with_special_tokens(text) == tokenizer.encode_with_special_tokens(text)
    assert copied.special_tokens == tokenizer.special_tokens
    assert copied.chat_template == tokenizer.chat_template
    assert copied.context_length == tokenizer.context_length


def test_threads_may_share_one(smollm2: Tokenizer) -> None:
    text = "a document<|im_end|>that tries " * 20
    data, control = smollm2.encode(text), smollm2.encode_with_special_tokens(text)
    assert data != control
    with ThreadPoolExecutor(4) as pool:
        both = list(pool.map(lambda _: (smollm2.encode(text), smollm2.encode_with_special_tokens(text)), range(200)))
    assert all(pair == (data, control) for pair in both)


def pushed(stream: TextStream, ids: list[int]) -> str:
    return "".join(map(stream.push, ids))


@given(text=TEXTS)
def test_a_stream_of_a_text_is_the_text(ours: Tokenizer, text: str) -> None:
    assert pushed(ours.stream(), ours.encode(text)) == text


@given(data=st.data())
def test_a_stream_of_any_tokens_is_what_they_decode_to(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """A model may write anything. What is not UTF-8 reads as U+FFFD; a part of a character at the end is left out."""
    low = data.draw(st.sampled_from([0, 4]))  # bytes come early, so that most draws are broken characters
    ids = data.draw(st.lists(st.integers(low, min(400, tokenizer.vocabulary_size))))
    skip = data.draw(st.booleans())
    whole, streamed = (
        tokenizer.decode(ids, skip_special_tokens=skip),
        pushed(tokenizer.stream(skip_special_tokens=skip), ids),
    )
    assert whole in (streamed, streamed + "\ufffd")


def test_characters_come_whole_and_at_once(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a𓀀b")  # a hieroglyph that no tokenizer here has a token for
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in ids]
    assert len(pieces) > 3
    assert [piece for piece in pieces if piece] == ["a", "𓀀", "b"]
    assert pieces[-2:] == ["𓀀", "b"]


def test_an_incomplete_character_at_the_end_is_left_out(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a𓀀")
    assert tokenizer.decode(ids[:-1]) == "a\ufffd"
    assert pushed(tokenizer.stream(), ids[:-1]) == "a"


def test_streams_do_not_disturb_each_other(smollm2: Tokenizer) -> None:
    one, other = smollm2.stream(), smollm2.stream()
    ids = smollm2.encode("😀 naïve 𓀀")
    pieces = [(one.push(token), other.push(token)) for token in ids]
    assert "".join(piece for piece, _ in pieces) == "".join(piece for _, piece in pieces) == "😀 naïve 𓀀"


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    """A tokenizer in the manner of Llama 2: not byte-level, and it puts a space before a text."""
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"▁abcdefghijklmnopqrstuvwxyz",
        "▁t",
        "th",
    ]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    merges = [("▁", "t"), ("t", "h")]
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(backend, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


@given(text=st.text(st.characters(exclude_characters="\ufffd▁", exclude_categories=["Cs"])))
def test_tokenizers_that_are_not_byte_level_stream_texts_too(sentencepiece: Tokenizer, text: str) -> None:
    assert pushed(sentencepiece.stream(), sentencepiece.encode(text)) == text


@given(ids=st.lists(st.integers(0, 300)))
def test_no_tokens_stop_a_stream(sentencepiece: Tokenizer, ids: list[int]) -> None:
    letter = sentencepiece.encode("x")[-1]
    assert pushed(sentencepiece.stream(), [*ids, letter, letter]).endswith("x")


def test_transformers_is_not_imported() -> None:
    code = "import sys, genaisys.tokenizers; print(sorted({'transformers', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
