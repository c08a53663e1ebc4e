"""The fifteen metrics of MOSES (Polykovskiy et al. 2020), by their names there and as they are defined there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from scipy.stats import wasserstein_distance

from genaisys.molecules.chemnet import frechet_distance
from genaisys.molecules.moses import moses
from genaisys.molecules.parallel import for_each
from genaisys.molecules.parsing import canonical
from genaisys.molecules.profiles import COMPARED, passes_filters
from genaisys.molecules.reference import OnStep, Statistics, moses_statistics, statistics
from genaisys.molecules.tanimoto import Packed, mean_powers, nearest

_UNIQUE_OF = (1000, 10_000)


def moses_metrics(generated: Sequence[str], on_step: OnStep = lambda what, done, total: None) -> dict[str, float]:
    """All metrics of generated SMILES against MOSES: its test sets, and its training set for novelty.

    The first call computes the fingerprints of the test sets and keeps them.

    Raises:
        TooFewMolecules: there are no two valid ones.
        DownloadFailed: MOSES cannot be had.
    """
    references = {"Test": moses_statistics("test", on_step), "TestSF": moses_statistics("test_scaffolds", on_step)}
    return metrics(generated, references, moses("train", on_step), on_step)


def metrics(
    generated: Sequence[str],
    references: Mapping[str, Statistics],
    known: Collection[str],
    on_step: OnStep = lambda what, done, total: None,
) -> dict[str, float]:
    """The metrics of generated SMILES.

    Args:
        generated: as they were sampled; invalid ones count in ``valid`` and are then left out.
        references: by the names after the slash, the first of which the properties are compared with.
        known: canonical SMILES of what the generator has learned from.

    Raises:
        TooFewMolecules: there are no two valid ones.
    """
    read = for_each(canonical, generated, lambda done: on_step("reading", done, len(generated)))
    valid = [smiles for smiles in read if smiles is not None]
    own = statistics(valid, "the molecules", on_step)
    result = {"valid": len(valid) / len(generated)}
    result |= {f"unique@{k}": unique(valid[:k]) for k in _UNIQUE_OF}
    for name, reference in references.items():
        on_step(f"comparing with {name}", 0, 0)
        result |= {
            f"FCD/{name}": frechet_distance(own.chemnet, reference.chemnet),
            f"SNN/{name}": float(nearest(own.fingerprints, reference.fingerprints)[0].mean()),
            f"Frag/{name}": cosine(own.fragments, reference.fragments),
            f"Scaf/{name}": cosine(own.scaffolds, reference.scaffolds),
        }
    result["IntDiv"], result["IntDiv2"] = internal_diversity(own.fingerprints)
    passed = for_each(passes_filters, valid, lambda done: on_step("filters", done, len(valid)))
    result["Filters"] = sum(passed) / len(passed)
    first = next(iter(references.values()))
    for name in COMPARED:
        result[name] = float(wasserstein_distance(first.properties[name], own.properties[name]))
    result["Novelty"] = novelty(valid, known)
    return result


def unique(smiles: Sequence[str]) -> float:
    """The share of different ones among canonical SMILES."""
    return len(set(smiles)) / len(smiles)


def novelty(smiles: Sequence[str], known: Collection[str]) -> float:
    """The share of the different canonical SMILES that are not known."""
    different = set(smiles)
    return len(different.difference(known)) / len(different)


def internal_diversity(fingerprints: Packed) -> tuple[float, float]:
    """One minus the mean similarity of two molecules, and with the root of the mean square (p = 1 and p = 2)."""
    first, second = mean_powers(fingerprints)
    return 1 - float(first.mean()), 1 - float(second.sqrt().mean())


def cosine(a: Counter[str], b: Counter[str]) -> float:
    """The cosine of two vectors of counts; not a number where one is empty."""
    both = _length(a) * _length(b)
    return sum(n * b[key] for key, n in a.items()) / both if both else math.nan


def _length(counts: Counter[str]) -> float:
    return math.sqrt(sum(n * n for n in counts.values()))
