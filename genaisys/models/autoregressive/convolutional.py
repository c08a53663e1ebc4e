"""A memory of everything by dilated causal convolutions (book sections 3.2.3 to 3.2.5; WaveNet, arXiv:1609.03499)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.autoregressive.model import Autoregressive, CausalNetwork, Values, autoregressive, head_of
from genaisys.models.autoregressive.order import Places
from genaisys.models.spaces import Integers, Reals

Option = Literal["A", "B"]


class TooShortSighted(GenaisysError):
    """A network that does not see all that comes before, so that its conditionals would not be those of the data."""


class CausalConv1d(nn.Conv1d):
    """A convolution whose output at t sees inputs up to t (option B), or before t (option A) (book listing 3.1).

    Attributes:
        reach: how many places before t the output at t sees.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, option: Option = "B") -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation)
        self.shift = 1 if option == "A" else 0
        self.reach = (kernel - 1) * dilation + self.shift

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, D] -> [B, outputs, D]"""
        return super().forward(F.pad(x[..., : x.shape[-1] - self.shift], (self.reach, 0)))

    def history(self, n: int, length: int) -> Tensor:
        """Room for ``length`` inputs, which ``remember`` fills, after the zeros that are before them."""
        return self.weight.new_zeros(n, self.in_channels, self.reach + length)

    def remember(self, history: Tensor, place: int, x: Tensor) -> None:
        """Keep the input of a place. [n, inputs]"""
        history[..., self.reach + place] = x

    def at(self, history: Tensor, place: int) -> Tensor:
        """The output at a place, of the inputs up to it, or before it. -> [n, outputs]"""
        dilation = self.dilation[0]
        taps = history[..., place : place + (self.kernel_size[0] - 1) * dilation + 1 : dilation]  # [n, inputs, kernel]
        return F.linear(taps.flatten(1), self.weight.flatten(1), self.bias)


class DilatedConvolutions(CausalNetwork):
    """A first convolution with option A, then residual blocks with option B, whose dilations widen what they see.

        h <- h + W drop(gelu(conv(gelu(h))))

    Raises:
        TooShortSighted: the dilations are too few for the data (trap A2: the book's 4 layers see 25 pixels of 64).
    """

    def __init__(
        self, space: Integers | Reals, numbers: int, kernel: int, dilations: Sequence[int], width: int, dropout: float
    ) -> None:
        super().__init__()
        self.dimensions = space.dimensions
        self.values, self.places = Values(space, width), Places(space.shape, width)
        self.first = CausalConv1d(width, width, kernel, option="A")
        self.convs = nn.ModuleList(CausalConv1d(width, width, kernel, dilation) for dilation in dilations)
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in dilations)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, numbers)
        if self.reach < space.dimensions - 1:
            raise TooShortSighted(
                f"these convolutions see {self.reach} of the {space.dimensions - 1} dimensions before the last: "
                "take a larger kernel, or more or larger dilations"
            )

    @property
    def reach(self) -> int:
        """How many dimensions before each one the network sees."""
        return self.first.reach + sum(conv.reach for conv in self._convs)

    @property
    def _convs(self) -> list[CausalConv1d]:
        return cast(list[CausalConv1d], list(self.convs))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(self.values(x).mT).mT + self.places()  # [B, D, width]
        for conv, mix in zip(self._convs, self.mixes, strict=True):
            h = h + mix(self.dropout(F.gelu(conv(F.gelu(h).mT).mT)))
        return self.out(self.dropout(F.gelu(h)))

    def steps(self, n: int) -> Generator[Tensor, Tensor, None]:
        places = self.places()  # [D, width]
        inputs = self.first.history(n, self.dimensions)
        histories = [conv.history(n, self.dimensions) for conv in self._convs]
        for place in range(self.dimensions):
            h = self.first.at(inputs, place) + places[place]  # [n, width]
            for conv, mix, history in zip(self._convs, self.mixes, histories, strict=True):
                conv.remember(history, place, F.gelu(h))
                h = h + mix(self.dropout(F.gelu(conv.at(history, place))))
            x = yield self.out(self.dropout(F.gelu(h)))
            self.first.remember(inputs, place, self.values(x))


def doubling(dimensions: int, kernel: int) -> list[int]:
    """Dilations 1, 2, 4 … with which a network sees all of so many dimensions.

    Raises:
        TooShortSighted: a kernel of 1 sees one dimension, whatever the dilations are.
    """
    if kernel < 2:
        raise TooShortSighted(f"a kernel of {kernel} sees the dimension before each one only: take at least 2")
    dilations: list[int] = []
    while kernel + (kernel - 1) * sum(dilations) < dimensions - 1:
        dilations.append(2 ** len(dilations))
    return dilations


def arm_convolutions(
    space: Integers | Reals,
    kernel: int = 3,
    cycles: int = 1,
    width: int = 128,
    dropout: float = 0.0,
    components: int | None = None,
) -> Autoregressive:
    """The preset; ``cycles``: how often the dilations that see everything are gone through."""
    head, numbers = head_of(space, components)
    dilations = doubling(space.dimensions, kernel) * cycles
    return autoregressive(space, DilatedConvolutions(space, numbers, kernel, dilations, width, dropout), head)
