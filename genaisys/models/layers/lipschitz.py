"""Networks that never stretch a distance: for ``x + g(x)`` to be invertible, the Lipschitz constant of g is below 1.

The constant of a chain of layers is at most the product of theirs, so every layer here has one of at most 1, and the
linear ones have ``coefficient``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

_BLOCKS = 200  # of five steps of the power iteration, at most
_Map = Callable[[Tensor, Tensor], Tensor]  # a direction and the weight to another direction


class SpectralNorm(nn.Module):
    """Shrinks a weight until its linear operator has a norm of at most ``coefficient`` (Behrmann et al. 2019).

    The norm is of the operator: of a convolution it is that of the map of whole images, not that of the weight as a
    matrix (trap F8). It is found by power iteration, from where the last one in train mode ended, until it stays.

    Args:
        operator, adjoint: how the weight acts on an input, and back on an output.
        start: an input. [1, *]
    """

    direction: Tensor

    def __init__(self, operator: _Map, adjoint: _Map, start: Tensor, coefficient: float) -> None:
        super().__init__()
        self._operator, self._adjoint, self._coefficient = operator, adjoint, coefficient
        self.register_buffer("direction", start / start.norm())

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            direction = self._steepest(weight)
            if self.training:
                self.direction.copy_(direction)
        norm = self._operator(direction, weight).norm()
        return weight * (self._coefficient / norm).clamp(max=1.0)

    def _steepest(self, weight: Tensor) -> Tensor:
        """The direction that the operator stretches most."""
        direction, norm = self.direction, -1.0
        for _ in range(_BLOCKS):
            for _ in range(5):
                direction = self._adjoint(self._operator(direction, weight), weight)
                direction = direction / direction.norm().clamp(min=1e-30)
            previous, norm = norm, float(self._operator(direction, weight).norm())
            if norm <= previous * (1 + (1e-3 if self.training else 1e-6)):
                break
        return direction


def lipschitz_linear(inputs: int, outputs: int, coefficient: float) -> nn.Linear:
    """A linear layer with a Lipschitz constant of at most ``coefficient``."""
    layer = nn.Linear(inputs, outputs)
    norm = SpectralNorm(F.linear, lambda u, weight: u @ weight, torch.randn(1, inputs), coefficient)
    register_parametrization(layer, "weight", norm)
    return layer


def lipschitz_conv2d(inputs: int, outputs: int, kernel: int, size: tuple[int, int], coefficient: float) -> nn.Conv2d:
    """A convolution with a Lipschitz constant of at most ``coefficient`` on images of ``size``, which it keeps."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    norm = SpectralNorm(
        lambda v, weight: F.conv2d(v, weight, padding=kernel // 2),
        lambda u, weight: F.conv_transpose2d(u, weight, padding=kernel // 2),
        torch.randn(1, inputs, *size),
        coefficient,
    )
    register_parametrization(layer, "weight", norm)
    return layer


class LipSwish(nn.Module):
    """``x sigmoid(beta x) / 1.1``, smooth and with slopes up to 1 (Chen et al. 2019, arXiv:1906.02735; trap F8)."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x * F.softplus(self.beta)) / 1.1


class CLipSwish(nn.Module):
    """``[LipSwish(x), LipSwish(-x)] / 1.004``, twice the channels (Perugachi-Diaz et al. 2021, arXiv:2102.02694).

    Its constant is 1, and where one half is flat the other is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.swish = LipSwish()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.swish(x), self.swish(-x)), 1) / 1.004


class LipschitzDense(nn.Module):
    """``h(x) = [cos(a) x, sin(a) phi(W x)]`` with a learned: its constant is 1 (book eq. 4.25-4.30; the same paper).

    At the beginning ``cos(a) = sin(a) = 1 / sqrt(2)``, which is the book's form.

    Args:
        layer: W, with a Lipschitz constant of at most 1.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.activation = layer, CLipSwish()
        self.angle = nn.Parameter(torch.tensor(math.pi / 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.angle.cos() * x, self.angle.sin() * self.activation(self.layer(x))), 1)
