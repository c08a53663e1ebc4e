"""The Householder flow (Tomczak & Welling 2016, arXiv:1611.09630; book section 5.4.2.1)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.latent.flow_posterior import PosteriorFlow


class HouseholderFlow(PosteriorFlow):
    """``z_t = (I - 2 v_t v_t^T / |v_t|^2) z_(t-1)`` with ``v_t = Linear(v_(t-1))`` and v_0 the context (book eq. 5.59).

    Reflections keep volumes and norms. They turn a diagonal covariance into a full one: L of them can reach any
    rotation (trap Q5).
    """

    def __init__(self, latent: int, context: int, steps: int) -> None:
        super().__init__()
        widths = [context] + [latent] * steps
        self.vectors = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        v = context
        for linear in self.vectors:
            v = linear(v)  # [B, L]
            z = reflected(z, v)
        return z, z.new_zeros(z.shape[:-1])


def reflected(z: Tensor, v: Tensor) -> Tensor:
    """z on the other side of the plane that v is normal to; where v is zero, z itself (trap Q2). [..., L]"""
    v = F.normalize(v, dim=-1)
    return z - 2 * v * (v * z).sum(-1, keepdim=True)
