"""Mixtures, circuits, and what they are compared with (book chapter 2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.models.circuits.circuit import DiscreteCircuit
from genaisys.models.factorised import FactorisedCategorical
from genaisys.models.mixtures import Mixture
from genaisys.training import StepwiseEM, fit_by_em
from genaisys.zoo.entries import Entry, OnRecord, Trainer


def _by_counting(
    model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
) -> None:
    assert isinstance(model, FactorisedCategorical)
    model.fit_counts(x)


def by_em(iterations: int) -> Trainer:
    """A trainer: from a beginning drawn from the data, so many iterations of EM at most."""

    def trained(
        model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
    ) -> None:
        assert isinstance(model, Mixture | DiscreteCircuit)
        torch.manual_seed(seed)
        model.initialise(x)
        fit_by_em(model, x, validation, iterations, folder, on_record=on_record)

    return Trainer(trained, iterations)


def by_stepwise_em(passes: int, batch_size: int) -> Trainer:
    """A trainer for circuits and many data: the same beginning, and so many passes that learn after each batch."""

    def trained(
        model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
    ) -> None:
        assert isinstance(model, DiscreteCircuit)
        torch.manual_seed(seed)
        model.initialise(x)
        fit_by_em(StepwiseEM(model, batch_size), x, validation, passes, folder, on_record=on_record)

    return Trainer(trained, passes)


def _tenth_of_std(x: Tensor) -> Mapping[str, float]:
    """The least standard deviation of a component: a tenth of that of the variable that varies least. [N, *shape]"""
    rows = x.flatten(1).double()
    varied = rows.std(0)[rows.amax(0) > rows.amin(0)]
    return {"least_std": 0.1 * varied.min().item()} if len(varied) else {}


ENTRIES: Mapping[str, Entry] = {
    "factorised": Entry("mixtures", "2.1.2", "every pixel by itself, by counting", "factorised", Trainer(_by_counting)),
    "mixture": Entry(
        "mixtures",
        "2.3.4",
        "a mixture of categorical distributions, by EM",
        "mixture",
        by_em(60),
        {"components": 20, "smoothing": 30.0},
    ),
    "mixture-gaussian": Entry(
        "mixtures",
        "2.3",
        "a mixture of Gaussians, of integers rounded ones, by EM",
        "mixture-gaussian",
        by_em(60),
        {"components": 25, "least_std": 0.5},
        of_reals=_tenth_of_std,
    ),
    "chow-liu": Entry(
        "circuits",
        "Chow and Liu 1968",
        "the likeliest tree of dependences between two pixels, by counting",
        "chow-liu",
        by_em(1),
        {"smoothing": 20.0},
    ),
    "einet": Entry(
        "circuits",
        "2.4.2; Peharz et al. 2020",
        "sums and products of random regions, by EM",
        "einet",
        by_em(60),
        {"sums": 6, "depth": 4, "repetitions": 12},
    ),
    "hidden-tree": Entry(
        "circuits",
        "2.4.2; Liu and Van den Broeck 2021",
        "a tree of hidden states, one for each pixel, by EM",
        "hidden-tree",
        by_em(100),
        {"states": 16},
    ),
}
