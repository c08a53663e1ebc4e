"""The adapter: nothing at first, a small share of the weights, and merged and unmerged without a trace."""

from pathlib import Path

import pytest
import tiny_chat
import torch
from tiny_chat import chat, randomise_adapter, tokenised

from genaisys.models.transformer import TransformerLM
from genaisys.training import TrainingSettings, train
from genaisys.training.finetuning.lora import (
    Lora,
    adapter_off,
    add_lora,
    lora_layers,
    matrices,
    merge,
    trained_weights,
    unmerge,
)
from genaisys.training.finetuning.rows import Conversations, learned_tokens
from genaisys.training.settings import SettingsWrong

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 2, 80]])


def logits(model: TransformerLM) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS)


def test_a_new_adapter_changes_nothing() -> None:
    model = tiny_chat.model()
    before = logits(model)
    add_lora(model, Lora(targets=("query", "key", "value", "output", "gate", "up", "down")))
    assert torch.equal(logits(model), before)
    assert len(lora_layers(model)) == 14


def test_it_computes_what_the_book_says() -> None:
    """``h = W x + (alpha / rank) B A x``"""
    model = tiny_chat.model()
    add_lora(model, Lora(rank=3, alpha=5.0))
    randomise_adapter(model)
    layer = lora_layers(model)["blocks.1.attention.key"]
    a, b = matrices(layer)
    x = torch.randn(7, 32, generator=torch.Generator().manual_seed(0))
    expected = x @ layer.get_base_layer().weight.T + 5 / 3 * x @ a.T @ b.T  # type: ignore[operator, union-attr]
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
    assert (a.shape, b.shape) == ((3, 32), (16, 3))


def test_of_smollm2_less_than_one_percent_is_trained() -> None:
    from genaisys.models.transformer.checkpoint import open_checkpoint

    with torch.device("meta"):
        model = TransformerLM(open_checkpoint("smollm2-135m-instruct").config)
        weights = sum(weight.numel() for weight in model.parameters())
        add_lora(model, Lora(rank=8))
    assert weights == 134_515_008
    assert trained_weights(model) == 30 * 8 * 2 * (576 + 576 + 576 + 192) == 921_600


def test_only_the_adapter_is_trained(tmp_path: Path) -> None:
    model = tiny_chat.model()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    add_lora(model, Lora(rank=2))
    data = Conversations(tokenised(chat("hi", "ho"), of=model))
    settings = TrainingSettings(steps=3, batch_size=1, learning_rate=0.1)
    train(model, data, None, settings, tmp_path, objective=learned_tokens)
    after = {name.replace(".base_layer", ""): weight for name, weight in model.named_parameters()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert all(matrices(layer)[1].abs().max() > 0 for layer in lora_layers(model).values())


@pytest.mark.parametrize("biased", [False, True])
def test_merging_and_unmerging_leave_no_trace(biased: bool) -> None:
    model = tiny_chat.model(query_bias=biased, output_bias=biased)
    add_lora(model, Lora())
    randomise_adapter(model)
    adapted = logits(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    replaced = merge(model)
    assert not lora_layers(model)
    assert set(model.state_dict()) == set(tiny_chat.model(query_bias=biased, output_bias=biased).state_dict())
    torch.testing.assert_close(logits(model), adapted, rtol=1e-4, atol=1e-4)
    unmerge(model, replaced)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(logits(model), adapted)


def test_a_merged_weight_is_the_base_and_the_change() -> None:
    model = tiny_chat.model()
    base = model.blocks[0].attention.query.weight.clone()
    add_lora(model, Lora(rank=4, alpha=8.0))
    randomise_adapter(model)
    a, b = matrices(lora_layers(model)["blocks.0.attention.query"])
    merge(model)
    assert torch.equal(model.blocks[0].attention.query.weight, base + (b @ a) * 2)


def test_a_merged_model_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    model = tiny_chat.model()
    add_lora(model, Lora())
    randomise_adapter(model)
    merge(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(TransformerLM.from_pretrained(tmp_path)), logits(model))


def test_the_model_without_its_adapter_is_the_base() -> None:
    model = tiny_chat.model()
    base = logits(model)
    add_lora(model, Lora())
    randomise_adapter(model)
    adapted = logits(model)
    assert not torch.allclose(base, adapted, atol=0.1)
    with adapter_off(model):
        assert torch.equal(logits(model), base)
    assert torch.equal(logits(model), adapted)


def test_settings_that_cannot_be_meant() -> None:
    with pytest.raises(SettingsWrong, match="rank is 0"):
        Lora(rank=0)
    with pytest.raises(SettingsWrong, match="alpha is 0"):
        Lora(alpha=0)
    with pytest.raises(SettingsWrong, match=r"q_proj: they may be query, key"):
        Lora(targets=("q_proj",))
    with pytest.raises(SettingsWrong, match="gate"):
        add_lora(tiny_chat.model(gated=False), Lora(targets=("gate",)))
