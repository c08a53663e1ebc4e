"""The multi-layer perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """``depth`` hidden layers with SiLU and dropout, then a linear one. [B, *], flattened -> [B, outputs]

    Args:
        inputs: how many numbers an input has.
        context: how many numbers the context has, which is put beside the input; 0: there is none.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, *, depth: int = 2, dropout: float = 0.0, context: int = 0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for features in (inputs + context, *[width] * (depth - 1)):
            layers += [nn.Linear(features, width), nn.SiLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = x.flatten(1)  # [B, inputs]
        return self.layers(x if context is None else torch.cat((x, context), 1))
