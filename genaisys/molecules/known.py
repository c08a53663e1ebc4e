"""What is known: the training set of MOSES, out of which the shipped generator has learned, ready to be compared with.

Its fingerprints are computed once, some minutes' work, and kept in a file of 270 MB that is mapped, not read.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from genaisys.molecules.moses import moses, moses_folder
from genaisys.molecules.parsing import parse
from genaisys.molecules.profiles import BITS, fingerprint
from genaisys.molecules.similarity import Neighbour, fingerprints
from genaisys.molecules.tanimoto import Packed, nearest, similarities

_VERSION = 1  # of the file

OnStep = Callable[[str, int, int], None]  # (what is being done, molecules or bytes done, of how many)


class KnownMolecules:
    """Molecules in the order of their SMILES, with their fingerprints."""

    def __init__(self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], fingerprints: Packed) -> None:
        """
        Args:
            text: the SMILES, one behind the other. [bytes]
            starts: where each begins, and the end of the last. [N + 1]
            fingerprints: [N, BITS / 8]
        """
        self._text, self._starts, self._fingerprints = text, starts, fingerprints

    def __len__(self) -> int:
        return len(self._fingerprints)

    def __getitem__(self, number: int) -> str:
        return self._text[self._starts[number] : self._starts[number + 1]].tobytes().decode("ascii")

    def __contains__(self, smiles: str) -> bool:
        """Whether a molecule, given as canonical SMILES, is among them."""
        place = bisect_left(range(len(self)), smiles, key=self.__getitem__)
        return place < len(self) and self[place] == smiles

    def nearest(self, smiles: Sequence[str]) -> list[Neighbour]:
        """The most similar known molecule of each of ``smiles``.

        Raises:
            NotAMolecule: one is none.
        """
        values, numbers = nearest(_packed(smiles), self._fingerprints)
        return [Neighbour(self[n], value) for n, value in zip(numbers.tolist(), values.tolist(), strict=True)]

    def similar(self, smiles: str, k: int) -> list[Neighbour]:
        """The ``k`` known molecules that are most like one, the most similar first.

        Raises:
            NotAMolecule: ``smiles`` is none.
        """
        values = similarities(_packed([smiles]), self._fingerprints)[0]  # [N]
        best = values.topk(min(k, len(self)))
        return [Neighbour(self[n], value) for n, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def known_molecules(on_step: OnStep = lambda what, done, total: None) -> KnownMolecules:
    """Those of MOSES. What ``on_step`` raises, stops the work.

    Raises:
        DownloadFailed: MOSES cannot be had.
    """
    try:
        return _open()
    except (OSError, SafetensorError):
        smiles = sorted(moses("train", on_step))
        keep(smiles, fingerprints(smiles, lambda done: on_step("reading known molecules, once", done, len(smiles))))
        return _open()


def is_prepared() -> bool:
    """Whether they have been read already."""
    return _file().is_file()


def keep(smiles: Sequence[str], packed: Packed) -> None:
    """Take these molecules, in order, with their fingerprints, as what is known from now on."""
    text = np.frombuffer("".join(smiles).encode("ascii"), np.uint8)
    starts = np.cumsum([0, *map(len, smiles)])
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}.new")  # another process may be doing the same
    save_file({"text": text, "starts": starts, "fingerprints": packed}, new)
    new.chmod(0o644)  # safetensors makes files that only their owner can read, and caches may be shared
    new.replace(file)


def _file() -> Path:
    return moses_folder() / f"known-{_VERSION}.safetensors"


def _open() -> KnownMolecules:
    with safe_open(_file(), framework="pt") as tensors:  # maps them, where NumPy's would copy
        return KnownMolecules(*(tensors.get_tensor(name).numpy() for name in ("text", "starts", "fingerprints")))


def _packed(smiles: Sequence[str]) -> Packed:
    rows = b"".join(fingerprint(parse(each)) for each in smiles)
    return np.frombuffer(rows, np.uint8).reshape(len(smiles), BITS // 8)
