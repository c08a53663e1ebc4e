"""Mixtures, circuits, and what they are compared with (book chapter 2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.models.factorised import FactorisedCategorical
from genaisys.zoo.entries import Entry, OnRecord


def _by_counting(
    model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
) -> None:
    assert isinstance(model, FactorisedCategorical)
    model.fit_counts(x)


ENTRIES: Mapping[str, Entry] = {
    "factorised": Entry("mixtures", "2.1.2", "every pixel by itself, by counting", "factorised", _by_counting),
}
