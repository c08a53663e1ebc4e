"""DPO: where it begins, where its gradient points, and what it measures."""

import math
from pathlib import Path

import tiny_chat
import torch
from tiny_chat import chat, randomise_adapter, tokenised

from genaisys.models.transformer import TransformerLM
from genaisys.training import TrainingSettings, evaluate, train
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.finetuning.lora import Lora, adapter_off, add_lora
from genaisys.training.finetuning.preferences import Pairs, log_probs, preference_loss
from genaisys.training.finetuning.rows import batch_of
from genaisys.training.metrics import read_metrics

LONG, SHORT = ["a rather long answer", "another answer"], ["no", "a very much longer one"]


def pairs(model: TransformerLM) -> Pairs:
    chosen = tokenised(*(chat("hi", answer) for answer in LONG), of=model)
    rejected = tokenised(*(chat("hi", answer) for answer in SHORT), of=model)
    return Pairs(list(zip(chosen, rejected, strict=True)))


def log_prob(model: TransformerLM, example: Tokenised) -> torch.Tensor:
    return log_probs(model, batch_of([example]))[0]


def test_the_first_loss_is_ln_2_exactly(tmp_path: Path) -> None:
    """Also with dropout, which must not make a difference between the model and its reference."""
    model = tiny_chat.model(dropout=0.5).train()
    add_lora(model, Lora())
    sums = preference_loss(0.3)(model, pairs(model).batch([0, 1]))
    assert sums.total.item() == 2 * torch.tensor(2.0).log().item()  # type: ignore[union-attr]
    metrics = {name: value.item() for name, value in sums.metrics.items()}  # type: ignore[union-attr]
    assert metrics == {"accuracy": 0, "margin": 0, "chosen_reward": 0, "rejected_reward": 0}
    assert model.training


def test_the_first_gradient_is_that_of_the_paper() -> None:
    """``-beta sigmoid(0) (d log p(chosen) - d log p(rejected))``: towards the chosen, away from the rejected."""
    model = tiny_chat.model()
    add_lora(model, Lora(rank=2))
    (chosen, rejected), _ = data = pairs(model).pairs
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    loss = preference_loss(0.3)(model, Pairs(data[:1]).batch([0])).total
    found = torch.autograd.grad(loss, weights)
    up = torch.autograd.grad(log_prob(model, chosen), weights)
    down = torch.autograd.grad(log_prob(model, rejected), weights)
    assert any(gradient.abs().max() > 1e-3 for gradient in found)
    for gradient, of_chosen, of_rejected in zip(found, up, down, strict=True):
        torch.testing.assert_close(gradient, -0.3 * 0.5 * (of_chosen - of_rejected), rtol=1e-3, atol=1e-5)


def test_rewards_are_log_ratios_to_the_base() -> None:
    model = tiny_chat.model()
    add_lora(model, Lora(rank=2))
    randomise_adapter(model)
    data = pairs(model)
    sums = preference_loss(0.3)(model, data.batch([0, 1]))
    rewards = []
    for side in (0, 1):
        total = 0.0
        for pair in data.pairs:
            with adapter_off(model):
                reference = log_prob(model, pair[side])
            total += 0.3 * (log_prob(model, pair[side]) - reference).item()
        rewards.append(total)
    metrics = {name: value.item() for name, value in sums.metrics.items()}  # type: ignore[union-attr]
    assert math.isclose(metrics["chosen_reward"], rewards[0], rel_tol=1e-3, abs_tol=1e-3)
    assert math.isclose(metrics["rejected_reward"], rewards[1], rel_tol=1e-3, abs_tol=1e-3)
    assert math.isclose(metrics["margin"], rewards[0] - rewards[1], rel_tol=1e-3, abs_tol=1e-3)


def test_training_prefers_the_chosen_and_logs_it(tmp_path: Path) -> None:
    model = tiny_chat.model()
    add_lora(model, Lora())
    data = pairs(model)
    settings = TrainingSettings(steps=20, batch_size=2, learning_rate=0.01)
    train(model, data, None, settings, tmp_path, objective=preference_loss(0.5))
    first, *_, last = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isclose(first["loss"], math.log(2), rel_tol=1e-6)
    assert last["loss"] < 0.1
    assert (first["accuracy"], last["accuracy"]) == (0, 1)
    assert last["margin"] == last["chosen_reward"] - last["rejected_reward"] or math.isclose(
        last["margin"], last["chosen_reward"] - last["rejected_reward"], rel_tol=1e-5
    )
    measured = evaluate(model, data, preference_loss(0.5))
    assert measured["margin"] > 2
