"""The chain rule as a model: one dimension after the other, each given those before it (book sections 3.1 and 3.2).

    log p(x) = sum_d log p(x_d | x_1, ..., x_{d-1})                                              (eq. 3.4)

A causal network says for each dimension what it needs of the ones before it, and a head makes a distribution of that.
All conditionals of given data come from one pass of the network. Samples are drawn place by place, and there the
network keeps what it has computed already, so that each place costs the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from genaisys.models.autoregressive.order import in_order, out_of_order
from genaisys.models.base import Completes, Density, GenerativeModel, Likelihood, inference
from genaisys.models.conditionals import Categoricals, Conditional, DiscretizedLogistics, Gaussians
from genaisys.models.lossless import Coder, CodesInTurn
from genaisys.models.spaces import Integers, OutOfSpace, Reals, validated_mask


class CausalNetwork(nn.Module, ABC):
    """A network whose output at a place depends on the data before that place, and on all of them."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Numbers for the head at each place, from data in order. [B, D] -> [B, D, numbers]"""

    @abstractmethod
    def steps(self, n: int) -> Generator[Tensor, Tensor, None]:
        """The same place by place, for ``n`` examples at once: a coroutine.

        It yields the numbers of a place [n, numbers], and is sent the data of that place [n], which it may need for the
        next. Its local variables are what a cache is elsewhere: what earlier places have left to know.
        """


class Autoregressive(GenerativeModel, Density, Completes):
    """``p(x) = prod_d p(x_d | x_<d)`` in the order of :mod:`genaisys.models.autoregressive.order`.

    Args:
        network: from data to numbers for the head.
        head: the distribution of one dimension given its numbers, such as ``head_of`` makes.
    """

    likelihood: Likelihood = "exact"
    completes = "an end"

    def __init__(self, space: Integers | Reals, network: CausalNetwork, head: Conditional) -> None:
        super().__init__()
        self.space: Integers | Reals = space
        self.network, self.head = network, head

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return -self.log_prob(x, condition=condition)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        x = in_order(self.validated(x, condition))  # [B, D]
        numbers = self.network(x)  # [B, D, numbers]
        return self.head(numbers.flatten(0, 1)).log_prob(x.flatten()).view(x.shape).sum(1)

    def complete(self, x: Tensor, observed: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        x = self.space.validated(x)
        given = in_order(validated_mask(observed, x))  # [B, D]
        if (given[:, 1:] & ~given[:, :-1]).any():
            raise OutOfSpace(
                "expected a beginning of each example, row by row, of which the rest is drawn; "
                "got something missing before what is given"
            )
        with inference(self, generator):
            return self._drawn(in_order(x), given)

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        device = next(self.parameters()).device
        nothing = torch.zeros(n, self.space.dimensions, dtype=torch.bool, device=device)
        kind = torch.long if isinstance(self.space, Integers) else next(self.parameters()).dtype
        return self._drawn(nothing.to(kind), nothing)

    def _drawn(self, x: Tensor, given: Tensor) -> Tensor:
        """``x`` with all drawn that is not given. [B, D] each -> [B, *shape]"""
        x = x.clone()
        steps = self.network.steps(len(x))
        numbers = next(steps)  # [B, numbers]
        for place in range(x.shape[1]):
            x[:, place] = torch.where(given[:, place], x[:, place], self.head(numbers).sample())
            if place + 1 < x.shape[1]:
                numbers = steps.send(x[:, place])
        return out_of_order(x, self.space.shape)


class AutoregressiveOfIntegers(Autoregressive, CodesInTurn):
    """The same of integers, which it compresses too: each given those before it, at ``-log2 p(x_d | x_<d)`` bits."""

    space: Integers

    def conditionals(self, n: int) -> Generator[Tensor, Tensor, None]:
        device = next(self.parameters()).device
        levels = torch.arange(self.space.low, self.space.high + 1, device=device)[:, None]  # [V, 1]
        steps = self.network.steps(n)
        numbers = next(steps)
        while True:
            x = yield self.head(numbers).log_prob(levels).T  # [n, V]
            numbers = steps.send(x)

    def code(self, coder: Coder, n: int, x: Tensor | None) -> Tensor:
        coded = super().code(coder, n, None if x is None else in_order(x))
        return out_of_order(coded.flatten(1), self.space.shape)


def autoregressive(
    space: Integers | Reals, network: CausalNetwork, head: Conditional
) -> Autoregressive | AutoregressiveOfIntegers:
    """The model, which is lossless where data are integers."""
    of = AutoregressiveOfIntegers if isinstance(space, Integers) else Autoregressive
    return of(space, network, head)


class Values(nn.Module):
    """Values as vectors: learned for each integer of the space, and linear in real numbers (trap G8)."""

    def __init__(self, space: Integers | Reals, width: int) -> None:
        super().__init__()
        self.space = space
        self.vectors = nn.Embedding(space.levels, width) if isinstance(space, Integers) else nn.Linear(1, width)
        nn.init.normal_(self.vectors.weight, std=0.3)  # as vectors of places are: neither drowns the other

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> [..., width]"""
        return self.vectors(x - self.space.low if isinstance(self.space, Integers) else x[..., None])


def head_of(space: Integers | Reals, components: int | None = None) -> tuple[Conditional, int]:
    """The distribution of one dimension, and of how many numbers it is made.

    Integers are categorical, or with ``components`` a mixture of so many discretized logistics; reals are normal.
    """
    if isinstance(space, Reals):
        one = Reals(())
        return Gaussians(nn.Identity(), one), Gaussians.numbers(one)
    level = Integers((), space.low, space.high)
    if components is None:
        return Categoricals(nn.Identity(), level), Categoricals.numbers(level)
    return (
        DiscretizedLogistics(nn.Identity(), level, components),
        DiscretizedLogistics.numbers(level, components),
    )
