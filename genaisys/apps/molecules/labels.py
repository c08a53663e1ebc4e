"""The properties of molecules in plain words. Needs neither RDKit nor torch, so the page can be drawn at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """
    Attributes:
        name: in plain words.
        term: the chemists' own.
        explanation: one line of what the number says.
        digits: behind the point.
    """

    name: str
    term: str
    explanation: str
    digits: int
    unit: str = ""

    def value(self, number: float) -> str:
        return f"{number:.{self.digits}f}{self.unit}"


LABELS: Mapping[str, Label] = {
    "QED": Label("Drug-likeness", "QED", "0 to 1: how much it is built like known medicines.", 2),
    "logP": Label("Oiliness", "logP", "Below 0 it prefers water, above 3 fat.", 1),
    "SA": Label("Effort to make", "SA", "An estimate: 1 is easy to make, 10 very hard.", 1),
    "weight": Label("Weight", "g/mol", "Most medicines in tablets have less than 500.", 0),
    "TPSA": Label("Polar surface", "TPSA", "In Å². Above 140, little gets through a cell’s wall.", 0),
    "rings": Label("Rings", "", "How many rings of atoms it has.", 0),
}
MAIN = ("QED", "logP", "SA", "weight")  # what everybody sees; the others are under “more”
