"""Flows with zuko's transforms; with rational-quadratic splines they are Neural Spline Flows (arXiv:1906.04032)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from zuko.flows import MaskedAutoregressiveTransform
from zuko.lazy import LazyTransform
from zuko.transforms import AutoregressiveTransform, MonotonicRQSTransform

from genaisys.models.flows.base_densities import StandardNormal
from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.flows.flow import Flow
from genaisys.models.spaces import Integers, Reals

_BOUND = 5.0  # splines bend between minus this and this, and are the identity outside


class ZukoTransform(Bijection):
    """Any transform of zuko's flows, of vectors [D] to vectors [D]."""

    def __init__(self, transform: LazyTransform) -> None:
        super().__init__()
        self.transform = transform

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform(context).call_and_ladj(x.flatten(1))
        return z.view_as(x), log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = self.transform(context).inv.call_and_ladj(z.flatten(1))
        return x.view_as(z), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        x: Tensor = self.transform(context).inv(z.flatten(1))
        return x.view_as(z)


class MaskedAutoregressive(MaskedAutoregressiveTransform):
    """zuko's own, inverted in as many passes as it takes (Song et al. 2021, arXiv:2002.03629).

    A pass makes all variables anew from those of the pass before, and one more of them is right for good. But most
    depend on the others weakly, so that all are right long before the last pass.
    """

    def forward(self, context: Tensor | None = None) -> AutoregressiveTransform:
        transform = super().forward(context)
        return _UntilItStays(transform.meta, transform.passes)


class _UntilItStays(AutoregressiveTransform):
    def _inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for _ in range(self.passes):
            x, before = self.meta(x).inv(y), x
            if torch.equal(x, before):  # and no other pass would change it
                break
        return x


class SplineFlow(Flow):
    """Masked autoregressive splines, by turns from the first variable to the last and back.

    Args:
        bins: pieces of a spline.
        dropout: in the networks.
    """

    def __init__(
        self,
        space: Integers | Reals,
        transforms: int = 2,
        width: int = 256,
        depth: int = 2,
        bins: int = 8,
        dropout: float = 0.2,
    ) -> None:
        order = torch.arange(space.dimensions)
        bijection = Composition(
            ZukoTransform(
                MaskedAutoregressive(
                    space.dimensions,
                    order=order if number % 2 == 0 else order.flip(0),
                    univariate=partial(MonotonicRQSTransform, bound=_BOUND),
                    shapes=[(bins,), (bins,), (bins - 1,)],
                    hidden_features=[width] * depth,
                    activation=lambda: nn.Sequential(nn.SiLU(), nn.Dropout(dropout)),
                )
            )
            for number in range(transforms)
        )
        super().__init__(space, bijection, StandardNormal(*space.shape))
