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


def realnvp(
    space: Integers | Reals,
    couplings: int = 8,
    width: int = 256,
    dropout: float = 0.1,
    classes: int = 0,
) -> Flow:
    """The preset: couplings of two colours of a checkerboard and two halves by turns, with MLPs.

    Args:
        classes: of a conditional flow, that is given the class of each example; 0: it is not conditional.
    """
    context = 16 if classes else 0
    steps: list[Bijection] = [ActNorm(space.shape)]
    for _, given in zip(range(couplings), itertools.cycle(in_turn(space.shape))):
        net = MLP(space.dimensions, 2 * space.dimensions, width, dropout=dropout, context=context)
        steps.append(ReZeroCoupling(net, given))
    return Flow(
        space,
        Composition(steps),
        StandardNormal(*space.shape),
        embedding=nn.Embedding(classes, context) if classes else None,
    )
