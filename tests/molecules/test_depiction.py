"""Drawings for a page: whole, in the page's colours, and with the start marked."""

import re
import xml.etree.ElementTree as ET

import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor

from genaisys.molecules.depiction import depict
from genaisys.molecules.parsing import parse


def paths(svg: str) -> dict[str, str]:
    """-> what is drawn, by class"""
    return {path.attrib["class"]: path.attrib["d"] for path in ET.fromstring(svg).iter("path")}


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]


def test_every_path_of_rdkit_is_there_in_one_of_the_colours() -> None:
    drawn = paths(depict(parse("O=C(Nc1ccc(F)cc1Cl)c1cc(Br)sc1P(C)I"), 240, 170))
    elements = {name.split()[1] for name in drawn if name.startswith("area")}
    assert elements == {"N", "O", "F", "Cl", "Br", "S", "P", "I"}
    assert "line bonds" in drawn
    for path in drawn.values():
        assert all(-5 <= number <= 245 for number in numbers(path))  # nothing is outside of the picture


def test_a_wedge_is_an_area_and_no_colour_is_written() -> None:
    left, right = (depict(parse(f"C[{centre}H](N)C(=O)O"), 240, 170) for centre in ("C@", "C@@"))
    assert ("area bonds" in paths(left)) != ("area bonds" in paths(right))  # one has a wedge, the other dashes
    for svg in (left, right):
        assert "#" not in svg
        assert "style" not in svg


@pytest.mark.parametrize("smiles", ["C", "[Na+].[Cl-]", "*c1ccccc1", "[13CH4]", "C[Si](C)(C)C", "CC->[Fe]"])
def test_anything_can_be_drawn(smiles: str) -> None:
    assert paths(depict(parse(smiles), 100, 100))


def test_the_start_is_marked_and_keeps_its_orientation() -> None:
    start, mol = parse("c1ccc2[nH]ccc2c1"), parse("CC(=O)Nc1ccc2[nH]ccc2c1")
    marked = paths(depict(mol, 240, 170, core=start))
    assert "core" in marked
    assert "core" not in paths(depict(mol, 240, 170))
    assert "core" not in paths(depict(parse("CCO"), 240, 170, core=start))  # which does not hold it
    alone = Chem.Mol(start)
    rdDepictor.Compute2DCoords(alone, canonOrient=True)
    core = numbers(marked["core"])
    wide = max(core[::2]) - min(core[::2])
    high = max(core[1::2]) - min(core[1::2])
    places = alone.GetConformer().GetPositions()  # [atoms, 3]
    extent = places.max(0) - places.min(0)
    assert wide / high == pytest.approx(extent[0] / extent[1], abs=0.2)


def test_the_molecule_itself_is_left_as_it_was() -> None:
    mol = parse("CCO")
    depict(mol, 100, 100)
    assert mol.GetNumConformers() == 0
