"""Mixtures of the posterior itself: the VampPrior and its GTM kind (Tomczak & Welling 2018, arXiv:1705.07120).

The best prior is the mean of the posteriors of all data. These approximate it by the posteriors of a few pseudo-inputs,
which are learned. They hold no encoder, and use the one of the VAE: it is trained, and stored, once (trap V6).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from genaisys.models.latent.priors import Prior, mixture, square_grid
from genaisys.models.spaces import Integers, Reals


class _MixtureOfPosteriors(Prior):
    """``sum_k w_k q(z | u_k)``."""

    logits: Tensor  # [K]

    def __init__(self, space: Integers | Reals) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def _unbounded(self) -> Tensor:
        """The pseudo-inputs before they are brought into the range of the data. [K, *shape]"""

    def pseudo_inputs(self) -> Tensor:
        """In the units of networks: where the data are integers, between -1 and 1 as they are (trap V9). [K, *shape]"""
        u = self._unbounded()
        return u.tanh() if isinstance(self.space, Integers) else u

    def forward(self, posterior: nn.Module) -> Distribution:
        return mixture(self.logits, posterior(self.pseudo_inputs()))


class VampPrior(_MixtureOfPosteriors):
    """``sum_k w_k q(z | u_k)`` with learned pseudo-inputs (book eq. 5.48, 5.49).

    The posterior must know the density of any code: ``Gaussians`` do, flows do not.

    Args:
        weighted: whether the weights w are learned; otherwise they are equal (eq. 5.48).
    """

    def __init__(self, space: Integers | Reals, components: int, weighted: bool = True) -> None:
        super().__init__(space)
        self.inputs = nn.Parameter(0.5 * torch.randn(components, *space.shape))
        if weighted:
            self.logits = nn.Parameter(torch.zeros(components))
        else:
            self.register_buffer("logits", torch.zeros(components))

    @torch.no_grad()
    def begin_with(self, x: Tensor) -> None:
        """Take the first K of some data as pseudo-inputs: a better beginning than noise. [N, *shape], N >= K"""
        u = self.space.scaled(x[: len(self.inputs)])
        self.inputs.copy_((0.95 * u).atanh() if isinstance(self.space, Integers) else u)

    def _unbounded(self) -> Tensor:
        return self.inputs


class GTMVampPrior(_MixtureOfPosteriors):
    """``sum_k w_k q(z | g(u_k))``: a network turns the points of a grid into pseudo-inputs (book eq. 5.53).

    Args:
        net: from points of the grid, [K, 2], to one number for each dimension of the data, [K, D].
        points: along each side of the grid.
    """

    def __init__(self, space: Integers | Reals, net: nn.Module, points: int) -> None:
        super().__init__(space)
        self.net = net
        self.logits = nn.Parameter(torch.zeros(points**2))
        self.register_buffer("grid", square_grid(points))
        self.grid: Tensor

    def _unbounded(self) -> Tensor:
        u: Tensor = self.net(self.grid)
        return u.view(-1, *self.space.shape)
