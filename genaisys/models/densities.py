"""Distributions that ``torch.distributions`` lacks, with its interface. Their ``log_prob`` is of every dimension."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, constraints
from torch.distributions.utils import broadcast_all


class Levels(Categorical):
    """A categorical distribution on the integers from ``low`` up. Logits are [..., V]."""

    def __init__(self, logits: Tensor, low: int = 0) -> None:
        self.low = low
        super().__init__(logits=logits, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Levels:
        return Levels(self.logits.expand(*batch_shape, self.logits.shape[-1]), self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value - self.low)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By Gumbel's trick, which takes any number of samples, also none."""
        shape = (*sample_shape, *self.logits.shape)
        exponential = torch.empty(shape, dtype=self.logits.dtype, device=self.logits.device).exponential_()
        return (self.logits - exponential.log()).argmax(-1) + self.low

    @property
    def mode(self) -> Tensor:
        return super().mode + self.low


class DiscretizedLogistic(Distribution):
    """Integers that a logistic variable rounds to (book listing 4.4; the edge bins as in PixelCNN++, arXiv:1701.05517).

        P(k) = F((k + 1/2 - loc) / scale) - F((k - 1/2 - loc) / scale)        F: the logistic function

    With ``low`` and ``high`` the first and the last bin reach to infinity, so that the integers of the space have all
    the mass; the book's form lets it leak (trap I6). Without them it is a distribution on all integers.
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}  # noqa: RUF012
    support = constraints.real  # of the integers among them

    def __init__(self, loc: Tensor, log_scale: Tensor, low: int | None = None, high: int | None = None) -> None:
        self.loc, self.log_scale = broadcast_all(loc, log_scale)
        self.low, self.high = low, high
        super().__init__(self.loc.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedLogistic:
        return DiscretizedLogistic(
            self.loc.expand(batch_shape), self.log_scale.expand(batch_shape), self.low, self.high
        )

    def log_prob(self, value: Tensor) -> Tensor:
        width = (-self.log_scale).exp()  # of a bin, in scales
        upper, lower = (value + 0.5 - self.loc) * width, (value - 0.5 - self.loc) * width
        # F(upper) - F(lower) = F(upper) F(-lower) (1 - exp(lower - upper)), in which nothing is lost
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-width))
        if self.low is None and self.high is None:
            return inside
        result = torch.where(value <= self.low, F.logsigmoid(upper), inside) if self.low is not None else inside
        if self.high is None:
            return result
        last = F.logsigmoid(-lower)
        if self.low is not None and self.low == self.high:
            return torch.zeros_like(last)
        return torch.where(value >= self.high, last, result)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            u = u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)  # no infinite integers
            integers = torch.round(self.loc + self.log_scale.exp() * (u.log() - (-u).log1p()))
            return integers.clamp(self.low, self.high) if (self.low, self.high) != (None, None) else integers

    @property
    def mean(self) -> Tensor:
        """Of the logistic variable, which is not rounded."""
        return self.loc


def mixture_of_logistics(logits: Tensor, loc: Tensor, log_scale: Tensor, low: int, high: int) -> MixtureSameFamily:
    """A mixture of discretized logistics for each dimension; the last axis is that of the components. [..., K] each"""
    return MixtureSameFamily(
        Categorical(logits=logits, validate_args=False),
        DiscretizedLogistic(loc, log_scale, low, high),
        validate_args=False,
    )


class DiscretizedNormal(Distribution):
    """Integers from ``low`` to ``high`` that a normal variable rounds to; the edge bins reach to infinity.

    P(k) = F((k + 1/2 - loc) / scale) - F((k - 1/2 - loc) / scale)        F: the normal distribution function
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real  # of the integers among them

    def __init__(self, loc: Tensor, scale: Tensor, low: int, high: int) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.low, self.high = low, high
        super().__init__(self.loc.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedNormal:
        return DiscretizedNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        upper, lower = (value + 0.5 - self.loc) / self.scale, (value - 0.5 - self.loc) / self.scale
        upper = upper.masked_fill(value >= self.high, torch.inf)
        lower = lower.masked_fill(value <= self.low, -torch.inf)
        # Above the mean both F are near one, and their difference is lost: there the mirrored bin is computed.
        mirrored = value > self.loc
        log_a = _log_ndtr(torch.where(mirrored, -lower, upper))
        log_b = _log_ndtr(torch.where(mirrored, -upper, lower))
        return log_a + torch.log(-torch.expm1(log_b - log_a))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
            return torch.round(self.loc + self.scale * noise).clamp(self.low, self.high)


def _log_ndtr(x: Tensor) -> Tensor:
    """The logarithm of the normal distribution function."""
    result: Tensor = _LogNdtr.apply(x)
    return result


class _LogNdtr(torch.autograd.Function):
    """PyTorch's own, with a slope that stays right far from the mean: its own is 4 % off at -1000 in single precision.

    d/dx log F(x) = sqrt(2 / pi) / erfcx(-x / sqrt(2))
    """

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return torch.special.log_ndtr(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        return gradients[0] * math.sqrt(2 / math.pi) / torch.special.erfcx(-x / math.sqrt(2))
