"""Libraries of molecules in the retrieval index."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from molecules_at_hand import made_by_rule

from genaisys.molecules.encoders import MoleculeEncoder, molecule_encoder
from genaisys.molecules.files import MoleculesUnreadable
from genaisys.molecules.parsing import NotAMolecule
from genaisys.retrieval import molecules, vectors
from genaisys.retrieval.molecules import LibraryTooLarge, MoleculeLibraries, similar_molecules

MOLECULES = made_by_rule()
QUERIES = ["CCOc1ccc(CC#N)cc1", "CC(=O)Oc1ccccc1C(=O)O", MOLECULES[17], "C", "[Na+].[Cl-]"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("library") / "library.smi"
    file.write_text("".join(f"{smiles} name-{number}\n" for number, smiles in enumerate(MOLECULES)))
    return file


@pytest.fixture(scope="module", params=["morgan", "smiles-gpt"])
def libraries(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MoleculeLibraries]:
    with MoleculeLibraries(tmp_path_factory.mktemp("store"), molecule_encoder(request.param)) as libraries:
        yield libraries


def compared_with_all(encoder: MoleculeEncoder, query: str, k: int) -> list[float]:
    """-> the highest similarities"""
    every = encoder.similarities(encoder.encode([query])[0], encoder.encode(MOLECULES))
    return every.sort(descending=True).values[:k].tolist()


@pytest.mark.parametrize("k", [1, 10, 2000])
def test_what_is_found_is_what_comparing_all_finds(libraries: MoleculeLibraries, file: Path, k: int) -> None:
    name, _ = libraries.add(file)
    for query in QUERIES:
        found = libraries.similar(query, name, k)
        assert [each.similarity for each in found] == pytest.approx(
            compared_with_all(libraries.encoder, query, k), abs=2e-3
        )
        assert len({each.smiles for each in found}) == len(found) == min(k, len(MOLECULES))


def test_large_libraries_lose_nothing_to_the_coarser_index(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "FLAT_LIMIT", 100)  # beyond, inverted lists of 8-bit codes
    monkeypatch.setattr("genaisys.retrieval.candidates.MANY_CHANGES", 100)
    with MoleculeLibraries(tmp_path, molecule_encoder("morgan")) as libraries:
        name, _ = libraries.add(file)
        assert "IVF" in type(libraries._candidates._vectors.base).__name__
        for query in QUERIES:
            expected = compared_with_all(libraries.encoder, query, 5)
            assert [each.similarity for each in libraries.similar(query, name, 5)] == pytest.approx(expected, abs=1e-3)


def test_a_library_is_read_once_until_its_content_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = molecule_encoder("morgan")
    encoded: list[int] = []
    original = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda smiles: encoded.append(len(smiles)) or original(smiles))
    file, other = tmp_path / "some.smi", tmp_path / "other.smi"
    file.write_text("CCO\nCCN\n")
    other.write_text("c1ccccc1\n")
    with MoleculeLibraries(tmp_path / "store", encoder) as libraries:
        name, _ = libraries.add(file)
        others, _ = libraries.add(other)
        assert encoded == [2, 1]
        assert libraries.add(file) == (name, {})
        copy = tmp_path / "copy.smi"
        copy.write_bytes(file.read_bytes())
        assert libraries.add(copy)[0] == name  # known by its content
        assert encoded == [2, 1]
        assert [each.smiles for each in libraries.similar("CCO", name, 5)] == ["CCO", "CCN"]  # and none of the other
        file.write_text("CCO\nCCCl\n")
        changed, _ = libraries.add(file)
        assert encoded == [2, 1, 1, 2]  # with the query
        assert {each.smiles for each in libraries.similar("CCO", changed, 5)} == {"CCO", "CCCl"}
        assert len(libraries._store.documents()) == 2  # the old content of the file is gone
        assert [each.smiles for each in libraries.similar("CCO", others, 5)] == ["c1ccccc1"]
    with MoleculeLibraries(tmp_path / "store", molecule_encoder("morgan")) as later:
        assert later.add(file)[0] == changed
        assert later.similar("CCCl", changed, 1)[0].smiles == "CCCl"


def test_bad_rows_are_counted_by_reason_also_the_second_time(tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    table.write_text(f"name,smiles\na,CCO\nb,C1CC\nc,\nd,{'C' * 600}\ne,C2CC\nf,CCN\n")
    expected = {"a ring that is not closed": 2, "empty": 1, "longer than 500 characters": 1}
    with MoleculeLibraries(tmp_path / "store", molecule_encoder("morgan")) as libraries:
        for _ in range(2):
            name, rejects = libraries.add(table)
            assert rejects == expected
        assert len(libraries.similar("CCO", name, 10)) == 2
        (document,) = (libraries._store.document(name),)
        assert document is not None
        assert document.text == "CCO\nCCN"


def test_a_molecule_that_an_encoder_cannot_read_is_a_reject(tmp_path: Path) -> None:
    file = tmp_path / "some.smi"
    file.write_text(f"CCO\n{'C' * 100}\n")
    with MoleculeLibraries(tmp_path / "store", molecule_encoder("smiles-gpt")) as libraries:
        assert libraries.add(file)[1] == {"longer than the 63 tokens that smiles-gpt reads": 1}


def test_what_cannot_be_read_is_a_plain_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MoleculeLibraries(tmp_path / "store", molecule_encoder("morgan")) as libraries:
        with pytest.raises(MoleculesUnreadable, match="cannot be read"):
            libraries.add(tmp_path / "missing.smi")
        nothing = tmp_path / "nothing.smi"
        nothing.write_text("hello\n\n")
        with pytest.raises(MoleculesUnreadable, match=r"\(1 rejected: a letter that is no atom; 1 rej"):
            libraries.add(nothing)
        monkeypatch.setattr(molecules, "MOST", 3)
        large = tmp_path / "large.smi"
        large.write_text("C\n" * 4)
        with pytest.raises(LibraryTooLarge, match="4 molecules, and 3 is the limit"):
            libraries.add(large)
        assert not libraries._store.documents()
        with pytest.raises(NotAMolecule):
            libraries.similar("C1CC", "whatever")


def test_one_function_does_it_all(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAISYS_HOME", str(tmp_path))
    found = similar_molecules("CCOc1ccc(CC#N)cc1", file, 3)
    again = similar_molecules("CCOc1ccc(CC#N)cc1", file, 3)
    assert found == again
    assert len(found) == 3
    by_meaning = similar_molecules("CCOc1ccc(CC#N)cc1", file, 3, "smiles-gpt")
    assert torch.tensor([each.similarity for each in by_meaning]).diff().le(0).all()
    with pytest.raises(NotAMolecule, match="position 2"):
        similar_molecules("C1CC", tmp_path / "missing.smi")
    json.dumps([each.similarity for each in found])
