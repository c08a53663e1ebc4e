"""What hierarchies of codes share: the bound, and the KL of each level (book section 5.5.2)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from genaisys.models.base import Representation
from genaisys.models.conditionals import Conditional, soft_clamp
from genaisys.models.latent.bound import LatentVariableModel, WarmUp, at_least, repeated
from genaisys.models.spaces import Integers, Reals


class Passed(NamedTuple):
    """What comes of codes that were drawn for B examples, on T levels.

    Attributes:
        log_likelihood: ``log p(x | codes)``. [B]
        kl: of each level, in closed form given the codes of the levels before it where there is one. [B, T]
        log_ratio: ``log q - log p`` of each level at the codes that were drawn. [B, T]
    """

    log_likelihood: Tensor
    kl: Tensor
    log_ratio: Tensor


class HierarchicalVAE(LatentVariableModel, Representation):
    """Codes on several levels. The level at the top, from which the model generates, is the last.

    The loss is the negative ELBO. Levels tend to collapse, at the top and in the first steps of training, in top-down
    models less than in others (trap H3). Two things help:

    Args:
        decoder: from what the levels make, to a distribution of data.
        free_nats: what the KL of each level may be at no cost; see :func:`genaisys.models.latent.bound.at_least`.
        warmup: in how many losses of training the weight of the KLs grows to 1 (Sønderby et al. 2016).
    """

    def __init__(
        self, space: Integers | Reals, decoder: Conditional, *, free_nats: float = 0.0, warmup: int = 0
    ) -> None:
        super().__init__()
        self.space, self.decoder = space, decoder
        self.free_nats, self.warmup = free_nats, WarmUp(warmup)

    @abstractmethod
    def passed(self, x: Tensor) -> Passed:
        """Draw codes for data of the space. [B, *shape]"""

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        passed = self.passed(self.validated(x, condition))
        kl = at_least(passed.kl, self.free_nats).sum(1)
        return self.warmup() * kl - passed.log_likelihood

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        passed = self.passed(repeated(x, samples))
        return (passed.log_likelihood - passed.log_ratio.sum(1)).view(samples, len(x))


def level(q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """The KL and the log-ratio of one level. -> [B], [B]"""
    return kl_divergence(q, p), q.log_prob(z) - p.log_prob(z)


def standard_normal(like: Tensor) -> Distribution:
    """For codes of the same shape. [B, L]"""
    return Independent(Normal(torch.zeros_like(like), torch.ones_like(like), validate_args=False), 1)


def moved(p: Distribution, delta: Tensor) -> Distribution:
    """A Gaussian near another: ``N(mu + d_mu, (s d_s)^2)`` (residual posterior: NVAE, arXiv:2007.03898; book eq. 5.87).

    ``KL(moved, p) = 1/2 (d_mu^2 / s^2 + d_s^2 - log d_s^2 - 1)``, summed over dimensions.

    Args:
        p: N(mu, s^2), of B codes.
        delta: d_mu and log d_s. [B, 2 L]
    """
    d_mean, d_log_std = delta.chunk(2, dim=1)
    std = p.stddev * soft_clamp(d_log_std, -5, 3).exp()
    return Independent(Normal(p.mean + d_mean, std, validate_args=False), 1)
