"""Folders: what we write is what transformers reads, and broken ones are refused in one line."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer

from genaisys.hub import local_path
from genaisys.tokenizers import SPECIAL_TOKENS, Tokenizer, TokenizerBroken, train_bpe

TEMPLATE = "{{ bos_token }}{% for m in messages %}\n{{ m.content }}\n{% endfor %}\n"
TEXTS = ["", " a  b\n\n", "naïve 😀 e\u0301", "<|eos|><|im_end|>", "C[C@@H](N)C(=O)Oc1ccccc1Cl", "[13CH3-]%57", "12345"]


def agrees(theirs: Any, ours: Tokenizer) -> None:
    roles = (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.mask_token_id)
    assert roles == (ours.pad, ours.bos, ours.eos, ours.mask)
    assert len(theirs) == ours.vocabulary_size
    assert set(theirs.all_special_ids) <= ours.special_ids
    assert theirs.chat_template == ours.chat_template
    for text in TEXTS:
        ids = ours.encode(text)
        assert theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode_with_special_tokens(text)
        for skip in (True, False):
            assert theirs.decode(ids, skip_special_tokens=skip) == ours.decode(ids, skip_special_tokens=skip) == text


@pytest.mark.parametrize("beside", [None, "llama", "gpt2", "openai-gpt", "mistral", "bert"])
def test_transformers_reads_what_we_write(ours: Tokenizer, tmp_path: Path, beside: str | None) -> None:
    """Also beside a model, whose kind transformers takes for a hint of the tokenizer's."""
    saved = Tokenizer(ours.backend, ours.special_tokens, chat_template=TEMPLATE, context_length=77)
    saved.save_pretrained(tmp_path)
    if beside:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": beside}))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    agrees(theirs, saved)
    assert theirs.model_max_length == 77


def test_we_read_what_transformers_reads(smollm2: Tokenizer) -> None:
    agrees(AutoTokenizer.from_pretrained(local_path("smollm2-135m-instruct")), smollm2)
    assert smollm2.context_length == 8192
    assert (smollm2.bos, smollm2.eos) == (1, 2)
    assert len(smollm2.special_ids) == 17


def test_we_read_what_transformers_writes(ours: Tokenizer, tmp_path: Path) -> None:
    ours.save_pretrained(tmp_path / "ours")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.chat_template = TEMPLATE
    theirs.add_special_tokens({"eos_token": "<new>"})
    theirs.save_pretrained(tmp_path / "theirs")
    read = Tokenizer.from_pretrained(tmp_path / "theirs")
    assert read.eos == ours.vocabulary_size
    agrees(theirs, read)


def test_saving_and_loading_changes_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    saved = Tokenizer(tokenizer.backend, tokenizer.special_tokens, chat_template=TEMPLATE, context_length=5)
    saved.save_pretrained(tmp_path / "first" / "folder")  # which is made
    loaded = Tokenizer.from_pretrained(tmp_path / "first" / "folder")
    assert loaded.special_tokens == saved.special_tokens
    assert loaded.special_ids == saved.special_ids
    assert loaded.vocabulary_size == saved.vocabulary_size
    assert (loaded.chat_template, loaded.context_length) == (TEMPLATE, 5)
    assert loaded.encode_batch(TEXTS) == saved.encode_batch(TEXTS)
    loaded.save_pretrained(tmp_path / "second")
    written = [
        {file.name: file.read_bytes() for file in folder.iterdir()}
        for folder in (tmp_path / "first" / "folder", tmp_path / "second")
    ]
    assert set(written[0]) == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert written[0] == written[1]


def test_nothing_of_an_earlier_tokenizer_is_left(ours: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text('{"unk_token": "<other>"}')
    (tmp_path / "chat_template.jinja").write_text("other")
    Tokenizer(ours.backend, ours.special_tokens).save_pretrained(tmp_path)
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert loaded.special_tokens == SPECIAL_TOKENS
    assert loaded.chat_template is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train_bpe(["abc"] * 3, vocabulary_size=262).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    return tmp_path


def configure(folder: Path, **config: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_the_settings_may_be_missing(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer.special_tokens == {}
    assert tokenizer.special_ids == {0, 1, 2, 3}  # which tokenizer.json says


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_special_tokens_are_strings_or_dicts_in_either_file(folder: Path, file: str) -> None:
    tokens: dict[str, Any] = {
        "eos_token": {"__type": "AddedToken", "content": "<|eos|>", "lstrip": False},
        "bos_token": "<|bos|>",
        "unk_token": None,
    }
    if file == "special_tokens_map.json":
        del tokens["eos_token"]["__type"]
    (folder / file).write_text(json.dumps(tokens))
    tokenizer = Tokenizer.from_pretrained(folder)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (1, 2, None)
    agrees(AutoTokenizer.from_pretrained(folder), tokenizer)


def test_special_tokens_that_the_vocabulary_lacks_are_added(folder: Path) -> None:
    configure(folder, eos_token="</s>", pad_token="a")
    tokenizer = Tokenizer.from_pretrained(folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos == theirs.eos_token_id == 262
    assert tokenizer.pad == theirs.pad_token_id == tokenizer.backend.token_to_id("a")
    assert tokenizer.pad in tokenizer.special_ids


def test_a_special_token_keeps_its_settings() -> None:
    """RoBERTa's mask token takes the space before it."""
    backend = Backend(models.WordLevel({"a": 0, "<mask>": 1, " ": 2}, unk_token="a"))
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    assert Tokenizer(backend, {"mask_token": "<mask>"}).encode_with_special_tokens("  <mask>") == [1]


@pytest.mark.parametrize(("length", "known"), [(512, 512), (10**30, None), (1e30, None), (0, None), ("x", None)])
def test_context_length_is_known_or_not(folder: Path, length: Any, known: int | None) -> None:
    configure(folder, model_max_length=length)
    assert Tokenizer.from_pretrained(folder).context_length == known


def test_chat_templates_stand_in_a_file_or_in_the_settings(folder: Path) -> None:
    configure(folder, chat_template="one")
    assert Tokenizer.from_pretrained(folder).chat_template == "one"
    named = [{"name": "rag", "template": "two"}, {"name": "default", "template": "three"}]
    configure(folder, chat_template=named)
    assert Tokenizer.from_pretrained(folder).chat_template == "three"
    (folder / "chat_template.jinja").write_text("four")
    assert Tokenizer.from_pretrained(folder).chat_template == "four"


def refused(folder: Path, file: str) -> None:
    with pytest.raises(TokenizerBroken) as caught:
        Tokenizer.from_pretrained(folder)
    assert str(folder / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    refused(tmp_path, "tokenizer.json")
    refused(tmp_path / "nowhere", "tokenizer.json")
    (tmp_path / "tokenizer.json").mkdir()
    refused(tmp_path, "tokenizer.json")


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"\x00", b"[" * 100_000])
def test_broken_settings_are_named(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    refused(folder, file)


@pytest.mark.parametrize(
    "config",
    [
        {"eos_token": 5},
        {"eos_token": ["</s>"]},
        {"bos_token": {"content": 1}},
        {"chat_template": 7},
        {"chat_template": {}},
    ],
)
def test_settings_of_a_wrong_kind_are_named(folder: Path, config: dict[str, Any]) -> None:
    configure(folder, **config)
    refused(folder, "tokenizer_config.json")


def test_a_broken_template_file_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    refused(folder, "chat_template.jinja")


PANICS = {
    "version": "1.0",
    "added_tokens": [],
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": [["a", "b"]],
        "continuing_subword_prefix": "much too long",
    },
}


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b"\x00", b'{"version": "1.0", "model": {}}', json.dumps(PANICS).encode()],
)
def test_what_is_no_tokenizer_is_named(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    refused(folder, "tokenizer.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    train_bpe(["abc"] * 3, vocabulary_size=262).save_pretrained(folder)
    return (folder / "tokenizer.json").read_bytes()


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_short_is_named(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "cut"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_bytes(whole[: int(share * len(whole))])
    refused(folder, "tokenizer.json")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200, derandomize=True)
def test_a_damaged_file_is_refused_or_works(whole: bytes, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    draw = random.Random(seed)
    content = json.loads(whole)
    place, key = draw.choice(list(_places(content)))
    place[key] = draw.choice([None, -1, 2**40, "", "((", [], {}, True, 1.5, 300])
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    try:
        tokenizer = Tokenizer.from_pretrained(folder)
    except TokenizerBroken:  # and nothing else
        return
    tokenizer.decode(tokenizer.encode("abc é <|eos|>"))


def _places(value: Any) -> Any:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])
