"""Invertible maps, and their composition (book section 4.1.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map from data x to codes z. Maps of integers, and those that keep volumes, have a log-det of 0."""

    @abstractmethod
    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and ``log |det dz/dx|``. [B, *] -> [B, *] and [B]"""

    @abstractmethod
    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x and ``log |det dx/dz|``, which is minus that of ``forward_and_log_det`` at x. [B, *] -> [B, *] and [B]"""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """z alone, for maps whose log-det costs more than they do. [B, *] -> [B, *]"""
        return self.forward_and_log_det(x, context)[0]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """x alone. [B, *] -> [B, *]"""
        return self.inverse_and_log_det(z, context)[0]


class Composition(Bijection):
    """One bijection after the other; the inverse undoes them from the last to the first."""

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    @property
    def _steps(self) -> list[Bijection]:
        return cast(list[Bijection], list(self.bijections))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for bijection in self._steps:
            x, log_det = bijection.forward_and_log_det(x, context)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for bijection in reversed(self._steps):
            z, log_det = bijection.inverse_and_log_det(z, context)
            total = total + log_det
        return z, total

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for bijection in self._steps:
            x = bijection(x, context)
        return x

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        for bijection in reversed(self._steps):
            z = bijection.inverse(z, context)
        return z
