"""What goes wrong with latent-variable models, in numbers: collapse, holes, and strangers (book section 5.3.6).

Each takes a model and some data, and looks at them in eval mode and without gradients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from genaisys.models.base import Density, inference
from genaisys.models.latent.diffusion import DiffusionModel
from genaisys.models.latent.flow_posterior import drawn
from genaisys.models.latent.vae import VAE

_AT_ONCE = 256  # codes whose density under all posteriors is computed together


def variances_of_means(model: VAE, x: Tensor) -> Tensor:
    """How much the mean of each code dimension differs between data. -> [L]

    A dimension is active where it is above 0.01 (Burda et al. 2016); a collapsed one is near 0.
    """
    return model.encode(x).var(0)


def kl_per_dimension(model: VAE, x: Tensor) -> Tensor:
    """``KL(q(z_d | x), p(z_d))`` in nats, the mean over data; collapsed dimensions have none. -> [L]

    For models with ``Gaussians`` and ``StandardNormal``, in which dimensions are independent.
    """
    with inference(model):
        q, p = model.posterior_of(model.space.validated(x)), model.prior(model.posterior)
        assert isinstance(q, Independent)
        assert isinstance(p, Independent)
        return kl_divergence(q.base_dist, p.base_dist).mean(0)


class Surgery(NamedTuple):
    """What the KL of the ELBO is the sum of, in nats (Hoffman & Johnson 2016; book section 5.4.1.1).

    Attributes:
        information: between the number of an example and its code; at most the logarithm of how many there are.
        misfit: ``KL(q(z), p(z))`` of the aggregated posterior, the mean of the posteriors of all data: 0 for the best
            prior. It is large where the prior has holes.
    """

    information: float
    misfit: float

    @property
    def kl(self) -> float:
        return self.information + self.misfit


def surgery(model: VAE, x: Tensor) -> Surgery:
    """By one code for each example. The posterior must know the density of any code: ``Gaussians`` do, flows do not."""
    with inference(model):
        x = model.space.validated(x)
        z, log_q = drawn(model.posterior_of(x), 1)  # [1, N, L], [1, N]
        log_aggregated = log_aggregated_posterior(model, x, z[0])
        information = (log_q[0] - log_aggregated).mean()
        misfit = (log_aggregated - model.prior(model.posterior).log_prob(z[0])).mean()
        return Surgery(information.item(), misfit.item())


def surgery_of_diffusion(model: DiffusionModel, x: Tensor) -> Surgery:
    """The same of diffusion, all of whose codes are one: its bound with mutual information (book section 5.5.3.5).

        ELBO = E[log p(x | z_1)] - KL(q(z_1 … z_T), p(z_1 … z_T)) - I[x; z_1]

    The information of all codes is ``I[x; z_1] + sum_t I[x; z_t | z_(t-1)]``, and all terms but the first are zero: the
    forward process is fixed, and looks at z_(t-1) alone. In print (eq. 5.105-5.108) the KL is that of ``q(z_1 | x)``,
    of which I[x; z_1] is a part already; it is subtracted twice, and the bound looser than need be (trap D11).
    """
    with inference(model):
        terms = model.bound_terms(x)  # [N, T + 1]
        first = torch.ones(len(x), dtype=torch.long, device=x.device)
        q = Independent(model.schedule.diffused(model._for_networks(x), first), x.dim() - 1)
        z = q.sample()  # z_1: [N, *shape]
        parts = [q.log_prob(some[:, None]).logsumexp(1) for some in z.split(_AT_ONCE)]
        information = (q.log_prob(z) - torch.cat(parts) + math.log(len(x))).mean().item()
        kl = (terms[:, 0] + terms[:, 2:].sum(1)).mean().item()
        return Surgery(information, kl - information)


def log_aggregated_posterior(model: VAE, x: Tensor, z: Tensor) -> Tensor:
    """``log 1/N sum_n q(z | x_n)`` of some codes. [N, *shape], [M, L] -> [M]"""
    with inference(model):
        q = model.posterior_of(model.space.validated(x))
        parts = [q.log_prob(some[:, None]).logsumexp(1) for some in z.split(_AT_ONCE)]  # of [m, 1, L] and N posteriors
        return torch.cat(parts) - math.log(len(x))


def share_in_holes(model: VAE, x: Tensor, samples: int = 1000) -> float:
    """The share of the prior's codes that lie in holes, for which the decoder was never trained to make data.

    Holes are where the aggregated posterior is as low as at the lowest 1 % of its own codes; so without any it is 0.01.
    """
    with inference(model):
        x = model.space.validated(x)
        own = log_aggregated_posterior(model, x, drawn(model.posterior_of(x), 1)[0][0])
        drawn_codes = model.prior(model.posterior).sample((samples,))
        return (log_aggregated_posterior(model, x, drawn_codes) < own.quantile(0.01)).double().mean().item()


def share_told_apart(model: Density, inside: Tensor, outside: Tensor) -> float:
    """How often data that the model knows are likelier than strangers, over all pairs: 1 is perfect, 0.5 is chance.

    Deep models may find strangers likelier than what they have learned (Nalisnick et al. 2019, arXiv:1810.09136).
    """
    with torch.no_grad():
        known, strange = model.log_prob(inside), model.log_prob(outside)
    return (known[:, None] > strange).double().mean().item()


def prior_log_prob(model: VAE, x: Tensor, samples: int) -> Tensor:
    """``log 1/K sum_k p(x | z_k)`` with codes of the prior: the estimate that needs no posterior (book eq. 5.8-5.10).

    It is of use with codes of one or two dimensions, to check bounds by; with more, hardly any code explains x. -> [B]
    """
    with inference(model):
        x = model.space.validated(x)
        z = model.prior(model.posterior).sample((samples,))[:, None].expand(-1, len(x), -1)  # [K, B, L]
        parts = [model.log_likelihood(x, some) for some in z.split(max(1, 65_536 // max(1, len(x))))]
        return torch.cat(parts).logsumexp(0) - math.log(samples)
