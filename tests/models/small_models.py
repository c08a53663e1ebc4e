"""A tiny model of every kind, with random weights, whose probabilities can be added up one by one."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor

from genaisys.models import Integers, Reals, build
from genaisys.models.base import GenerativeModel

LINE = Integers((4,), 0, 2)  # 81 states
IMAGE = Integers((1, 2, 2), 1, 3)  # 81 states; its values do not begin at 0
COLOURS = Integers((3, 1, 2), 0, 1)  # 64 states
EITHER = Integers((2, 3), 4, 5)  # 64 states
PLANE = Reals((2,))

Make = Callable[[], GenerativeModel]


def softened(model: GenerativeModel, seed: int = 0, scale: float = 0.3) -> GenerativeModel:
    """The model with all weights moved at random, so that nothing is zero or equal by its initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _small(name: str, space: Integers | Reals, *, scale: float = 0.3, **sizes: object) -> Make:
    def make() -> GenerativeModel:
        torch.manual_seed(0)
        return softened(build(name, space, **sizes), scale=scale)

    return make


def _taught(name: str, space: Integers | Reals, **sizes: object) -> Make:
    """As ``_small``, and trained a little: with a posterior that fits nothing no bound is ever tight."""

    @lru_cache
    def teach() -> GenerativeModel:
        torch.manual_seed(0)
        model = softened(build(name, space, **sizes), scale=0.1)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        x = _some_data(space)
        for _ in range(200):
            optimizer.zero_grad()
            model.loss(x).mean().backward()
            optimizer.step()
        model.zero_grad()
        return model.eval()

    return lambda: deepcopy(teach())


def _some_data(space: Integers | Reals) -> Tensor:
    """Neighbouring dimensions are like each other. [100, *shape]"""
    walk = torch.randn(100, space.dimensions).cumsum(1).view(100, *space.shape)
    if isinstance(space, Reals):
        return walk
    return space.nearest((space.low + space.high) / 2 + walk)


_DENOISER: Mapping[str, object] = {"width": 24, "blocks": 1, "dropout": 0.0, "schedule": "linear"}
SMALL_MODELS: Mapping[str, Make] = {
    "factorised": _small("factorised", IMAGE),
    "mixture": _small("mixture", IMAGE, components=3),
    "mixture of uniform weights": _small("mixture", LINE, components=2, weights="uniform"),
    "mixture of Gaussians": _small("mixture-gaussian", PLANE, components=3),
    "mixture of Gaussians of full covariance": _small("mixture-gaussian", PLANE, components=2, covariance="full"),
    "mixture of rounded Gaussians": _small("mixture-gaussian", IMAGE, components=3),
    "chow-liu": _small("chow-liu", IMAGE),
    "hidden tree": _small("hidden-tree", LINE, states=2, leaves="categorical"),
    "hidden tree of normal leaves": _small("hidden-tree", IMAGE, states=2),
    "einet": _small("einet", IMAGE, sums=2, depth=2, repetitions=3, leaves="categorical"),
    "einet of one layer": _small("einet", LINE, sums=2, depth=1, repetitions=1),
    "arm-memory": _small("arm-memory", LINE, width=4, hidden=8),
    "arm-rnn": _small("arm-rnn", LINE, width=8),
    "arm-lstm": _small("arm-rnn", PLANE, cell="lstm", width=8, layers=2, dropout=0.2),
    "arm-convolutions": _small("arm-convolutions", LINE, kernel=2, width=8, dropout=0.2),
    "pixelcnn": _small("pixelcnn", IMAGE, layers=2, width=4, dropout=0.2),
    "pixelcnn-logistics": _small("pixelcnn", COLOURS, layers=2, width=4, components=2),
    "arm-transformer": _small("arm-transformer", IMAGE, layers=2, width=8, heads=2, dropout=0.2),
    "realnvp": _small("realnvp", LINE, couplings=4, width=8),
    "realnvp-plane": _small("realnvp", PLANE, couplings=4, width=8),
    "glow": _small("glow", IMAGE, scale=0.1, levels=1, steps=2, width=4),
    "spline-flow": _small("spline-flow", LINE, transforms=2, width=8, bins=4),
    "spline-flow-plane": _small("spline-flow", PLANE, transforms=2, width=8, bins=4),
    "residual-flow": _small("residual-flow", LINE, blocks=2, width=8),
    "residual-flow-plane": _small("residual-flow", PLANE, blocks=2, width=8),
    "dense-flow-plane": _small("dense-flow", PLANE, blocks=2, growth=4),
    "idf": _small("idf", IMAGE, scale=0.6, couplings=3, width=8, components=2),
    "idf-factored-out": _small("idf", LINE, scale=0.6, couplings=4, parts=4, levels=2, width=8, components=2),
    "ppca": _small("ppca", PLANE, latent=1),
    **{
        f"vae {prior}": _taught("vae", IMAGE, latent=2, width=8, prior=prior, components=4)
        for prior in ("standard", "mixture", "vamp-uniform", "vamp", "gtm", "gtm-vamp", "flow", "autoregressive")
    },
    **{
        f"vae {posterior}": _taught("vae", IMAGE, latent=3, width=8, posterior=posterior, flow_steps=2)
        for posterior in (
            "householder",
            "orthogonal-sylvester",
            "householder-sylvester",
            "triangular-sylvester",
            "inverse-autoregressive",
        )
    },
    "vae of Bernoullis": _taught("vae", EITHER, latent=2, width=8, decoder="bernoulli"),
    "vae of categoricals": _taught("vae", IMAGE, latent=2, width=8, decoder="categorical"),
    "vae of reals": _taught("vae", PLANE, latent=2, width=8),
    "hyperspherical-vae": _taught("hyperspherical-vae", IMAGE, latent=3, width=8),
    "bottom-up-vae": _taught("bottom-up-vae", IMAGE, lower=2, upper=1, width=8),
    "top-down-vae": _taught("top-down-vae", IMAGE, lower=2, upper=1, width=8),
    "residual-vae": _taught("residual-vae", LINE, latent=1, levels=3, width=8),
    "diffusion": _taught("diffusion", IMAGE, steps=4, **_DENOISER),
    "diffusion, data": _taught("diffusion", LINE, steps=4, predicts="data", **_DENOISER),
    "diffusion, variance": _taught("diffusion", IMAGE, steps=8, predicts="noise and variance", **_DENOISER),
    "diffusion, simple": _taught("diffusion", LINE, steps=8, objective="simple", net_per_step=True, **_DENOISER),
    "diffusion of reals": _taught("diffusion", PLANE, steps=4, **_DENOISER),
}
