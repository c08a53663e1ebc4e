"""What a written string is judged by: that it is a molecule, and what else is demanded of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rdkit import Chem

from genaisys.molecules.parsing import parse, parsed
from genaisys.molecules.profiles import might_be_in_moses

DEMANDS: Mapping[str, Callable[[Chem.Mol], bool]] = {"filters": might_be_in_moses}


def judge(demands: Sequence[str]) -> Callable[[str], bool]:
    """Whether a string is a molecule that fulfils all ``demands``, which name ``DEMANDS``.

    Raises:
        DownloadFailed: MOSES' filters are demanded, and cannot be had.
    """
    fulfilled = [DEMANDS[name] for name in demands]
    for each in fulfilled:
        each(parse("C"))  # what a demand needs is fetched now

    def accepts(smiles: str) -> bool:
        mol = parsed(smiles)
        return mol is not None and all(each(mol) for each in fulfilled)

    return accepts
