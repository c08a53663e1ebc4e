"""What a molecule is to be like: near a value or within a range of a property, and with a substructure in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from rdkit import Chem

from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import LONGEST, OUTSIDE_RINGS, NotAMolecule, parse
from genaisys.molecules.properties import PROPERTIES

_NUMBER = r"-?(?:\d+(?:\.\d+)?|\.\d+)"
_RANGE = re.compile(rf"\s*({_NUMBER})?\s*(?:\.\.|:)\s*({_NUMBER})?\s*")
_ONLY_SMARTS = re.compile(
    r"[!&,;~^]|\[#|\$\(|(?:^|\])[^\[]*@"  # also of these: @ as a bond, any aliphatic or aromatic atom, [CX4], [R]
    r"|(?<![A-Z])[Aa](?![a-z])|\[[^\]]*(?:[DRX]|(?<![A-Z])[rvx])[\dH\]]"
)


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
        return all(test(mol) for test in self._tests.values())

    def hardest(self, mols: Sequence[Chem.Mol]) -> tuple[str, int]:
        """The name of the wish that the fewest of some molecules fulfil, and how many do."""
        counts = {name: sum(map(test, mols)) for name, test in self._tests.items()}
        name = min(counts, key=counts.__getitem__)
        return name, counts[name]

    @cached_property
    def _tests(self) -> Mapping[str, Callable[[Chem.Mol], bool]]:
        """By the names of what is wished, the quickest first."""
        part = self.substructure
        tests: dict[str, Callable[[Chem.Mol], bool]] = {}
        if part is not None:
            tests["the substructure"] = lambda mol: mol.HasSubstructMatch(part)
        for name, (low, high) in self.ranges.items():
            tests[name] = partial(_within, name, low, high)
        return tests


def _within(name: str, low: float, high: float, mol: Chem.Mol) -> bool:
    return low <= PROPERTIES[name](mol) <= high


def read_wishes(properties: Mapping[str, str], substructure: str | None) -> Wishes:
    """Wishes as people write them: ``2.5`` is a value, ``2..3`` a range; a substructure is SMILES or SMARTS.

    Raises:
        WishImpossible: one of them is none of these.
        NotAMolecule: see :func:`read_substructure`.
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
    """A pattern, written as SMILES; or as SMARTS, if there are signs in it that only SMARTS has.

    Most of what is wrong as SMILES would do as SMARTS, and no molecule would have it.

    Raises:
        NotAMolecule: it is no SMILES, or too long; the message says where.
        WishImpossible: it is neither SMILES nor SMARTS.
    """
    try:
        pattern = parse(text)
    except NotAMolecule as error:
        if len(text) > LONGEST or not (error.reason == OUTSIDE_RINGS or _ONLY_SMARTS.search(text)):
            raise
        pattern = Chem.MolFromSmarts(text)
        if pattern is None or not pattern.GetNumAtoms():
            raise WishImpossible(f"the substructure {text[:60]!r} is neither SMILES nor SMARTS") from None
    return pattern_of(pattern)


def pattern_of(mol: Chem.Mol) -> Chem.Mol:
    """A molecule as a pattern, in which ``*`` stands for any atom."""
    settings = Chem.AdjustQueryParameters.NoAdjustments()
    settings.makeDummiesQueries = True
    return Chem.AdjustQueryProperties(mol, settings)
