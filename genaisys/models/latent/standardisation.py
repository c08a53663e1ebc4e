"""Real numbers in the units of networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Distribution, TransformedDistribution


class Standardisation(nn.Module):
    """``(x - mean) / std`` of every variable, since real numbers have no range of their own.

    Both are set from data before training, and are not trained.

    Args:
        shape: of the data.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("largest", torch.full(shape, torch.inf))  # of these data, standardised and without sign
        self.register_buffer("initialised", torch.tensor(False))
        self.mean: Tensor
        self.std: Tensor
        self.largest: Tensor
        self.initialised: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[B, *shape]"""
        return (x - self.mean) / self.std

    def begin_with(self, x: Tensor) -> None:
        """Take mean and std from the first data that this is called with. [N, *shape]"""
        if self.initialised or len(x) < 2:
            return
        x = x.double()
        self.mean.copy_(x.mean(0))
        self.std.copy_(torch.where(x.amax(0) > x.amin(0), x.std(0), 1.0))
        self.largest.copy_(self(x).abs().amax(0))
        self.initialised.fill_(True)

    def limited(self, x: Tensor) -> Tensor:
        """Estimates of what is standardised, none of them beyond twice the largest that was seen. [B, *shape]"""
        return x.clamp(-2 * self.largest, 2 * self.largest)

    def undone(self, p: Distribution) -> Distribution:
        """The distribution of data whose standardised ones are of ``p``. [B, *shape]"""
        return TransformedDistribution(p, AffineTransform(self.mean, self.std, self.mean.dim()), validate_args=False)
