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


class ResidualFlow(Flow):
    """Layers ``x + g(x)`` with an ActNorm before each; g has hidden layers with CLipSwish.

    Args:
        depth: hidden layers of a g.
        coefficient: the Lipschitz constant of each linear layer, below 1.
    """

    def __init__(
        self, space: Integers | Reals, blocks: int = 6, width: int = 128, depth: int = 2, coefficient: float = 0.97
    ) -> None:
        def g() -> nn.Module:
            layers: list[nn.Module] = []
            features = space.dimensions
            for _ in range(depth):
                layers += [lipschitz_linear(features, width, coefficient), CLipSwish()]
                features = 2 * width
            return nn.Sequential(*layers, lipschitz_linear(features, space.dimensions, coefficient))

        super().__init__(space, _residual(space, [g() for _ in range(blocks)]), StandardNormal(*space.shape))


class DenseFlow(Flow):
    """The same with dense blocks: a layer of g keeps what it is given, and puts more beside it.

    Args:
        growth: how many features the linear map of a dense layer has; CLipSwish makes two of each.
        depth: dense layers of a g.
        coefficient: the Lipschitz constant of each linear layer, below 1.
    """

    def __init__(
        self, space: Integers | Reals, blocks: int = 6, growth: int = 64, depth: int = 3, coefficient: float = 0.97
    ) -> None:
        def g() -> nn.Module:
            layers: list[nn.Module] = []
            features = space.dimensions
            for _ in range(depth):
                layers.append(LipschitzDense(lipschitz_linear(features, growth, coefficient)))
                features += 2 * growth
            return nn.Sequential(*layers, lipschitz_linear(features, space.dimensions, coefficient))

        super().__init__(space, _residual(space, [g() for _ in range(blocks)]), StandardNormal(*space.shape))


def _residual(space: Integers | Reals, maps: list[nn.Module]) -> Bijection:
    steps: list[Bijection] = []
    for g in maps:
        flat = nn.Sequential(nn.Flatten(), g, nn.Unflatten(1, space.shape))
        steps += [ActNorm(space.shape), InvertibleResidual(flat)]
    return Composition(steps)
