"""What molecules can be optimised for by name; any other goal is a function of the user's own."""

from __future__ import annotations

import math
from typing import NamedTuple

from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.QED import qed

from genaisys.molecules.parsing import parse
from genaisys.molecules.rewards import Score

CELECOXIB = "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1"
CAMPHOR, MENTHOL = "CC1(C)C2CCC1(C)C(=O)C2", "CC(C)C1CCC(C)CC1O"

_morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2)


class Goal(NamedTuple):
    """
    Attributes:
        score: of molecules.
        scaffold_limit: as in ``Optimisation``; None where molecules of one kind are what is sought.
    """

    score: Score
    scaffold_limit: int | None


def goal_called(name: str) -> Goal:
    """A goal by its name, or similarity to the molecule whose SMILES ``name`` is.

    ``qed``; and of GuacaMol (Brown et al. 2019, arXiv:1811.09621) ``celecoxib``, to be found again, and ``median``
    (median molecules 1), to be similar to camphor and to menthol at once.

    Raises:
        NotAMolecule: it is neither.
    """
    match name.lower():
        case "qed":
            return Goal(lambda mols: [qed(mol) for mol in mols], 25)
        case "celecoxib":
            return Goal(similarity_to(parse(CELECOXIB)), None)
        case "median":
            return Goal(similarity_to(parse(CAMPHOR), parse(MENTHOL)), None)
    return Goal(similarity_to(parse(name)), None)


def similarity_to(*targets: Chem.Mol) -> Score:
    """The geometric mean of the similarities to ``targets``: Tanimoto's, of counts of ECFP4, as GuacaMol has it."""
    wanted = [_morgan.GetSparseCountFingerprint(target) for target in targets]

    def score(mols: list[Chem.Mol]) -> list[float]:
        found = [_morgan.GetSparseCountFingerprint(mol) for mol in mols]
        similarities = [DataStructs.BulkTanimotoSimilarity(each, wanted) for each in found]
        return [math.prod(each) ** (1 / len(wanted)) for each in similarities]

    return score
