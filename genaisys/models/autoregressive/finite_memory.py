"""A memory of the last few values, the same network everywhere (book section 3.2.1)."""

from __future__ import annotations

from collections.abc import Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.autoregressive.model import Autoregressive, CausalNetwork, Values, autoregressive, head_of
from genaisys.models.spaces import Integers, Reals


class FiniteMemory(CausalNetwork):
    """``p(x_d | x_{d-1}, ..., x_{d-memory})`` by an MLP that all places share (eq. 3.5); before the first are zeros.

    The one network here that does not see all that comes before: that is its assumption.
    """

    def __init__(self, space: Integers | Reals, numbers: int, memory: int, width: int, hidden: int) -> None:
        super().__init__()
        self.dimensions, self.memory = space.dimensions, memory
        self.values = Values(space, width)
        self.mlp = nn.Sequential(nn.Linear(memory * width, hidden), nn.ReLU(), nn.Linear(hidden, numbers))

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(self.values(x[:, :-1]), (0, 0, self.memory, 0))  # [B, memory + D - 1, width]
        return self.mlp(before.unfold(1, self.memory, 1).flatten(2))  # windows [B, D, width, memory]

    def steps(self, n: int) -> Generator[Tensor, Tensor, None]:
        first = self.mlp[0]
        assert isinstance(first, nn.Linear)
        window = first.weight.new_zeros(n, first.in_features // self.memory, self.memory)  # [n, width, memory]
        while True:
            x = yield self.mlp(window.flatten(1))
            window = torch.cat([window[..., 1:], self.values(x)[..., None]], -1)


def arm_memory(
    space: Integers | Reals, memory: int = 2, width: int = 16, hidden: int = 300, components: int | None = None
) -> Autoregressive:
    """The preset: the book's second order and its 300 hidden units."""
    head, numbers = head_of(space, components)
    return autoregressive(space, FiniteMemory(space, numbers, memory, width, hidden), head)
