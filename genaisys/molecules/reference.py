"""What a set of molecules is compared by. Of MOSES' test sets it is shipped, but for the fingerprints."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from genaisys.errors import GenaisysError
from genaisys.molecules.chemnet import Array, Gaussian, gaussian
from genaisys.molecules.moses import moses, moses_folder
from genaisys.molecules.parallel import for_each
from genaisys.molecules.profiles import COMPARED, profile
from genaisys.molecules.similarity import fingerprints
from genaisys.molecules.tanimoto import Packed

SHIPPED = Path(__file__).with_name("statistics")
OnStep = Callable[[str, int, int], None]  # (what is being done, molecules or bytes done, of how many)

_VERSION = 1  # of the fingerprints that are kept
_FINEST = 1e-6  # to which properties are kept


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
    """Those of a test set of MOSES. The fingerprints are computed the first time, in about a minute, and kept."""
    file = moses_folder() / f"{split}-fingerprints-{_VERSION}.npy"
    try:
        packed = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        smiles = moses(split, on_step)
        what = f"fingerprints of MOSES' {split.replace('_', ' ')} (once)"
        packed = fingerprints(smiles, lambda done: on_step(what, done, len(smiles)))
        new = file.with_suffix(f".{os.getpid()}.new.npy")  # another process may be doing the same
        np.save(new, packed)
        new.replace(file)
    return load_statistics(SHIPPED / f"{split}.npz", packed)


def save_statistics(statistics: Statistics, file: Path) -> None:
    """Write all but the fingerprints, small: numbers in float32, and properties in their order, to six places."""
    gaps = {name: np.diff(np.rint(np.sort(x) / _FINEST), prepend=0) for name, x in statistics.properties.items()}
    np.savez_compressed(
        file,
        mean=statistics.chemnet.mean.astype(np.float32),
        covariance=statistics.chemnet.covariance[np.triu_indices(len(statistics.chemnet.mean))].astype(np.float32),
        fragments=_as_bytes(statistics.fragments),
        scaffolds=_as_bytes(statistics.scaffolds),
        **{name: gap.astype(np.int64) for name, gap in gaps.items()},  # type: ignore[arg-type]
    )


def load_statistics(file: Path, packed: Packed) -> Statistics:
    """Read what :func:`save_statistics` has written; ``packed`` are the fingerprints."""
    with np.load(file, allow_pickle=False) as arrays:
        mean = arrays["mean"].astype(np.float64)
        covariance = np.zeros((len(mean), len(mean)))
        covariance[np.triu_indices(len(mean))] = arrays["covariance"]
        return Statistics(
            Gaussian(mean, covariance + np.triu(covariance, 1).T),
            packed,
            Counter(json.loads(arrays["fragments"].tobytes())),
            Counter(json.loads(arrays["scaffolds"].tobytes())),
            {name: arrays[name].cumsum() * _FINEST for name in COMPARED},
        )


def _as_bytes(counts: Counter[str]) -> np.ndarray:
    return np.frombuffer(json.dumps(counts, sort_keys=True).encode(), np.uint8)
