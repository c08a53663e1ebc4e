"""Mixtures: ``p(x) = sum_k w_k p_k(x)`` (book section 2.3; listing 2.1 in its right form).

They are learned by the gradient of their likelihood, as every model is, or by EM:

    model = build("mixture-gaussian", Reals((2,)), components=12)
    model.initialise(x)
    for _ in range(100):
        model.em_step(x)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from genaisys.models.base import Density, GenerativeModel, Likelihood, Queries, inference
from genaisys.models.circuits.leaves import (
    CategoricalLeaves,
    DiscreteLeaves,
    DiscretizedNormalLeaves,
    Leaves,
    NormalLeaves,
)
from genaisys.models.densities import Levels
from genaisys.models.lossless import CodesInTurn
from genaisys.models.spaces import Integers, Reals, validated_mask

_AT_ONCE = 512  # examples in the steps of EM


class Components(nn.Module, ABC):
    """K distributions of one space, of which a mixture is made.

    Data are rows [B, D] here, and ``observed`` tells which of their numbers are given. [B, D]

    Attributes:
        count: K.
    """

    space: Integers | Reals
    count: int

    @abstractmethod
    def log_prob(self, x: Tensor, observed: Tensor) -> Tensor:
        """Of what is observed, the rest being summed out. -> [B, K]"""

    @abstractmethod
    def complete(self, which: Tensor, x: Tensor, observed: Tensor) -> Tensor:
        """Draw what is missing, each example from one component. [B], from 0 to K - 1 -> [B, D]"""

    @abstractmethod
    def maximise(self, x: Tensor, responsibilities: Tensor) -> None:
        """The M-step: the likeliest components, given to which the data belong. [N, D] and [N, K]"""


class Factorised(Components):
    """Components in which all variables are independent (book eq. 2.38)."""

    def __init__(self, leaves: Leaves) -> None:
        super().__init__()
        self.space, self.count, self.leaves = leaves.space, leaves.count, leaves

    def log_prob(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.leaves.log_prob(x).masked_fill(~observed[..., None], 0.0).sum(1)

    def complete(self, which: Tensor, x: Tensor, observed: Tensor) -> Tensor:
        return torch.where(observed, x, self.leaves.sample(which[:, None].expand_as(observed)).to(x.dtype))

    def maximise(self, x: Tensor, responsibilities: Tensor) -> None:
        total: Tensor | float = 0.0
        for batch, weights in zip(x.split(_AT_ONCE), responsibilities.split(_AT_ONCE), strict=True):
            repeated = weights[:, None].expand(-1, x.shape[1], -1)  # [B, D, K]
            total = self.leaves.statistics(batch, repeated) + total
        self.leaves.maximise(torch.as_tensor(total))


class GaussianComponents(Components):
    """Normal distributions with any covariance (book eq. 2.2-2.3).

    A covariance is ``factor @ factor.T + least_std ** 2``, so that no component can collapse onto a point, where the
    likelihood has no bound (book section 2.3.3, trap P2). Single precision would lose that square beside a variance
    ten million times as large: so all is computed in double precision, and factored without a sum of squares.

    Args:
        least_std: in the units of the data.
    """

    space: Reals

    def __init__(self, space: Reals, count: int, least_std: float = 0.01) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"a mixture has one component or more, not {count}")
        self.space, self.count, self.least_std = space, count, least_std
        self.mean = nn.Parameter(torch.randn(count, space.dimensions))
        self.factor = nn.Parameter(torch.eye(space.dimensions).repeat(count, 1, 1))  # [K, D, D]

    def log_prob(self, x: Tensor, observed: Tensor) -> Tensor:
        root = self._root_of_observed(observed)  # [B, K, D, D]
        shifts = (x[:, None] - self.mean) * observed[:, None]  # [B, K, D]
        white = torch.linalg.solve_triangular(root, shifts.double()[..., None], upper=False)[..., 0]
        log_det = root.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)  # [B, K], half that of the covariance
        squares = white.square().sum(-1) + observed.sum(-1)[:, None] * math.log(2 * math.pi)
        return (-0.5 * squares - log_det).to(self.mean.dtype)

    def complete(self, which: Tensor, x: Tensor, observed: Tensor) -> Tensor:
        """Draws y without looking, and corrects it by how far off it is (Matheron's rule): for missing m, observed o

        x_m = y_m + C_mo C_oo^-1 (x_o - y_o)
        """
        factor, mean = self.factor[which].double(), self.mean[which].double()  # [B, D, D] and [B, D]
        noise = torch.randn(2, *mean.shape, dtype=mean.dtype, device=mean.device)
        drawn = mean + (factor @ noise[0, ..., None])[..., 0] + self.least_std * noise[1]
        root = self._root_of_observed(observed).expand(len(which), -1, -1, -1)
        root = root[torch.arange(len(which), device=which.device), which]  # [B, D, D]
        weights = torch.cholesky_solve(((x - drawn) * observed)[..., None], root) * observed[..., None]  # [B, D, 1]
        corrected = drawn + (factor @ (factor.mT @ weights) + self.least_std**2 * weights)[..., 0]
        return torch.where(observed, x, corrected.to(x.dtype))

    @torch.no_grad()
    def maximise(self, x: Tensor, responsibilities: Tensor) -> None:
        """In closed form; variances of main axes below the least one are set to it, which is then the likeliest."""
        x, responsibilities = x.double(), responsibilities.double()
        n = responsibilities.sum(0).clamp(min=torch.finfo(x.dtype).tiny)  # [K]
        self.mean.copy_(responsibilities.T @ x / n[:, None])
        for k in range(self.count):
            shifts = x - self.mean[k]
            variances, axes = torch.linalg.eigh((responsibilities[:, k, None] * shifts).T @ shifts / n[k])
            excess = (variances - self.least_std**2).clamp(min=1e-6 * self.least_std**2)
            self.factor[k] = axes * excess.sqrt()

    def _root_of_observed(self, observed: Tensor) -> Tensor:
        """The triangular L of ``L @ L.T``, the covariance of what is observed, and ones for what is not. [B, K, D, D]

        The covariance is ``rows.T @ rows``; so with ``rows = Q @ R`` it is ``R.T @ R``.
        """
        if len(observed) and (observed == observed[0]).all():
            observed = observed[:1]  # then once is enough
        factor = self.factor.double().mT * observed[:, None, None]  # [B, K, D, D]
        alone = torch.diag_embed(torch.where(observed, self.least_std, 1.0).double())  # [B, D, D]
        rows = torch.cat([factor, alone[:, None].expand_as(factor)], -2)  # [B, K, 2 D, D]
        return torch.linalg.qr(rows).R.mT


class Mixture(GenerativeModel, Density, Queries):
    """``log p(x) = logsumexp_k (log w_k + log p_k(x))`` (book eq. 2.37).

    Args:
        components: K distributions of the space.
        weights: learned, as logits; or all the same (the option of listing 2.1).

    Raises:
        ValueError: ``weights`` is neither.
    """

    space: Integers | Reals
    likelihood: Likelihood = "exact"
    completes = "any part"

    def __init__(self, components: Components, weights: Literal["learned", "uniform"] = "learned") -> None:
        super().__init__()
        if weights not in ("learned", "uniform"):
            raise ValueError(f"weights are 'learned' or 'uniform', not {weights!r}")
        self.space, self.components, self.weights = components.space, components, weights
        self.logits: Tensor
        logits = torch.zeros(components.count)
        if weights == "learned":
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits)

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return -self.log_prob(x, condition=condition)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return self._log_joint(*self._rows(self.validated(x, condition))).logsumexp(1)

    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        return self._log_joint(*self._rows(x, observed)).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """``p(k | x)``: to which component each example belongs. -> [B, K]"""
        return self._log_joint(*self._rows(x)).softmax(1)

    def complete(self, x: Tensor, observed: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        rows = self._rows(x, observed)
        with inference(self, generator):
            which = Levels(self._log_joint(*rows)).sample()
            return self.components.complete(which, *rows).view(len(x), *self.space.shape)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Components of the data nearest to K examples that are far from each other (k-means++). [N, *shape]

        A tenth of all other data counts as well, so that no component begins on a single point.
        """
        row, _ = self._rows(x)
        centres = _far_apart(row.double(), self.components.count)
        nearest = torch.cdist(row.double(), centres).argmin(1)  # [N]
        hard = nn.functional.one_hot(nearest, self.components.count).to(self.logits.dtype)  # [N, K]
        self._maximise(row, 0.9 * hard + 0.1 / self.components.count)

    @torch.no_grad()
    def em_step(self, x: Tensor) -> Tensor:
        """One step of EM on all examples; the mean log-likelihood of before. [N, *shape] -> []

        No step makes the likelihood less; with smoothing, its product with the prior.
        """
        row, observed = self._rows(x)
        batches = zip(row.split(_AT_ONCE), observed.split(_AT_ONCE), strict=True)
        log_joint = torch.cat([self._log_joint(*batch) for batch in batches])  # [N, K]
        self._maximise(row, log_joint.softmax(1))
        return log_joint.logsumexp(1).mean()

    def _maximise(self, row: Tensor, responsibilities: Tensor) -> None:
        self.components.maximise(row, responsibilities)
        if self.weights == "learned":
            shares = responsibilities.mean(0)
            self.logits.copy_(shares.clamp(min=torch.finfo(shares.dtype).tiny).log())

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        which = Levels(self.logits).sample((n,))
        nothing = torch.zeros(n, self.space.dimensions, dtype=torch.bool, device=which.device)
        dtype = self.logits.dtype if isinstance(self.space, Reals) else torch.int64
        return self.components.complete(which, nothing.to(dtype), nothing).view(n, *self.space.shape)

    def _log_joint(self, row: Tensor, observed: Tensor) -> Tensor:
        """``log w_k + log p_k`` of what is observed. -> [B, K]"""
        return self.logits.log_softmax(0) + self.components.log_prob(row, observed)

    def _rows(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Data, and what of them is observed: everything, if nothing is said. -> [B, D] each"""
        x = self.space.validated(x)
        given = torch.ones_like(x, dtype=torch.bool) if observed is None else validated_mask(observed, x)
        return x.flatten(1), given.flatten(1)


def _far_apart(points: Tensor, count: int) -> Tensor:
    """Points drawn by their squared distances to those drawn before (Arthur and Vassilvitskii 2007). -> [K, D]"""
    centres = points[torch.randint(len(points), (1,))]
    while len(centres) < count:
        squares = torch.cdist(points, centres).amin(1).square() + torch.finfo(points.dtype).tiny
        centres = torch.cat([centres, points[squares.multinomial(1)]])
    return centres


class DiscreteMixture(Mixture, CodesInTurn):
    """A mixture on integers, of components in which all variables are independent: it compresses too."""

    space: Integers

    def __init__(self, leaves: DiscreteLeaves, weights: Literal["learned", "uniform"] = "learned") -> None:
        super().__init__(Factorised(leaves), weights)

    def conditionals(self, n: int) -> Generator[Tensor, Tensor, None]:
        """The components' distributions of each variable, mixed by the responsibilities of those before it."""
        leaves = cast(DiscreteLeaves, cast(Factorised, self.components).leaves)
        log_joint = self.logits.log_softmax(0).expand(n, -1)  # [n, K]
        for table in leaves.log_table():  # [K, V]
            value = yield (log_joint.softmax(1) @ table.exp()).log()
            log_joint = log_joint + table.T[value - self.space.low]


def categorical_mixture(
    space: Integers, components: int = 10, smoothing: float = 1.0, weights: Literal["learned", "uniform"] = "learned"
) -> DiscreteMixture:
    """The preset: of any distributions on the integers; where there are two of them, of Bernoulli's."""
    return DiscreteMixture(CategoricalLeaves(space, components, smoothing), weights)


def gaussian_mixture(
    space: Integers | Reals,
    components: int = 25,
    covariance: Literal["diagonal", "full"] = "diagonal",
    least_std: float = 0.1,
    weights: Literal["learned", "uniform"] = "learned",
) -> Mixture:
    """The preset: on real numbers of normal distributions, on integers of ones that are rounded.

    Raises:
        ValueError: there are no components; or full covariances on integers, whose cells have no probability in closed
            form.
    """
    if covariance not in ("diagonal", "full"):
        raise ValueError(f"covariance is 'diagonal' or 'full', not {covariance!r}")
    if isinstance(space, Reals):
        factorised = Factorised(NormalLeaves(space, components, least_std))
        return Mixture(
            factorised if covariance == "diagonal" else GaussianComponents(space, components, least_std), weights
        )
    if covariance == "full":
        raise ValueError("on integers, a mixture of Gaussians has diagonal covariances")
    return DiscreteMixture(DiscretizedNormalLeaves(space, components, least_std), weights)
