"""Real numbers in the units of networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Distribution, TransformedDistribution


class Standardisation(nn.Module):
    """``(x - mean) / std`` of every variable, since real numbers have no range of their own.

    Both are of the first data that are learned from; they are not trained.

    Args:
        shape: of the data.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer(
            "largest", torch.full(shape, torch.inf)
        )  # of all data so far, standardised and without sign
        self.register_buffer("initialised", torch.tensor(False))
        self.mean: Tensor
        self.std: Tensor
        self.largest: Tensor
        self.initialised: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[B, *shape]"""
        return (x - self.mean) / self.std

    @torch.no_grad()
    def learn_from(self, x: Tensor) -> None:
        """Take mean and std from the first data that this is called with, and the range from all. [N, *shape]"""
        if not self.initialised:
            if len(x) < 2:
                return
            precise = x.cpu().double()  # not every accelerator has doubles
            self.mean.copy_(precise.mean(0))
            self.std.copy_(torch.where(precise.amax(0) > precise.amin(0), precise.std(0), 1.0))
            self.largest.zero_()
            self.initialised.fill_(True)
        self.largest.copy_(self.largest.maximum(self(x).abs().amax(0)))

    def limited(self, x: Tensor) -> Tensor:
        """Estimates of what is standardised, none of them beyond twice the largest that was seen. [B, *shape]"""
        return x.clamp(-2 * self.largest, 2 * self.largest)

    def undone(self, p: Distribution) -> Distribution:
        """The distribution of data whose standardised ones are of ``p``. [B, *shape]"""
        return TransformedDistribution(p, AffineTransform(self.mean, self.std, self.mean.dim()), validate_args=False)
