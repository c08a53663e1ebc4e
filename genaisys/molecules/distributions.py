"""How the properties of known molecules are spread: what can be wished for, and what proposals are compared with.

The numbers are those of MOSES' test set. They were counted once, by ``python scripts/molecule_distributions.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("distributions.json")


@dataclass(frozen=True)
class Distribution:
    """A histogram of one property.

    Attributes:
        low, high: between these are 99.9 % of the molecules; the few others count in the first and the last bin.
        step: what is a difference at all.
        counts: molecules in each of the bins, which are equally wide.
        least, most: no molecule is outside of these.
    """

    low: float
    high: float
    step: float
    counts: tuple[int, ...]
    least: float = -math.inf
    most: float = math.inf

    def share(self, low: float, high: float) -> float:
        """About which share of the molecules lies between two values, 0 to 1; bins are taken to be even inside."""
        width = (self.high - self.low) / len(self.counts)
        inside = 0.0
        for number, count in enumerate(self.counts):
            first = self.low + number * width
            inside += count * max(0.0, min(high, first + width) - max(low, first)) / width
        return inside / sum(self.counts)

    @property
    def ends(self) -> tuple[float, float]:
        """Between which values nearly all of the molecules lie; of whole numbers, the middles of the outer bins."""
        return (self.low, self.high) if self.step < 1 else (math.ceil(self.low), math.floor(self.high))

    def in_words(self) -> str:
        low, high = self.ends
        return f"99.9 % of the molecules of MOSES have {low:g} to {high:g}"


@cache
def distributions() -> Mapping[str, Distribution]:
    """Of each property, by its name in ``PROPERTIES``."""
    table = json.loads(_FILE.read_text("utf-8"))
    return {name: Distribution(**{**row, "counts": tuple(row["counts"])}) for name, row in table.items()}
