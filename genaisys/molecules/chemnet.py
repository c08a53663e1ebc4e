"""The Fréchet ChemNet Distance (Preuer et al. 2018): how far apart two sets of molecules are, 0 being equal.

ChemNet, a network that predicts biological activity, makes 512 numbers of each molecule. The distance is that of two
Gaussians with the means and covariances of these, as in the package ``fcd``, which holds the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genaisys.molecules.parallel import OnDone

_AT_ONCE = 2000

Array = npt.NDArray[np.float64]


class Gaussian(NamedTuple):
    """
    Attributes:
        mean: [512].
        covariance: [512, 512].
    """

    mean: Array
    covariance: Array


def gaussian(smiles: Sequence[str], on_done: OnDone = lambda done: None) -> Gaussian:
    """Mean and covariance of ChemNet's numbers of at least two molecules, given as canonical SMILES."""
    import fcd

    network = fcd.load_ref_model()
    total, products = np.zeros(512), np.zeros((512, 512))
    for start in range(0, len(smiles), _AT_ONCE):
        part = list(smiles[start : start + _AT_ONCE])
        numbers = fcd.get_predictions(network, part, n_jobs=0).astype(np.float64)  # [n, 512]
        total += numbers.sum(0)
        products += numbers.T @ numbers
        on_done(start + len(part))
    count = len(smiles)
    mean = total / count
    return Gaussian(mean, (products - count * np.outer(mean, mean)) / (count - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """``|m_a - m_b|² + Tr(C_a + C_b - 2 (C_a C_b)^½)``."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(0)).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared
    return max(float(distance), 0.0)  # it may be rounded to just below
