"""Coupling layers: some variables are given, and by them the others are scaled and shifted (book section 4.1.3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genaisys.models.flows.bijection import Bijection


class AffineCoupling(Bijection):
    """``z_a = x_a,  z_b = exp(s(x_a)) x_b + t(x_a)``; the log-det is the sum of s (book eq. 4.15-4.20, listing 4.1).

    s is kept between -1 and 1 by a tanh (listing 4.2). Where nothing is given, the map is by the context alone.

    Args:
        net: called with x [B, *shape], zero where not given, and the context, for [B, 2 * dimensions] numbers.
        given: the mask of x_a. [*shape], bool
    """

    given: Tensor

    def __init__(self, net: nn.Module, given: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("given", given, persistent=False)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._log_scale_and_shift(x, context)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._log_scale_and_shift(z, context)  # z_a = x_a, and no more is looked at
        return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)

    def _log_scale_and_shift(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both are zero where x is given. -> [B, *shape] each"""
        log_scale, shift = self._numbers(x, context)
        return log_scale.tanh() * ~self.given, shift * ~self.given

    def _numbers(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(x * self.given, context).view(len(x), 2, *self.given.shape).unbind(1)
        return log_scale, shift


class ReZeroCoupling(AffineCoupling):
    """``z_b = exp(alpha s(x_a)) x_b + beta t(x_a)``; alpha and beta are learned, and 0 at first (book section 4.1.6).

    So it begins as the identity, and the net has no gradient before the first step has moved alpha and beta (trap F7).
    s is kept between -|alpha| and |alpha|.
    """

    def __init__(self, net: nn.Module, given: Tensor) -> None:
        super().__init__(net, given)
        self.gates = nn.Parameter(torch.zeros(2))  # alpha, beta

    def _log_scale_and_shift(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = super()._log_scale_and_shift(x, context)
        return self.gates[0] * log_scale, self.gates[1] * shift
