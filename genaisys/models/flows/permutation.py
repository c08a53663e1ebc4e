"""The variables in another order (book section 4.1.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from genaisys.models.flows.bijection import Bijection


class Permutation(Bijection):
    """``z_i = x_order(i)`` of all variables in the order of memory; the volume stays.

    Args:
        order: [D], int64
    """

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1)[:, self.order].view_as(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.flatten(1)[:, self.order.argsort()].view_as(z), z.new_zeros(len(z))


def reversal(dimensions: int) -> Permutation:
    """From the last variable to the first, as between the book's couplings (listing 4.1)."""
    return Permutation(torch.arange(dimensions).flip(0))
