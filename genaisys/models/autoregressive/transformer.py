"""A memory of everything by attention: the blocks of ``TransformerLM`` over pixels (book section 3.3)."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.autoregressive.model import Autoregressive, CausalNetwork, Values, autoregressive, head_of
from genaisys.models.autoregressive.order import Places
from genaisys.models.spaces import Integers, Reals
from genaisys.models.transformer.config import TransformerConfig, gpt
from genaisys.models.transformer.model import Block


class CausalTransformer(CausalNetwork):
    """Each place reads the value before it and where it stands itself, then attends to all places up to it.

    Positions are learned, a vector for the row and one for the column; the blocks are GPT-2's (pre-norm, trap A14).
    """

    def __init__(self, space: Integers | Reals, numbers: int, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.values, self.places = Values(space, config.width), Places(space.shape, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, numbers)
        for block in self._blocks:  # what is added to the stream is small at first, so that depth does no harm
            for linear in (block.attention.output, block.mlp.down):
                nn.init.normal_(linear.weight, std=0.02 / (2 * config.layers) ** 0.5)
            block.attention.dropout = 0.0  # of the weights of attention: on a processor, half as long again for a step

    @property
    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(self.values(x[:, :-1]), (0, 0, 1, 0))  # [B, D, width]
        h = self.dropout(before + self.places())
        for block in self._blocks:
            h = block(h, None, None, True)
        return self.out(self.norm(h))

    def steps(self, n: int) -> Generator[Tensor, Tensor, None]:
        places = self.places()  # [D, width]
        room = (n, self.config.heads, len(places), self.config.head_width)
        caches = [(places.new_zeros(room), places.new_zeros(room)) for _ in self._blocks]  # keys and values
        before: Tensor | float = 0.0
        for place, where in enumerate(places):
            h = (before + where).expand(n, -1)[:, None]  # [n, 1, width]
            for block, (keys, values) in zip(self._blocks, caches, strict=True):
                h = _step(block, h, keys, values, place)
            x = yield self.out(self.norm(h[:, 0]))
            before = self.values(x)


def _step(block: Block, h: Tensor, keys: Tensor, values: Tensor, place: int) -> Tensor:
    """What the block makes of one more place, whose key and value are kept. [n, 1, width], [n, H, D, d] twice"""
    attention, read = block.attention, block.attention_norm(h)
    heads = (-1, attention.head_width)
    query, keys[:, :, place : place + 1], values[:, :, place : place + 1] = (
        layer(read).unflatten(-1, heads).transpose(1, 2)  # [n, H, 1, d]
        for layer in (attention.query, attention.key, attention.value)
    )
    mixed = F.scaled_dot_product_attention(query, keys[:, :, : place + 1], values[:, :, : place + 1])
    h = h + attention.output(mixed.transpose(1, 2).flatten(2))
    return h + block.mlp(block.mlp_norm(h))


def arm_transformer(
    space: Integers | Reals,
    layers: int = 4,
    width: int = 64,
    heads: int = 4,
    dropout: float = 0.0,
    components: int | None = None,
) -> Autoregressive:
    """The preset."""
    head, numbers = head_of(space, components)
    # Of the vocabulary and the context only an embedding and a head could ask: the network has its own.
    config = gpt(numbers, space.dimensions, layers=layers, width=width, heads=heads, dropout=dropout)
    return autoregressive(space, CausalTransformer(space, numbers, config), head)
