"""Networks that end in a distribution: decoders, heads, posteriors. Called with a context, each returns one.

    p = Categoricals(net, space)(z)
    p.log_prob(x)  # [B], nats of whole examples
    p.sample()     # [B, *shape]

The network itself knows nothing of probability: it turns a context [B, *] into [B, numbers], where ``numbers`` is what
the class says that it needs for its space.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from genaisys.models.densities import DiscretizedLogistic, Levels, mixture_of_logistics
from genaisys.models.spaces import Integers, Reals, SpaceUnfit

_LOG_SCALE = 7.0  # either way; far beyond it exp overflows


class Conditional(nn.Module):
    """A distribution of one space, given a context.

    Attributes:
        net: from the context to [B, ``numbers(space)``].
    """

    def __init__(self, net: nn.Module, space: Integers | Reals) -> None:
        super().__init__()
        self.net, self.space = net, space

    def forward(self, context: Tensor) -> Distribution:
        raise NotImplementedError

    def mode(self, context: Tensor) -> Tensor:
        """The most probable data, where the dimensions are independent given the context. -> [B, *shape]"""
        p, space = self(context), self.space
        if isinstance(space, Reals):
            mode: Tensor = p.mode
            return mode
        levels = torch.arange(space.low, space.high + 1, device=context.device)
        columns = levels.view(-1, *[1] * (1 + len(space.shape)))  # [V, 1, ...]
        best: Tensor = p.base_dist.log_prob(columns).argmax(0)  # of [V, B, *shape]
        return best + space.low


class Categoricals(Conditional):
    """Every dimension any integer of its space, with logits of its own."""

    space: Integers

    @staticmethod
    def numbers(space: Integers) -> int:
        return space.dimensions * space.levels

    def forward(self, context: Tensor) -> Distribution:
        logits = self.net(context).view(len(context), *self.space.shape, self.space.levels)  # [B, *shape, V]
        return Independent(Levels(logits, self.space.low), len(self.space.shape))


class Bernoullis(Conditional):
    """Every dimension one of the two integers of its space, with a logit for the higher one.

    Raises:
        SpaceUnfit: there are not two.
    """

    space: Integers

    def __init__(self, net: nn.Module, space: Integers) -> None:
        super().__init__(net, space)
        if space.levels != 2:
            raise SpaceUnfit(f"Bernoulli distributions are of two integers, and these data have {space.levels}")

    @staticmethod
    def numbers(space: Integers) -> int:
        return space.dimensions

    def forward(self, context: Tensor) -> Distribution:
        logits = self.net(context).view(len(context), *self.space.shape)  # [B, *shape]
        both = torch.stack([torch.zeros_like(logits), logits], -1)  # [B, *shape, 2]
        return Independent(Levels(both, self.space.low), len(self.space.shape))


class DiscretizedLogistics(Conditional):
    """Every dimension a mixture of logistics that are rounded to integers (PixelCNN++, arXiv:1701.05517)."""

    space: Integers

    def __init__(self, net: nn.Module, space: Integers, components: int = 1) -> None:
        super().__init__(net, space)
        if components < 1:
            raise ValueError(f"a mixture has one component or more, not {components}")
        self.components = components

    @staticmethod
    def numbers(space: Integers, components: int = 1) -> int:
        return space.dimensions * components * 3

    def forward(self, context: Tensor) -> Distribution:
        space = self.space
        parameters = self.net(context).view(len(context), *space.shape, self.components, 3)  # [B, *shape, K, 3]
        logits, place, log_scale = parameters.unbind(-1)  # [B, *shape, K] each
        half = (space.high - space.low) / 2
        loc = space.low + half * (1 + place)  # the net speaks of the range as of -1 to 1
        log_scale = slowed(log_scale, _LOG_SCALE)
        if self.components == 1:
            single = DiscretizedLogistic(loc[..., 0], log_scale[..., 0], space.low, space.high)
            return Independent(single, len(space.shape))
        return Independent(mixture_of_logistics(logits, loc, log_scale, space.low, space.high), len(space.shape))


class Gaussians(Conditional):
    """Every dimension normal, with a mean and a standard deviation of its own."""

    space: Reals

    @staticmethod
    def numbers(space: Reals) -> int:
        return 2 * space.dimensions

    def forward(self, context: Tensor) -> Distribution:
        mean, log_std = self.net(context).view(len(context), 2, *self.space.shape).unbind(1)  # [B, *shape] each
        return Independent(
            Normal(mean, soft_clamp(log_std, -_LOG_SCALE, _LOG_SCALE).exp(), validate_args=False), mean.dim() - 1
        )


def soft_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Between the bounds, smoothly, with a gradient everywhere; near their middle it is about ``x``."""
    middle, half = (low + high) / 2, (high - low) / 2
    return middle + half * torch.tanh((x - middle) / half)


def slowed(x: Tensor, bound: float) -> Tensor:
    """``x`` itself between minus the bound and the bound, and beyond them only its logarithm more.

    So exp does not overflow, and what has gone astray has a gradient by which it comes back.
    """
    excess = F.relu(x.abs() - bound)
    return x.clamp(-bound, bound) + x.sign() * excess.log1p()
