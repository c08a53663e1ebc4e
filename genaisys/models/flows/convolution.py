"""The invertible 1x1 convolution: a learned permutation of channels (GLOW, arXiv:1807.03039; book section 4.1.6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genaisys.models.flows.bijection import Bijection


class InvertibleConvolution(Bijection):
    """``z = W x`` at every place of images [C, H, W], or of vectors [C]; the log-det is ``H W log |det W|``.

    W begins as a random rotation, so that the log-det begins at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.einsum("ij,bj...->bi...", self.weight, x), self._log_det(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.einsum("ij,bj...->bi...", torch.linalg.inv(self.weight), z), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        places = x[0, 0].numel() if len(x) else 1
        return (places * torch.linalg.slogdet(self.weight).logabsdet).expand(len(x))
