"""Rows and their loss: padding, packing, and what a step is."""

import random
from pathlib import Path

import pytest
import tiny_chat
import torch
import torch.nn.functional as F
from tiny_chat import chat, tokenised
from torch import Tensor

from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.generation import Sampling, generate
from genaisys.training import TrainingSettings, train
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.finetuning.rows import Conversations, batch_of, learned_tokens, packed

CHATS = [chat("hi", "ho"), chat("a", "bcdefg", "h", "i"), chat("what?", "no"), chat("x", "yz")]


def nll(model: TransformerLM, example: Tokenised) -> Tensor:
    """The definition, one token at a time."""
    tokens = example.tokens
    log_prob = model(torch.tensor([tokens])).double().log_softmax(-1)[0]
    return -sum(
        (log_prob[at - 1, token] for at, token in enumerate(tokens) if example.learned[at]), torch.tensor(0.0).double()
    )


def test_the_loss_is_that_of_the_learned_tokens() -> None:
    model = tiny_chat.model()
    examples = tokenised(*CHATS, of=model)
    sums = learned_tokens(model, Conversations(examples).batch(range(4)))
    expected = sum(nll(model, example) for example in examples)
    torch.testing.assert_close(sums.total.double(), expected, rtol=1e-5, atol=1e-5)
    assert sums.weight == sum(sum(example.learned) for example in examples)


def test_padding_is_never_in_the_loss_even_where_it_is_the_end_token() -> None:
    """Whatever stands in the padding, the end token included, the loss is the same; EOS itself is learned."""
    model = tiny_chat.model()
    batch = batch_of(tokenised(*CHATS, of=model))
    padding = batch["segments"] == -1
    assert padding.any()
    assert not (batch["learned"] & padding).any()
    losses = []
    for filling in (0, model.config.ends[0], 7):
        tokens = batch["tokens"].masked_fill(padding, filling)
        losses.append(learned_tokens(model, {**batch, "tokens": tokens}).total.item())
    assert losses[0] == losses[1] == losses[2]
    assert (batch["learned"] & (batch["tokens"] == model.config.ends[0])).sum() == 5


def test_conversations_in_one_row_do_not_see_each_other() -> None:
    model = tiny_chat.model()
    examples = tokenised(*CHATS, *CHATS, of=model)
    batch = batch_of(examples)
    assert len(batch["tokens"]) < len(examples)
    logits = model(batch["tokens"], segments=batch["segments"])
    for number, example in enumerate(examples):
        alone = model(torch.tensor([example.tokens]))[0]
        mine = batch["segments"] == number
        assert batch["tokens"][mine].tolist() == list(example.tokens)
        assert batch["learned"][mine].tolist() == list(example.learned)
        torch.testing.assert_close(logits[mine], alone, rtol=1e-4, atol=1e-5)
    mixed = model(batch["tokens"])[batch["segments"] >= 0]
    assert not torch.allclose(mixed, logits[batch["segments"] >= 0], atol=0.1)  # without segments they would


def test_packing_wastes_little_and_loses_nothing() -> None:
    generator = random.Random(0)
    lengths = [generator.randint(1, 100) for _ in range(500)]
    rows = packed(lengths)
    assert sorted(number for row in rows for number in row) == list(range(500))
    assert all(sum(lengths[number] for number in row) <= 100 for row in rows)
    assert len(rows) <= 1.05 * sum(lengths) / 100


def test_one_by_one_is_all_at_once(tmp_path: Path) -> None:
    """Conversations of unequal length: eight micro-batches of one make the step that one batch of eight makes."""
    trained = {}
    for micro in (None, 1):
        model = tiny_chat.model().double()
        data = Conversations(tokenised(*CHATS, *CHATS, of=model))
        settings = TrainingSettings(steps=3, batch_size=8, micro_batch_size=micro, learning_rate=0.01)
        train(model, data, None, settings, tmp_path / str(micro), objective=learned_tokens)
        trained[micro] = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    torch.testing.assert_close(trained[1], trained[None], rtol=1e-9, atol=1e-11)


def test_a_fine_tuned_model_answers_and_stops(tmp_path: Path) -> None:
    model = tiny_chat.model()
    data = Conversations(tokenised(chat("hi", "ho"), chat("by", "see you"), of=model))
    settings = TrainingSettings(steps=60, batch_size=2, learning_rate=0.01, weight_decay=0.0)
    train(model, data, None, settings, tmp_path, objective=learned_tokens)
    assert model.tokenizer is not None
    for said, answer in (("hi", "ho"), ("by", "see you")):
        prompt = model.tokenizer.encode_chat([{"role": "user", "content": said}])
        (written,) = generate(model, [(prompt, Sampling(max_new_tokens=20))])
        assert (written.text, written.finish) == (answer, "end")


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_is_that_of_the_whole_head(tied: bool) -> None:
    """Leaving out what is not learned changes nothing."""
    model = tiny_chat.model(tied=tied)
    batch = Conversations(tokenised(*CHATS, of=model)).batch(range(4))
    learned_tokens(model, batch).total.backward()
    mine = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    targets = batch["tokens"].masked_fill(~batch["learned"], -100)[:, 1:]
    logits = model(batch["tokens"], segments=batch["segments"])[:, :-1]
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    for ours, weight in zip(mine, model.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-5)
