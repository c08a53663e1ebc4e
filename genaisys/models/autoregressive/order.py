"""The order in which a model goes through the dimensions of an example, and where each of them stands.

Rows from top to bottom, each from left to right, and the channels of a pixel one after the other. [B, C, H, W] becomes
[B, H * W * C]; data of any other number of axes keep their order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def in_order(x: Tensor) -> Tensor:
    """[B, *shape] -> [B, D]"""
    return (x.movedim(1, -1) if x.dim() == 4 else x).flatten(1)


def out_of_order(sequence: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What ``in_order`` undoes. [B, D] -> [B, *shape]"""
    if len(shape) != 3:
        return sequence.view(-1, *shape)
    channels, height, width = shape
    return sequence.view(-1, height, width, channels).movedim(-1, 1)


class Places(nn.Module):
    """Where a dimension stands: the sum of learned vectors of its row, its column, and so on for each axis."""

    coordinates: Tensor

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        numbers = in_order(torch.arange(math.prod(shape)).view(1, *shape))[0]  # [D]
        self.register_buffer("coordinates", torch.stack(torch.unravel_index(numbers, shape)), persistent=False)
        self.vectors = nn.ModuleList(nn.Embedding(size, width) for size in shape)
        for weight in self.vectors.parameters():
            nn.init.normal_(weight, std=0.3)

    def forward(self) -> Tensor:
        """-> [D, width]"""
        return sum(vectors(at) for vectors, at in zip(self.vectors, self.coordinates, strict=True))
