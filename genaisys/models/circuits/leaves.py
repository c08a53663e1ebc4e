"""Leaves: what circuits and factorised mixtures are built of (book section 2.4.2.1, "base distributions").

A layer of leaves holds K distributions of one number for each of D variables, and gives the log-probabilities of all:
[B, D] -> [B, D, K]. What the K mean is the model's business: components, hidden states, leaves of a region.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from genaisys.models.circuits.sums import smoothed
from genaisys.models.densities import DiscretizedNormal, Levels
from genaisys.models.spaces import Integers, Reals


class Leaves(nn.Module, ABC):
    """K distributions for each of D variables.

    Attributes:
        space: of the data; a circuit sees them as a row of ``space.dimensions`` variables.
        count: K.

    Raises:
        ValueError: K is below 1.
    """

    space: Integers | Reals

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"a variable has one distribution or more, not {count}")
        self.count = count

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D, K]"""

    @abstractmethod
    def sample(self, which: Tensor) -> Tensor:
        """A number of one of the K distributions of each variable. [B, D], from 0 to K - 1 -> [B, D]"""

    @abstractmethod
    def statistics(self, x: Tensor, weights: Tensor) -> Tensor:
        """What EM has to know of data, each counting for each distribution by a weight; to be added up over batches.

        [N, D] and [N, D, K] -> [*]
        """

    @abstractmethod
    def maximise(self, statistics: Tensor) -> None:
        """The parameters that are likeliest, given the statistics of all data."""


class NormalLeaves(Leaves):
    """Normal distributions: a mixture of them is one of Gaussians with diagonal covariances.

    The likelihood has no bound as a variance goes to zero, which real data with repeated values make it do (book
    section 2.3.3, trap P2). So variances are ``least_std ** 2 + exp(log_variance)``.

    Args:
        least_std: in the units of the data.
    """

    space: Reals

    def __init__(self, space: Reals, count: int, least_std: float = 0.01) -> None:
        super().__init__(count)
        self.space, self.least_std = space, least_std
        self.mean = nn.Parameter(torch.randn(space.dimensions, count))
        self.log_variance = nn.Parameter(torch.zeros(space.dimensions, count))

    def log_prob(self, x: Tensor) -> Tensor:
        variance = self._variance()  # [D, K]
        squares = (x[..., None] - self.mean) ** 2 / variance  # [B, D, K]
        return -0.5 * (squares + variance.log() + math.log(2 * math.pi))

    def sample(self, which: Tensor) -> Tensor:
        mean, variance = (_chosen(each, which) for each in (self.mean, self._variance()))
        return mean + variance.sqrt() * torch.randn_like(mean)

    def statistics(self, x: Tensor, weights: Tensor) -> Tensor:
        """Number, and moments about the present means. -> [3, D, K]"""
        shifts = x[..., None] - self.mean.detach()
        return torch.stack([(weights * shifts**power).sum(0) for power in range(3)])

    @torch.no_grad()
    def maximise(self, statistics: Tensor) -> None:
        """In closed form; a variance below the least one is set to it, which is then the likeliest."""
        n, *sums = statistics
        shift, square = (each / n.clamp(min=torch.finfo(n.dtype).tiny) for each in sums)
        self.mean.add_(shift)
        self.log_variance.copy_(log_excess(square - shift**2, self.least_std))

    def _variance(self) -> Tensor:
        return self.least_std**2 + self.log_variance.exp()


def log_excess(variance: Tensor, least_std: float) -> Tensor:
    """``log(variance - least_std ** 2)``, of a millionth of the latter where the variance is not larger."""
    return (variance - least_std**2).clamp(min=1e-6 * least_std**2).log()


class DiscreteLeaves(Leaves):
    """Leaves on the integers of a space: each a table of log-probabilities."""

    space: Integers

    def __init__(self, space: Integers, count: int) -> None:
        super().__init__(count)
        self.space = space

    @abstractmethod
    def log_table(self) -> Tensor:
        """Of every value. -> [D, K, V]"""

    @abstractmethod
    def initialise(self, x: Tensor) -> None:
        """Distributions drawn near to the variables' own, so that EM can tell them apart. [N, D]"""

    @abstractmethod
    def maximise(self, statistics: Tensor) -> None:
        """
        Args:
            statistics: how often each value was seen. [D, K, V]
        """

    def log_prob(self, x: Tensor) -> Tensor:
        variables = torch.arange(self.space.dimensions, device=x.device)
        return self.log_table().transpose(1, 2)[variables, x - self.space.low]

    def sample(self, which: Tensor) -> Tensor:
        return Levels(_chosen(self.log_table(), which), self.space.low).sample()

    def mode(self, which: Tensor) -> Tensor:
        """The likeliest number of one of the K distributions of each variable. [B, D] -> [B, D]"""
        return _chosen(self.log_table(), which).argmax(-1) + self.space.low

    def statistics(self, x: Tensor, weights: Tensor) -> Tensor:
        counts = weights.new_zeros(self.space.dimensions, self.space.levels, weights.shape[-1])
        variables = torch.arange(self.space.dimensions, device=x.device).expand_as(x)
        counts.index_put_((variables, x - self.space.low), weights, accumulate=True)
        return counts.transpose(1, 2)  # [D, K, V]


class CategoricalLeaves(DiscreteLeaves):
    """Any distributions on the integers of the space; with two of them, Bernoulli's (book eq. 2.38).

    Args:
        smoothing: how many counts EM adds to those of each distribution (:func:`smoothed`). All together are the
            variable's own here, whatever the parameters: so it is a prior, and EM stays exact.
    """

    def __init__(self, space: Integers, count: int, smoothing: float = 0.0) -> None:
        super().__init__(space, count)
        self.smoothing = smoothing
        self.logits = nn.Parameter(torch.randn(space.dimensions, count, space.levels))

    def log_table(self) -> Tensor:
        return self.logits.log_softmax(-1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """As if each was estimated from some thirty examples."""
        counts = self.statistics(x, torch.ones(*x.shape, 1, device=x.device))  # [D, 1, V]
        shares = 30 * smoothed(counts, 1.0).exp()
        self.logits.copy_(torch.distributions.Dirichlet(shares.expand_as(self.logits)).sample().clamp(min=1e-6).log())

    @torch.no_grad()
    def maximise(self, statistics: Tensor) -> None:
        self.logits.copy_(smoothed(statistics, self.smoothing))


class IndicatorLeaves(DiscreteLeaves):
    """One leaf for each value, which is one there and zero elsewhere; nothing is learned."""

    one: Tensor

    def __init__(self, space: Integers) -> None:
        super().__init__(space, space.levels)
        self.register_buffer("one", torch.eye(space.levels).log(), persistent=False)

    def log_table(self) -> Tensor:
        return self.one.expand(self.space.dimensions, -1, -1)

    def initialise(self, x: Tensor) -> None:
        pass

    def maximise(self, statistics: Tensor) -> None:
        pass


class DiscretizedNormalLeaves(DiscreteLeaves):
    """Normal variables that are rounded to the integers of the space.

    Their probabilities are exact, and at most one: no variance makes the likelihood of integers infinite.

    Args:
        least_std: in steps of the integers.
    """

    def __init__(self, space: Integers, count: int, least_std: float = 0.1) -> None:
        super().__init__(space, count)
        self.least_std = least_std
        middle, width = (space.low + space.high) / 2, max(1, space.high - space.low)
        self.mean = nn.Parameter(middle + width / 4 * torch.randn(space.dimensions, count))
        self.log_variance = nn.Parameter(torch.full((space.dimensions, count), 2 * math.log(width / 4)))

    def log_table(self) -> Tensor:
        return self._log_table(self.mean, self._variance().log() / 2)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Each has the value of an example as its mean, and half the variable's variance."""
        examples = torch.randint(len(x), self.mean.shape, device=x.device)
        self.mean.copy_(x.T.gather(1, examples))
        variance = x.to(self.mean.dtype).var(0, correction=0) / 2 + self.least_std**2
        self.log_variance.copy_(log_excess(variance, self.least_std)[:, None].expand_as(self.mean))

    def maximise(self, statistics: Tensor) -> None:
        """One step of EM in which the numbers before rounding are what is hidden.

        Their moments, given the integers, follow from the gradient of the likelihood (Fisher's identity):
        ``E[y - mean] = variance * d/dmean`` and ``E[(y - mean) ** 2] = variance * (1 + d/dlog_std)``.
        """
        mean, variance = self.mean.detach(), self._variance().detach()
        log_std = variance.log() / 2
        with torch.enable_grad():
            parameters = mean.requires_grad_(), log_std.requires_grad_()
            total = (statistics * self._log_table(*parameters)).sum()
        by_mean, by_log_std = torch.autograd.grad(total, parameters)
        with torch.no_grad():
            n = statistics.sum(-1).clamp(min=torch.finfo(statistics.dtype).tiny)  # [D, K]
            shift = variance * by_mean / n
            self.mean.copy_(mean + shift)
            self.log_variance.copy_(log_excess(variance * (1 + by_log_std / n) - shift**2, self.least_std))

    def _variance(self) -> Tensor:
        return self.least_std**2 + self.log_variance.exp()

    def _log_table(self, mean: Tensor, log_std: Tensor) -> Tensor:
        low, high = self.space.low, self.space.high
        values = torch.arange(low, high + 1, device=mean.device, dtype=mean.dtype)
        return DiscretizedNormal(mean[..., None], log_std[..., None].exp(), low, high).log_prob(values)


def leaves_of_kind(kind: Literal["normal", "categorical"], space: Integers, count: int) -> DiscreteLeaves:
    """Rounded normal leaves, which know that neighbouring integers are alike; or categorical ones, which learn all."""
    match kind:
        case "normal":
            return DiscretizedNormalLeaves(space, count, least_std=0.5)
        case "categorical":
            return CategoricalLeaves(space, count, smoothing=5.0)
    raise ValueError(f"leaves are 'normal' or 'categorical', not {kind!r}")


def _chosen(each: Tensor, which: Tensor) -> Tensor:
    """What belongs to one of K for each variable. [D, K, *] and [B, D] -> [B, D, *]"""
    return each[torch.arange(each.shape[0], device=each.device), which]
