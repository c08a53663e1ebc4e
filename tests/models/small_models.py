"""A tiny model of every kind, with random weights, whose probabilities can be added up one by one."""

from collections.abc import Callable, Mapping

import torch

from genaisys.models import Integers, Reals, build
from genaisys.models.base import GenerativeModel

LINE = Integers((4,), 0, 2)  # 81 states
IMAGE = Integers((1, 2, 2), 1, 3)  # 81 states; its values do not begin at 0
COLOURS = Integers((3, 1, 2), 0, 1)  # 64 states
PLANE = Reals((2,))

Make = Callable[[], GenerativeModel]


def softened(model: GenerativeModel, seed: int = 0, scale: float = 0.3) -> GenerativeModel:
    """The model with all weights moved at random, so that nothing is zero or equal by its initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _small(name: str, space: Integers | Reals, **sizes: object) -> Make:
    def make() -> GenerativeModel:
        torch.manual_seed(0)
        return softened(build(name, space, **sizes))

    return make


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
}
