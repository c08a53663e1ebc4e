"""Goals by name, and the similarity that GuacaMol measures."""

import math

import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.QED import qed

from genaisys.molecules.goals import CAMPHOR, CELECOXIB, MENTHOL, goal_called
from genaisys.molecules.parsing import NotAMolecule

ASPIRIN = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")


def counted(a: Chem.Mol, b: Chem.Mol) -> float:
    """Tanimoto's of counts: the sum of the smaller ones over that of the larger ones."""
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2)
    x, y = (morgan.GetSparseCountFingerprint(mol).GetNonzeroElements() for mol in (a, b))
    keys = x.keys() | y.keys()
    return sum(min(x.get(k, 0), y.get(k, 0)) for k in keys) / sum(max(x.get(k, 0), y.get(k, 0)) for k in keys)


def test_qed() -> None:
    assert goal_called("QED").score([ASPIRIN]) == [qed(ASPIRIN)]
    assert goal_called("qed").scaffold_limit == 25


def test_celecoxib_is_itself_however_it_is_written() -> None:
    celecoxib = Chem.MolFromSmiles("CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F")
    goal = goal_called("celecoxib")
    assert goal.score([celecoxib, ASPIRIN]) == [1, pytest.approx(counted(ASPIRIN, Chem.MolFromSmiles(CELECOXIB)))]
    assert goal.scaffold_limit is None


def test_a_median_molecule_is_like_both() -> None:
    camphor, menthol = Chem.MolFromSmiles(CAMPHOR), Chem.MolFromSmiles(MENTHOL)
    score = goal_called("median").score
    assert score([camphor]) == [pytest.approx(math.sqrt(counted(camphor, menthol)))]
    third = Chem.MolFromSmiles("CC1CCC(C(C)C)C(=O)C1")
    assert score([third]) == [pytest.approx(math.sqrt(counted(third, camphor) * counted(third, menthol)))]
    assert score([Chem.MolFromSmiles("FF")]) == [0]


def test_any_molecule_is_a_goal_and_other_words_are_none() -> None:
    propanol = Chem.MolFromSmiles("CCCO")
    itself, other = goal_called("OCC").score([Chem.MolFromSmiles("CCO"), propanol])
    assert itself == 1
    assert other == pytest.approx(counted(propanol, Chem.MolFromSmiles("CCO")))
    for name in ("beauty", ""):
        with pytest.raises(NotAMolecule):
            goal_called(name)
