"""What strings are worth in a search: the user's score of each molecule, and nothing for what is seen too often."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from rdkit import Chem
from torch import Tensor

from genaisys.molecules.parsing import parsed
from genaisys.molecules.profiles import murcko

# From molecules to a score of each, 0 to 1, the higher the better.
Score = Callable[[list[Chem.Mol]], Sequence[float]]


class Rewards:
    """The rewards of strings, and what was learned on the way.

    The score is somebody else's code. It is asked for all new molecules of a batch at once; where that fails, for one
    after the other, so that a molecule on which it fails costs no other its score.

    Args:
        scaffold_limit: the ring systems of a molecule (Bemis and Murcko's scaffold; a molecule without rings is one of
            its own) are worth nothing any more after so many molecules (the diversity filter of Blaschke et al. 2020);
            None: that is no matter.

    Attributes:
        scores: of every different molecule, by its canonical SMILES.
        failed: why a molecule has no score: an exception, too few scores, or none that is a number from 0 to 1.
    """

    def __init__(self, score: Score, scaffold_limit: int | None) -> None:
        self._score, self._limit = score, scaffold_limit
        self._seen = Counter[str]()
        self.scores: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def of(self, smiles: Sequence[str]) -> tuple[Tensor, list[str | None]]:
        """The rewards, 0 for what is no molecule and not a number for a molecule without a score; and what they are of.

        Returns:
            [len(smiles)], and the canonical SMILES of each, or None.
        """
        mols = [parsed(each) for each in smiles]
        names = [None if mol is None else Chem.MolToSmiles(mol) for mol in mols]
        molecules = {name: mol for name, mol in zip(names, mols, strict=True) if name is not None}
        new = {name: mol for name, mol in molecules.items() if name not in self.scores and name not in self.failed}
        self._ask(new)
        rewards = torch.zeros(len(smiles))
        for place, name in enumerate(names):
            if name is None:
                continue
            rings = murcko(molecules[name])
            kind = (rings and Chem.MolToSmiles(rings)) or name
            self._seen[kind] += 1
            worth = self._limit is None or self._seen[kind] <= self._limit
            rewards[place] = self.scores.get(name, math.nan) * worth
        return rewards, names

    def _ask(self, molecules: Mapping[str, Chem.Mol]) -> None:
        if not molecules:
            return
        try:
            values = [float(value) for value in self._score(list(molecules.values()))]
            if len(values) != len(molecules):
                raise ValueError(f"{len(values)} scores for {len(molecules)} molecules")
        except Exception as error:  # whatever it raises
            if len(molecules) > 1:
                for name, mol in molecules.items():
                    self._ask({name: mol})
            else:
                self.failed |= dict.fromkeys(molecules, f"{type(error).__name__}: {error}")
            return
        for name, value in zip(molecules, values, strict=True):
            if 0 <= value <= 1:
                self.scores[name] = value
            else:
                self.failed[name] = f"the score {value:g} is not from 0 to 1"
