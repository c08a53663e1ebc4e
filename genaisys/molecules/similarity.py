"""The known molecules that are most like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaisys.molecules.parallel import OnDone, for_each
from genaisys.molecules.parsing import parse, parsed
from genaisys.molecules.profiles import BITS, fingerprint
from genaisys.molecules.tanimoto import Packed, similarities


@dataclass(frozen=True)
class Neighbour:
    """A known molecule, and Tanimoto's similarity to it, 0 to 1."""

    smiles: str
    similarity: float


def fingerprints(smiles: Sequence[str], on_done: OnDone = lambda done: None) -> Packed:
    """Of molecules, packed; a string that is none has no bit. -> [N, BITS / 8]"""
    found = for_each(_fingerprint, smiles, on_done)
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(smiles), -1)


def similar(smiles: str, library: Sequence[str], packed: Packed, k: int) -> list[Neighbour]:
    """The ``k`` molecules of a library, with their ``fingerprints``, that are most like one; the first, where equal.

    Raises:
        NotAMolecule: ``smiles`` is none.
    """
    query = np.frombuffer(fingerprint(parse(smiles)), np.uint8)[None]
    values = similarities(query, packed)[0]  # [N]
    order = values.argsort(descending=True, stable=True)[:k].tolist()
    return [Neighbour(library[number], float(values[number])) for number in order]


def _fingerprint(smiles: str) -> bytes:
    mol = parsed(smiles)
    return bytes(BITS // 8) if mol is None else fingerprint(mol)
