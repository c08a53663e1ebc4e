"""Classification by a head on the last token's features (book section 11.2.2)."""

import math
from pathlib import Path

import pytest
import tiny_chat
import torch

from genaisys.hub.checkpoints import CheckpointBroken
from genaisys.models.text_classifier import TextClassifier
from genaisys.models.transformer import TransformerLM
from genaisys.training import TrainingSettings, evaluate, train
from genaisys.training.finetuning.examples import Labelled
from genaisys.training.finetuning.labels import LabelledTexts, label_loss
from genaisys.training.finetuning.lora import Lora, add_lora, merge

EXAMPLES = [
    Labelled("what a fine day", "good"),
    Labelled("rain", "bad"),
    Labelled("sun at last", "good"),
    Labelled("mud", "bad"),
]


def classifier() -> TextClassifier:
    return TextClassifier(tiny_chat.model(), ["bad", "good"])


def test_at_first_all_classes_are_equally_likely() -> None:
    model = classifier()
    measured = evaluate(model, LabelledTexts(model, EXAMPLES, 64), label_loss)
    assert math.isclose(measured["loss"], math.log(2), rel_tol=1e-6)
    assert model.probabilities("hm") == {"bad": 0.5, "good": 0.5}


def test_padding_does_not_matter_and_the_last_token_does() -> None:
    model = classifier()
    torch.nn.init.normal_(model.head.weight)
    batch = LabelledTexts(model, EXAMPLES, 64).batch(range(4))
    log_prob = model.class_log_prob(batch["tokens"], batch["lengths"])
    torch.testing.assert_close(log_prob.exp().sum(-1), torch.ones(4))
    for example, row in zip(EXAMPLES, log_prob.exp(), strict=True):
        assert list(model.probabilities(example.text).values()) == pytest.approx(row.tolist(), abs=1e-5)
    assert model.probabilities("rain") != model.probabilities("raid")


@pytest.mark.parametrize("lora", [Lora(), None])
def test_it_learns_and_is_kept(tmp_path: Path, lora: Lora | None) -> None:
    model = classifier()
    before = model.backbone.blocks[0].attention.query.weight.clone()
    if lora is not None:
        add_lora(model.backbone, lora)
    data = LabelledTexts(model, EXAMPLES, 64)
    settings = TrainingSettings(steps=30, batch_size=4, learning_rate=0.01)
    train(model, data, None, settings, tmp_path / "run", objective=label_loss)
    measured = evaluate(model, data, label_loss)
    assert measured["accuracy"] == 1
    assert measured["loss"] < 0.2
    merge(model.backbone)
    assert not torch.equal(model.backbone.blocks[0].attention.query.weight, before)
    model.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model")
    assert again.labels == ("bad", "good")
    for example in EXAMPLES:
        assert again.probabilities(example.text) == pytest.approx(model.probabilities(example.text), abs=1e-5)
        assert again.probabilities(example.text)[example.label] > 0.5
    TransformerLM.from_pretrained(tmp_path / "model")  # the backbone by itself


def test_long_texts_are_read_from_their_end() -> None:
    model = classifier()
    assert len(model.tokens_of("a" * 1000 + "b")) == model.backbone.config.context_length
    data = LabelledTexts(model, [Labelled("a" * 100 + "bc", "good")], 2)
    assert data.tokens == [model.tokens_of("bc")]


def test_folders_that_hold_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(CheckpointBroken, match="no classifier"):
        TextClassifier.from_pretrained(tmp_path)
    classifier().save_pretrained(tmp_path)
    (tmp_path / "labels.json").write_text('["one", "two", "three"]')
    with pytest.raises(CheckpointBroken, match="does not fit"):
        TextClassifier.from_pretrained(tmp_path)
    (tmp_path / "labels.json").write_text("[1]")
    with pytest.raises(CheckpointBroken, match="no names"):
        TextClassifier.from_pretrained(tmp_path)
