"""What a model can do, as the book's Tables 1.1 and 5.1 compare families; asked of the code, not written down."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from genaisys.errors import GenaisysError
from genaisys.models.base import Completes, Density, GenerativeModel, Lossless, MostProbable, Queries, Representation
from genaisys.models.presets import build
from genaisys.models.spaces import Integers, Reals
from genaisys.zoo.entries import Entry


@dataclass(frozen=True)
class Abilities:
    """The capabilities of a model (see :mod:`genaisys.models.base`).

    Attributes:
        likelihood: exact, lower bound, estimate or unnormalised; None: it has none.
        lossless: it compresses, and gives back the same.
        code: how many numbers an example is encoded as; None: it has no codes.
        bottleneck: the code has fewer numbers than the data.
        invertible: the code of an example decodes to the very example.
        completes: what may be missing in an example: ``any part``, ``an end``; None: nothing.
        marginals: it gives the probability of a part.
        most_probable: it finds the likeliest completion.
    """

    likelihood: str | None
    lossless: bool
    code: int | None
    bottleneck: bool
    invertible: bool
    completes: str | None
    marginals: bool
    most_probable: bool


@torch.no_grad()
def abilities(model: GenerativeModel) -> Abilities:
    """Of a model on data of a space, with whatever weights."""
    code, invertible = None, False
    if isinstance(model, Representation):
        assert isinstance(model.space, Integers | Reals)
        x = model.sample(2, generator=torch.Generator().manual_seed(0))
        z = model.encode(x)
        code = z[0].numel()
        invertible = torch.allclose(model.decode(z).double(), x.double(), atol=1e-3)
    return Abilities(
        likelihood=model.likelihood if isinstance(model, Density) else None,
        lossless=isinstance(model, Lossless),
        code=code,
        bottleneck=code is not None and isinstance(model.space, Integers | Reals) and code < model.space.dimensions,
        invertible=invertible,
        completes=model.completes if isinstance(model, Completes) else None,
        marginals=isinstance(model, Queries),
        most_probable=isinstance(model, MostProbable),
    )


def misfit(entry: Entry, space: Integers | Reals) -> str | None:
    """Why a model of the zoo cannot be made for data of a space; None: it can."""
    try:
        build(entry.preset, space, **entry.sizes)
    except GenaisysError as error:
        return str(error)
    return None
