"""RealNVP: couplings with alternating masks (Dinh et al. 2017, arXiv:1605.08803; book section 4.1.5, listing 4.1)."""

from __future__ import annotations

import itertools

from torch import nn

from genaisys.models.flows.actnorm import ActNorm
from genaisys.models.flows.base_densities import StandardNormal
from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.flows.coupling import ReZeroCoupling
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.masks import in_turn
from genaisys.models.layers.mlp import MLP
from genaisys.models.spaces import Integers, Reals


class RealNVP(Flow):
    """Couplings that change the colours of a checkerboard and the halves of the variables by turns, with MLPs.

    Args:
        classes: of a conditional flow, which is given the class of each example; 0: it is not conditional.
    """

    def __init__(
        self,
        space: Integers | Reals,
        couplings: int = 8,
        width: int = 128,
        dropout: float = 0.3,
        classes: int = 0,
    ) -> None:
        context = 16 if classes else 0
        steps: list[Bijection] = [ActNorm(space.shape)]
        for _, given in zip(range(couplings), itertools.cycle(in_turn(space.shape)), strict=False):
            net = MLP(space.dimensions, 2 * space.dimensions, width, dropout=dropout, context=context)
            steps.append(ReZeroCoupling(net, given))
        embedding = nn.Embedding(classes, context) if classes else None
        super().__init__(space, Composition(steps), StandardNormal(*space.shape), embedding=embedding)
