"""Factoring out: some channels are done early, and only the others go on (book section 4.1.6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genaisys.models.flows.bijection import Bijection


class FactorOut(Bijection):
    """The first ``channels`` channels go through ``rest``; the others are codes already. -> [B, D], rest first

    What leaves should be explained by what stays: a coupling before it, that is given the first channels and changes
    the others, makes their density the conditional Gaussian of RealNVP and GLOW.

    Args:
        shape: of the data, [C, *].
        rest_shape: of the codes that ``rest`` gives.
    """

    def __init__(self, rest: Bijection, channels: int, shape: tuple[int, ...], rest_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rest, self.channels, self.shape, self.rest_shape = rest, channels, shape, rest_shape

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.rest.forward_and_log_det(x[:, : self.channels], context)
        return torch.cat((z.flatten(1), x[:, self.channels :].flatten(1)), 1), log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        split = math.prod(self.rest_shape)
        x, log_det = self.rest.inverse_and_log_det(z[:, :split].view(-1, *self.rest_shape), context)
        return torch.cat((x, z[:, split:].view(-1, self.shape[0] - self.channels, *self.shape[1:])), 1), log_det
