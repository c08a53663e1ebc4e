"""Labelled texts as a data set, and the loss of a classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genaisys.models.text_classifier import TextClassifier
from genaisys.training.finetuning.examples import Labelled
from genaisys.training.objectives import Sums


class LabelledTexts:
    """Texts and the numbers of their classes. A batch has ``tokens`` [B, T], ``lengths`` [B] and ``classes`` [B]."""

    def __init__(self, model: TextClassifier, examples: Sequence[Labelled], length: int) -> None:
        """Args: length: of a longer text, so many of its last tokens are read."""
        self.tokens = [model.tokens_of(example.text)[-length:] for example in examples]
        self.classes = [model.labels.index(example.label) for example in examples]

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        rows = [torch.tensor(self.tokens[number]) for number in numbers]
        return {
            "tokens": nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor([len(row) for row in rows]),
            "classes": torch.tensor([self.classes[number] for number in numbers]),
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all texts and classes, in hexadecimal."""
        return hashlib.sha256(repr((self.tokens, self.classes)).encode()).hexdigest()


def label_loss(model: TextClassifier, batch: dict[str, Tensor]) -> Sums:
    """``-log p(y | x)`` in nats a text; the metric is ``accuracy``."""
    log_prob = model.class_log_prob(batch["tokens"], batch["lengths"])  # [B, C]
    right = (log_prob.argmax(-1) == batch["classes"]).sum()
    loss = nn.functional.nll_loss(log_prob, batch["classes"], reduction="sum")
    return Sums(loss, len(log_prob), {"accuracy": right})
