"""What training minimises: sums over a batch, and the weight by which they are to be divided.

Sums and not means: the loop adds them up over micro-batches and processes and divides once, so that how a batch is cut
never matters, nor that sequences are of unequal length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.cross_entropy import cross_entropy


class Sums(NamedTuple):
    """What an objective gives for a batch.

    Attributes:
        total: the sum of the losses, a scalar with its gradient.
        weight: what ``total`` is divided by to be a mean: the number of examples, or of tokens.
        metrics: sums of other quantities, which are divided by the same weight, by their names.
    """

    total: Tensor
    weight: Tensor | int
    metrics: Mapping[str, Tensor] = {}


# From the model, in train or eval mode, and one batch of its data. A plain tuple (total, weight) will do.
Objective = Callable[[Any, Any], Sums | tuple[Tensor, Tensor | int]]


def loss_of_examples(model: GenerativeModel, x: Tensor) -> Sums:
    """The model's own loss: its mean is over examples."""
    return Sums(model.loss(x).sum(), len(x))


def loss_given_conditions(model: GenerativeModel, batch: tuple[Tensor, Tensor]) -> Sums:
    """The same, of a conditional model and examples with their conditions."""
    x, condition = batch
    return Sums(model.loss(x, condition=condition).sum(), len(x))


def loss_of_tokens(model: TransformerLM, x: Tensor) -> Sums:
    """The model's own loss, in nats: its mean is over the tokens that are no padding."""
    return Sums(model.loss(x).sum(), model.counted(x).sum())


def next_tokens(model: TransformerLM, x: Tensor) -> Sums:
    """``-log p(x)`` in nats, and how many next tokens the likeliest one is right for: the metric ``accuracy``.

    Args:
        x: [B, T] sequences without BOS, padded.
    """
    begin = x.new_full((len(x), 1), model.config.start)
    logits = model(torch.cat([begin, x[:, :-1]], dim=1))  # [B, T, V]
    if model.config.impossible:
        logits = logits.index_fill(-1, x.new_tensor(model.config.impossible), -torch.inf)
    counted = model.counted(x)  # [B, T]
    total = cross_entropy(logits.flatten(0, 1), x.masked_fill(~counted, -1).flatten()).sum()
    right = (logits.argmax(-1) == x) & counted
    return Sums(total, counted.sum(), {"accuracy": right.sum()})


def objective_of(model: Any) -> Objective:
    """What ``model`` is trained with, unless something else is given."""
    return loss_of_tokens if isinstance(model, TransformerLM) else loss_of_examples


def evaluation_of(model: Any) -> Objective:
    """What ``model`` is evaluated with: for a language model its NLL and accuracy, for others their loss."""
    if isinstance(model, TransformerLM) and model.config.causal_weight:
        return next_tokens
    return objective_of(model)
