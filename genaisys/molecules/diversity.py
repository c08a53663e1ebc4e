"""Molecules that are as different as can be, out of many."""

from __future__ import annotations

from collections.abc import Sequence

from genaisys.molecules.similarity import fingerprints
from genaisys.molecules.tanimoto import similarities


def most_different(smiles: Sequence[str], k: int) -> list[str]:
    """The first, and then, up to ``k``, each time the one that is least like those that were taken (max-min picking).

    They are given in the order in which they were taken; the first of those that are equally different.
    """
    if not smiles:
        return []
    packed, taken = fingerprints(smiles), [0]
    closest = similarities(packed[:1], packed)[0]  # [N], the highest similarity to any that was taken
    while len(taken) < min(k, len(smiles)):
        closest[taken[-1]] = 2  # above all: it is not taken again
        taken.append(int(closest.argmin()))
        closest = closest.maximum(similarities(packed[taken[-1:]], packed)[0])
    return [smiles[number] for number in taken]
