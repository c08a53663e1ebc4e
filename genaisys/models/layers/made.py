"""A masked network, in which outputs depend on the inputs before them (MADE: Germain et al. 2015, arXiv:1502.03509)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MADE(nn.Module):
    """Numbers for each of D inputs, which depend on those before it and on a context. [..., D] -> [..., D, numbers]

    Args:
        context: numbers that all outputs may depend on; 0: there is none.
    """

    def __init__(self, inputs: int, numbers: int, width: int, layers: int = 2, context: int = 0) -> None:
        super().__init__()
        self.numbers = numbers
        # A hidden unit of degree m sees the inputs up to the m-th; output d sees the hidden units of lower degrees.
        hidden = torch.arange(width) % max(1, inputs - 1)
        first = _MaskedLinear(hidden[:, None] >= torch.arange(inputs))
        between = [_MaskedLinear(hidden[:, None] >= hidden) for _ in range(layers - 1)]
        self.hidden = nn.ModuleList([first, *between])
        self.last = _MaskedLinear(torch.arange(inputs).repeat_interleave(numbers)[:, None] > hidden)
        self.context = nn.Linear(context, width, bias=False) if context else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        first, *others = self.hidden
        h = first(x)  # [..., width]
        if self.context is not None and context is not None:
            h = h + self.context(context)
        for layer in others:
            h = layer(F.silu(h))
        return self.last(F.silu(h)).unflatten(-1, (-1, self.numbers))


class _MaskedLinear(nn.Linear):
    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)
