"""From SMILES to RDKit's molecules, with limits before RDKit sees a string and reasons that a person can act on."""

from __future__ import annotations

import re
from functools import cache

from rdkit import Chem, rdBase

from genaisys.errors import GenaisysError

LONGEST = 500  # characters: rings of thousands of atoms keep RDKit busy for minutes
MOST_ATOMS = 200  # heavy ones
OUTSIDE_RINGS = "an aromatic atom that is in no ring"  # no molecule, but of a pattern a part that makes sense

_FOREIGN = re.compile(r"[^A-Za-z0-9@+\-\[\]()=#$:/\\.%*>~]")
_SIGN = re.compile(
    r"(?P<bracket>\[[^\]]*\]?)|(?P<atom>Br|Cl|[BCNOPSFIbcnops*])|(?P<ring>%\d\d|\d)|(?P<open>\()|(?P<close>\))"
    r"|(?P<bond>->|\\{1,2}|[-=#$:/~])|(?P<dot>\.)|(?P<other>.)"
)
_COMPLETE = ("bracket", "atom", "ring", "close")
_AFTER = {  # what a sign may follow; an atom may follow anything
    "ring": ("bracket", "atom", "ring", "bond", "close"),
    "open": _COMPLETE,
    "close": _COMPLETE,
    "bond": (*_COMPLETE, "open"),
    "dot": _COMPLETE,
}


class NotAMolecule(GenaisysError):
    """A string that is no molecule which can be used here.

    Attributes:
        shown: the string, shortened.
        reason: what is wrong in general, the same for all such strings: by it rejects are counted.
        detail: what is wrong in this one, in brackets, or nothing.
        position: where in the string, from 1; None where it is wrong as a whole.
    """

    def __init__(self, smiles: str, reason: str, detail: str = "", position: int | None = None) -> None:
        self.shown = smiles if len(smiles) <= 60 else f"{smiles[:57]}..."
        super().__init__(f"{self.shown!r} is no molecule that can be used: {reason}{detail}")
        self.reason, self.detail = reason, detail
        self.position = position


def parse(smiles: str) -> Chem.Mol:
    """The molecule that ``smiles`` writes.

    Raises:
        NotAMolecule: it is empty, too long, has too many atoms, or is not SMILES; the message says where.
    """
    if not smiles:
        raise NotAMolecule(smiles, "empty")
    if len(smiles) > LONGEST:
        raise NotAMolecule(smiles, f"longer than {LONGEST} characters")
    if foreign := _FOREIGN.search(smiles):
        place = foreign.start() + 1
        detail = f" ({foreign[0]!r} at position {place})"
        raise NotAMolecule(smiles, "a character that SMILES does not have", detail, place)
    mol = Chem.MolFromSmiles(smiles) if _quiet() else None
    if mol is None:
        raise NotAMolecule(smiles, *_why(smiles))
    if not 0 < mol.GetNumAtoms() <= MOST_ATOMS:
        raise NotAMolecule(smiles, f"no atom, or more than {MOST_ATOMS}")
    return mol


def parsed(smiles: str) -> Chem.Mol | None:
    """The molecule, or None where :func:`parse` would raise."""
    try:
        return parse(smiles)
    except NotAMolecule:
        return None


def canonical(smiles: str) -> str | None:
    """RDKit's canonical SMILES of a molecule, by which two are compared; None where :func:`parse` would raise."""
    mol = parsed(smiles)
    return None if mol is None else Chem.MolToSmiles(mol)


@cache
def _quiet() -> bool:
    """What RDKit writes to stderr about each bad string is said by us, once."""
    rdBase.DisableLog("rdApp.*")
    return True


def _why(smiles: str) -> tuple[str, str, int | None]:
    """What RDKit finds wrong: the kind of it, and where in words and as a position."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return _grammar(smiles)
    problems = Chem.DetectChemistryProblems(mol)
    match problems[0].GetType() if problems else "":
        case "AtomValenceException":
            kind, first = "an atom with too many bonds", problems[0].GetAtomIdx()
        case "AtomKekulizeException":
            kind, first = OUTSIDE_RINGS, problems[0].GetAtomIdx()
        case "KekulizeException":
            kind = "an aromatic ring that cannot be given alternating bonds"
            first = min(problems[0].GetAtomIndices())
        case _:
            return "not sound chemistry", "", None
    place = _place_of_atom(smiles, first)
    where = f"atom {first + 1}" if place is None else f"atom {first + 1}, at position {place}"
    return kind, f" ({mol.GetAtomWithIdx(first).GetSymbol()}, {where})", place


def _place_of_atom(smiles: str, index: int) -> int | None:
    """Where an atom is written: RDKit numbers them in the order of the string. From 1."""
    atoms = [match.start() + 1 for match in _SIGN.finditer(smiles) if match.lastgroup in ("bracket", "atom")]
    return atoms[index] if index < len(atoms) else None


def _grammar(smiles: str) -> tuple[str, str, int | None]:
    """The first place at which the string cannot be continued to SMILES."""
    open_rings: dict[str, int] = {}
    open_branches: list[int] = []
    before, place = "", 0
    for match in _SIGN.finditer(smiles):
        sign, kind, place = match[0], match.lastgroup or "", match.start() + 1
        if kind == "bracket" and not sign.endswith("]"):
            return "a bracket that is not closed", f" (at position {place})", place
        if kind == "bracket" and Chem.MolFromSmiles(sign, sanitize=False) is None:
            return "a bracket that holds no atom", f" ({sign} at position {place})", place
        if kind == "other":
            return "a letter that is no atom", f" ({sign!r} at position {place})", place
        if kind == "close" and not open_branches:
            return "a branch that is closed and was not opened", f" (at position {place})", place
        if before not in _AFTER.get(kind, (before,)):
            return "a sign that cannot stand where it does", f" ({sign!r} at position {place})", place
        if kind == "open":
            open_branches.append(place)
        elif kind == "close":
            open_branches.pop()
        elif kind == "ring" and open_rings.pop(sign, None) is None:
            open_rings[sign] = place
        before = kind
    if open_branches:
        place = open_branches[-1]
        return "a branch that is not closed", f" (opened at position {place})", place
    if before in ("bond", "dot"):
        return "an end that lacks an atom", f" (at position {place})", place
    if open_rings:
        ring, place = next(iter(open_rings.items()))
        return "a ring that is not closed", f" (ring {ring}, opened at position {place})", place
    return "not the grammar of SMILES", "", None
