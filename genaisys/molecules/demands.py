"""What a written string is judged by: that it is a molecule, and what else is demanded of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from rdkit import Chem

from genaisys.molecules.conditions import conditions_of
from genaisys.molecules.parsing import parse, parsed
from genaisys.molecules.profiles import might_be_in_moses
from genaisys.molecules.wishes import pattern_of
from genaisys.tokenizers import Tokenizer

# Of a molecule, and the scaffold that was told, if one was.
_Demand = Callable[[Chem.Mol, Chem.Mol | None], bool]

DEMANDS: Mapping[str, _Demand] = {
    "filters": lambda mol, told: might_be_in_moses(mol),
    "scaffold": lambda mol, told: told is None or mol.HasSubstructMatch(told),
}


def judge(tokenizer: Tokenizer, demands: Sequence[str]) -> Callable[[Sequence[int], Sequence[int]], bool]:
    """Whether what was written after a prompt is a molecule that fulfils all ``demands``, which name ``DEMANDS``.

    The function takes the tokens of both, with BOS and without an end token.

    Raises:
        DownloadFailed: MOSES' filters are demanded, and cannot be had.
    """
    conditions, fulfilled = conditions_of(tokenizer), [DEMANDS[name] for name in demands]
    for each in fulfilled:
        each(parse("C"), None)  # what a demand needs is fetched now

    @lru_cache(maxsize=1024)  # many are written after one prompt
    def told(prompt: tuple[int, ...]) -> Chem.Mol | None:
        if conditions is None or conditions.scaffold not in prompt:
            return None
        first, end = prompt.index(conditions.scaffold) + 1, prompt.index(conditions.molecule)
        mol = parsed(tokenizer.decode(prompt[first:end]))
        return None if mol is None else pattern_of(mol)

    def accepted(prompt: Sequence[int], text: Sequence[int]) -> bool:
        mol = parsed(tokenizer.decode(text))
        return mol is not None and all(each(mol, told(tuple(prompt))) for each in fulfilled)

    return accepted
