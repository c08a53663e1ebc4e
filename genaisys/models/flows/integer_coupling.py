"""Couplings of integers: some are given, the others are shifted by them (Hoogeboom et al. 2019, arXiv:1905.07376)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genaisys.models.flows.bijection import Bijection
from genaisys.models.spaces import Integers


class IntegerCoupling(Bijection):
    """``z_a = x_a,  z_b = x_b + round(t(x_a))`` on the circle of the levels of a space (book eq. 4.35-4.36).

    The sum is taken modulo the number of levels, so that the map is a permutation of the space. In the book it is taken
    among all integers: the codes have no bounds there, and probability leaks out of the space.

    It changes any part of the variables: one that is given the half of them is the book's bipartite coupling, four in a
    row that are given three quarters each are its quadripartite one (eq. 4.37-4.40), and D of them that change a single
    variable each are the general invertible transformation (Prop. 4.1).

    Args:
        net: t, called with x [B, *shape], scaled to -1 to 1 and zero where not given, and the context, for
            [B, dimensions]; while it is smaller than 1/2, the coupling is the identity.
        given: the mask of x_a. [*shape], bool
    """

    given: Tensor

    def __init__(self, net: nn.Module, given: Tensor, space: Integers) -> None:
        super().__init__()
        self.net, self.space = net, space
        self.register_buffer("given", given, persistent=False)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._on_circle(x + rounded(self._shift(x, context))), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._on_circle(z - rounded(self._shift(z, context))), z.new_zeros(len(z))

    def forward_up_and_down(self, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """The same codes twice, of the same x twice, for a gradient that knows two directions.

        Where t was rounded down, the next other code is one up, and the gradient goes through the first result; where
        it was rounded up, through the second.
        """
        t = self._shift((up + down) / 2, None)
        rising, shift = t > t.round(), rounded(t)
        return (
            self._on_circle(up + torch.where(rising, shift, shift.detach())),
            self._on_circle(down + torch.where(rising, shift.detach(), shift)),
        )

    def _shift(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Before it is rounded, zero where x is given. -> [B, *shape]"""
        return self.net(self.space.scaled(x) * self.given, context).view_as(x) * ~self.given

    def _on_circle(self, x: Tensor) -> Tensor:
        return on_circle(x, self.space)


def on_circle(x: Tensor, space: Integers) -> Tensor:
    """Integers modulo the levels of the space; the gradient is 1 throughout, as if there were no circle."""
    return x - space.levels * ((x - space.low) / space.levels).floor().detach()


def rounded(x: Tensor) -> Tensor:
    """The nearest integers, with the gradient of the identity (straight-through; book listing 4.3)."""
    return x + (x.round() - x).detach()
