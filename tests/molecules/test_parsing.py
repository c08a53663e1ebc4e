"""Strings to molecules: what is refused, why, and where."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaisys.errors import GenaisysError
from genaisys.molecules.files import MoleculesUnreadable, read_molecules, read_smiles
from genaisys.molecules.parsing import LONGEST, MOST_ATOMS, NotAMolecule, canonical, parse, parsed


def test_equal_molecules_have_one_canonical_smiles() -> None:
    assert canonical("OCC") == canonical("C(O)C") == canonical("CCO")
    assert canonical("C[C@H](N)O") != canonical("C[C@@H](N)O")


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "empty"),
        ("C" * (LONGEST + 1), f"longer than {LONGEST} characters"),
        ("C" * (MOST_ATOMS + 1), f"more than {MOST_ATOMS}"),
        ("CC(C", "a branch that is not closed .opened at position 3."),
        ("CC)C", "a branch that is closed and was not opened .at position 3."),
        ("C1CC", "a ring that is not closed .ring 1, opened at position 2."),
        ("CC[NH", "a bracket that is not closed .at position 3."),
        ("CC(C)(C)(C)C", "an atom with too many bonds .C, atom 2."),
        ("c1cccc1", "a ring that is not aromatic"),
        ("CC é", "a character that SMILES does not have .' ' at position 3."),
        ("hello", "is no molecule"),
    ],
)
def test_a_bad_string_is_named_with_its_reason_and_place(smiles: str, reason: str) -> None:
    with pytest.raises(NotAMolecule, match=reason) as caught:
        parse(smiles)
    assert "\n" not in str(caught.value)
    assert parsed(smiles) is None


@given(st.text(alphabet="CNOcno()[]=#123%+-@H.", max_size=40))
def test_any_string_is_a_molecule_or_a_plain_error(smiles: str) -> None:
    try:
        mol = parse(smiles)
    except GenaisysError:
        return
    assert 0 < mol.GetNumAtoms() <= MOST_ATOMS


def test_rejects_of_a_file_are_counted_by_reason(tmp_path: Path) -> None:
    file = tmp_path / "some.smi"
    file.write_text("CCO ethanol\n# a comment\n\nCC(C\nCCC(\nC1CC\nc1ccccc1\n")
    library = read_molecules(file)
    assert library.smiles == ["CCO", "c1ccccc1"]
    assert library.rejects == {"a branch that is not closed": 2, "a ring that is not closed": 1, "empty": 1}


def test_tables_have_a_column_of_smiles(tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    table.write_text('name,SMILES,logS\nethanol,CCO,1\n"a, b",CCN,2\nshort\n')
    assert read_smiles(table) == ["CCO", "CCN", ""]
    table.write_text("name,formula\n")
    with pytest.raises(MoleculesUnreadable, match="no column smiles"):
        read_smiles(table)


def test_unreadable_files_are_plain_errors(tmp_path: Path) -> None:
    (tmp_path / "binary.smi").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "none.smi").write_text("xx\n")
    (tmp_path / "broken.csv.gz").write_bytes(b"\x1f\x8b\x08broken")
    for name in ("missing.smi", "binary.smi", "none.smi", "broken.csv.gz"):
        with pytest.raises(MoleculesUnreadable):
            read_molecules(tmp_path / name)
