"""Activation normalisation: every channel begins with mean 0 and variance 1 (GLOW, arXiv:1807.03039)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genaisys.models.flows.bijection import Bijection


class ActNorm(Bijection):
    """``z = exp(s) (x - m)``; the first batch in train mode sets m and s to its own statistics.

    Args:
        shape: of m and s. An axis of size 1 is shared: [C, 1, 1] is one m for a channel, the shape of the data one for
            each variable.
    """

    initialised: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))
        self.register_buffer("initialised", torch.tensor(False))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialised and len(x) > 1:
            self._initialise(x.detach())
        return (x - self.mean) * self.log_scale.exp(), self._log_det(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() + self.mean, -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        shared = x[0].numel() // self.mean.numel() if len(x) else 1
        return (shared * self.log_scale.sum()).expand(len(x))

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        axes = (0, *(axis + 1 for axis, size in enumerate(self.mean.shape) if size == 1))
        self.mean.copy_(x.mean(axes, keepdim=True)[0])
        self.log_scale.copy_(-x.std(axes, keepdim=True)[0].clamp(min=1e-3).log())
        self.initialised.fill_(True)
