"""A small residual convolutional network that keeps the size of images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNet(nn.Module):
    """3x3 convolutions: one in, ``depth`` residual blocks, one out, which begins at zero. [B, C, H, W] -> [B, O, H, W]

    Args:
        context: how many numbers the context has, which shifts the channels of every block; 0: there is none.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, *, depth: int = 2, dropout: float = 0.0, context: int = 0
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width, dropout, context) for _ in range(depth))
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x, context)
        return self.last(F.silu(x))


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float, context: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.context = nn.Linear(context, width) if context else None

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        hidden = self.first(F.silu(x))
        if self.context is not None:
            hidden = hidden + self.context(context)[:, :, None, None]
        return x + self.second(self.dropout(F.silu(hidden)))
