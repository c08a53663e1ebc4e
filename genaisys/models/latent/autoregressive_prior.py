"""An autoregressive model as a prior (book sections 3.2.6 and 5.4.1.9)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MixtureSameFamily, Normal

from genaisys.models.conditionals import soft_clamp
from genaisys.models.densities import Levels
from genaisys.models.latent.priors import Prior
from genaisys.models.layers.made import MADE


class AutoregressivePrior(Prior):
    """``p(z) = prod_d p(z_d | z_1 ... z_(d-1))``, each factor a mixture of Gaussians."""

    def __init__(self, latent: int, components: int, width: int) -> None:
        super().__init__()
        self.net = MADE(latent, 3 * components, width)
        with torch.no_grad():  # the components begin apart from each other
            self.net.last.bias.view(latent, 3, components)[:, 1] = torch.linspace(-2, 2, components)

    def forward(self, posterior: nn.Module) -> Distribution:
        return _Autoregressive(self.net)


class _Autoregressive(Distribution):
    arg_constraints = {}  # noqa: RUF012

    def __init__(self, net: MADE) -> None:
        super().__init__(event_shape=torch.Size([len(net.last.bias) // net.numbers]), validate_args=False)
        self.net = net

    def log_prob(self, value: Tensor) -> Tensor:
        return self._conditionals(value).log_prob(value).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        z = self.net.last.bias.new_zeros(*sample_shape, *self.event_shape)
        for d in range(z.shape[-1]):
            z[..., d] = self._conditionals(z).sample()[..., d]
        return z

    def _conditionals(self, z: Tensor) -> Distribution:
        """Of each dimension, given those before it. [..., L] -> a distribution of [..., L]"""
        logits, means, log_stds = self.net(z).unflatten(-1, (3, -1)).unbind(-2)  # [..., L, K] each
        components = Normal(means, soft_clamp(log_stds, -7, 7).exp(), validate_args=False)
        return MixtureSameFamily(Levels(logits), components, validate_args=False)
