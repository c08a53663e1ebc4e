"""Dequantization with learned noise (Flow++, Ho et al. 2019, arXiv:1902.00275; book section 4.1.6)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.dequantization import Dequantization, UniformDequantization
from genaisys.models.flows.bijection import Bijection


class VariationalDequantization(Dequantization):
    """Noise q(u | x) in the cell of x by a conditional flow: ``u = sigmoid(g(e; x))`` with e standard normal.

        log q(u | x) = log N(e; 0, I) - log |det du/de|

    It makes the bound ``E_q[log p(x + u) - log q(u | x)]`` tighter than uniform noise does, and is trained with it.

    Args:
        units: what real numbers are given to the model in.
        bijection: g, from e [B, *shape], with a context.
        features: from integers [B, *shape], scaled to -1 to 1, to that context [B, C].
    """

    def __init__(self, units: UniformDequantization, bijection: Bijection, features: nn.Module) -> None:
        super().__init__(units.space)
        self.units, self.bijection, self.features = units, bijection, features

    def dequantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dtype = next(self.features.parameters()).dtype
        context = self.features(self.space.scaled(x).to(dtype))
        e = torch.randn(x.shape, dtype=dtype, device=x.device)
        v, log_det = self.bijection.forward_and_log_det(e, context)
        log_slopes = F.logsigmoid(v) + F.logsigmoid(-v)
        log_normal = -0.5 * (e.square() + math.log(2 * math.pi))
        log_q = (log_normal - log_slopes).flatten(1).sum(1) - log_det
        y, log_slope = self.units.in_units(x + v.sigmoid() - 0.5)
        return y, log_slope - log_q

    def centres(self, x: Tensor) -> Tensor:
        return self.units.centres(x)

    def quantize(self, y: Tensor) -> Tensor:
        return self.units.quantize(y)
