"""Residual flows (arXiv:1906.02735) and invertible DenseNets (arXiv:2102.02694; book section 4.1.7)."""

from __future__ import annotations

from torch import nn

from genaisys.models.flows.actnorm import ActNorm
from genaisys.models.flows.base_densities import StandardNormal
from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.residual import InvertibleResidual
from genaisys.models.layers.lipschitz import CLipSwish, LipschitzDense, lipschitz_linear
from genaisys.models.spaces import Integers, Reals


def residual_flow(
    space: Integers | Reals, blocks: int = 6, width: int = 128, depth: int = 2, coefficient: float = 0.97
) -> Flow:
    """The preset: layers ``x + g(x)`` with an ActNorm before each.

    Args:
        depth: hidden layers of a g, each with CLipSwish.
        coefficient: the Lipschitz constant of each linear layer, below 1.
    """

    def g() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        features = space.dimensions
        for _ in range(depth):
            layers += [lipschitz_linear(features, width, coefficient), CLipSwish()]
            features = 2 * width
        return nn.Sequential(*layers, lipschitz_linear(features, space.dimensions, coefficient), _shaped(space))

    return _flow(space, [g() for _ in range(blocks)])


def dense_flow(
    space: Integers | Reals, blocks: int = 6, growth: int = 64, depth: int = 3, coefficient: float = 0.97
) -> Flow:
    """The preset: the same with dense blocks, which keep what they have and put more beside it.

    Args:
        depth: dense layers of a g.
        growth: how many features a dense layer's linear map has; CLipSwish makes two of each.
    """

    def g() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        features = space.dimensions
        for _ in range(depth):
            layers.append(LipschitzDense(lipschitz_linear(features, growth, coefficient)))
            features += 2 * growth
        return nn.Sequential(*layers, lipschitz_linear(features, space.dimensions, coefficient), _shaped(space))

    return _flow(space, [g() for _ in range(blocks)])


def _shaped(space: Integers | Reals) -> nn.Module:
    return nn.Unflatten(1, space.shape)


def _flow(space: Integers | Reals, maps: list[nn.Module]) -> Flow:
    steps: list[Bijection] = []
    for g in maps:
        steps += [ActNorm(space.shape), InvertibleResidual(g)]
    return Flow(space, Composition(steps), StandardNormal(*space.shape))
