"""Two levels of codes whose posterior comes down with the model (Sønderby et al. 2016, arXiv:1602.02282)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genaisys.models.base import inference
from genaisys.models.conditionals import Conditional, Gaussians
from genaisys.models.latent.hierarchy import HierarchicalVAE, Passed, level, moved, standard_normal
from genaisys.models.spaces import Integers, Reals


class TopDownVAE(HierarchicalVAE):
    """``p(x | z1) p(z1 | z2) p(z2)``, with ``q(z1 | z2, x) q(z2 | x)`` for its posterior: a ladder (book listing 5.12).

    A deterministic path goes up, ``r1 = f1(x)``, ``r2 = f2(r1)``. On the way down the posterior of each level is the
    prior there, moved by what the path says:

        q(z2 | x)     = N(d_mu2, d_s2^2)                        moved from N(0, I)
        q(z1 | z2, x) = N(mu1 + d_mu1, (s1 d_s1)^2)             moved from p(z1 | z2) = N(mu1(z2), s1(z2)^2)

    The code is z1, for the mean of z2: [B, L1].

    Args:
        lower_path, upper_path: f1, from scaled data to [B, R1], and f2, to [B, R2].
        lower_delta, upper_delta: from r1 to d_mu1 and log d_s1, [B, 2 L1], and from r2 to those of z2, [B, 2 L2].
        lower_prior: of z1 given z2.
        latent: L2.
    """

    def __init__(
        self,
        space: Integers | Reals,
        lower_path: nn.Module,
        upper_path: nn.Module,
        lower_delta: nn.Module,
        upper_delta: nn.Module,
        lower_prior: Gaussians,
        decoder: Conditional,
        latent: int,
        *,
        free_nats: float = 0.0,
        warmup: int = 0,
    ) -> None:
        super().__init__(space, decoder, free_nats=free_nats, warmup=warmup)
        self.lower_path, self.upper_path = lower_path, upper_path
        self.lower_delta, self.upper_delta = lower_delta, upper_delta
        self.lower_prior, self.latent = lower_prior, latent

    def passed(self, x: Tensor) -> Passed:
        r1 = self.lower_path(self._for_networks(x))
        p2 = standard_normal(r1.new_empty(len(x), self.latent))
        q2 = moved(p2, self.upper_delta(self.upper_path(r1)))
        z2 = q2.rsample()  # [B, L2]
        p1 = self.lower_prior(z2)
        q1 = moved(p1, self.lower_delta(r1))
        z1 = q1.rsample()  # [B, L1]
        kls, ratios = zip(level(q1, p1, z1), level(q2, p2, z2), strict=True)
        return Passed(self.decoder(z1).log_prob(x), torch.stack(kls, 1), torch.stack(ratios, 1))

    def encode(self, x: Tensor) -> Tensor:
        with inference(self):
            r1 = self.lower_path(self._for_networks(self.space.validated(x)))
            p2 = standard_normal(r1.new_empty(len(x), self.latent))
            z2 = moved(p2, self.upper_delta(self.upper_path(r1))).mean
            return moved(self.lower_prior(z2), self.lower_delta(r1)).mean

    def decode(self, z: Tensor) -> Tensor:
        with inference(self):
            return self.decoder.mode(self.lower_prior.space.validated(z))

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        z2 = standard_normal(next(self.parameters()).new_empty(n, self.latent)).sample()
        x: Tensor = self.decoder(self.lower_prior(z2).sample()).sample()
        return self.space.validated(x)
