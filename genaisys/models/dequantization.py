"""From integers to real numbers and back, for models of densities: so that these have likelihoods of integers too.

A density p(y) on real numbers gives the integers x the probability of their cells. For noise u ~ q(u | x) in the cell,

    log P(x) >= E_q [ log p(x + u) - log q(u | x) ]         (Theis et al. 2016; Ho et al. 2019, arXiv:1902.00275)

Real numbers are given to the model in units that suit it, and the Jacobian of the units is counted here. The mean over
several u inside the logarithm makes the bound tighter (:meth:`DensityOfIntegers.log_prob` in `models/flows`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from genaisys.models.spaces import Integers


class Dequantization(nn.Module, ABC):
    """Noise for integers, and the units of the real numbers that come out.

    Attributes:
        space: of the integers.
    """

    def __init__(self, space: Integers) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def dequantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Real numbers y drawn for integers x, and the w with ``log P(x) >= E[log p(y) + w]``.

        [B, *shape], int64 -> [B, *shape] and [B]
        """

    @abstractmethod
    def centres(self, x: Tensor) -> Tensor:
        """The real numbers in the middle of the cells of integers. -> [B, *shape]"""

    @abstractmethod
    def quantize(self, y: Tensor) -> Tensor:
        """The integers in whose cells real numbers lie; outside of the space the nearest. -> [B, *shape], int64"""


class UniformDequantization(Dequantization):
    """Uniform noise as wide as a cell; the space is scaled to the interval from -1 to 1 (book section 4.1.3.3)."""

    def dequantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.rand(x.shape, device=x.device) - 0.5
        return self.in_units(x + noise)  # q(u) = 1

    def centres(self, x: Tensor) -> Tensor:
        return self.in_units(x)[0]

    def quantize(self, y: Tensor) -> Tensor:
        return self.space.nearest(y * self.space.levels / 2 + self._middle)

    def in_units(self, reals: Tensor) -> tuple[Tensor, Tensor]:
        """Real numbers, whose cells are around the integers, in the units of the model, and the log of the Jacobian.

        [B, *shape] -> [B, *shape] and [B]
        """
        log_slope = self.space.dimensions * math.log(2 / self.space.levels)
        y = (reals - self._middle) * (2 / self.space.levels)
        return y, torch.full((len(y),), log_slope, dtype=y.dtype, device=y.device)

    @property
    def _middle(self) -> float:
        return (self.space.low + self.space.high) / 2


class LogitDequantization(UniformDequantization):
    """Uniform noise, then the logit, so that hardly any sample is out of the space (Papamakarios et al. 2017, 4.3).

    Args:
        margin: the share of the interval that is left free at both ends, where the logit is steep.
    """

    def __init__(self, space: Integers, margin: float = 0.01) -> None:
        super().__init__(space)
        self.margin = margin

    def quantize(self, y: Tensor) -> Tensor:
        return super().quantize((y.sigmoid() - 0.5) / (0.5 - self.margin))

    def in_units(self, reals: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = super().in_units(reals)
        p = 0.5 + y * (0.5 - self.margin)  # margin to 1 - margin
        log_slopes = math.log(0.5 - self.margin) - p.log() - (-p).log1p()
        return p.logit(), log_slope + log_slopes.flatten(1).sum(1)
