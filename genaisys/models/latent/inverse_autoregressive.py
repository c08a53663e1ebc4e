"""Inverse autoregressive flow (Kingma et al. 2016, arXiv:1606.04934; book section 5.4.2.2)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from genaisys.models.latent.flow_posterior import PosteriorFlow
from genaisys.models.layers.made import MADE

_OPEN = 1.5  # added to a gate before its sigmoid, so that steps change little at first


class InverseAutoregressiveFlow(PosteriorFlow):
    """``z_t,d = g_d z_(t-1),d + (1 - g_d) m_d`` with gates g and means m that the dimensions before d give.

    The context has its part in them too. The Jacobian is triangular with g on its diagonal. The order of dimensions is
    reversed between steps.
    """

    def __init__(self, latent: int, context: int, steps: int, width: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(MADE(latent, 2, width, context=context) for _ in range(steps))

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[:-1])  # [S, B]
        for step in cast(list[MADE], list(self.steps)):
            gate, mean = step(z, context).unbind(-1)  # [S, B, L] each
            gate = (gate + _OPEN).sigmoid()
            z = (gate * z + (1 - gate) * mean).flip(-1)
            total = total + gate.log().sum(-1)
        return z, total
