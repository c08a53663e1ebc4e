"""What is known, kept in a file, and how known molecules are spread."""

from pathlib import Path

import numpy as np
import pytest
import torch
from molecules_at_hand import made_by_rule

from genaisys.hub.downloads import OnProgress
from genaisys.molecules import known
from genaisys.molecules.distributions import Distribution, distributions
from genaisys.molecules.encoders import MorganEncoder
from genaisys.molecules.known import KnownMolecules, known_molecules
from genaisys.molecules.parsing import canonical
from genaisys.molecules.properties import PROPERTIES

MOLECULES = sorted({canonical(smiles) for smiles in made_by_rule()[::3]})


@pytest.fixture
def moses_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """-> the splits that were read"""
    read = []

    def moses(split: str, on_progress: OnProgress) -> list[str]:
        read.append(split)
        return MOLECULES[::-1]

    monkeypatch.setattr(known, "moses", moses)
    monkeypatch.setattr(known, "moses_folder", lambda: tmp_path)
    return read


def test_they_are_read_once(moses_of_ours: list[str]) -> None:
    steps: list[tuple[int, int]] = []
    assert not known.is_prepared()
    first = known_molecules(lambda what, done, total: steps.append((done, total)))
    assert steps[-1] == (len(MOLECULES), len(MOLECULES))
    again = known_molecules()
    assert known.is_prepared()
    assert moses_of_ours == ["train"]
    assert [again[n] for n in range(len(again))] == [first[n] for n in range(len(first))] == MOLECULES


def test_who_stops_the_reading_leaves_nothing_half_done(moses_of_ours: list[str], tmp_path: Path) -> None:
    class Stop(Exception): ...

    def stop(what: str, done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        known_molecules(stop)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_made_anew(moses_of_ours: list[str], tmp_path: Path) -> None:
    (tmp_path / "known-1.safetensors").write_bytes(b"damaged")
    assert len(known_molecules()) == len(MOLECULES)


def test_membership_and_neighbours_are_those_of_comparing_all(moses_of_ours: list[str]) -> None:
    molecules = known_molecules()
    assert all(smiles in molecules for smiles in MOLECULES)
    assert not any(smiles in molecules for smiles in ("", "CCO", "zzz", MOLECULES[0] + "C"))
    encoder = MorganEncoder()
    queries = ["CCOc1ccc(CC#N)cc1", "CC(=O)Oc1ccccc1C(=O)O", MOLECULES[5]]
    table = torch.stack([encoder.similarities(q, encoder.encode(MOLECULES)) for q in encoder.encode(queries)])
    for row, neighbour in zip(table, molecules.nearest(queries), strict=True):
        assert neighbour.similarity == pytest.approx(float(row.max()))
        assert float(row[MOLECULES.index(neighbour.smiles)]) == float(row.max())
    found = molecules.similar(queries[0], 7)
    assert [each.similarity for each in found] == pytest.approx(table[0].sort(descending=True).values[:7].tolist())
    assert len(molecules.similar("C", 10_000)) == len(MOLECULES)


def test_an_empty_text_between_two_is_found() -> None:
    text = np.frombuffer(b"CCO", np.uint8)
    few = KnownMolecules(text, np.array([0, 1, 3]), np.zeros((2, 128), np.uint8))
    assert (few[0], few[1]) == ("C", "CO")
    assert "CO" in few
    assert "CC" not in few


def test_distributions_are_those_of_all_properties() -> None:
    table = distributions()
    assert set(table) == set(PROPERTIES)
    for distribution in table.values():
        assert distribution.low < distribution.high
        assert distribution.share(distribution.low, distribution.high) == pytest.approx(1)
        assert len({sum(each.counts) for each in table.values()}) == 1  # of the same molecules
        half = (distribution.low + distribution.high) / 2
        shares = distribution.share(-1e9, half), distribution.share(half, 1e9)
        assert sum(shares) == pytest.approx(1)
        assert distribution.share(half, half) == 0


def test_a_share_is_that_of_the_bins() -> None:
    distribution = Distribution(0.0, 3.0, 1.0, (1, 2, 1))
    assert distribution.share(0, 1) == 0.25
    assert distribution.share(0.5, 1.5) == pytest.approx((0.5 + 1) / 4)
    assert distribution.share(5, 9) == 0
