"""What a set of molecules is compared by; of MOSES' test sets it is computed once and kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from genaisys.errors import GenaisysError
from genaisys.molecules.chemnet import Array, Gaussian, gaussian
from genaisys.molecules.moses import moses, moses_folder
from genaisys.molecules.parallel import for_each
from genaisys.molecules.profiles import COMPARED, profile
from genaisys.molecules.tanimoto import Packed

OnStep = Callable[[str, int, int], None]  # (what is being done, molecules done, of how many)

_VERSION = 1  # of what is kept


class TooFewMolecules(GenaisysError):
    """There is nothing to compare."""


@dataclass(frozen=True)
class Statistics:
    """
    Attributes:
        chemnet: mean and covariance of ChemNet's numbers.
        fingerprints: [N, bits / 8].
        fragments, scaffolds: how often each occurs.
        properties: of each molecule, by name. [N] each
    """

    chemnet: Gaussian
    fingerprints: Packed
    fragments: Counter[str]
    scaffolds: Counter[str]
    properties: dict[str, Array]


def statistics(smiles: Sequence[str], what: str, on_step: OnStep) -> Statistics:
    """The statistics of molecules, given as canonical SMILES.

    Raises:
        TooFewMolecules: there are fewer than two.
    """
    if len(smiles) < 2:
        raise TooFewMolecules(f"there are {len(smiles)} valid molecules: two at least are needed to compare")
    found = for_each(profile, smiles, lambda done: on_step(f"fragments and properties of {what}", done, len(smiles)))
    profiles = [each for each in found if each is not None]
    return Statistics(
        gaussian(smiles, lambda done: on_step(f"ChemNet on {what}", done, len(smiles))),
        np.frombuffer(b"".join(each.fingerprint for each in profiles), np.uint8).reshape(len(profiles), -1),
        Counter(fragment for each in profiles for fragment in each.fragments),
        Counter(each.scaffold for each in profiles if each.scaffold is not None),
        {name: np.array([each.properties[n] for each in profiles]) for n, name in enumerate(COMPARED)},
    )


def moses_statistics(split: Literal["test", "test_scaffolds"], on_step: OnStep) -> Statistics:
    """Those of a test set of MOSES: some minutes' work, once."""
    file = moses_folder() / f"{split}-statistics-{_VERSION}.npz"
    if file.is_file():
        return _read(np.load(file, allow_pickle=False))
    computed = statistics(moses(split), f"MOSES' {split.replace('_', ' ')} (once)", on_step)
    new = file.with_suffix(".new.npz")
    np.savez(
        new,
        mean=computed.chemnet.mean,
        covariance=computed.chemnet.covariance,
        fingerprints=computed.fingerprints,
        fragments=_as_bytes(computed.fragments),
        scaffolds=_as_bytes(computed.scaffolds),
        **computed.properties,  # type: ignore[arg-type]
    )
    new.replace(file)
    return computed


def _read(arrays: np.lib.npyio.NpzFile) -> Statistics:
    return Statistics(
        Gaussian(arrays["mean"], arrays["covariance"]),
        arrays["fingerprints"],
        Counter(json.loads(arrays["fragments"].tobytes())),
        Counter(json.loads(arrays["scaffolds"].tobytes())),
        {name: arrays[name] for name in COMPARED},
    )


def _as_bytes(counts: Counter[str]) -> np.ndarray:
    return np.frombuffer(json.dumps(counts).encode(), np.uint8)
