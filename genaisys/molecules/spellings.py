"""Random spellings: a molecule has as many SMILES as there are walks through it, and a model may learn from several.

For few molecules that is worth much (Arús-Pous et al. 2019, doi:10.1186/s13321-019-0393-0).
"""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem

from genaisys.molecules.parallel import for_each
from genaisys.molecules.parsing import parse


def with_random_spellings(smiles: Sequence[str], n: int, seed: int) -> list[list[str]]:
    """Each molecule as it was written, then ``n`` other spellings of it, some of which may be equal.

    Raises:
        NotAMolecule: a string is none.
    """
    return for_each(_spelled, [(each, n, seed + number) for number, each in enumerate(smiles)])


def _spelled(item: tuple[str, int, int]) -> list[str]:
    smiles, n, seed = item
    return [smiles, *Chem.MolToRandomSmilesVect(parse(smiles), n, seed)]
