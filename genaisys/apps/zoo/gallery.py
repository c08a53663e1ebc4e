"""The models that the tab shows: those of the digits that are shipped, each opened when it is first looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from genaisys.errors import GenaisysError

if TYPE_CHECKING:  # torch takes seconds to load, and the page should open before that
    from torch import Tensor

    from genaisys.models.base import GenerativeModel
    from genaisys.zoo.abilities import Abilities
    from genaisys.zoo.data import Parts
    from genaisys.zoo.entries import Entry

_REAL = 200  # test images that a drawing is compared with


@dataclass(frozen=True)
class Exhibit:
    """A trained model, and what is known of it.

    Attributes:
        result: what was measured (see :func:`genaisys.zoo.runs.train_run`).
        real: ``log p`` of test images in nats, sorted, to compare a drawing with; None: it has no likelihood. [N]
    """

    name: str
    entry: Entry
    model: GenerativeModel
    result: dict[str, Any]
    abilities: Abilities
    real: Tensor | None


class NotShown(GenaisysError):
    """There is no such model in the tab."""


class Gallery:
    """Safe to share between threads. The models take turns: sampling seeds random numbers that are the process's."""

    def __init__(self) -> None:
        self.turn = Lock()
        self._opened: dict[str, Exhibit] = {}

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """What was measured of each model that is shipped, in the book's order."""
        from genaisys.zoo.runs import shipped_results

        return {result["name"]: result for result in shipped_results("digits")}

    @cached_property
    def data(self) -> Parts:
        from genaisys.zoo.data import digits

        return digits()

    def exhibit(self, name: str) -> Exhibit:
        """The model called ``name``. To be called by who has the turn.

        Raises:
            NotShown: it is not shipped.
        """
        from genaisys.zoo.abilities import abilities
        from genaisys.zoo.runs import entry_called, open_run

        if name not in self.results:
            raise NotShown(f"there is no model {name} here: choose one of the list")
        if name not in self._opened:
            entry, model = entry_called(name), open_run(name)[0]
            real = log_prob(model, entry, self.data.test[:_REAL])
            sorted_real = None if real is None else real.sort().values
            self._opened[name] = Exhibit(name, entry, model, self.results[name], abilities(model), sorted_real)
        return self._opened[name]


def log_prob(model: GenerativeModel, entry: Entry, x: Tensor) -> Tensor | None:
    """``log p`` in nats, or its bound; None: the model has no likelihood. [B, *shape] -> [B]"""
    import torch

    from genaisys.models.base import Density, inference

    if not isinstance(model, Density):
        return None
    samples = {} if entry.samples is None else {"samples": entry.samples}
    with inference(model, torch.Generator().manual_seed(0)):
        return model.log_prob(x, **samples)
