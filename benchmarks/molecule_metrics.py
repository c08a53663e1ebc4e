"""MOSES' training set against its test sets: do our metrics give the numbers that MOSES publishes for it?

    python benchmarks/molecule_metrics.py [--molecules 200000]

Published: molecularsets/moses at 3926d40b, data/samples/train_metrics.csv, and its README; of the whole training set of
1,584,663. Parts of it, at random, are compared as they grow. Two samples of N and M molecules from one distribution are
at a distance FCD of about c (1/N + 1/M), so the line through the parts' FCD over 1/N is read at the whole set's. A part
of 200,000 takes about half an hour of one core.
"""

import argparse
from collections import Counter

import numpy as np

from genaisys.molecules.chemnet import Gaussian, frechet_distance
from genaisys.molecules.metrics import cosine, internal_diversity
from genaisys.molecules.moses import moses
from genaisys.molecules.reference import moses_statistics, statistics
from genaisys.molecules.tanimoto import nearest

COLUMNS = "FCD/Test", "FCD/TestSF", "SNN/Test", "SNN/TestSF", "Frag/Test", "Frag/TestSF", "Scaf/Test", "Scaf/TestSF"
PUBLISHED = 0.0079765, 0.4755338, 0.6419157, 0.5858706, 0.9999834, 0.9985993, 0.9907435, 0.0
DIVERSITY = 0.8566755, 0.8507543  # IntDiv, IntDiv2
DIVERSE = 100_000  # molecules that are compared with each other
PART = 25_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--molecules", type=int, default=200_000)
    count = parser.parse_args().molecules
    references = {"Test": moses_statistics("test", ignore), "TestSF": moses_statistics("test_scaffolds", ignore)}
    training = moses("train")
    order = np.random.default_rng(0).permutation(len(training))[:count]
    chosen = [training[number] for number in order]
    chemnet, fragments, scaffolds = None, Counter[str](), Counter[str]()
    fingerprints, similar, seen, distances = [], dict[str, float](), 0, list[tuple[int, float, float]]()
    print("| molecules | " + " | ".join(COLUMNS) + " |\n| --- " + "| ---: " * len(COLUMNS) + "|")
    for start in range(0, count, PART):
        part = statistics(chosen[start : start + PART], "training set", ignore)
        size = len(part.fingerprints)
        chemnet = part.chemnet if chemnet is None else pooled(chemnet, seen, part.chemnet, size)
        fragments += part.fragments
        scaffolds += part.scaffolds
        fingerprints.append(part.fingerprints)
        row = {}
        for name, reference in references.items():
            mean = float(nearest(part.fingerprints, reference.fingerprints)[0].double().mean())
            similar[name] = (similar.get(name, 0) * seen + mean * size) / (seen + size)
            row[f"SNN/{name}"] = similar[name]
            row[f"FCD/{name}"] = frechet_distance(chemnet, reference.chemnet)
            row[f"Frag/{name}"] = cosine(fragments, reference.fragments)
            row[f"Scaf/{name}"] = cosine(scaffolds, reference.scaffolds)
        seen += size
        distances.append((seen, row["FCD/Test"], row["FCD/TestSF"]))
        if seen == count or (seen // PART).bit_count() == 1:
            print(f"| {seen:,} | " + " | ".join(f"{row[name]:.5f}" for name in COLUMNS) + " |", flush=True)
    if len(distances) > 1:
        sizes, *of_sets = np.array(distances).T
        read = [np.polyval(np.polyfit(1 / sizes, of_set, 1), 1 / len(training)) for of_set in of_sets]
        print(f"| line, at {len(training):,} | " + " | ".join(f"{value:.5f}" for value in read) + " | " * 6 + "|")
    print("| published | " + " | ".join(f"{value:.5f}" for value in PUBLISHED) + " |")
    first, second = internal_diversity(np.concatenate(fingerprints)[:DIVERSE])
    print(f"\nIntDiv {first:.5f}, IntDiv2 {second:.5f}; published {DIVERSITY[0]:.5f}, {DIVERSITY[1]:.5f}")


def pooled(a: Gaussian, n: int, b: Gaussian, m: int) -> Gaussian:
    """Mean and covariance of two sets of ``n`` and ``m`` together."""
    apart = a.mean - b.mean
    squares = (n - 1) * a.covariance + (m - 1) * b.covariance + np.outer(apart, apart) * n * m / (n + m)
    return Gaussian((n * a.mean + m * b.mean) / (n + m), squares / (n + m - 1))


def ignore(what: str, done: int, total: int) -> None:
    pass


if __name__ == "__main__":
    main()
