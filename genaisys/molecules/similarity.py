"""Fingerprints of many molecules, and what a search for similar ones finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaisys.molecules.parallel import OnDone, for_each
from genaisys.molecules.parsing import parsed
from genaisys.molecules.profiles import BITS, fingerprint
from genaisys.molecules.tanimoto import Packed


@dataclass(frozen=True)
class Neighbour:
    """A molecule, and how similar it is to the one that was looked for: 1 for the same."""

    smiles: str
    similarity: float


def fingerprints(smiles: Sequence[str], on_done: OnDone = lambda done: None) -> Packed:
    """Of molecules, packed; a string that is none has no bit. -> [N, BITS / 8]"""
    found = for_each(_fingerprint, smiles, on_done)
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(smiles), BITS // 8)


def _fingerprint(smiles: str) -> bytes:
    mol = parsed(smiles)
    return bytes(BITS // 8) if mol is None else fingerprint(mol)
