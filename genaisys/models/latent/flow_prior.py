"""A flow as a prior (book section 5.4.1.8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.flows.coupling import AffineCoupling
from genaisys.models.flows.masks import halves
from genaisys.models.latent.priors import Prior, StandardNormalPrior
from genaisys.models.layers.residual_mlp import ResidualMLP


class FlowPrior(Prior):
    """``log p(z) = log N(f(z); 0, I) + log |det df/dz|`` for a bijection f from codes to noise.

    Listing 5.11 adds the log-determinant to each dimension before they are summed, and so L times (trap V7).
    """

    def __init__(self, latent: int, bijection: Bijection) -> None:
        super().__init__()
        self.base, self.bijection = StandardNormalPrior(latent), bijection

    def forward(self, posterior: nn.Module) -> Distribution:
        return _Inverted(self.base(posterior), self.bijection)


class _Inverted(Distribution):
    """Of what a bijection takes to a base distribution."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, base: Distribution, bijection: Bijection) -> None:
        super().__init__(event_shape=base.event_shape, validate_args=False)
        self.base, self.bijection = base, bijection

    def log_prob(self, value: Tensor) -> Tensor:
        flat = value.reshape(-1, value.shape[-1])  # [N, L]
        noise, log_det = self.bijection.forward_and_log_det(flat)
        return (self.base.log_prob(noise) + log_det).view(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        noise = self.base.sample(sample_shape)
        flat = noise.view(-1, noise.shape[-1]) if noise.numel() else noise.flatten(0, -2)
        return self.bijection.inverse_and_log_det(flat)[0].view(noise.shape)


class ReversingCoupling(AffineCoupling):
    """An affine coupling that is given the first half of a vector, and then turns the order of all around.

    s is kept between -2 and 2. It begins as the reversal alone.
    """

    def __init__(self, latent: int, width: int) -> None:
        given = halves((latent,))
        kept = int(given.sum())
        net = ResidualMLP(kept, 2 * (latent - kept), width, blocks=1)
        nn.init.zeros_(net.last.weight)
        nn.init.zeros_(net.last.bias)
        super().__init__(net, given)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x, context)
        return z.flip(1), log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse_and_log_det(z.flip(1), context)

    def _log_scale_and_shift(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = x[:, self.given]
        log_scale, shift = self.net(kept).chunk(2, dim=1)
        nothing = torch.zeros_like(kept)
        return torch.cat([nothing, 2 * log_scale.tanh()], 1), torch.cat([nothing, shift], 1)


def coupling_flow(latent: int, steps: int, width: int) -> Bijection:
    """RealNVP for vectors."""
    return Composition(ReversingCoupling(latent, width) for _ in range(steps))
