"""GGUF files give the model that they were made from, and what is wrong with one is said plainly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from gguf_files import write, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CONFIGS, VOCABULARY, logits_of, make, one_line, some_tokens
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.utils.logging import disable_progress_bar

from genaisys.errors import GenaisysError
from genaisys.hub import PartMissing
from genaisys.hub.gguf import GGUFFile
from genaisys.models.transformer import TransformerConfig, TransformerLM, llama
from genaisys.models.transformer.checkpoint import CheckpointBroken, CheckpointUnsupported, open_checkpoint
from genaisys.tokenizers import train_bpe

disable_progress_bar()
CORPUS = ["The quick brown fox, 1234 times: they don't stop", "naïve cafés, 56 €; 日本語"] * 9
BPE = train_bpe(CORPUS, vocabulary_size=280)


# -- tensors


def write_tensor(path: Path, kind: str, columns: int = 512) -> np.ndarray:
    """A file with a tensor of random bytes of the given kind between two others. -> the bytes of its rows"""
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    content = np.random.default_rng(3).integers(0, 256, (6, columns // block * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_tensor("before", np.arange(3, dtype=np.float32))
    writer.add_tensor("weight", content, raw_dtype=number)
    writer.add_tensor("after", np.arange(4, dtype=np.float32))
    write(writer, path)
    return content


@pytest.mark.parametrize(
    "kind",
    ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"],
)
def test_every_kind_of_block_is_read(kind: str, tmp_path: Path) -> None:
    content = write_tensor(tmp_path / "x.gguf", kind)
    file = GGUFFile(tmp_path / "x.gguf")
    with np.errstate(all="ignore"):
        expected = dequantize(content, gguf.GGMLQuantizationType[kind]).astype(np.float32)
        found = file.read("weight")
    assert found.shape == (6, 512)
    np.testing.assert_array_equal(found.numpy(), expected)  # takes NaN for equal: any bytes are a number
    assert np.isfinite(expected).mean() > 0.5
    assert file.read("before").tolist() == [0, 1, 2]
    assert file.read("after").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_blocks_are_the_stored_integers(kind: str, tmp_path: Path) -> None:
    write_tensor(tmp_path / "x.gguf", kind)
    file = GGUFFile(tmp_path / "x.gguf")
    blocks, expected = file.blocks("weight"), file.read("weight")
    assert blocks is not None
    assert blocks.codes.dtype == torch.int8
    assert blocks.codes.shape == (6, 512)
    assert blocks.scales.shape == (6, 16)
    assert (int(blocks.codes.min()), int(blocks.codes.max())) == {
        "Q4_0": (-8, 7), "Q4_1": (0, 15), "Q8_0": (-128, 127)
    }[kind]  # fmt: skip
    numbers = blocks.codes.float() * blocks.scales.float().repeat_interleave(32, dim=1)
    if blocks.minima is not None:
        numbers += blocks.minima.float().repeat_interleave(32, dim=1)
    assert (blocks.minima is not None) == (kind == "Q4_1")
    torch.testing.assert_close(numbers, expected, rtol=0, atol=0, equal_nan=True)
    assert file.blocks("before") is None


def test_metadata_of_every_type_is_read(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "uint8": 200, "int8": -3, "uint16": 60000, "int16": -300, "uint32": 4_000_000_000, "int32": -70000,
        "uint64": 2**63, "int64": -(2**40), "float32": 0.5, "float64": 0.1, "bool": True, "string": "Ġ €",
    }  # fmt: skip
    writer = gguf.GGUFWriter(None, "llama")
    for name, value in values.items():
        getattr(writer, f"add_{name}")(name, value)
    lists: dict[str, Any] = {
        "words": ["a", "ü", ""],
        "numbers": [1, -2, 3],
        "floats": [0.5, 2.0],
        "truths": [True, False],
    }
    for name, value in lists.items():
        writer.add_array(name, value)
    file = GGUFFile(write(writer, tmp_path / "x.gguf"))
    for name, value in (values | lists).items():
        assert file.metadata[name] == value
        assert type(file.metadata[name]) is type(value)


# -- models

_LLAMA3 = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 8192}
_SIZES: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4, "hidden": 64}
MODELS: dict[str, tuple[str, TransformerConfig]] = {
    "llama": ("llama", llama(VOCABULARY, 32, **_SIZES, kv_heads=2)),
    "wide heads": ("llama", llama(VOCABULARY, 32, **_SIZES, kv_heads=1, head_width=12, tied_embeddings=False)),
    "biases": ("llama", llama(VOCABULARY, 32, **_SIZES, query_bias=True, output_bias=True, mlp_bias=True, kv_heads=2)),
    "llama3": ("llama", llama(VOCABULARY, 32, **_SIZES, rotary_base=500_000.0, rotary_scaling=_LLAMA3)),
    "mistral": ("llama", llama(VOCABULARY, 32, **_SIZES, kv_heads=2, window=5)),
    "qwen2": ("qwen2", llama(VOCABULARY, 32, **_SIZES, kv_heads=2, query_bias=True, norm_epsilon=1e-6)),
    "qwen2 with a window": ("qwen2", llama(VOCABULARY, 32, **_SIZES, kv_heads=2, query_bias=True, window=4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_the_model_that_it_was_made_from(name: str, tmp_path: Path) -> None:
    architecture, config = MODELS[name]
    model = make(config)
    path = write_gguf(tmp_path / "x.gguf", model, architecture=architecture)
    again = TransformerLM.from_pretrained(path)
    assert again.config == config
    for parameter, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[parameter], tensor), parameter
    assert torch.equal(logits_of(again, some_tokens()), logits_of(model, some_tokens()))
    assert again.tokenizer is None


def test_transformers_reads_the_same_model(tmp_path: Path) -> None:
    tokenizer = train_bpe(CORPUS, vocabulary_size=280)
    model = make(llama(tokenizer.vocabulary_size, 32, **_SIZES, kv_heads=2, bos=1, ends=(2,), pad=0))
    path = write_gguf(
        tmp_path / "x.gguf", model, kind="Q8_0", tokenizer=tokenizer, llama__vocab_size=tokenizer.vocabulary_size
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    found = logits_of(TransformerLM.from_pretrained(path), some_tokens())
    torch.testing.assert_close(found, logits_of(theirs, some_tokens()), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "tolerance"), [("F16", 0.005), ("BF16", 0.03), ("Q8_0", 0.05), ("Q4_1", 0.7)])
def test_a_quantised_model_is_near_its_original(kind: str, tolerance: float, tmp_path: Path) -> None:
    model = make(MODELS["llama"][1])
    path = write_gguf(tmp_path / "x.gguf", model, kind=kind)
    found, expected = logits_of(TransformerLM.from_pretrained(path), some_tokens()), logits_of(model, some_tokens())
    assert 0 < (found - expected).square().mean().sqrt() / expected.std() < tolerance


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_blocks_have_the_rows_of_the_model(kind: str, tmp_path: Path) -> None:
    """Also where the file has them in another order."""
    checkpoint = open_checkpoint(write_gguf(tmp_path / "x.gguf", make(MODELS["llama"][1]), kind=kind))
    for name, tensor in checkpoint.items():
        blocks = checkpoint.blocks(name)
        if tensor.dim() == 1:
            assert blocks is None
            continue
        assert blocks is not None
        minima = 0.0 if blocks.minima is None else blocks.minima.float().repeat_interleave(32, dim=1)
        numbers = blocks.codes.float() * blocks.scales.float().repeat_interleave(32, dim=1) + minima
        assert torch.equal(numbers, tensor), name


def test_a_folder_that_holds_only_such_a_file_will_do(tmp_path: Path) -> None:
    model = make(MODELS["llama"][1])
    write_gguf(tmp_path / "one.gguf", model)
    assert torch.equal(
        logits_of(TransformerLM.from_pretrained(tmp_path), some_tokens()), logits_of(model, some_tokens())
    )
    write_gguf(tmp_path / "two.gguf", make(MODELS["llama"][1], seed=1))
    with pytest.raises(CheckpointUnsupported, match=r"2 GGUF files.*one\.gguf") as error:
        TransformerLM.from_pretrained(tmp_path)
    one_line(error.value)
    make(MODELS["qwen2"][1]).save_pretrained(tmp_path)
    assert open_checkpoint(tmp_path).config == MODELS["qwen2"][1], "safetensors come first"
    with pytest.raises(PartMissing, match=r"no file .*three\.gguf") as missing:
        TransformerLM.from_pretrained(tmp_path / "three.gguf")
    one_line(missing.value)


def test_tokens_that_end_a_text_are_read(tmp_path: Path) -> None:
    ends = {"tokenizer__ggml__eos_token_id": 7, "tokenizer__ggml__eot_token_id": 9, "tokenizer__ggml__bos_token_id": 5}
    config = open_checkpoint(write_gguf(tmp_path / "x.gguf", make(MODELS["llama"][1]), **ends)).config
    assert (config.bos, config.ends, config.pad) == (5, (7, 9), None)


# -- what is refused

REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "rotary scaling": ({"llama__rope__scaling__type": "yarn"}, ("'yarn'",)),
    "experts": ({"llama__expert_count": 8}, ("experts",)),
    "rotation of a part": ({"llama__rope__dimension_count": 4}, ("rope.dimension_count",)),
    "two widths": ({"llama__attention__value_length": 4}, ("attention.value_length",)),
    "several files": ({"split__count": 3}, ("several files",)),
    "no layers": ({"llama__block_count": 0}, ("llama.block_count is 0",)),
    "layers missing": ({"llama__block_count": None}, ("llama.block_count is missing",)),
    "too many layers": ({"llama__block_count": 10**9}, ("model.layers.2.", "1000000000 layers")),
    "heads by layer": ({"llama__attention__head_count_kv": [2, 4]}, ("llama.attention.head_count_kv",)),
    "other heads": ({"llama__attention__head_count_kv": 4}, ("k_proj", "16x32", "32x32")),
    "epsilon": ({"llama__attention__layer_norm_rms_epsilon": float("nan")}, ("layer_norm_rms_epsilon",)),
    "sentencepiece": ({"tokenizer__ggml__model": "llama"}, ("'llama'", "byte-level BPE")),
    "rule": ({"tokenizer__ggml__pre": "deepseek-llm"}, ("'deepseek-llm'", "smollm", "gpt-2", "qwen2")),
    "no rule": ({"tokenizer__ggml__pre": None}, ("tokenizer.ggml.pre",)),
    "no merges": ({"tokenizer__ggml__merges": None}, ("tokenizer.ggml.merges",)),
    "merges of nothing": ({"tokenizer__ggml__merges": ["nothing known"]}, ("tokenizer",)),
    "merges of three": ({"tokenizer__ggml__merges": ["a b c"]}, ("tokenizer",)),
    "kinds": ({"tokenizer__ggml__token_type": [1, 2, 3]}, ("kinds for 3",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_plainly(name: str, tmp_path: Path) -> None:
    changes, expected = REFUSED[name]
    model = make(llama(BPE.vocabulary_size, 32, **_SIZES, kv_heads=2))
    path = write_gguf(tmp_path / "x.gguf", model, tokenizer=BPE, **changes)
    with pytest.raises((CheckpointBroken, CheckpointUnsupported)) as error:
        TransformerLM.from_pretrained(path)
    message = one_line(error.value)
    for word in (str(path), *expected):
        assert word in message


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = write(gguf.GGUFWriter(None, "mamba"), tmp_path / "x.gguf")
    with pytest.raises(CheckpointUnsupported, match="'mamba'") as error:
        open_checkpoint(path)
    assert "llama, qwen2" in one_line(error.value)


def test_rotary_factors_that_are_not_llama_3s_are_refused(tmp_path: Path) -> None:
    config = replace(MODELS["llama3"][1], rotary_scaling=_LLAMA3 | {"high_freq_factor": 9.0})
    with pytest.raises(CheckpointUnsupported, match="rotary frequencies") as error:
        open_checkpoint(write_gguf(tmp_path / "x.gguf", make(config)))
    one_line(error.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"GGUF", "ends at byte 4"),
        (b"PK\x03\x04" * 9, "not a GGUF file"),
        (b"GGUF\x01\x00\x00\x00" + bytes(16), "version 1"),
        (b"GGUF\x00\x00\x00\x03" + bytes(16), "version"),
        (b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, "ends at byte 24"),
        (b"GGUF\x03\x00\x00\x00" + bytes(16), "None"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises((CheckpointBroken, CheckpointUnsupported), match=word) as error:
        open_checkpoint(tmp_path / "x.gguf")
    assert str(tmp_path / "x.gguf") in one_line(error.value)


def test_a_truncated_file_names_the_tensor(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", make(CONFIGS["llama"]))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(CheckpointBroken, match=r"the tensor (blk|output)\S+ ends at byte \d+ of \d+") as error:
        open_checkpoint(path)
    assert "truncated" in one_line(error.value)


def test_a_truncated_or_garbled_file_is_refused_or_read(tmp_path: Path) -> None:
    """Whatever happens to its bytes: what is raised is ours, and it does not take long."""
    model = make(llama(BPE.vocabulary_size, 32, layers=1, width=32, heads=4, hidden=32))
    path = write_gguf(tmp_path / "x.gguf", model, kind="Q8_0", tokenizer=BPE)
    whole = path.read_bytes()
    header = min(tensor.start for tensor in GGUFFile(path).tensors.values())
    garbage = st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8), b"\x00\x00\x00\x10" * 2])

    @settings(max_examples=300, deadline=2000, derandomize=True, database=None)
    @given(st.integers(0, len(whole) - 1), st.integers(0, header - 8), garbage)
    def check(end: int, place: int, bytes_there: bytes) -> None:
        path.write_bytes(whole[:end])
        with pytest.raises(GenaisysError):
            open_checkpoint(path)
        path.write_bytes(whole[:place] + bytes_there + whole[place + len(bytes_there) :])
        try:
            checkpoint = open_checkpoint(path)
            checkpoint.tokenizer()
            with np.errstate(all="ignore"):
                assert all(checkpoint[name].dtype == torch.float32 for name in checkpoint)
        except GenaisysError as error:
            assert "\n" not in str(error)  # noqa: PT017

    check()
