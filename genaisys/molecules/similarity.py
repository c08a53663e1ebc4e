"""The known molecules that are most like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genaisys.molecules.parallel import OnDone, for_each
from genaisys.molecules.parsing import parse, parsed
from genaisys.molecules.profiles import BITS, fingerprint
from genaisys.molecules.tanimoto import Packed, similarities


class MorganEncoder:
    """A data encoder: the Morgan fingerprint of radius 2 as a vector of unit length.

    The product of two vectors is the cosine of the fingerprints, and not Tanimoto's similarity.
    """

    name = "morgan"
    dimension = BITS

    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        """-> [len(raw_inputs), BITS], float32

        Raises:
            NotAMolecule: a string is none.
        """
        bits = _unpacked([fingerprint(parse(smiles)) for smiles in raw_inputs])
        return torch.nn.functional.normalize(bits.float(), dim=-1)


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


def _unpacked(packed: Sequence[bytes]) -> Tensor:
    return torch.from_numpy(np.unpackbits(np.frombuffer(b"".join(packed), np.uint8))).view(-1, BITS)
