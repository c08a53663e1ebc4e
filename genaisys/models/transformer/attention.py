"""Scaled dot-product attention, by whichever way the processor is quick at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    query: Tensor,  # [B, H, T, d]
    key: Tensor,  # [B, G, T, d]
    value: Tensor,  # [B, G, T, d]
    seen: Tensor | None,
    causal: bool,
    dropout: float,
) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v``, where H / G heads of queries share one of keys and values. -> [B, H, T, d]

    Args:
        seen: which token may see which, [T, T] or [B, 1, T, T]; None: all of them or, if ``causal``, all before it.
        dropout: the share of the weights that are left out.
    """
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        length = query.shape[2]
        if seen is None and causal:
            seen = torch.ones(length, length, dtype=torch.bool).tril_()
        return written_out(query, key, value, seen, dropout)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=seen,
        is_causal=causal and seen is None,
        dropout_p=dropout,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def written_out(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, dropout: float = 0.0) -> Tensor:
    """The same as products of matrices, with weights of all pairs of tokens in memory.

    On processors, products of bfloat16 matrices are so quick that this takes a third of the time of torch's fused
    kernel, forward and backward.

    Args: ``key`` and ``value`` may be of more tokens, K: [B, G, K, d]; ``seen`` is [T, K] or [B, 1, T, K].
    """
    groups = key.shape[1]
    of_group = (query * query.shape[-1] ** -0.5).reshape(len(query), groups, -1, query.shape[-1])  # [B, G, H/G * T, d]
    scores = of_group @ key.mT  # [B, G, H/G * T, K]
    if seen is not None:
        unseen = torch.zeros(seen.shape, dtype=scores.dtype).masked_fill_(~seen, -torch.inf)
        scores += unseen.tile(query.shape[1] // groups, 1)
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights @ value).view(query.shape)
