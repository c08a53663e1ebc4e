"""Densities of codes: called with a context, each gives a distribution over vectors [D] (book section 4.1.6).

A learned base takes work off the bijections. The autoregressive one is the most flexible; with a few groups of
variables instead of single ones it is the base of a flow that factors out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal, constraints

from genaisys.models.conditionals import Conditional
from genaisys.models.spaces import Integers


class StandardNormal(nn.Module):
    """N(0, I) over codes of any shape; it has nothing to learn."""

    zero: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(shape), persistent=False)

    def forward(self, context: Tensor | None = None) -> Distribution:
        return Independent(Normal(self.zero, torch.ones_like(self.zero), validate_args=False), self.zero.dim())


class GaussianMixture(nn.Module):
    """``sum_k w_k N(z; m_k, diag(s_k^2))``, learned."""

    def __init__(self, dimensions: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(torch.randn(components, dimensions))
        self.log_std = nn.Parameter(torch.zeros(components, dimensions))

    def forward(self, context: Tensor | None = None) -> Distribution:
        components = Independent(Normal(self.mean, self.log_std.exp(), validate_args=False), 1)  # [K] of vectors [D]
        return MixtureSameFamily(Categorical(logits=self.logits, validate_args=False), components, validate_args=False)


class AutoregressiveBase(nn.Module):
    """``p(z) = prod_g p(z_g | z_1 … z_(g-1))``; the variables of a group are independent, given the groups before.

    Args:
        conditional: called with z [B, D], integers scaled to -1 to 1, gives the distribution of all variables at once;
            the numbers of one may only depend on groups before its own, as :class:`zuko.nn.MaskedMLP` sees to.
        groups: the number of the group of each variable. [D]
    """

    groups: Tensor

    def __init__(self, conditional: Conditional, groups: Tensor) -> None:
        super().__init__()
        self.conditional = conditional
        self.register_buffer("groups", groups, persistent=False)

    def forward(self, context: Tensor | None = None) -> Distribution:
        return _Autoregressive(self)

    def given(self, z: Tensor) -> Independent:
        """Of every variable, given the groups before its own. [B, D] -> [B] of vectors [D]"""
        space = self.conditional.space
        distribution: Independent = self.conditional(space.scaled(z) if isinstance(space, Integers) else z)
        return distribution

    def log_probs(self, z: Tensor) -> Tensor:
        """Of every level of every variable, which is an integer, given the groups before its own. -> [B, D, V]"""
        space = self.conditional.space
        assert isinstance(space, Integers)
        levels = torch.arange(space.low, space.high + 1, dtype=z.dtype, device=z.device)
        given = self.given(z).base_dist
        return torch.stack([given.log_prob(level.expand_as(z)) for level in levels], -1)


class _Autoregressive(Distribution):
    arg_constraints = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(self, base: AutoregressiveBase) -> None:
        self._base = base
        super().__init__(event_shape=base.groups.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._base.given(value).log_prob(value)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """One pass for each group. -> [n, D]"""
        z = next(self._base.parameters()).new_zeros(*sample_shape, *self.event_shape)
        for group in range(int(self._base.groups.max()) + 1):
            z = torch.where(self._base.groups == group, self._base.given(z).sample().to(z.dtype), z)
        return z
