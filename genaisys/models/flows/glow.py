"""GLOW: at every level images are squeezed, go through steps of flow, and half is factored out (arXiv:1807.03039)."""

from __future__ import annotations

import math

from genaisys.models.flows.actnorm import ActNorm
from genaisys.models.flows.base_densities import StandardNormal
from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.flows.convolution import InvertibleConvolution
from genaisys.models.flows.coupling import AffineCoupling
from genaisys.models.flows.factor_out import FactorOut
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.masks import channels
from genaisys.models.flows.squeeze import Squeeze
from genaisys.models.layers.convnet import ConvNet
from genaisys.models.spaces import Integers, Reals


class Glow(Flow):
    """For images [C, H, W]. A step of flow is an ActNorm, a 1x1 convolution and an affine coupling of channels.

    Args:
        levels: H and W can be halved so often.
        steps: of flow, at each level.

    Raises:
        SpaceUnfit: they cannot be halved, or data are no images.
    """

    def __init__(
        self, space: Integers | Reals, levels: int = 2, steps: int = 4, width: int = 64, dropout: float = 0.1
    ) -> None:
        level = _level(space.shape, levels, steps, width, dropout)
        base = StandardNormal(*_code_shape(space.shape, levels))
        super().__init__(space, Composition([ActNorm(space.shape), level]), base)


def _level(shape: tuple[int, ...], levels: int, steps: int, width: int, dropout: float) -> Bijection:
    squeeze = Squeeze(shape)
    shape = squeeze.code_shape
    bijections: list[Bijection] = [squeeze]
    for _ in range(steps):
        net = ConvNet(shape[0], 2 * shape[0], width, dropout=dropout)
        bijections += [
            ActNorm((shape[0], 1, 1)),
            InvertibleConvolution(shape[0]),
            AffineCoupling(net, channels(shape)),
        ]
    if levels > 1:
        stay = shape[0] // 2
        rest_shape = (stay, *shape[1:])
        rest = _level(rest_shape, levels - 1, steps, width, dropout)
        bijections.append(FactorOut(rest, stay, shape, _code_shape(rest_shape, levels - 1)))
    return Composition(bijections)


def _code_shape(shape: tuple[int, ...], levels: int) -> tuple[int, ...]:
    return Squeeze(shape).code_shape if levels == 1 else (math.prod(shape),)
