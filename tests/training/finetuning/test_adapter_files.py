"""Adapters go to PEFT and come from it, with equal logits."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_chat import chat, randomise_adapter, tokenised
from transformers import AutoModelForCausalLM

from genaisys.models.transformer import TransformerLM, gpt
from genaisys.training import TrainingSettings, train
from genaisys.training.finetuning.adapter_files import (
    AdapterBroken,
    AdapterNotWritten,
    AdapterUnsupported,
    load_adapter,
    require_adapter_format,
    save_adapter,
)
from genaisys.training.finetuning.added_tokens import add_tokens, resize_vocabulary, train_rows
from genaisys.training.finetuning.lora import Lora, add_lora, merge, unmerge
from genaisys.training.finetuning.rows import Conversations, learned_tokens

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 2, 80]])


@torch.no_grad()
def logits(model: Any, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    found = model.eval()(tokens)
    return found if isinstance(found, torch.Tensor) else found.logits


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def theirs(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_chat.model().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("targets", [("query", "key", "value", "output"), ("value", "gate", "up", "down")])
def test_ours_loads_in_peft_and_here(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    model = TransformerLM.from_pretrained(base)
    plain = logits(model)
    add_lora(model, Lora(rank=3, alpha=7.0, targets=targets))
    randomise_adapter(model)
    expected = logits(model)
    assert not torch.allclose(expected, plain, atol=0.1)
    save_adapter(model, tmp_path / "adapter", "base")
    close(logits(PeftModel.from_pretrained(theirs(base), tmp_path / "adapter")), expected)
    again = TransformerLM.from_pretrained(base)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(logits(again), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": "all-linear", "use_rslora": True},
        {
            "target_modules": r".*\.(k_proj|down_proj)",
            "rank_pattern": {"layers.1.self_attn.k_proj": 2},
            "alpha_pattern": {"k_proj": 3},
        },
    ],
)
def test_theirs_loads_here(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    trained = get_peft_model(theirs(base), LoraConfig(r=4, lora_alpha=6, init_lora_weights=False, **settings))
    trained.save_pretrained(tmp_path / "adapter")
    ours = TransformerLM.from_pretrained(base)
    plain = logits(ours)
    load_adapter(ours, tmp_path / "adapter")
    close(logits(ours), logits(trained))
    assert not torch.allclose(logits(ours), plain, atol=1e-2)
    merge(ours)
    close(logits(ours), logits(trained))


@pytest.mark.parametrize("tied", [True, False])
def test_adapters_with_added_tokens(tmp_path: Path, tied: bool) -> None:
    """They are trained, kept, and known again: here, in PEFT, and merged."""
    base = tmp_path / "base"
    model = tiny_chat.model(tied=tied)
    model.save_pretrained(base)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    size = model.config.vocabulary_size
    numbers = add_tokens(model, ["<json>", "</json>"])
    assert numbers == [size, size + 1]
    train_rows(model, numbers)
    add_lora(model, Lora(rank=2))
    (example,) = tokenised(chat("hi", "<json>1</json>"), of=model)
    assert set(numbers) <= set(example.tokens)
    settings = TrainingSettings(steps=3, batch_size=1, learning_rate=0.1)
    train(model, Conversations([example]), None, settings, tmp_path / "run", objective=learned_tokens)
    tokens = torch.tensor([example.tokens])
    expected = logits(model, tokens)
    assert expected.shape[-1] == size + 2
    assert torch.equal(model.embedding.base.weight[:size], before["embedding.weight"])  # type: ignore[index, union-attr]
    assert (model.embedding.rows - model.embedding.base.weight[size:]).abs().max() > 0.01  # type: ignore[index, operator, union-attr]
    save_adapter(model, tmp_path / "adapter", "base")

    again = TransformerLM.from_pretrained(base)
    load_adapter(again, tmp_path / "adapter")
    close(logits(again, tokens), expected)
    assert again.tokenizer is not None
    assert tokenised(chat("hi", "<json>1</json>"), of=again) == [example]

    in_peft = theirs(base)
    in_peft.resize_token_embeddings(size + 2)
    close(logits(PeftModel.from_pretrained(in_peft, tmp_path / "adapter"), tokens), expected)

    replaced = merge(model)
    close(logits(model, tokens), expected)
    model.save_pretrained(tmp_path / "merged")
    close(logits(theirs(tmp_path / "merged"), tokens), expected)
    unmerge(model, replaced)
    assert torch.equal(logits(model, tokens), expected)


def test_a_resized_embedding_of_theirs_loads_here(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    resized = theirs(base)
    size = resized.config.vocab_size
    resized.resize_token_embeddings(size + 3)
    trained = get_peft_model(resized, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    ours = TransformerLM.from_pretrained(base)
    load_adapter(ours, tmp_path / "adapter")
    tokens = torch.tensor([[1, size + 2, 40, size]])
    close(logits(ours, tokens), logits(trained, tokens))


def test_resizing_keeps_what_is_known() -> None:
    model = tiny_chat.model()
    before, size = logits(model), model.config.vocabulary_size
    resize_vocabulary(model, size + 5)
    assert torch.equal(logits(model)[..., :size], before)
    resize_vocabulary(model, size)
    assert torch.equal(logits(model), before)
    assert model.head.weight is model.embedding.weight


def test_what_peft_has_no_form_for_is_refused_before_training() -> None:
    with pytest.raises(AdapterUnsupported, match="lora: null"):
        require_adapter_format(TransformerLM(gpt(20, 8, layers=1, width=8, heads=2)))


def test_adapters_that_are_no_such_lora(base: Path, tmp_path: Path) -> None:
    model = TransformerLM.from_pretrained(base)
    with pytest.raises(AdapterBroken, match="no whole adapter"):
        load_adapter(model, tmp_path)
    add_lora(model, Lora(rank=2))
    folder = tmp_path / "adapter"
    save_adapter(model, folder, "base")
    config, tensors = (
        json.loads((folder / "adapter_config.json").read_text()),
        load_file(folder / "adapter_model.safetensors"),
    )

    def refused(kind: type[Exception], match: str, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
        save_file(tensors, folder / "adapter_model.safetensors")
        with pytest.raises(kind, match=match) as error:
            load_adapter(TransformerLM.from_pretrained(base), folder)
        assert "\n" not in str(error.value)

    refused(AdapterUnsupported, "use_dora", config | {"use_dora": True}, tensors)
    refused(AdapterUnsupported, "IA3", config | {"peft_type": "IA3"}, tensors)
    refused(AdapterBroken, "lora_alpha", {k: v for k, v in config.items() if k != "lora_alpha"}, tensors)
    name = next(name for name in tensors if "lora_B" in name)
    refused(AdapterBroken, "lacks", config, {k: v for k, v in tensors.items() if k != name})
    refused(AdapterBroken, "another model", config, tensors | {name: torch.zeros(3, 2)})
    refused(AdapterBroken, "not a matrix of this model", config, {name.replace("layers.0", "layers.9"): tensors[name]})
    refused(AdapterBroken, "no adapter", config, {})
    rows = {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": torch.zeros(1, 32)}
    far = {"trainable_token_indices": {"embed_tokens": [10_000_000]}}  # which would take gigabytes
    refused(AdapterBroken, "which tokens", config | far, tensors | rows)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    model = tiny_chat.model()
    add_lora(model, Lora())
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterNotWritten, match="cannot be saved"):
        save_adapter(model, tmp_path / "file" / "adapter", "base")
