"""A residual network for vectors: the encoder, decoder and denoiser of small data."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """Residual blocks between two linear maps. [..., inputs] -> [..., outputs]

    Args:
        width: of what the blocks add to, and of their hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)  # [..., width]
        for block in self.blocks:
            x = block(x)
        return self.last(F.silu(self.norm(x)))  # [..., outputs]


class ResidualBlock(nn.Module):
    """``x + W2 dropout(silu(W1 norm(x)))``. [..., width] -> the same"""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out
