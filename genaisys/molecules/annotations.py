"""What is known of each molecule of a set: its properties, and the scaffolds from which it may have been grown.

A molecule takes RDKit about two milliseconds, so that of a large set all is computed once, on all cores, and kept.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from genaisys.hub import parts_folder
from genaisys.molecules.parallel import OnDone, for_each
from genaisys.molecules.parsing import parse
from genaisys.molecules.properties import PROPERTIES, properties

_VERSION = 1  # of what is kept
_PART = 50_000  # molecules in a file: what is finished stays when the computation is stopped


@dataclass(frozen=True)
class Annotations:
    """Of the molecules of a set, in its order.

    Attributes:
        properties: in the order of ``PROPERTIES``. [N, properties], float32
        scaffolds: SMILES; see :func:`scaffolds_of`.
    """

    properties: np.ndarray
    scaffolds: list[tuple[str, ...]]

    def property(self, name: str) -> np.ndarray:
        """One of ``PROPERTIES``. [N]"""
        return self.properties[:, list(PROPERTIES).index(name)]


def annotated(smiles: Sequence[str], on_done: OnDone = lambda done: None) -> Annotations:
    """The annotations of molecules, read from the cache as far as they have been computed before.

    Raises:
        NotAMolecule: a string is none.
    """
    parts = [*_parts(smiles, on_done)]
    return Annotations(
        np.concatenate([np.zeros((0, len(PROPERTIES)), np.float32), *(part.properties for part in parts)]),
        [scaffolds for part in parts for scaffolds in part.scaffolds],
    )


def scaffolds_of(mol: Chem.Mol) -> tuple[str, ...]:
    """SMILES of the scaffolds from which a molecule may have been grown; none where it has no ring.

    The first is the whole of its rings and what links them (Bemis & Murcko 1996). The others are what that falls into
    where a bond between a ring and something else is cut, each side reduced to its own rings and links.
    """
    whole = MurckoScaffold.GetScaffoldForMol(mol)
    if not whole.GetNumAtoms():
        return ()
    found = {Chem.MolToSmiles(whole): None}
    for bond in whole.GetBonds():
        joins_a_ring = bond.GetBeginAtom().IsInRing() or bond.GetEndAtom().IsInRing()
        if not joins_a_ring or bond.IsInRing() or bond.GetBondType() != Chem.BondType.SINGLE:
            continue
        for side in Chem.GetMolFrags(Chem.FragmentOnBonds(whole, [bond.GetIdx()]), asMols=True):
            reduced = MurckoScaffold.GetScaffoldForMol(side)
            if reduced.GetNumAtoms():
                found[Chem.MolToSmiles(reduced)] = None
    return tuple(found)


def _parts(smiles: Sequence[str], on_done: OnDone) -> Iterator[Annotations]:
    folder = parts_folder().with_name("datasets") / "annotations"
    for start in range(0, len(smiles), _PART):
        part = smiles[start : start + _PART]
        file = folder / f"{hashlib.sha256(chr(10).join(part).encode()).hexdigest()[:32]}-{_VERSION}.npz"
        yield _kept(file) or _computed(part, file, lambda done, start=start: on_done(start + done))  # type: ignore[misc]
        on_done(start + len(part))


def _computed(smiles: Sequence[str], file: Path, on_done: OnDone) -> Annotations:
    found = for_each(_annotation, smiles, on_done)
    made = Annotations(np.array([values for values, _ in found], np.float32), [scaffolds for _, scaffolds in found])
    lines = "\n".join(map(" ".join, made.scaffolds))
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new.npz")
    np.savez_compressed(new, properties=made.properties, scaffolds=np.frombuffer(lines.encode(), np.uint8))
    new.replace(file)
    return made


def _kept(file: Path) -> Annotations | None:
    """What the file holds; None where there is none, or it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            lines = arrays["scaffolds"].tobytes().decode().split("\n")
            return Annotations(arrays["properties"], [tuple(line.split()) for line in lines])
    except (OSError, ValueError, EOFError, KeyError, zlib.error, BadZipFile):
        return None


def _annotation(smiles: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    mol = parse(smiles)
    return tuple(properties(mol).values()), scaffolds_of(mol)
