"""Priors of codes that are written down: the standard normal, mixtures of Gaussians, and GTM (book section 5.4.1).

A prior is called with the posterior of its VAE, which only VampPriors look at, and returns a distribution of codes:

    p = prior(posterior)
    p.log_prob(z)  # [..., L] -> [...]
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal

from genaisys.models.conditionals import soft_clamp
from genaisys.models.densities import Levels


class Prior(nn.Module, ABC):
    """A distribution of codes."""

    @abstractmethod
    def forward(self, posterior: nn.Module) -> Distribution:
        """
        Args:
            posterior: that of the model whose prior it is. It is no part of the prior, so it is stored once.
        """


class StandardNormalPrior(Prior):
    """``N(0, I)`` (book listing 5.3)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent))  # [L]
        self.mean: Tensor

    def forward(self, posterior: nn.Module) -> Distribution:
        return Independent(Normal(self.mean, torch.ones_like(self.mean), validate_args=False), 1)


class MixtureOfGaussians(Prior):
    """``sum_k w_k N(z; mu_k, diag(s_k^2))`` (book eq. 5.47).

    The sum over dimensions comes before that over components. In listings 5.7-5.10 it comes after, which makes each
    dimension a mixture by itself, with ghost modes that the sampler does not have (trap V5).
    """

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))  # [K]
        self.means = nn.Parameter(torch.randn(components, latent))  # [K, L]
        self.log_stds = nn.Parameter(torch.zeros(components, latent))

    def forward(self, posterior: nn.Module) -> Distribution:
        return mixture(self.logits, gaussians(self.means, self.log_stds))


class GenerativeTopographicMapping(Prior):
    """A mixture of Gaussians whose parameters a network gives to the points of a grid (book eq. 5.50-5.52).

    Neighbours on the grid have neighbouring components (GTM: Bishop et al. 1998).

    Args:
        net: from points of the grid, [K, 2], to means and logarithms of standard deviations, [K, 2 L].
        points: along each side of the grid, which has their square, K.
    """

    def __init__(self, net: nn.Module, points: int) -> None:
        super().__init__()
        self.net = net
        self.logits = nn.Parameter(torch.zeros(points**2))  # [K]
        self.register_buffer("grid", square_grid(points))  # [K, 2]
        self.grid: Tensor

    def forward(self, posterior: nn.Module) -> Distribution:
        return mixture(self.logits, gaussians(*self.net(self.grid).chunk(2, dim=-1)))


def square_grid(points: int) -> Tensor:
    """``points`` x ``points`` of them, from -1 to 1 in both directions. -> [points^2, 2]"""
    side = torch.linspace(-1, 1, points)
    return torch.cartesian_prod(side, side)


def gaussians(means: Tensor, log_stds: Tensor) -> Distribution:
    """Components with diagonal covariances. [K, L], [K, L]"""
    return Independent(Normal(means, soft_clamp(log_stds, -7, 7).exp(), validate_args=False), 1)


def mixture(logits: Tensor, components: Distribution) -> Distribution:
    """Logits are [K], and so is the batch of components."""
    return MixtureSameFamily(Levels(logits), components, validate_args=False)
