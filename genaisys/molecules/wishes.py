"""What a molecule is to be like: near a value or within a range of a property, and with a substructure in it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rdkit import Chem

from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import parsed
from genaisys.molecules.properties import PROPERTIES

_NUMBER = r"-?(?:\d+(?:\.\d+)?|\.\d+)"
_RANGE = re.compile(rf"\s*({_NUMBER})?\s*(?:\.\.|:)\s*({_NUMBER})?\s*")
_LONGEST = 500  # characters of a pattern


class WishImpossible(GenaisysError):
    """A wish that has no meaning, or that nothing fulfils."""


class CannotBeTold(WishImpossible):
    """A model has no words for the wish."""


@dataclass(frozen=True)
class Wishes:
    """
    Attributes:
        ranges: the lowest and the highest value of a property, by its name in ``PROPERTIES``.
        substructure: a pattern that the molecule must hold; None: any.
        values: what a property should be near; a model with conditions is told it, and no molecule is refused for it.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    substructure: Chem.Mol | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is wished."""
        return bool(self.ranges or self.values) or self.substructure is not None

    def fulfilled(self, mol: Chem.Mol) -> bool:
        """Whether a molecule is within the ranges and has the substructure."""
        if self.substructure is not None and not mol.HasSubstructMatch(self.substructure):
            return False
        return all(low <= PROPERTIES[name](mol) <= high for name, (low, high) in self.ranges.items())


def read_wishes(properties: Mapping[str, str], substructure: str | None) -> Wishes:
    """Wishes as people write them: ``2.5`` is a value, ``2..3`` a range; a substructure is SMILES or SMARTS.

    Raises:
        WishImpossible: one of them is none of these.
    """
    values = {name: float(text) for name, text in properties.items() if re.fullmatch(_NUMBER, text.strip())}
    ranges = {name: read_range(text, name) for name, text in properties.items() if name not in values}
    return Wishes(ranges, None if substructure is None else read_substructure(substructure), values)


def read_range(text: str, name: str) -> tuple[float, float]:
    """``2..3``, ``..3`` or ``2..`` as the lowest and the highest value.

    Raises:
        WishImpossible: it is no range, or an empty one.
    """
    found = _RANGE.fullmatch(text)
    if found is None or found.groups() == (None, None):
        raise WishImpossible(f"{name} is {text!r}: write a number, or a range such as 2..3, 2.. or ..3")
    low, high = (
        bound if value is None else float(value)
        for value, bound in zip(found.groups(), (-math.inf, math.inf), strict=True)
    )
    if low > high:
        raise WishImpossible(f"{name} is {text}: the first number must not be above the second")
    return low, high


def written_range(low: float, high: float) -> str:
    """As :func:`read_range` reads it."""
    first, last = ("" if math.isinf(end) else f"{end:g}" for end in (low, high))
    return f"{first}..{last}"


def read_substructure(text: str) -> Chem.Mol:
    """A pattern, written as SMILES or SMARTS.

    Raises:
        WishImpossible: it is neither.
    """
    pattern = parsed(text)
    if pattern is None and len(text) <= _LONGEST:
        pattern = Chem.MolFromSmarts(text)
    if pattern is None or not pattern.GetNumAtoms():
        raise WishImpossible(f"the substructure {text[:60]!r} is neither SMILES nor SMARTS")
    return pattern_of(pattern)


def pattern_of(mol: Chem.Mol) -> Chem.Mol:
    """A molecule as a pattern, in which ``*`` stands for any atom."""
    settings = Chem.AdjustQueryParameters.NoAdjustments()
    settings.makeDummiesQueries = True
    return Chem.AdjustQueryProperties(mol, settings)
