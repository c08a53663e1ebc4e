"""Very many short texts from prompts of one length: all take a step together, and those that have ended make room.

The engine serves requests that come and go; here thousands of rows share every product of matrices, and a token costs
microseconds. The arithmetic is the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genaisys.models.transformer.model import Block, TransformerLM
from genaisys.models.transformer.rotary import angles, rotate

_AT_ONCE = 1024
_COMPACT_AT = 0.75  # of the rows still under way: finished ones are then dropped


def sample_many(
    model: TransformerLM,
    prompt: Sequence[int] | Tensor,
    n: int,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Iterator[list[int]]:
    """``n`` texts that continue ``prompt``, without it and without their end tokens, some at a time.

    A text that reaches the end of the context is given as far as it goes.

    Args:
        prompt: with BOS, not empty, and shorter than the context; one for all texts, or one for each. [P] or [n, P]
        temperature: above 0; logits are divided by it.
        top_p: only the likeliest tokens that together have this probability.
    """
    prompts = torch.as_tensor(prompt).expand(n, -1)
    for start in range(0, n, _AT_ONCE):
        yield from _batch(model, prompts[start : start + _AT_ONCE], generator, temperature, top_p)


@torch.inference_mode()
def _batch(
    model: TransformerLM, prompts: Tensor, generator: torch.Generator, temperature: float, top_p: float
) -> list[list[int]]:
    """[n, P] -> n texts"""
    config = model.config
    n, given = prompts.shape
    ends, impossible = torch.tensor(config.ends), torch.tensor(config.impossible, dtype=torch.long)
    room = config.context_length
    tokens = torch.zeros(n, room, dtype=torch.long)  # [n, T]
    tokens[:, :given] = prompts
    cache = torch.empty(config.layers, 2, n, config.kv_heads, room, config.head_width)
    rows = torch.arange(n)  # of those under way, in the cache's order
    lengths = torch.full((n,), room)
    for place in range(room - 1):
        logits = _step(model, tokens[rows, place], place, cache[:, :, : len(rows)])  # [R, V]
        if place < given - 1:
            continue
        logits.index_fill_(-1, impossible, -torch.inf)
        drawn = _draw(logits / temperature, top_p, generator)  # [R]
        tokens[rows, place + 1] = drawn
        ended = torch.isin(drawn, ends) & (lengths[rows] == room)
        lengths[rows[ended]] = place + 1
        going = lengths[rows] == room
        if not going.any():
            break
        if going.sum() < _COMPACT_AT * len(rows):
            cache[:, :, : int(going.sum()), :, : place + 1] = cache[:, :, : len(rows), :, : place + 1][:, :, going]
            rows = rows[going]
    return [row[given:length].tolist() for row, length in zip(tokens, lengths.tolist(), strict=True)]


def _step(model: TransformerLM, tokens: Tensor, place: int, cache: Tensor) -> Tensor:
    """Read one token of each row. [R], and the cache [L, 2, R, G, T, d] -> logits [R, V]"""
    x = model.embedding(tokens)  # [R, D]
    rotation = None
    if model.positions is not None:
        x = x + model.positions.weight[place]
    else:
        rotation = angles(model.turning, torch.tensor([place]))  # two of [1, d / 2]
    for block, held in zip(model.blocks, cache, strict=True):
        assert isinstance(block, Block)
        if block.post:
            x = block.attention_norm(x + _attend(block, x, place, rotation, held))
            x = block.mlp_norm(x + block.mlp(x))
        else:
            x = x + _attend(block, block.attention_norm(x), place, rotation, held)
            x = x + block.mlp(block.mlp_norm(x))
    return model.head(model.norm(x)).float()


def _attend(block: Block, x: Tensor, place: int, rotation: tuple[Tensor, Tensor] | None, held: Tensor) -> Tensor:
    """[R, D], and one layer's cache [2, R, G, T, d] -> [R, D]"""
    attention = block.attention
    query, key, value = (
        layer(x).unflatten(-1, (-1, 1, attention.head_width))  # [R, H, 1, d]
        for layer in (attention.query, attention.key, attention.value)
    )
    if rotation is not None:
        query, key = rotate(query, rotation), rotate(key, rotation)
    held[0, :, :, place] = key[:, :, 0]
    held[1, :, :, place] = value[:, :, 0]
    keys, values = held[:, :, :, : place + 1]
    mixed = F.scaled_dot_product_attention(query, keys, values, enable_gqa=query.shape[1] != keys.shape[1])
    return attention.output(mixed.flatten(1))


def _draw(logits: Tensor, top_p: float, generator: torch.Generator) -> Tensor:
    """A token of each row. [R, V] -> [R]"""
    p = logits.softmax(-1)
    if top_p < 1:
        ordered, order = p.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0  # the likelier ones have it already
        p = torch.zeros_like(p).scatter(-1, order, ordered)
    return torch.multinomial(p, 1, generator=generator)[:, 0]
