"""Attention of text encoders in bfloat16 on a processor, twice as fast there as torch's own.

Torch's fused attention gains nothing from bfloat16 on a processor. Matrix products do: they become so quick that the
softmax between them counts for more. So each sequence goes alone: its scores stay in the cache of a core, and most of
its padding is left out instead of masked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "one_sequence_at_a_time"
# What is computed here is all that these do: every token sees every other, and nothing is added to the scores.
MODEL_TYPES = frozenset({"bert", "roberta", "xlm-roberta"})

STEP = 8  # lengths are rounded up to its multiples: for each shape of a product, code is made and kept


def take_over(model: PreTrainedModel) -> None:
    """Let ``model``, which is in bfloat16 on a processor, compute its attention here if it is one that can."""
    if model.config.model_type in MODEL_TYPES and not model.config.is_decoder:
        model.set_attn_implementation(NAME)


def attention(
    module: torch.nn.Module,
    query: Tensor,  # [B, heads, T, d]
    key: Tensor,  # [B, heads, T, d]
    value: Tensor,  # [B, heads, T, d]
    attention_mask: Tensor | None,  # [B, T], true for tokens, false for the padding after them
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax(query key^T scaling) value. -> [B, T, heads, d], any for padding; and None in place of weights"""
    batch, longest = query.shape[0], query.shape[2]
    lengths = [longest] * batch if attention_mask is None else attention_mask.sum(dim=-1).tolist()
    query = query * scaling
    mixed = torch.zeros_like(value.transpose(1, 2))
    for row, length in enumerate(lengths):
        seen = min(round_up(length), longest)
        scores = (query[row, :, :seen] @ key[row, :, :seen].transpose(1, 2)).float()  # [heads, seen, seen]
        scores[:, :, length:] = -torch.inf
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        mixed[row, :seen] = (weights @ value[row, :, :seen]).transpose(0, 1)
    return mixed, None


def round_up(length: int) -> int:
    return -(-length // STEP) * STEP


def _padding(*_: Any, attention_mask: Tensor | None, **__: Any) -> Tensor | None:
    return attention_mask


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, _padding)
