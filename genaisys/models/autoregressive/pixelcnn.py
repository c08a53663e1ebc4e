"""Gated PixelCNN: convolutions of images that see what is above and to the left (book section 3.2.6).

Gated blocks of two stacks are by van den Oord et al. 2016 (arXiv:1606.05328), the mixture of discretized logistics is
PixelCNN++'s (arXiv:1701.05517). A single stack of masked convolutions has a blind spot: what is above and far to the
right is never seen, since a step up and to the right goes through a pixel that is masked (trap A5). So one stack sees
all rows above, another what is to the left, and the first feeds the second.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.autoregressive.convolutional import Option, TooShortSighted
from genaisys.models.autoregressive.model import Autoregressive, CausalNetwork, Values, autoregressive, head_of
from genaisys.models.autoregressive.order import Places
from genaisys.models.spaces import Integers, Reals, SpaceUnfit


class CausalConv2d(nn.Conv2d):
    """A convolution that sees the rows above, what is to the left, and with option B the pixel itself (row 3.09).

    Channels are split into ``groups`` of features, one for each channel of the image: of its own pixel a group sees the
    groups before it, and with option B itself. The caller pads.

    Args:
        groups_in, groups_out: of which group each feature is; None: all of the first. [inputs] and [outputs]
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        option: Option,
        groups_in: Tensor | None = None,
        groups_out: Tensor | None = None,
    ) -> None:
        super().__init__(inputs, outputs, kernel)
        row, column = kernel[0] // 2, kernel[1] // 2
        mask = torch.zeros(outputs, inputs, *kernel)
        mask[:, :, :row] = 1
        mask[:, :, row, :column] = 1
        groups_in = torch.zeros(inputs) if groups_in is None else groups_in
        groups_out = torch.zeros(outputs) if groups_out is None else groups_out
        seen = groups_in <= groups_out[:, None] if option == "B" else groups_in < groups_out[:, None]
        mask[:, :, row, column] = seen.float()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias)

    def at(self, window: Tensor) -> Tensor:
        """The output at one pixel, of what its kernel lies on. [n, inputs, *] -> [n, outputs]"""
        return F.linear(window.flatten(1), (self.weight * self.mask).flatten(1), self.bias)


class GatedBlock(nn.Module):
    """One layer of both stacks.

        v <- gate(V * v)                       V sees its own row and those above: v holds nothing of its own row
        h <- h + W gate(H * h + U (V * v))     gate(a, b) = tanh(a) sigmoid(b)     (eq. 3.15)

    Args:
        groups: of which channel of the image each feature is. [width]
    """

    def __init__(self, width: int, kernel: int, option: Option, groups: Tensor, dropout: float) -> None:
        super().__init__()
        twice = torch.cat([groups, groups])
        self.option = option
        self.vertical = nn.Conv2d(width, 2 * width, (kernel // 2 + 1, kernel))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.horizontal = CausalConv2d(width, 2 * width, (1, kernel), option, groups, twice)
        self.mix = CausalConv2d(width, width, (1, 1), "B", groups, groups)
        self.dropout = nn.Dropout(dropout)

    def down(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """The vertical stack, and what it tells the other, of padded rows. [B, width, H + k // 2, W + 2 (k // 2)]"""
        convolved = self.vertical(v)  # [B, 2 width, H, W]
        return _gate(convolved), self.link(convolved)

    def along(self, h: Tensor, told: Tensor, before: Tensor) -> Tensor:
        """The horizontal stack.

        Args:
            h: padded on both sides. [B, width, H, W + 2 (k // 2)]
            before: h as it is added to the result: zeros under option A, which must not see the pixel. [B, width, H, W]
        """
        return before + self.mix(self.dropout(_gate(self.horizontal(h) + told)))

    def along_at(self, window: Tensor, told: Tensor, before: Tensor) -> Tensor:
        """``along`` at one pixel. [n, width, k], [n, 2 width] and [n, width] -> [n, width]"""
        return before + self.mix.at(self.dropout(_gate(self.horizontal.at(window) + told)))


class GatedPixelCNN(CausalNetwork):
    """Gated blocks, of which the first does not see the pixel itself; then two layers that mix features of a pixel.

    Raises:
        SpaceUnfit: data are no images.
        TooShortSighted: the blocks are too few, or their kernels too small, to see all of the image.
    """

    def __init__(
        self, space: Integers | Reals, numbers: int, kernel: int, layers: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        if len(space.shape) != 3:
            raise SpaceUnfit(f"a PixelCNN is of images [channels, height, width], not of {list(space.shape)}")
        self.channels, self.rows, self.columns = space.shape
        if kernel % 2 == 0 or layers * (kernel // 2) < max(self.rows, self.columns) - 1:
            raise TooShortSighted(
                f"{layers} layers with kernels of {kernel} do not see all of {self.rows}x{self.columns} pixels: "
                "take an odd kernel, and more of them"
            )
        self.pad = kernel // 2
        groups = torch.arange(self.channels).repeat_interleave(width)  # [channels * width]
        out_groups = torch.arange(self.channels).repeat_interleave(numbers)
        self.values, self.places = Values(space, width), Places(space.shape, width)
        self.blocks = nn.ModuleList(
            GatedBlock(len(groups), kernel, "A" if layer == 0 else "B", groups, dropout) for layer in range(layers)
        )
        self.hidden = CausalConv2d(len(groups), len(groups), (1, 1), "B", groups, groups)
        self.out = CausalConv2d(len(groups), len(out_groups), (1, 1), "B", groups, out_groups)
        self.dropout = nn.Dropout(dropout)

    @property
    def _blocks(self) -> list[GatedBlock]:
        return cast(list[GatedBlock], list(self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self._as_image(self.values(x))  # [B, features, H, W]
        places = self._as_image(self.places()[None])
        v = F.pad(h[:, :, :-1], (0, 0, 1, 0)) + places  # a row lower: it holds nothing of its own row
        for block in self._blocks:
            v, told = block.down(F.pad(v, (self.pad, self.pad, self.pad, 0)))
            before = places if block.option == "A" else h
            h = block.along(F.pad(h, (self.pad, self.pad)), told, before.expand_as(h))
        numbers = self.out(self.dropout(F.elu(self.hidden(F.elu(h)))))  # [B, channels * numbers, H, W]
        return numbers.movedim(1, -1).unflatten(-1, (self.channels, -1)).flatten(1, 3)  # [B, D, numbers]

    def steps(self, n: int) -> Generator[Tensor, Tensor, None]:
        pad, blocks, places = self.pad, self._blocks, self._as_image(self.places()[None])
        features = places.shape[1]
        # What each block reads of the vertical stack, padded as in `forward`; and the values of the row above.
        above = [places.new_zeros(n, features, self.rows + pad, self.columns + 2 * pad) for _ in blocks]
        values = places.new_zeros(n, features, self.columns)
        for row in range(self.rows):
            told = self._down(above, values, row, places)
            beside = [places.new_zeros(n, features, self.columns + 2 * pad) for _ in blocks]  # of the horizontal one
            for column in range(self.columns):
                for channel in range(self.channels):
                    h = places[:, :, row, column]
                    for layer, block in enumerate(blocks):
                        if layer:
                            beside[layer][:, :, column + pad] = h
                        window = beside[layer][:, :, column : column + 2 * pad + 1]
                        h = block.along_at(window, told[layer][:, :, column], h)
                    numbers = self.out.at(self.dropout(F.elu(self.hidden.at(F.elu(h)))))
                    x = yield numbers.unflatten(1, (self.channels, -1))[:, channel]
                    mine = beside[0][:, :, column + pad].unflatten(1, (self.channels, -1))[:, channel]
                    mine.copy_(self.values(x))
            values = beside[0][:, :, pad : pad + self.columns]

    def _down(self, above: list[Tensor], values: Tensor, row: int, places: Tensor) -> list[Tensor]:
        """A row of the vertical stack, from the values of the row above it; what it tells each block.

        -> [n, 2 * channels * width, W] each
        """
        pad, told = self.pad, []
        v = values + places[:, :, row]  # [n, channels * width, W]
        for block, seen in zip(self._blocks, above, strict=True):
            seen[:, :, row + pad, pad : pad + self.columns] = v
            down, tells = block.down(seen[:, :, row : row + pad + 1])
            v = down[:, :, 0]
            told.append(tells[:, :, 0])
        return told

    def _as_image(self, vectors: Tensor) -> Tensor:
        """[B, D, width] -> [B, channels * width, H, W]"""
        return vectors.view(len(vectors), self.rows, self.columns, -1).movedim(-1, 1)


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()


def pixelcnn(
    space: Integers | Reals,
    kernel: int = 3,
    layers: int = 7,
    width: int = 48,
    dropout: float = 0.0,
    components: int | None = None,
) -> Autoregressive:
    """The preset; ``components``: of a mixture of discretized logistics, and None: categorical."""
    head, numbers = head_of(space, components)
    return autoregressive(space, GatedPixelCNN(space, numbers, kernel, layers, width, dropout), head)
