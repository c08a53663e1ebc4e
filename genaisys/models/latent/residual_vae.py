"""Any number of levels of codes on a residual stream.

ResNet-VAE (Kingma et al. 2016, arXiv:1606.04934), NVAE (Vahdat & Kautz 2020, arXiv:2007.03898).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from genaisys.models.base import inference
from genaisys.models.conditionals import Conditional, Gaussians
from genaisys.models.latent.hierarchy import HierarchicalVAE, Passed, level, moved
from genaisys.models.layers.residual_mlp import ResidualBlock
from genaisys.models.spaces import Integers, Reals


class Level(nn.Module):
    """The networks of one level of codes, between the stream h that goes down and the path r that goes up.

    Args:
        width: of h and of r.
        latent: the size of the codes.
    """

    def __init__(self, width: int, latent: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.latent = latent
        self.up = ResidualBlock(width, dropout)
        self.prior = Gaussians(_head(width, 2 * latent), Reals((latent,)))
        self.delta = _head(2 * width, 2 * latent)
        self.into = nn.Linear(latent, width)
        self.down = ResidualBlock(width, dropout)

    def posterior(self, p: Distribution, h: Tensor, r: Tensor) -> Distribution:
        """That of z given x and the levels above: the prior, moved. h and r: [B, W]"""
        return moved(p, self.delta(torch.cat([h, r], 1)))

    def lowered(self, h: Tensor, z: Tensor) -> Tensor:
        """The stream below the level. [B, W], [B, L] -> [B, W]"""
        out: Tensor = self.down(h + self.into(z))
        return out


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, outputs))


class ResidualVAE(HierarchicalVAE):
    """``p(x | z_1 ... z_T) prod_t p(z_t | z_(t+1) ... z_T)``: every level adds to a stream, from which x is decoded.

    Unlike in :class:`genaisys.models.latent.top_down.TopDownVAE` all levels reach the data, not the lowest alone. The
    code is all of theirs, from the top down, where each is the mean given those above it: [B, L_T + ... + L_1].

    Args:
        path: from scaled data to the first r. [B, *shape] -> [B, W]
        levels: from the lowest to the top.
        decoder: of the stream. [B, W]
        width: W.
    """

    def __init__(
        self,
        space: Integers | Reals,
        path: nn.Module,
        levels: Iterable[Level],
        decoder: Conditional,
        width: int,
        *,
        free_nats: float = 0.0,
        warmup: int = 0,
    ) -> None:
        super().__init__(space, decoder, free_nats=free_nats, warmup=warmup)
        self.path, self.levels = path, nn.ModuleList(levels)
        self.start = nn.Parameter(torch.zeros(width))  # of the stream: [W]

    def passed(self, x: Tensor) -> Passed:
        h = self.start.expand(len(x), -1)  # [B, W]
        terms = []
        for each, r in zip(reversed(self._levels), reversed(self._ascended(x)), strict=True):
            p = each.prior(h)
            q = each.posterior(p, h, r)
            z = q.rsample()
            terms.append(level(q, p, z))
            h = each.lowered(h, z)
        kls, ratios = zip(*reversed(terms), strict=True)
        return Passed(self.decoder(h).log_prob(x), torch.stack(kls, 1), torch.stack(ratios, 1))

    def encode(self, x: Tensor) -> Tensor:
        with inference(self):
            h, codes = self.start.expand(len(x), -1), []
            for each, r in zip(reversed(self._levels), reversed(self._ascended(self.space.validated(x))), strict=True):
                codes.append(each.posterior(each.prior(h), h, r).mean)
                h = each.lowered(h, codes[-1])
            return torch.cat(codes, 1)

    def decode(self, z: Tensor) -> Tensor:
        z = Reals((sum(each.latent for each in self._levels),)).validated(z)
        with inference(self):
            h = self.start.expand(len(z), -1)
            downwards = list(reversed(self._levels))
            for each, code in zip(downwards, z.split([each.latent for each in downwards], dim=1), strict=True):
                h = each.lowered(h, code)
            return self.decoder.mode(h)

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        h = self.start.expand(n, -1)
        for each in reversed(self._levels):
            h = each.lowered(h, each.prior(h).sample())
        x: Tensor = self.decoder(h).sample()
        return self.space.validated(x)

    def _ascended(self, x: Tensor) -> list[Tensor]:
        """The path at each level, from the lowest. -> [B, W] each"""
        r = self.path(self._for_networks(x))
        path = []
        for each in self._levels:
            r = each.up(r)
            path.append(r)
        return path

    @property
    def _levels(self) -> list[Level]:
        return cast(list[Level], list(self.levels))
