"""The reverse process of diffusion: ``p(z_(t-1) | z_t)`` by an estimate of the data, and ``p(x | z_1)`` (book 5.5.3.4).

All means are those of ``q(z_(t-1) | z_t, x)`` with an estimate in the place of x. What networks predict is the noise
(DDPM), or what data to expect, and the estimate is the mean of these given z_t.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from genaisys.models.conditionals import Conditional
from genaisys.models.densities import DiscretizedNormal, Levels
from genaisys.models.latent.schedules import Schedule, StepsWrong, at
from genaisys.models.spaces import Integers, Reals

_FREQUENCIES = 8  # of the sines of time


class Estimate(NamedTuple):
    """What is read from z_t.

    Attributes:
        x: an estimate of the data, in the units of networks. [B, *shape]
        log_variance: of ``p(z_(t-1) | z_t)``. [B, *shape]
    """

    x: Tensor
    log_variance: Tensor


class Denoiser(nn.Module, ABC):
    """All conditional distributions of the reverse process.

    Args:
        net: a network of z_t and t: ``PerStep`` or ``TimeConditioned``. [B, *shape], [B] -> [B, numbers]
    """

    def __init__(self, net: nn.Module, space: Integers | Reals, schedule: Schedule) -> None:
        super().__init__()
        if isinstance(net, PerStep) and len(net.nets) != schedule.steps:
            raise StepsWrong(f"{len(net.nets)} networks for {schedule.steps} steps: expected one for each")
        self.net, self.space, self.schedule = net, space, schedule

    @abstractmethod
    def forward(self, z: Tensor, t: Tensor) -> Estimate:
        """[B, *shape], [B]"""

    @abstractmethod
    def decoder(self, z: Tensor) -> Distribution:
        """``p(x | z_1)``, of integers of the space, or of real numbers in the units of networks. [B, *shape]"""

    def before(self, z: Tensor, t: Tensor) -> Normal:
        """``p(z_(t-1) | z_t)``. [B, *shape], [B]"""
        estimate = self(z, t)
        mean = self.schedule.mean_before(estimate.x, z, t)
        return Normal(mean, (estimate.log_variance / 2).exp(), validate_args=False)


class NoiseDenoiser(Denoiser):
    """A network predicts the noise in z_t (Ho et al. 2020; book section 5.5.3.4), so that

        mean = (z_t - beta_t / sqrt(1 - abar_t) eps(z_t, t)) / sqrt(1 - beta_t)

    Its variance is that of ``q(z_(t-1) | z_t, x)``, or a second number of the network says where it lies on a
    logarithmic scale between this and beta_t, the two extremes (``learned_variance``; Nichol & Dhariwal 2021,
    arXiv:2102.09672). At t = 1 it is beta_1, or between that and the first that is above 0. On integers p(x | z_1) is a
    Gaussian that is rounded, whose outer bins are infinite; and an estimate of x that lies beyond them is brought back,
    since near T, where hardly anything of x is left in z_t, it is the error of the noise many times over. In training
    it is not, which would take the gradient away. Real numbers have no such range: they need a schedule whose last
    steps are no larger than the others, as ``log_snr_schedule`` is and ``cosine_schedule`` is not.
    """

    def __init__(
        self, net: nn.Module, space: Integers | Reals, schedule: Schedule, learned_variance: bool = False
    ) -> None:
        super().__init__(net, space, schedule)
        self.learned_variance = learned_variance
        lowest = schedule.step_variance.clone()
        lowest[:2] = lowest[2] if learned_variance else schedule.beta[1]
        self.register_buffer("log_lowest", lowest.log())  # [T + 1], by t
        self.register_buffer("log_highest", schedule.beta.clone().clamp_min(lowest).log())
        self.log_lowest: Tensor
        self.log_highest: Tensor

    @staticmethod
    def numbers(space: Integers | Reals, learned_variance: bool = False) -> int:
        return space.dimensions * (2 if learned_variance else 1)

    def forward(self, z: Tensor, t: Tensor) -> Estimate:
        noise, *place = (
            self.net(z, t).view(len(z), 1 + self.learned_variance, *self.space.shape).unbind(1)
        )  # [B, *shape] each
        x = (z - at(self.schedule.noise, t, z) * noise) / at(self.schedule.signal, t, z)
        if isinstance(self.space, Integers) and not self.training:
            x = x.clamp(-1, 1)
        lowest, highest = at(self.log_lowest, t, z), at(self.log_highest, t, z)
        share = place[0].sigmoid() if place else torch.zeros_like(z)
        return Estimate(x, lowest + share * (highest - lowest))

    def decoder(self, z: Tensor) -> Distribution:
        x, log_variance = self(z, torch.ones(len(z), dtype=torch.long, device=z.device))
        std = (log_variance / 2).exp()
        dimensions = len(self.space.shape)
        if isinstance(self.space, Reals):
            return Independent(Normal(x, std, validate_args=False), dimensions)
        low, high = self.space.low, self.space.high
        half = (high - low) / 2  # the unit of networks, in integers
        return Independent(DiscretizedNormal(low + half * (1 + x), half * std, low, high), dimensions)


class DataDenoiser(Denoiser):
    """Bayes' rule for every dimension by itself, with a prior that a network makes of z_t, for data that are integers:

        p(x_d | z_t)  is proportional to  p(x_d; net(z_t, t)) N(z_t,d; sqrt(abar_t) x_d, 1 - abar_t)

    So the network need not learn to read z_t,d, only what to expect there by the others, and steps in which there is
    little noise cost next to nothing. At t = 1 that is ``p(x | z_1)``. Before, its mean is the estimate, and its
    variance widens ``p(z_(t-1) | z_t)`` to the best that a Gaussian can have (Bao et al. 2022, arXiv:2201.06503).

    Args:
        distribution: what the numbers of the network mean: one of ``models/conditionals.py``, with ``nn.Identity()``.
    """

    space: Integers

    def __init__(self, net: nn.Module, distribution: Conditional, schedule: Schedule) -> None:
        space = distribution.space
        assert isinstance(space, Integers)
        super().__init__(net, space, schedule)
        self.distribution = distribution
        self.register_buffer("levels", space.scaled(torch.arange(space.low, space.high + 1)))  # [V]
        self.levels: Tensor

    def forward(self, z: Tensor, t: Tensor) -> Estimate:
        p = self._logits(z, t).softmax(-1)  # [B, *shape, V]
        x = (p * self.levels).sum(-1)
        spread = (p * (self.levels - x[..., None]) ** 2).sum(-1)
        variance = at(self.schedule.step_variance, t, z) + at(self.schedule.of_x, t, z) ** 2 * spread
        return Estimate(x, variance.log())

    def decoder(self, z: Tensor) -> Distribution:
        first = torch.ones(len(z), dtype=torch.long, device=z.device)
        return Independent(Levels(self._logits(z, first), self.space.low), len(self.space.shape))

    def _logits(self, z: Tensor, t: Tensor) -> Tensor:
        """-> [B, *shape, V]"""
        prior = self.distribution(self.net(z, t))
        assert isinstance(prior, Independent)
        values = torch.arange(self.space.low, self.space.high + 1, device=z.device).view(-1, *[1] * z.dim())
        distance = z[..., None] - at(self.schedule.signal, t, z)[..., None] * self.levels
        likelihood = -((distance / at(self.schedule.noise, t, z)[..., None]) ** 2) / 2
        return prior.base_dist.log_prob(values).movedim(0, -1) + likelihood


class PerStep(nn.Module):
    """A network for each step, as in the book's listing 5.13; there they are a plain list, and never trained (trap D1).

    Args:
        nets: of t = 1 ... T, each of z_t. [B, *shape] -> [B, numbers]
    """

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        times, places = t.unique(return_inverse=True)
        parts = [self.nets[time - 1](z[places == number]) for number, time in enumerate(times.tolist())]
        order = torch.argsort(places, stable=True)
        return torch.cat(parts)[order.argsort()] if parts else self.nets[0](z)


class TimeConditioned(nn.Module):
    """One network for all steps: it gets z_t, flattened, with sines and cosines of t / T.

    Args:
        net: from ``inputs(space)`` numbers. [B, inputs] -> [B, numbers]
        steps: T.
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("rates", math.pi / steps * 2.0 ** torch.arange(_FREQUENCIES))
        self.rates: Tensor

    @staticmethod
    def inputs(space: Integers | Reals) -> int:
        return space.dimensions + 2 * _FREQUENCIES

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        angles = t[:, None] * self.rates  # [B, frequencies]
        out: Tensor = self.net(torch.cat([z.flatten(1), angles.sin(), angles.cos()], 1))
        return out
