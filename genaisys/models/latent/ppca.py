"""Probabilistic PCA: a latent-variable model with all in closed form (Tipping & Bishop 1999; book section 5.2).

Bounds and posteriors of all others can be checked against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from genaisys.models.base import Density, GenerativeModel, Likelihood, Representation, inference
from genaisys.models.latent.bound import CodeSizeWrong
from genaisys.models.spaces import Reals


class ProbabilisticPCA(GenerativeModel, Density, Representation):
    """``x = W z + b + e`` with z ~ N(0, I) and e ~ N(0, s^2 I) (book eq. 5.2-5.7), for x flattened to D numbers.

        p(x)     = N(b, W W^T + s^2 I)
        p(z | x) = N(M^-1 W^T (x - b), s^2 M^-1)  with  M = W^T W + s^2 I

    The book's covariance of the posterior, s^-2 M, is its precision (trap V2).

    Args:
        latent: L, the size of z, less than D.
    """

    likelihood: Likelihood = "exact"

    def __init__(self, space: Reals, latent: int) -> None:
        super().__init__()
        if not 0 < latent < space.dimensions:
            raise CodeSizeWrong(f"codes of {latent} numbers: expected 1 to {space.dimensions - 1} for these data")
        self.space: Reals = space
        self.loadings = nn.Parameter(0.1 * torch.randn(space.dimensions, latent))  # W: [D, L]
        self.mean = nn.Parameter(torch.zeros(space.dimensions))  # b: [D]
        self.log_std = nn.Parameter(torch.zeros(()))  # log s

    @torch.no_grad()
    def fit_closed_form(self, x: Tensor) -> None:
        """Maximum likelihood. [N, *shape]

        With the eigenvalues of the covariance in descending order, s^2 is the mean of those from the L-th on, and the
        columns of W are the first L eigenvectors times ``(eigenvalue - s^2)^(1/2)``.
        """
        flat = self.space.validated(x).flatten(1).double()
        values, vectors = torch.linalg.eigh(flat.T.cov(correction=0))  # ascending
        latent = self.loadings.shape[1]
        variance = values[:-latent].mean().clamp_min(torch.finfo(torch.float32).tiny)
        self.loadings.copy_(vectors[:, -latent:] * (values[-latent:] - variance).clamp_min(0).sqrt())
        self.mean.copy_(flat.mean(0))
        self.log_std.copy_(variance.log() / 2)

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return -self.log_prob(x, condition=condition)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return self._marginal().log_prob(self.validated(x, condition).flatten(1))

    def posterior_of(self, x: Tensor) -> MultivariateNormal:
        """``p(z | x)``. [B, *shape] -> a distribution of B codes"""
        w, centred = self.loadings, self.space.validated(x).flatten(1) - self.mean  # [B, D]
        precision = w.T @ w / self._variance + torch.eye(w.shape[1], dtype=w.dtype, device=w.device)  # M / s^2: [L, L]
        means = torch.linalg.solve(precision, w.T @ centred.T / self._variance).T  # [B, L]
        return MultivariateNormal(means, precision_matrix=precision)

    def encode(self, x: Tensor) -> Tensor:
        with inference(self):
            return self.posterior_of(x).mean

    def decode(self, z: Tensor) -> Tensor:
        z = Reals((self.loadings.shape[1],)).validated(z)
        with inference(self):
            return (z @ self.loadings.T + self.mean).view(len(z), *self.space.shape)

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        return self._marginal().sample((n,)).view(n, *self.space.shape)

    def _marginal(self) -> LowRankMultivariateNormal:
        return LowRankMultivariateNormal(self.mean, self.loadings, self._variance.expand_as(self.mean))

    @property
    def _variance(self) -> Tensor:
        return (2 * self.log_std).exp()


def probabilistic_pca(space: Reals, latent: int = 2) -> ProbabilisticPCA:
    """The preset."""
    return ProbabilisticPCA(space, latent)
