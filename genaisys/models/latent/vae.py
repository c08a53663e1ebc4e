"""The variational auto-encoder (Kingma & Welling 2014, arXiv:1312.6114; book sections 5.3 and 5.4)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from genaisys.models.base import Representation, inference
from genaisys.models.conditionals import Conditional
from genaisys.models.latent.bound import LatentVariableModel, WarmUp, at_least, repeated
from genaisys.models.latent.flow_posterior import drawn
from genaisys.models.latent.priors import Prior
from genaisys.models.spaces import Integers, Reals


class VAE(LatentVariableModel, Representation):
    """``p(x) = ∫ p(x | z) p(z) dz`` with an approximation ``q(z | x)`` of the posterior (book listings 5.1-5.5).

        loss = E_q[-log p(x | z)] + beta KL(q(z | x), p(z))

    With ``beta`` = 1 and no free nats its mean is the negative ELBO. The KL is in closed form where there is one, and
    otherwise by the code that is drawn. Codes are vectors, [B, L].

    Args:
        posterior: from data, scaled as networks like them, to a distribution of codes: ``Gaussians`` or a
            ``FlowPosterior``.
        decoder: from codes to a distribution of data: any of ``models/conditionals.py``.
        prior: of codes.
        beta: the weight of the KL (Higgins et al. 2017); other than 1, the loss bounds no likelihood.
        free_nats: what the KL may be at no cost; see :func:`genaisys.models.latent.bound.at_least`.
        warmup: in how many losses of training the weight of the KL grows to ``beta``.
    """

    def __init__(
        self,
        space: Integers | Reals,
        posterior: Conditional,
        decoder: Conditional,
        prior: Prior,
        *,
        beta: float = 1.0,
        free_nats: float = 0.0,
        warmup: int = 0,
    ) -> None:
        super().__init__()
        self.space = space
        self.posterior, self.decoder, self.prior = posterior, decoder, prior
        self.beta, self.free_nats, self.warmup = beta, free_nats, WarmUp(warmup)

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        x = self.validated(x, condition)
        q, p = self.posterior_of(x), self.prior(self.posterior)
        z, log_q = drawn(q, 1)  # [1, B, L], [1, B]
        try:
            kl = kl_divergence(q, p)  # [B]
        except NotImplementedError:
            kl = (log_q - p.log_prob(z))[0]
        return -self.log_likelihood(x, z)[0] + self.warmup() * self.beta * at_least(kl, self.free_nats)

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        z, log_q = drawn(self.posterior_of(x), samples)  # [S, B, L], [S, B]
        return self.log_likelihood(x, z) + self.prior(self.posterior).log_prob(z) - log_q

    def posterior_of(self, x: Tensor) -> Distribution:
        """``q(z | x)``. [B, *shape] -> a distribution of B codes"""
        q: Distribution = self.posterior(self._for_networks(x))
        return q

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """``log p(x | z)`` in nats. [B, *shape], [S, B, L] -> [S, B]"""
        return self.decoder(z.flatten(0, 1)).log_prob(repeated(x, len(z))).view(z.shape[:2])

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the posterior; of a flow, where it takes the mean of its base. -> [B, L]"""
        with inference(self):
            return self.posterior_of(self.space.validated(x)).mean

    def decode(self, z: Tensor) -> Tensor:
        """The mode of ``p(x | z)``. [B, L] -> [B, *shape]"""
        with inference(self):
            return self.decoder.mode(self.posterior.space.validated(z))

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        x: Tensor = self.decoder(self.prior(self.posterior).sample((n,))).sample()
        return self.space.validated(x)
