"""What the metrics of MOSES look at in one molecule: fingerprint, fragments, scaffold, properties, and its filters."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import BRICS, rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from genaisys.molecules.moses import structural_alerts
from genaisys.molecules.parsing import parsed
from genaisys.molecules.properties import PROPERTIES

COMPARED = ("logP", "SA", "QED", "weight")  # the properties whose distributions MOSES compares
BITS = 1024
ATOMS = frozenset(("C", "N", "S", "O", "F", "Cl", "Br", "H"))
_morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)


class Profile(NamedTuple):
    """
    Attributes:
        fingerprint: Morgan's, of radius 2, its bits packed. [BITS / 8] bytes
        fragments: SMILES of what is left when all BRICS bonds are cut.
        scaffold: SMILES of Bemis and Murcko's, None where it has fewer than two rings.
        properties: in the order of ``COMPARED``.
    """

    fingerprint: bytes
    fragments: tuple[str, ...]
    scaffold: str | None
    properties: tuple[float, ...]


def profile(smiles: str) -> Profile | None:
    """The profile of a molecule, None for a string that is none."""
    mol = parsed(smiles)
    if mol is None:
        return None
    values = tuple(float(PROPERTIES[name](mol)) for name in COMPARED)
    fragments = tuple(Chem.MolToSmiles(BRICS.BreakBRICSBonds(mol)).split("."))
    return Profile(fingerprint(mol), fragments, scaffold(mol), values)


def fingerprint(mol: Chem.Mol) -> bytes:
    """Morgan's fingerprint of radius 2, its bits packed. [BITS / 8] bytes"""
    return np.packbits(_morgan.GetFingerprintAsNumPy(mol)).tobytes()


def scaffold(mol: Chem.Mol) -> str | None:
    """The ring systems with what links them, where they have two rings or more."""
    rings = murcko(mol)
    return None if rings is None or rings.GetRingInfo().NumRings() < 2 else Chem.MolToSmiles(rings) or None


def murcko(mol: Chem.Mol) -> Chem.Mol | None:
    """The ring systems with what links them (Bemis & Murcko 1996), None where RDKit cannot cut them out."""
    try:
        return MurckoScaffold.GetScaffoldForMol(mol)
    except (ValueError, RuntimeError):
        return None


def passes_filters(smiles: str) -> bool:
    """Whether a string is a molecule that might have been in MOSES."""
    mol = parsed(smiles)
    return mol is not None and might_be_in_moses(mol)


def might_be_in_moses(mol: Chem.Mol) -> bool:
    """MOSES' filters: its atoms, no charge, no ring of eight or more, no structural alert."""
    if any(len(ring) >= 8 for ring in mol.GetRingInfo().AtomRings()):
        return False
    if any(atom.GetFormalCharge() or atom.GetSymbol() not in ATOMS for atom in mol.GetAtoms()):
        return False
    with_hydrogens = Chem.AddHs(mol)
    return not any(with_hydrogens.HasSubstructMatch(alert) for alert in _alerts())


@cache
def _alerts() -> list[Chem.Mol]:
    return [Chem.MolFromSmarts(smarts) for smarts in structural_alerts()]
