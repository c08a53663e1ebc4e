"""What all models with latent variables share: a lower bound of the likelihood, which more samples make tighter.

For codes z drawn from an approximation q(z | x) of the posterior, with the weights ``w = p(x, z) / q(z | x)``,

    E[log w]  <=  E[log mean_k w_k]  <=  log p(x)

The first is the ELBO (book eq. 5.14-5.17), which falls short of the likelihood by KL(q(z | x), p(z | x)) (eq. 5.25);
the second the importance-weighted bound (eq. 5.32; Burda et al. 2016, arXiv:1509.00519).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.base import Density, GenerativeModel, Likelihood, require_samples
from genaisys.models.spaces import Integers, Reals

_AT_ONCE = 4096  # codes: more of them are drawn one chunk after the other


class CodeSizeWrong(GenaisysError):
    """Codes of such a size cannot be had; the message says what sizes can."""


class LatentVariableModel(GenerativeModel, Density):
    """A model of which only a bound of the likelihood is computed."""

    space: Integers | Reals
    likelihood: Likelihood = "lower bound"

    @abstractmethod
    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        """``log p(x, z) - log q(z | x)`` in nats, for codes drawn from q. [B, *shape] of the space -> [samples, B]"""

    def log_prob(self, x: Tensor, *, condition: Any = None, samples: int = 1) -> Tensor:
        """A sample of the importance-weighted bound of ``log p(x)`` in nats; of one sample it is the ELBO. -> [B]

        Raises:
            OutOfSpace: ``x`` is not of the model's space.
            ConditionWrong: there is a condition.
            TooFewSamples: there is none.
        """
        x = self.validated(x, condition)
        require_samples(samples, least=1)
        at_once = max(1, _AT_ONCE // max(1, len(x)))
        chunks = [self.log_weights(x, min(at_once, samples - start)) for start in range(0, samples, at_once)]
        return torch.cat(chunks).logsumexp(0) - math.log(samples)

    def _for_networks(self, x: Tensor) -> Tensor:
        """Data in the units and the type that networks take. [B, *shape]"""
        return self.space.scaled(x).to(next(self.parameters()).dtype)


class WarmUp(nn.Module):
    """The weight of KLs, which grows from 0 to 1 in the first losses of training (Sønderby et al. 2016).

    Before the decoder can read codes they cost more than they are worth, and training would let them collapse.
    """

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses
        self.register_buffer("seen", torch.zeros(()))
        self.seen: Tensor

    def forward(self) -> float:
        if not self.training or self.seen >= self.losses:
            return 1.0
        weight = self.seen.item() / self.losses
        self.seen += 1
        return weight


def repeated(x: Tensor, samples: int) -> Tensor:
    """[B, *] -> [samples * B, *], all of it and then again"""
    return x.expand(samples, *x.shape).flatten(0, 1)


def at_least(kl: Tensor, free: float) -> Tensor:
    """Free bits (Kingma et al. 2016, arXiv:1606.04934, eq. 15): a mean over the batch below ``free`` costs ``free``.

    So training has no reason to make it smaller still, which would be collapse. In nats. [B, *] -> [B, *]
    """
    return torch.where(kl.mean(0) > free, kl, free)
