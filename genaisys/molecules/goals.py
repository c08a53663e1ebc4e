"""What molecules can be optimised for by name; any other goal is a function of the user's own."""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem.QED import qed

from genaisys.molecules.optimisation import Score
from genaisys.molecules.parsing import parse
from genaisys.molecules.profiles import fingerprint
from genaisys.molecules.tanimoto import similarities


def goal_called(name: str) -> Score:
    """``qed``, or Tanimoto's similarity to the molecule whose SMILES ``name`` is.

    Raises:
        NotAMolecule: it is neither.
    """
    if name.lower() == "qed":
        return lambda mols: [qed(mol) for mol in mols]
    return similarity_to(parse(name))


def similarity_to(target: Chem.Mol) -> Score:
    """Tanimoto's similarity to ``target``, of Morgan fingerprints of radius 2."""
    wanted = np.frombuffer(fingerprint(target), np.uint8)[None]

    def score(mols: list[Chem.Mol]) -> list[float]:
        packed = np.frombuffer(b"".join(map(fingerprint, mols)), np.uint8).reshape(len(mols), -1)
        return similarities(wanted, packed)[0].tolist()

    return score
