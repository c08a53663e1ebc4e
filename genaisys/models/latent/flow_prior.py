"""A flow as a prior (book section 5.4.1.8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.latent.priors import Prior, StandardNormal
from genaisys.models.layers.residual_mlp import ResidualMLP


class FlowPrior(Prior):
    """``log p(z) = log N(f(z); 0, I) + log |det df/dz|`` for a bijection f from codes to noise.

    Listing 5.11 adds the log-determinant to each dimension before they are summed, and so L times (trap V7).
    """

    def __init__(self, latent: int, bijection: Bijection) -> None:
        super().__init__()
        self.base, self.bijection = StandardNormal(latent), bijection

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


class AffineCoupling(Bijection):
    """``y_a = x_a``, ``y_b = exp(s(x_a)) x_b + t(x_a)`` for the two halves of a vector, then their order is reversed.

    The scales stay between 1/e^2 and e^2. (Dinh et al. 2017, arXiv:1605.08803; book section 4.1.3.)
    """

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.kept = latent - latent // 2
        self.net = ResidualMLP(self.kept, 2 * (latent - self.kept), width, blocks=1)
        nn.init.zeros_(self.net.last.weight)
        nn.init.zeros_(self.net.last.bias)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self._scale_and_shift(a)
        return torch.cat([a, log_scale.exp() * b + shift], 1).flip(1), log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = z.flip(1)
        a, b = y[:, : self.kept], y[:, self.kept :]
        log_scale, shift = self._scale_and_shift(a)
        return torch.cat([a, (b - shift) * (-log_scale).exp()], 1), -log_scale.sum(1)

    def _scale_and_shift(self, a: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.net(a).chunk(2, dim=1)
        return 2 * s.tanh(), t


def coupling_flow(latent: int, steps: int, width: int) -> Bijection:
    """RealNVP for vectors."""
    return Composition(AffineCoupling(latent, width) for _ in range(steps))
