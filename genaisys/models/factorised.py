"""All dimensions by themselves: the simplest distribution, which any other must beat (book section 2.1.2)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from genaisys.models.base import Density, Likelihood, MostProbable, Queries, inference
from genaisys.models.densities import Levels
from genaisys.models.lossless import CodesInTurn
from genaisys.models.spaces import Integers, validated_mask


class FactorisedCategorical(CodesInTurn, Density, Queries, MostProbable):
    """``p(x) = prod_d p_d(x_d)``, each p_d any distribution on the integers of the space (book eq. 2.6-2.7, 2.41).

    With two levels it is the factorised Bernoulli distribution (eq. 2.4-2.5).
    """

    likelihood: Likelihood = "exact"
    completes = "any part"

    def __init__(self, space: Integers) -> None:
        super().__init__()
        self.space: Integers = space
        self.logits = nn.Parameter(torch.zeros(*space.shape, space.levels))  # [*shape, V]

    @torch.no_grad()
    def fit_counts(self, x: Tensor, smoothing: float = 0.3) -> None:
        """Maximum likelihood in closed form: the counts of each value, and ``smoothing`` more of all. [N, *shape]"""
        levels = torch.arange(self.space.low, self.space.high + 1, device=x.device)
        counts = (self.space.validated(x)[..., None] == levels).sum(0) + smoothing  # [*shape, V]
        self.logits.copy_(counts.log() - counts.sum(-1, keepdim=True).log())

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return -self.log_prob(x, condition=condition)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return self._log_probs(self.validated(x, condition)).flatten(1).sum(1)

    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        x = self.space.validated(x)
        return self._log_probs(x).masked_fill(~validated_mask(observed, x), 0.0).flatten(1).sum(1)

    def complete(self, x: Tensor, observed: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        x = self.space.validated(x)
        return torch.where(validated_mask(observed, x), x, self.sample(len(x), generator=generator))

    def most_probable(self, x: Tensor, observed: Tensor) -> Tensor:
        x = self.space.validated(x)
        with inference(self):
            return torch.where(validated_mask(observed, x), x, Levels(self.logits, self.space.low).mode)

    def conditionals(self, n: int) -> Generator[Tensor, Tensor, None]:
        for log_probs in self.logits.log_softmax(-1).flatten(end_dim=-2):  # [V]
            yield log_probs.expand(n, -1)

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        return Levels(self.logits, self.space.low).sample((n,))

    def _log_probs(self, x: Tensor) -> Tensor:
        """Of every dimension. [B, *shape] of the space -> [B, *shape]"""
        return Levels(self.logits, self.space.low).log_prob(x)


def factorised(space: Integers) -> FactorisedCategorical:
    """The preset."""
    return FactorisedCategorical(space)
