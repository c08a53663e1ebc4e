"""Integer discrete flows (Hoogeboom et al. 2019, arXiv:1905.07376; book sections 4.2.2-4.2.4, listings 4.3-4.6)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from zuko.nn import MaskedMLP

from genaisys.models.base import Density, Likelihood, Representation, inference
from genaisys.models.conditionals import DiscretizedLogistics
from genaisys.models.flows.base_densities import AutoregressiveBase
from genaisys.models.flows.bijection import Composition
from genaisys.models.flows.integer_coupling import IntegerCoupling, on_circle
from genaisys.models.flows.masks import all_but_one, coarse_to_fine, in_turn
from genaisys.models.layers.constant import Constant
from genaisys.models.layers.mlp import MLP
from genaisys.models.lossless import Coded, Coder
from genaisys.models.spaces import Integers, Reals, SpaceUnfit


class IntegerDiscreteFlow(Coded, Density, Representation):
    """``P(x) = pi(f(x))``, where f permutes the space, and pi is a base distribution on it (book eq. 4.32).

    There is no Jacobian and no noise: likelihoods are exact, and codes are integers.

    The straight-through gradient (book listing 4.3) takes the slope of log pi as that of every shift. But log pi is a
    mountain range: a code on a peak is pulled by slopes that no step of a whole integer follows. Here the gradient of a
    shift is what changes if it is rounded the other way: ``log pi(z + 1) - log pi(z)`` where it was rounded down, and
    ``log pi(z) - log pi(z - 1)`` where it was rounded up.

    Args:
        couplings: f, the one after the other.
        base: pi, over codes flattened to [D].
    """

    likelihood: Likelihood = "exact"

    def __init__(self, space: Integers, couplings: Iterable[IntegerCoupling], base: AutoregressiveBase) -> None:
        super().__init__()
        self.space: Integers = space
        self.bijection, self.base = Composition(couplings), base

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """``-log P(x)``, with that gradient. -> [B]"""
        up = down = self.validated(x, condition).to(self._dtype)
        for coupling in self.bijection.bijections:
            up, down = cast(IntegerCoupling, coupling).forward_up_and_down(up, down)
        up, down = up.flatten(1), down.flatten(1)
        pi = self.base.given((up + down) / 2).base_dist  # of every variable
        z = up.detach()  # [B, D]
        log_prob = pi.log_prob(z)
        rise = (pi.log_prob(on_circle(z + 1, self.space)) - log_prob).detach()
        fall = (log_prob - pi.log_prob(on_circle(z - 1, self.space))).detach()
        return -(log_prob + rise * (up - z) + fall * (down - z)).sum(1)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        log_prob: Tensor = self.base().log_prob(self._codes(self.validated(x, condition)).flatten(1))
        return log_prob

    def encode(self, x: Tensor) -> Tensor:
        """The integers that f makes of x. -> [B, *shape], int64"""
        with inference(self):
            return self._codes(self.space.validated(x)).long()

    def decode(self, z: Tensor) -> Tensor:
        with inference(self):
            return self.bijection.inverse(Reals(self.space.shape).validated(z).to(self._dtype)).long()

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        z = self.base().sample((n,))
        return self.bijection.inverse(z.view(n, *self.space.shape)).long()

    def code(self, coder: Coder, n: int, x: Tensor | None) -> Tensor:
        """The codes, one group of the base after the other."""
        codes = None if x is None else self._codes(x).flatten(1) - self.space.low  # [n, D]
        z = torch.zeros(n, self.space.dimensions, dtype=self._dtype)
        for group in range(int(self.base.groups.max()) + 1):
            members = self.base.groups == group
            log_probs = self.base.log_probs(z)[:, members]  # [n, members, V]
            symbols = None if codes is None else codes[:, members].long()
            z[:, members] = (coder.categorical(log_probs, symbols) + self.space.low).to(z.dtype)
        return self.bijection.inverse(z.view(n, *self.space.shape)).long()

    def _codes(self, x: Tensor) -> Tensor:
        return self.bijection.forward_and_log_det(x.to(self._dtype))[0]

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def idf(
    space: Integers,
    couplings: int = 8,
    parts: int = 2,
    levels: int = 0,
    width: int = 128,
    components: int = 5,
    dropout: float = 0.1,
) -> IntegerDiscreteFlow:
    """The preset: couplings with MLPs, and mixtures of discretized logistics as the base.

    Args:
        parts: 2 for bipartite couplings, 4 for quadripartite ones, and so on.
        levels: how often half of the variables are factored out, to be modelled given the other half; with 0 the base
            has independent variables.
        components: of a mixture.

    Raises:
        SpaceUnfit: a single variable cannot be halved.
        ValueError: there are no components.
    """
    if components < 1:
        raise ValueError(f"a mixture has one component or more, not {components}")
    if levels and space.dimensions == 1:
        raise SpaceUnfit("a single variable cannot be factored out: take levels=0")
    masks = in_turn(space.shape) if parts == 2 else all_but_one(space.shape, parts)
    steps = []
    for _, given in zip(range(couplings), itertools.cycle(masks)):
        net = MLP(space.dimensions, space.dimensions, width, dropout=dropout)
        for parameter in net.layers[-1].parameters():
            nn.init.normal_(parameter, std=1e-3)
        steps.append(IntegerCoupling(net, given, space))
    return IntegerDiscreteFlow(space, steps, _base(space, levels, width, components, dropout))


def _base(space: Integers, levels: int, width: int, components: int, dropout: float) -> AutoregressiveBase:
    """Its components begin evenly over the levels, and as wide as they are apart."""
    codes = Integers((space.dimensions,), space.low, space.high)
    first = torch.zeros(space.dimensions, components, 3)  # logit, place, log-scale
    first[..., 1] = (torch.arange(components) + 0.5) * 2 / components - 1
    first[..., 2] = math.log(space.levels / (2 * components))
    groups = coarse_to_fine(space.shape, levels).flatten()
    net: nn.Module = Constant(first.flatten())
    if levels:
        depends = groups[:, None] > groups  # [D, D]
        net = MaskedMLP(
            depends.repeat_interleave(components * 3, 0),
            hidden_features=[2 * width] * 2,
            activation=lambda: nn.Sequential(nn.SiLU(), nn.Dropout(dropout)),
        )
        with torch.no_grad():
            list(net.parameters())[-1].copy_(first.flatten())  # the biases of the last layer
    return AutoregressiveBase(DiscretizedLogistics(net, codes, components), groups)
