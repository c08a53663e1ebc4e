"""What a molecule is like, in the numbers that chemists sort by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors
from rdkit.Chem.QED import qed

from genaisys.molecules.accessibility import sa_score
from genaisys.molecules.parallel import OnDone, for_each
from genaisys.molecules.parsing import parsed

PROPERTIES: Mapping[str, Callable[[Chem.Mol], float]] = {
    "logP": Crippen.MolLogP,  # of octanol over water, decimal logarithm (Wildman & Crippen 1999)
    "QED": qed,  # how much like a drug, 0 to 1 (Bickerton et al. 2012)
    "SA": sa_score,  # how hard to make, 1 to 10
    "weight": Descriptors.MolWt,  # g/mol
    "TPSA": rdMolDescriptors.CalcTPSA,  # polar surface, Å²
    "rings": rdMolDescriptors.CalcNumRings,
}


def properties(mol: Chem.Mol) -> dict[str, float]:
    """All of ``PROPERTIES`` of a molecule, by their names."""
    return {name: float(function(mol)) for name, function in PROPERTIES.items()}


def properties_of(smiles: Sequence[str], on_done: OnDone = lambda done: None) -> list[dict[str, float] | None]:
    """The properties of many molecules, on all cores; None for a string that is none."""
    return for_each(_properties, smiles, on_done)


def _properties(smiles: str) -> dict[str, float] | None:
    mol = parsed(smiles)
    return None if mol is None else properties(mol)
