"""The network that looks at nothing."""

from __future__ import annotations

from torch import Tensor, nn


class Constant(nn.Module):
    """Learned numbers, the same for every input. [B, *] -> [B, numbers]

    They are kept as tenths, so that a step of Adam moves them about as far as it moves the outputs of a network, which
    are sums over many weights.
    """

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.tenths = nn.Parameter(numbers / 10)

    def forward(self, x: Tensor) -> Tensor:
        return (10 * self.tenths).expand(len(x), -1)
