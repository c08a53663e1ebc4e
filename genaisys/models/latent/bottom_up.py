"""Two levels of codes whose posterior goes up from the data (book section 5.5.2.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genaisys.models.base import inference
from genaisys.models.conditionals import Conditional, Gaussians
from genaisys.models.latent.hierarchy import HierarchicalVAE, Passed, level, standard_normal
from genaisys.models.spaces import Integers, Reals


class BottomUpVAE(HierarchicalVAE):
    """``p(x | z1) p(z1 | z2) p(z2)``, with ``q(z1 | x) q(z2 | z1)`` for its posterior (book eq. 5.75-5.82).

        ELBO = E[log p(x | z1) - log q(z1 | x) / p(z1 | z2) - KL(q(z2 | z1), p(z2))]

    The upper level is seen through the lower one only, and often collapses: this model is what others improve on.
    The code is z1: [B, L1].

    Args:
        lower_posterior, upper_posterior: of z1 given scaled data, and of z2 given z1.
        lower_prior: of z1 given z2.
    """

    def __init__(
        self,
        space: Integers | Reals,
        lower_posterior: Gaussians,
        upper_posterior: Gaussians,
        lower_prior: Gaussians,
        decoder: Conditional,
        *,
        free_nats: float = 0.0,
        warmup: int = 0,
    ) -> None:
        super().__init__(space, decoder, free_nats=free_nats, warmup=warmup)
        self.lower_posterior, self.upper_posterior = lower_posterior, upper_posterior
        self.lower_prior = lower_prior

    def passed(self, x: Tensor) -> Passed:
        q1 = self.lower_posterior(self._for_networks(x))
        z1 = q1.rsample()  # [B, L1]
        q2 = self.upper_posterior(z1)
        z2 = q2.rsample()  # [B, L2]
        kl2, ratio2 = level(q2, standard_normal(z2), z2)
        # No closed form: z2, which p(z1 | z2) depends on, was drawn for z1, and so depends on it.
        ratio1 = q1.log_prob(z1) - self.lower_prior(z2).log_prob(z1)
        log_likelihood = self.decoder(z1).log_prob(x)
        return Passed(log_likelihood, torch.stack([ratio1, kl2], 1), torch.stack([ratio1, ratio2], 1))

    def encode(self, x: Tensor) -> Tensor:
        with inference(self):
            mean: Tensor = self.lower_posterior(self._for_networks(self.space.validated(x))).mean
            return mean

    def decode(self, z: Tensor) -> Tensor:
        with inference(self):
            return self.decoder.mode(self.lower_prior.space.validated(z))

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        z2 = standard_normal(self._for_codes(n)).sample()
        x: Tensor = self.decoder(self.lower_prior(z2).sample()).sample()
        return self.space.validated(x)

    def _for_codes(self, n: int) -> Tensor:
        like = next(self.parameters())
        return like.new_empty(n, self.upper_posterior.space.dimensions)
