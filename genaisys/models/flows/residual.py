"""The invertible residual layer (Behrmann et al. 2019, arXiv:1811.00995; book section 4.1.7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genaisys.errors import GenaisysError
from genaisys.models.flows.bijection import Bijection
from genaisys.models.flows.log_determinants import LogDeterminant, exact, russian_roulette

_ITERATIONS = 2000


class NotInverted(GenaisysError):
    """The fixed-point iteration has not come to rest."""


class InvertibleResidual(Bijection):
    """``z = x + g(x)``, where g has a Lipschitz constant below 1 (book eq. 4.23).

    The inverse is the fixed point of ``x = z - g(x)``. The log-det is estimated in train mode, and exact in eval mode,
    where it costs a backward pass for each dimension.

    Args:
        g: keeps the shape; its layers are those of :mod:`genaisys.models.layers.lipschitz`.
        log_det: the estimator in train mode.
        tolerance: of the inverse, the largest change of a step that is the last.
    """

    def __init__(self, g: nn.Module, log_det: LogDeterminant | None = None, tolerance: float = 1e-6) -> None:
        super().__init__()
        self.g, self.tolerance = g, tolerance
        self._estimated = log_det or russian_roulette()

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        change, log_det = (self._estimated if self.training else exact)(self.g, x)
        return x + change, log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.inverse(z, context)
        return x, -self.forward_and_log_det(x, context)[1]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        result: Tensor = x + self.g(x)
        return result

    @torch.no_grad()
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """
        Raises:
            NotInverted: g does not contract.
        """
        x = z
        with parametrize.cached():  # the weights are normalised once
            for _ in range(_ITERATIONS):
                previous, x = x, z - self.g(x)
                if not len(z) or (x - previous).abs().max() < self.tolerance * (1 + x.abs().max()):
                    return x
        raise NotInverted("the inverse of a residual layer was not found: its network stretches too much")
