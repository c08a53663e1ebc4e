"""Codes on the unit sphere (Davidson et al. 2018, arXiv:1804.00891; book section 5.4.2.3).

The posterior is a von Mises-Fisher distribution, the prior uniform, and the KL between them depends on the
concentration alone: it cannot collapse while the concentration is kept up.

The cosine w between a code and the mean direction has the density ``exp(kappa w) (1 - w^2)^((m-3)/2) / Z(kappa)``. Its
moments are integrals over [-1, 1], done by Gauss-Gegenbauer quadrature: exact to rounding for kappa up to a thousand,
right at kappa = 0 too, and differentiable, where Bessel functions would need care for each of these.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from scipy.special import roots_gegenbauer
from torch import Tensor, nn
from torch.distributions import Beta, Distribution, register_kl

from genaisys.models.base import inference
from genaisys.models.conditionals import Conditional, soft_clamp
from genaisys.models.latent.bound import CodeSizeWrong, at_least
from genaisys.models.latent.householder import reflected
from genaisys.models.latent.priors import Prior
from genaisys.models.latent.vae import VAE
from genaisys.models.spaces import Reals

_NODES = 192
_LOG_CONCENTRATIONS = (-5.0, math.log(1000.0))


class VonMisesFisher(Distribution):
    """``q(z) = C_m(kappa) exp(kappa mu^T z)`` on the unit sphere of R^m (book eq. 5.66).

    Args:
        loc: mu, unit vectors. [*, m], m >= 2
        concentration: kappa, from 0, which is the uniform distribution, to 1000. [*]
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        super().__init__(concentration.shape, loc.shape[-1:], validate_args=False)
        self.loc, self.concentration = loc, concentration

    @property
    def log_normalizer(self) -> Tensor:
        """``log C_m(kappa)``. -> [*]"""
        return -log_area(self.loc.shape[-1] - 1) - self._log_z()

    @property
    def mean_cosine(self) -> Tensor:
        """``E[mu^T z]``, the ratio of Bessel functions ``I_(m/2)(kappa) / I_(m/2-1)(kappa)``. -> [*]"""
        below_one, log_weights = self._quadrature()
        return 1 + ((log_weights + self.concentration[..., None] * below_one).softmax(-1) * below_one).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Inside of the sphere. -> [*, m]"""
        return self.mean_cosine[..., None] * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_normalizer + self.concentration * (self.loc * value).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Gradients through it lack the term of rejection: see :meth:`rsample_and_log_ratio`."""
        return self.rsample_and_log_ratio(sample_shape)[0]

    def rsample_and_log_ratio(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Samples by rejection (Wood 1994), and ``log q(w) / r(w)``, up to a constant, r being what is proposed.

        A cosine ``w = h(e, kappa)`` is proposed for e from a Beta distribution, and taken with a probability that
        depends on kappa. So the gradient of an expectation of f has two terms (Naesseth et al. 2017, eq. 5):

            grad E[f] = E[grad f(h) + f grad log q(h) / r(h)]        over the e that were taken

        -> [*sample_shape, *, m] and [*sample_shape, *]
        """
        m, kappa = self.loc.shape[-1], self.concentration
        shape = (*sample_shape, *kappa.shape)
        b = (m - 1) / (2 * kappa + (4 * kappa**2 + (m - 1) ** 2).sqrt())
        e = self._accepted(b.detach(), shape)
        below = 1 - (1 - b) * e
        w = (1 - (1 + b) * e) / below
        sine = 2 * (b * e * (1 - e)).sqrt() / below
        log_ratio = kappa * w + (m - 1) / 2 * (b.log() - 2 * below.log()) - self._log_z()
        side = F.normalize(torch.randn(*shape, m - 1, dtype=w.dtype, device=w.device), dim=-1)
        z = torch.cat([w[..., None], sine[..., None] * side], -1)  # around the first axis
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        return reflected(z, first - self.loc), log_ratio  # the reflection takes the first axis to mu

    @torch.no_grad()
    def _accepted(self, b: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The e of proposals that were taken. -> shape"""
        m, kappa = self.loc.shape[-1], self.concentration
        half = torch.full_like(b, (m - 1) / 2).expand(shape)
        x0 = (1 - b) / (1 + b)
        most = kappa * x0 + (m - 1) * (1 - x0**2).log()
        e, missing = torch.zeros_like(half), torch.ones_like(half, dtype=torch.bool)
        while missing.any():
            proposed = Beta(half, half, validate_args=False).sample()
            w = (1 - (1 + b) * proposed) / (1 - (1 - b) * proposed)
            taken = kappa * w + (m - 1) * (1 - x0 * w).log() - most >= torch.rand_like(w).log()
            e = torch.where(missing & taken, proposed, e)
            missing = missing & ~taken
        return e

    def _log_z(self) -> Tensor:
        below_one, log_weights = self._quadrature()
        return self.concentration + (log_weights + self.concentration[..., None] * below_one).logsumexp(-1)

    def _quadrature(self) -> tuple[Tensor, Tensor]:
        below_one, log_weights = _gegenbauer(self.loc.shape[-1])
        return below_one.to(self.loc), log_weights.to(self.loc)


@lru_cache
def _gegenbauer(m: int) -> tuple[Tensor, Tensor]:
    """Nodes minus one, and logarithms of weights, for the weight function ``(1 - w^2)^((m-3)/2)``. -> [N], [N]"""
    nodes, weights = roots_gegenbauer(_NODES, m / 2 - 1)
    return torch.from_numpy(nodes) - 1, torch.from_numpy(weights).log()


def log_area(m: int) -> float:
    """Of the unit sphere of R^m."""
    return math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)


class UniformOnSphere(Distribution):
    """
    Args:
        like: [m], for type and device.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, like: Tensor) -> None:
        super().__init__(event_shape=like.shape, validate_args=False)
        self.like = like

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_full(value.shape[:-1], -log_area(value.shape[-1]))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.event_shape)
        return F.normalize(torch.randn(shape, dtype=self.like.dtype, device=self.like.device), dim=-1)


@register_kl(VonMisesFisher, UniformOnSphere)
def _kl(q: VonMisesFisher, p: UniformOnSphere) -> Tensor:
    """``kappa E[mu^T z] + log C_m(kappa) - log C_m(0)``. Book eq. 5.68 lacks the expectation (trap V3)."""
    return q.concentration * q.mean_cosine + q.log_normalizer + log_area(q.loc.shape[-1])


class UniformSpherePrior(Prior):
    """Uniform on the unit sphere."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(latent))
        self.like: Tensor

    def forward(self, posterior: nn.Module) -> Distribution:
        return UniformOnSphere(self.like)


class VonMisesFishers(Conditional):
    """A direction and a concentration for each context.

    Concentrations begin at about four times the dimensions: codes that are all but uniform teach the decoder nothing.
    """

    space: Reals

    def __init__(self, net: nn.Module, space: Reals) -> None:
        super().__init__(net, space)
        if space.dimensions < 2:
            raise CodeSizeWrong("the sphere of codes of 1 number is two points: expected 2 numbers or more")

    @staticmethod
    def numbers(space: Reals) -> int:
        return space.dimensions + 1

    def forward(self, context: Tensor) -> VonMisesFisher:
        numbers = self.net(context)  # [B, L + 1]
        first = math.log(4 * self.space.dimensions)
        concentration = soft_clamp(numbers[:, -1] + first, *_LOG_CONCENTRATIONS).exp()
        return VonMisesFisher(F.normalize(numbers[:, :-1], dim=-1), concentration)


class HypersphericalVAE(VAE):
    """A VAE with ``VonMisesFishers`` for posterior and ``UniformSpherePrior`` for prior.

    Its loss has the gradient of rejection sampling in full. The term that is added for that has the value zero; from
    the cost of each example the mean of the others is subtracted first, which makes it less noisy and no less right.
    """

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        x = self.validated(x, condition)
        q = self.posterior_of(x)
        assert isinstance(q, VonMisesFisher)
        z, log_ratio = q.rsample_and_log_ratio((1,))  # [1, B, L], [1, B]
        cost = -self.log_likelihood(x, z)[0]  # [B]
        advantage = (cost - cost.mean()).detach() * len(x) / max(1, len(x) - 1)
        term_of_rejection = advantage * (log_ratio - log_ratio.detach())[0]
        kl = torch.distributions.kl_divergence(q, self.prior(self.posterior))
        return cost + term_of_rejection + self.warmup() * self.beta * at_least(kl, self.free_nats)

    def encode(self, x: Tensor) -> Tensor:
        """The mean direction. -> [B, L]"""
        with inference(self):
            return self.posterior_of(self.space.validated(x)).mode
