"""Posteriors that a flow has made flexible (Rezende & Mohamed 2015; book section 5.4.2).

z_0 ~ N(mu(x), diag(s(x)^2)) goes through invertible steps, which may depend on x:

    log q(z_T | x) = log q(z_0 | x) - sum_t log |det dz_t / dz_(t-1)|        (book eq. 5.54)

The steps are only ever run from z_0 to z_T. So the density is known of codes that were drawn, which is all that a VAE
asks for, and no step needs an inverse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from genaisys.models.conditionals import Conditional, Gaussians
from genaisys.models.spaces import Reals


class PosteriorFlow(nn.Module, ABC):
    """All steps of a flow."""

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z_T and ``sum_t log |det dz_t / dz_(t-1)|``. z [S, B, L], context [B, H] -> [S, B, L] and [S, B]"""


class FlowPosterior(Conditional):
    """``q(z | x)``: a Gaussian, and a flow after it.

    Args:
        net: from data to what the Gaussian and the flow depend on. [B, *shape] -> [B, H]
        space: of codes.
        width: H.
    """

    space: Reals

    def __init__(self, net: nn.Module, space: Reals, width: int, flow: PosteriorFlow) -> None:
        super().__init__(net, space)
        self.base = Gaussians(nn.Linear(width, Gaussians.numbers(space)), space)
        self.flow = flow

    def forward(self, context: Tensor) -> Flowed:
        h = self.net(context)  # [B, H]
        return Flowed(self.base(h), lambda z: self.flow(z, h))


class Flowed(Distribution):
    """What becomes of a distribution in a flow.

    Args:
        base: of B vectors.
        flow: z_T and the log-determinant of z_0. [S, B, L] -> [S, B, L] and [S, B]
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, base: Distribution, flow: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base, self.flow = base, flow

    def rsample_and_log_prob(self, samples: int) -> tuple[Tensor, Tensor]:
        """Codes, through which gradients flow, and their log-densities. -> [samples, B, L] and [samples, B]"""
        start = self.base.rsample((samples,))
        z, log_det = self.flow(start)
        return z, self.base.log_prob(start) - log_det

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return self.rsample_and_log_prob(shape.numel())[0].view(*shape, *self.batch_shape, *self.event_shape)

    @property
    def mean(self) -> Tensor:
        """Where the flow takes the mean of the base; that is the mean itself where the flow is linear."""
        return self.flow(self.base.mean[None])[0][0]


def drawn(q: Distribution, samples: int) -> tuple[Tensor, Tensor]:
    """Codes, through which gradients flow, and their log-densities. -> [samples, B, L] and [samples, B]"""
    if isinstance(q, Flowed):
        return q.rsample_and_log_prob(samples)
    z = q.rsample((samples,))
    return z, q.log_prob(z)
