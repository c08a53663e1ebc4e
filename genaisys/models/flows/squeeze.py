"""Images with a quarter of the places and four times the channels (book section 4.1.6)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genaisys.models.flows.bijection import Bijection
from genaisys.models.spaces import SpaceUnfit


class Squeeze(Bijection):
    """[C, H, W] -> [4C, H/2, W/2]: every square of 2x2 pixels becomes four channels; the volume stays.

    Raises:
        SpaceUnfit: ``shape`` is not [C, H, W] with even H and W.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(shape) != 3 or shape[1] % 2 or shape[2] % 2:
            raise SpaceUnfit(f"only images [C, H, W] with even H and W can be squeezed, not {list(shape)}")
        self.code_shape = (4 * shape[0], shape[1] // 2, shape[2] // 2)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z, 2), z.new_zeros(len(z))
