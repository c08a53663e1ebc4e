"""Strings to molecules: what is refused, why, and where."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from genaisys.errors import GenaisysError
from genaisys.molecules.drawing import write_molecules
from genaisys.molecules.files import MoleculesUnreadable, read_molecules, read_smiles
from genaisys.molecules.parsing import LONGEST, MOST_ATOMS, NotAMolecule, _grammar, canonical, parse, parsed


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
        ("CC(C)(C)(C)C", "an atom with too many bonds .C, atom 2, at position 2."),
        ("CCc1cccc1", "an aromatic ring that cannot be given alternating bonds .C, atom 3, at position 3."),
        ("CCcC", "an aromatic atom that is in no ring .C, atom 3, at position 3."),
        ("CC é", "a character that SMILES does not have .' ' at position 3."),
        ("hello", "a letter that is no atom .'h' at position 1."),
        ("CC==C", "a sign that cannot stand where it does .'=' at position 4."),
        ("CC()C", "a sign that cannot stand where it does"),
        ("CC=", "an end that lacks an atom .at position 3."),
        ("CC[Xx]C", "a bracket that holds no atom"),
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


@pytest.mark.parametrize(
    ("smiles", "position"),
    [
        ("CC(C", 3),
        ("CC é", 3),
        ("C1CC", 2),
        ("ClC(C)(C)(C)C", 3),
        ("CC[NH]C(C)(C)(C)C", 7),
        ("CCc1cccc1", 3),
        ("CCX", 3),
        ("", None),
        ("C" * 600, None),
    ],
)
def test_the_position_is_that_of_the_fault(smiles: str, position: int | None) -> None:
    with pytest.raises(NotAMolecule) as caught:
        parse(smiles)
    assert caught.value.position == position


@given(st.text(alphabet="CNOcnoBrCl()[]=#12%+-@H./\\", max_size=12))
def test_only_what_rdkit_cannot_read_has_a_fault_in_its_grammar(smiles: str) -> None:
    if smiles and Chem.MolFromSmiles(smiles, sanitize=False) is not None:
        assert _grammar(smiles)[2] is None


def test_rejects_of_a_file_are_counted_by_reason(tmp_path: Path) -> None:
    file = tmp_path / "some.smi"
    file.write_text("CCO ethanol\n# a comment\n\nCC(C\nCCC(\nC1CC\nc1ccccc1\n")
    library = read_molecules(file)
    assert library.smiles == ["CCO", "c1ccccc1"]
    assert library.rejects == {"a branch that is not closed": 2, "a ring that is not closed": 1, "empty": 1}
    assert [(each.line, each.smiles, each.position) for each in library.rejected] == [
        (3, "", None), (4, "CC(C", 3), (5, "CCC(", 4), (6, "C1CC", 2)
    ]  # fmt: skip
    table = tmp_path / "some.csv"
    table.write_text(f'name,smiles\n"of two\nlines",CCO\nb,{"C" * 600}\n')
    (reject,) = read_molecules(table).rejected
    assert (reject.line, reject.reason, len(reject.smiles)) == (4, "longer than 500 characters", 60)


def test_tables_have_a_column_of_smiles(tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    table.write_text('name,SMILES,logS\nethanol,CCO,1\n"a, b",CCN,2\nshort\n')
    assert read_smiles(table) == ["CCO", "CCN", ""]
    table.write_text("name,formula\n")
    with pytest.raises(MoleculesUnreadable, match="no column smiles"):
        read_smiles(table)


def test_sdf_is_read_as_it_is_written(tmp_path: Path) -> None:
    smiles = ["CCO", "C[C@H](N)O", "CC(=O)[O-].[Na+]", "c1ccncc1"]
    file = tmp_path / "some.sdf"
    write_molecules(smiles, file)
    assert [canonical(each) for each in read_smiles(file)] == [canonical(each) for each in smiles]
    assert read_molecules(file).rejected == []


def test_records_that_cannot_be_used_are_named_by_their_line(tmp_path: Path) -> None:
    file = tmp_path / "some.sdf"
    neopentane = Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False)
    blocks = [Chem.MolToMolBlock(mol, kekulize=False) for mol in (Chem.MolFromSmiles("CCO"), neopentane)]
    file.write_text("$$$$\n".join([*blocks, "name\n\n\nno structure\n"]) + "$$$$\n\n")
    library = read_molecules(file)
    assert library.smiles == ["CCO"]
    places = [blocks[0].count("\n") + 2, sum(block.count("\n") for block in blocks) + 3]
    reasons = ["an atom with too many bonds", "empty"]
    assert [(each.line, each.reason) for each in library.rejected] == list(zip(places, reasons, strict=True))
    file.write_text(blocks[0].replace("M  END", "\n" * 3000 + "M  END"))
    with pytest.raises(MoleculesUnreadable, match="at most 2,000 can be read"):
        read_molecules(file)


def test_unreadable_files_are_plain_errors(tmp_path: Path) -> None:
    (tmp_path / "binary.smi").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "none.smi").write_text("xx\n")
    (tmp_path / "broken.csv.gz").write_bytes(b"\x1f\x8b\x08broken")
    for name in ("missing.smi", "binary.smi", "none.smi", "broken.csv.gz"):
        with pytest.raises(MoleculesUnreadable):
            read_molecules(tmp_path / name)
