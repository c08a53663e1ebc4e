"""Picking molecules that are unlike each other."""

import pytest
import torch

from genaisys.molecules.diversity import most_different
from genaisys.molecules.optimisation import Found
from genaisys.molecules.similarity import fingerprints
from genaisys.molecules.tanimoto import similarities

SMILES = ["CCO", "CCCO", "c1ccccc1", "Cc1ccccc1", "CC(=O)N", "CCN", "C1CCNCC1", "CCCCO", "Clc1ccccc1", "O=C(O)c1ccccc1"]


def test_each_is_the_least_like_those_before_it() -> None:
    picked = most_different(SMILES, 6)
    assert picked[0] == SMILES[0]
    assert len(set(picked)) == 6
    packed = fingerprints(SMILES)
    like = similarities(packed, packed)  # [N, N]
    for place in range(1, 6):
        before = [SMILES.index(smiles) for smiles in picked[:place]]
        closest = like[before].max(0).values
        left = [number for number in range(len(SMILES)) if number not in before]
        assert closest[SMILES.index(picked[place])] == closest[left].min()


def test_all_of_few_and_none_of_none() -> None:
    assert sorted(most_different(SMILES, 100)) == sorted(SMILES)
    assert most_different(["CCO", "CCO", "CCO"], 3) == ["CCO"] * 3
    assert most_different([], 3) == []


def test_what_is_found_is_given_by_score_or_by_difference() -> None:
    found = Found({"CCO": 0.9, "CCCO": 0.95, "CCCCO": 0.94, "c1ccccc1": 0.91, "CCN": 0.2})
    assert found.best(2) == [("CCCO", 0.95), ("CCCCO", 0.94)]
    assert found.diverse(2, 0.9) == [("CCCO", 0.95), ("c1ccccc1", 0.91)]
    assert {smiles for smiles, _ in found.diverse(10, 0.9)} == {"CCO", "CCCO", "CCCCO", "c1ccccc1"}
    assert found.diverse(10, 0.99) == []


def test_a_diverse_selection_is_more_diverse_than_the_best() -> None:
    scores = torch.linspace(1, 0.9, len(SMILES)).tolist()
    found = Found(dict(zip(SMILES, scores, strict=True)))

    def mean_similarity(chosen: list[tuple[str, float]]) -> float:
        packed = fingerprints([smiles for smiles, _ in chosen])
        return float(similarities(packed, packed).mean())

    assert mean_similarity(found.diverse(4, 0.9)) < mean_similarity(found.best(4)) - 0.05
    assert found.diverse(4, 0.9)[0] == found.best(1)[0] == (SMILES[0], pytest.approx(1))
