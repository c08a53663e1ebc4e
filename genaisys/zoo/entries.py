"""What is in the zoo: each model with its preset, its place in the book, and how it is trained.

Every family lists its own in a file beside this one. The names are those of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.training import TrainingSettings, fit
from genaisys.training.metrics import Record

OnRecord = Callable[[Record], None]


@dataclass(frozen=True)
class Trainer:
    """How a model is trained.

    Attributes:
        run: what a call of the trainer does.
        steps: of it, at most; None: it does all at once.
    """

    run: Callable[[GenerativeModel, Tensor, Tensor, int, Path, OnRecord], None]
    steps: int | None = None

    def __call__(
        self, model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
    ) -> None:
        """Train ``model`` on ``x``, choosing by ``validation``.

        Args:
            folder: for checkpoints, from which the same call goes on.
            on_record: is given what is recorded.
        """
        self.run(model, x, validation, seed, folder, on_record)


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        family: as the book's chapters are called: ``mixtures``, ``flows`` …
        section: of the book, or the paper.
        about: one line for people.
        preset: its name in ``PRESETS``.
        sizes: what the preset is built with, for data of up to a thousand dimensions.
        trained: how; takes the seed.
        samples: with how many the bound of the likelihood is measured; None: the likelihood is exact.
        effort: what ``sample`` is called with.
        of_reals: the sizes that are in the unit of the data where these are real numbers; by the training data.
    """

    family: str
    section: str
    about: str
    preset: str
    trained: Trainer
    sizes: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    effort: Mapping[str, Any] = field(default_factory=dict)
    of_reals: Callable[[Tensor], Mapping[str, Any]] | None = None

    def sizes_for(self, x: Tensor) -> Mapping[str, Any]:
        """What the preset is built with to learn from ``x``. [N, *shape]"""
        return {**self.sizes, **self.of_reals(x)} if self.of_reals and x.is_floating_point() else self.sizes


def by_gradient(settings: TrainingSettings, **changes: Any) -> Trainer:
    """A trainer: the training loop with these settings, but for the changes."""
    settings = replace(settings, **changes)

    def trained(
        model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
    ) -> None:
        fit(model, x, validation, replace(settings, seed=seed), folder, on_record=on_record)

    return Trainer(trained, settings.steps)
