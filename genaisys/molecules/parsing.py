"""From SMILES to RDKit's molecules, with limits before RDKit sees a string and reasons that a person can act on."""

from __future__ import annotations

import re
from functools import cache

from rdkit import Chem, rdBase

from genaisys.errors import GenaisysError

LONGEST = 500  # characters: rings of thousands of atoms keep RDKit busy for minutes
MOST_ATOMS = 200  # heavy ones

_FOREIGN = re.compile(r"[^A-Za-z0-9@+\-\[\]()=#$:/\\.%*>~]")


class NotAMolecule(GenaisysError):
    """A string that is no molecule which can be used here.

    Attributes:
        reason: what is wrong in general, the same for all such strings: by it rejects are counted.
    """

    def __init__(self, smiles: str, reason: str, detail: str = "") -> None:
        shown = smiles if len(smiles) <= 60 else f"{smiles[:57]}..."
        super().__init__(f"{shown!r} is no molecule that can be used: {reason}{detail}")
        self.reason = reason


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
        detail = f" ({foreign[0]!r} at position {foreign.start() + 1})"
        raise NotAMolecule(smiles, "a character that SMILES does not have", detail)
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


def _why(smiles: str) -> tuple[str, str]:
    """What RDKit finds wrong: the kind of it, and where."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return _grammar(smiles)
    problems = Chem.DetectChemistryProblems(mol)
    kinds = {"AtomValenceException": "an atom with too many bonds", "KekulizeException": "a ring that is not aromatic"}
    if not problems:
        return "not sound chemistry", ""
    kind = kinds.get(problems[0].GetType(), "not sound chemistry")
    if problems[0].GetType() == "AtomValenceException":
        atom = mol.GetAtomWithIdx(problems[0].GetAtomIdx())
        return kind, f" ({atom.GetSymbol()}, atom {atom.GetIdx() + 1})"
    return kind, ""


def _grammar(smiles: str) -> tuple[str, str]:
    """The first place at which the string cannot be continued to SMILES."""
    open_rings: dict[str, int] = {}
    open_branches: list[int] = []
    for match in re.finditer(r"\[[^\]]*\]?|%\d\d|.", smiles):
        sign, place = match[0], match.start() + 1
        if sign == "(":
            open_branches.append(place)
        elif sign == ")":
            if not open_branches:
                return "a branch that is closed and was not opened", f" (at position {place})"
            open_branches.pop()
        elif sign[0].isdigit() or sign[0] == "%":
            if sign in open_rings:
                del open_rings[sign]
            else:
                open_rings[sign] = place
        elif sign[0] == "[" and not sign.endswith("]"):
            return "a bracket that is not closed", f" (at position {place})"
    if open_branches:
        return "a branch that is not closed", f" (opened at position {open_branches[-1]})"
    if open_rings:
        ring, place = next(iter(open_rings.items()))
        return "a ring that is not closed", f" (ring {ring}, opened at position {place})"
    return "not the grammar of SMILES", ""
