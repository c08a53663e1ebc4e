"""Checkpoints are Hugging Face checkpoints: theirs are ours, ours are theirs, and what is neither is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import ARCHITECTURES, CONFIGS, VOCABULARY, logits_of, make, one_line, randomise, some_tokens
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OpenAIGPTConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen2Config,
)
from transformers.utils.logging import disable_progress_bar

from genaisys.errors import GenaisysError
from genaisys.hub import PartMissing, local_path
from genaisys.models.transformer import TransformerLM, gpt, llama, teenygpt
from genaisys.models.transformer.architectures import config_to_huggingface
from genaisys.models.transformer.checkpoint import (
    CheckpointUnsupported,
    open_checkpoint,
    parameter_shapes,
)
from genaisys.tokenizers import train_bpe

disable_progress_bar()
CLOSE = {"atol": 1e-4, "rtol": 0.0}


def theirs_with(config: PreTrainedConfig, seed: int = 0) -> nn.Module:
    model = AutoModelForCausalLM.from_config(config)
    randomise(model, seed)
    return model.eval()


def edit(file: Path, **changes: Any) -> None:
    """Change settings in a JSON file; ``...`` takes one out."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The checkpoint of a tiny Llama."""
    make(CONFIGS["llama"]).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# -- theirs are ours

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT_SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_OPT_SIZES: dict[str, Any] = {
    name: value for name, value in _SIZES.items() if name != "intermediate_size"
} | {"ffn_dim": 40, "activation_function": "gelu"}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
THEIRS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SIZES, num_key_value_heads=2),
    "llama tied": lambda: LlamaConfig(**_SIZES, num_key_value_heads=1, tie_word_embeddings=True, head_dim=6),
    "llama3": lambda: LlamaConfig(**_SIZES, rope_parameters=_LLAMA3, num_key_value_heads=4),
    "llama with biases": lambda: LlamaConfig(**_SIZES, attention_bias=True, hidden_act="gelu"),
    "llama with biases in the MLP": lambda: LlamaConfig(**_SIZES, mlp_bias=True, rms_norm_eps=1e-3),
    "qwen2": lambda: Qwen2Config(**_SIZES, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2 with a window": lambda: Qwen2Config(
        **_SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=0
    ),
    "qwen2 with a window in no layer": lambda: Qwen2Config(
        **_SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=2
    ),
    "mistral": lambda: MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=5, head_dim=10),
    "mistral without a window": lambda: MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=None),
    "gpt2": lambda: GPT2Config(**_GPT_SIZES),
    "gpt2 with its own head": lambda: GPT2Config(**_GPT_SIZES, n_inner=40, tie_word_embeddings=False),
    "gpt2 with the exact gelu": lambda: GPT2Config(**_GPT_SIZES, activation_function="gelu"),
    "gpt1": lambda: OpenAIGPTConfig(**_GPT_SIZES),
    "gpt1 with silu": lambda: OpenAIGPTConfig(**_GPT_SIZES, afn="silu", tie_word_embeddings=False),
    "opt": lambda: OPTConfig(**_OPT_SIZES),
    "opt, post-norm": lambda: OPTConfig(**_OPT_SIZES, do_layer_norm_before=False, enable_bias=False),
}


@pytest.mark.parametrize("name", THEIRS)
def test_their_models_have_the_same_logits_here(name: str, tmp_path: Path) -> None:
    theirs = theirs_with(THEIRS[name]())
    theirs.save_pretrained(tmp_path)
    ours = TransformerLM.from_pretrained(tmp_path)
    tokens = some_tokens(length=32)
    expected = logits_of(theirs, tokens)
    torch.testing.assert_close(logits_of(ours, tokens), expected, **CLOSE)
    assert expected.std() > 0.5, "logits that hardly vary would show nothing"
    assert not ours.training
    assert all(parameter.requires_grad for parameter in ours.parameters())
    assert ours.tokenizer is None


def test_a_window_that_holds_in_some_layers_only_is_refused(tmp_path: Path) -> None:
    config = Qwen2Config(
        **_SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=1
    )
    theirs_with(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointUnsupported, match="some layers"):
        open_checkpoint(tmp_path)


def test_rotary_settings_are_read_as_older_files_have_them(tmp_path: Path) -> None:
    theirs = theirs_with(LlamaConfig(**_SIZES, rope_parameters=_LLAMA3))
    theirs.save_pretrained(tmp_path)
    scaling = {name: value for name, value in _LLAMA3.items() if name != "rope_theta"}
    edit(tmp_path / "config.json", rope_parameters=..., rope_theta=_LLAMA3["rope_theta"], rope_scaling=scaling)
    ours = TransformerLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(ours, some_tokens()), logits_of(theirs, some_tokens()), **CLOSE)
    edit(tmp_path / "config.json", rope_scaling=None)
    assert open_checkpoint(tmp_path).config.rotary_base == 300.0
    assert open_checkpoint(tmp_path).config.rotary_scaling is None
    edit(tmp_path / "config.json", rope_theta=...)
    assert open_checkpoint(tmp_path).config.rotary_base == 10_000.0


def test_a_model_saved_without_its_head_is_read(tmp_path: Path) -> None:
    """As GPT-2's first checkpoint is: no ``transformer.`` before the names, and its masks among the weights."""
    theirs = theirs_with(GPT2Config(**_GPT_SIZES))
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    weights |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    save_file(weights, tmp_path / "model.safetensors")
    ours = TransformerLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(ours, some_tokens()), logits_of(theirs, some_tokens()), **CLOSE)


@pytest.mark.parametrize("differs", [False, True])
def test_a_head_that_is_stored_though_it_is_tied_counts_where_it_differs(tmp_path: Path, differs: bool) -> None:
    theirs_with(THEIRS["llama tied"]()).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + differs}, tmp_path / "model.safetensors"
    )
    ours, theirs = TransformerLM.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    assert ours.config.tied_embeddings is not differs
    torch.testing.assert_close(logits_of(ours, some_tokens()), logits_of(theirs, some_tokens()), **CLOSE)


def test_shards_are_read(tmp_path: Path) -> None:
    theirs = theirs_with(THEIRS["llama"]())
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours = TransformerLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(ours, some_tokens()), logits_of(theirs, some_tokens()), **CLOSE)


def test_the_real_model_has_the_same_logits() -> None:
    name = "smollm2-135m-instruct"
    ours = TransformerLM.from_pretrained(name)
    assert ours.tokenizer is not None
    assert ours.config.ends == (ours.tokenizer.eos,)
    tokens = torch.tensor([ours.tokenizer.encode("The capital of France is Paris, and the capital of Italy is")])
    found = logits_of(ours, tokens)
    assert ours.tokenizer.decode([int(found[0, -1].argmax())]) == " Rome"
    theirs = AutoModelForCausalLM.from_pretrained(local_path(name), dtype=torch.float32)
    torch.testing.assert_close(found, logits_of(theirs, tokens), atol=1e-3, rtol=0.0)


# -- ours are theirs


@pytest.mark.parametrize("name", CONFIGS)
def test_our_models_have_the_same_logits_there(name: str, tmp_path: Path) -> None:
    ours = make(CONFIGS[name])
    ours.save_pretrained(tmp_path)
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert type(theirs).__name__ == ARCHITECTURES[name]
    torch.testing.assert_close(logits_of(theirs.eval(), some_tokens()), logits_of(ours, some_tokens()), **CLOSE)
    ends = ours.config.ends
    assert theirs.generation_config.eos_token_id == (list(ends) if len(ends) > 1 else ends[0] if ends else None)
    assert theirs.generation_config.suppress_tokens == (list(ours.config.impossible) or None)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_exactly(name: str, tmp_path: Path) -> None:
    ours = make(CONFIGS[name])
    ours.save_pretrained(tmp_path / "ours")
    again = TransformerLM.from_pretrained(tmp_path / "ours")
    assert again.config == ours.config
    assert again.state_dict().keys() == ours.state_dict().keys()
    for parameter, tensor in ours.state_dict().items():
        assert torch.equal(again.state_dict()[parameter], tensor), parameter
    assert torch.equal(logits_of(again, some_tokens()), logits_of(ours, some_tokens()))

    AutoModelForCausalLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    assert open_checkpoint(tmp_path / "theirs").config == ours.config, "not even transformers loses what only we have"


@pytest.mark.parametrize("preset", [teenygpt, gpt, llama])
def test_every_preset_can_be_saved_as_it_is(preset: Any, tmp_path: Path) -> None:
    config = preset(VOCABULARY, 16, layers=1, bos=1, pad=0, ends=(2,))
    TransformerLM(config).save_pretrained(tmp_path)
    assert open_checkpoint(tmp_path).config == config


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_are_known_without_a_model(name: str) -> None:
    model = TransformerLM(CONFIGS[name])
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert dict(parameter_shapes(CONFIGS[name])) == expected


def test_a_tied_head_is_not_stored_twice(tmp_path: Path) -> None:
    ours = make(CONFIGS["gpt2"])
    ours.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    numbers = sum(parameter.numel() for parameter in ours.parameters())
    assert 4 * numbers <= (tmp_path / "model.safetensors").stat().st_size < 4 * numbers + 4096
    again = TransformerLM.from_pretrained(tmp_path)
    assert again.head.weight is again.embedding.weight


def test_numbers_keep_their_format_in_the_file(tmp_path: Path) -> None:
    make(CONFIGS["llama"]).bfloat16().save_pretrained(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16
    assert TransformerLM.from_pretrained(tmp_path).embedding.weight.dtype == torch.float32
    half = TransformerLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.turning.dtype == torch.float32, "angles are never rounded"


def test_a_loaded_model_does_not_hang_on_its_files(folder: Path) -> None:
    ours = TransformerLM.from_pretrained(folder)
    before = logits_of(ours, some_tokens())
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes(file.seek(0, 2)))
    assert torch.equal(logits_of(ours, some_tokens()), before)
    ours.train().loss(some_tokens()).sum().backward()
    assert ours.embedding.weight.grad is not None


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|bos|>{{ m.content }}<|eos|>{% endfor %}"
    tokenizer = train_bpe(["some text, 123 times"] * 3, vocabulary_size=300, chat_template=template)
    config = llama(tokenizer.vocabulary_size, 16, layers=1, width=8, heads=2, bos=tokenizer.bos, pad=tokenizer.pad)
    TransformerLM(config, tokenizer).save_pretrained(tmp_path)
    text = "some 42 texts\n"
    again = TransformerLM.from_pretrained(tmp_path).tokenizer
    assert again is not None
    assert again.encode(text) == tokenizer.encode(text)
    assert again.chat_template == template
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.eos
    TransformerLM(config).save_pretrained(tmp_path / "without")
    assert not list((tmp_path / "without").glob("tokenizer*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "layer"},
        {"norm_place": "post"},
        {"gated": False},
        {"output_bias": True},
        {"query_bias": True, "mlp_bias": True},
        {"window": 3, "mlp_bias": True},
        {"positions": "learned"},
    ],
)
def test_a_model_that_no_architecture_is_cannot_be_saved(changes: dict[str, Any], tmp_path: Path) -> None:
    model = TransformerLM(replace(CONFIGS["llama"], **changes))
    with pytest.raises(CheckpointUnsupported, match="cannot be saved") as error:
        model.save_pretrained(tmp_path / "model")
    assert "norm=" in str(error.value)
    assert not (tmp_path / "model").exists()


def test_opts_epsilon_is_fixed() -> None:
    with pytest.raises(CheckpointUnsupported):
        config_to_huggingface(replace(CONFIGS["opt"], norm_epsilon=1e-6))


# -- tokens that end a text


def test_what_ends_a_text_is_said_by_the_generation_config(folder: Path) -> None:
    edit(folder / "config.json", eos_token_id=[5, 6])
    edit(folder / "generation_config.json", eos_token_id=...)
    assert open_checkpoint(folder).config.ends == (5, 6)
    edit(folder / "generation_config.json", eos_token_id=[9, 5, 9], suppress_tokens=[3, 4])
    assert open_checkpoint(folder).config.ends == (9, 5)
    assert open_checkpoint(folder).config.impossible == (3, 4)
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", eos_token_id=7)
    assert open_checkpoint(folder).config.ends == (7,)


def test_tokens_outside_the_vocabulary_are_none(tmp_path: Path) -> None:
    """transformers gives every GPT-2 the token 50256, also where the vocabulary is smaller."""
    theirs_with(GPT2Config(**_GPT_SIZES)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["bos_token_id"] == 50256
    config = open_checkpoint(tmp_path).config
    assert (config.bos, config.pad, config.ends) == (None, None, ())


def test_defaults_that_the_file_leaves_out_are_theirs(folder: Path) -> None:
    edit(folder / "config.json", bos_token_id=..., eos_token_id=..., pad_token_id=..., rms_norm_eps=..., hidden_act=...)
    (folder / "generation_config.json").unlink()
    config, theirs = open_checkpoint(folder).config, LlamaConfig()
    assert (config.bos, config.ends, config.pad) == (theirs.bos_token_id, (theirs.eos_token_id,), theirs.pad_token_id)
    assert (config.norm_epsilon, config.activation) == (theirs.rms_norm_eps, theirs.hidden_act)


# -- reading by name


def test_tensors_are_read_one_by_one(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    model = TransformerLM.from_pretrained(folder)
    assert list(checkpoint) == [name for name, _ in parameter_shapes(checkpoint.config)]
    for name, tensor in checkpoint.items():
        assert torch.equal(tensor, model.get_parameter(name)), name
    assert checkpoint.blocks("blocks.0.mlp.up.weight") is None, "nothing here is quantised"
    with pytest.raises(KeyError):
        checkpoint["head.weight"]  # it is tied


def test_a_checkpoint_is_found_by_folder_and_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert TransformerLM.from_pretrained("~/model").config == CONFIGS["llama"]
    assert TransformerLM.from_pretrained(str(folder)).config == CONFIGS["llama"]
    with pytest.raises(PartMissing, match="no folder") as error:
        TransformerLM.from_pretrained(folder / "nothing")
    one_line(error.value)
    with pytest.raises(PartMissing, match="did you mean") as error:
        TransformerLM.from_pretrained("smollm2-135m-instrct")
    one_line(error.value)
    for name in ("x" * 5000, "~nobody-here/x", "a\0b", "", "."):
        with pytest.raises(GenaisysError) as refused:
            TransformerLM.from_pretrained(name)
        assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointUnsupported, match="give its folder") as error:
        TransformerLM.from_pretrained(folder / "model.safetensors")
    one_line(error.value)
