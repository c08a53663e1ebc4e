"""What a model of molecules is told before it writes some that are judged: nothing, or what is true of known ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.annotations import Annotations, annotated
from genaisys.molecules.conditions import Conditions, conditions_of, opening
from genaisys.training.conditional_molecules import conditioned
from genaisys.training.fields import RecipeWrong
from genaisys.training.finetuning.verdicts import Prompts
from genaisys.training.texts import TextData, training_and_held_out

_ROOM = 32  # tokens that must be left for a molecule


def untold(model: TransformerLM, held_out: int) -> tuple[Prompts, Prompts]:
    """The one prompt that tells nothing, to learn from and, so many times, to measure with."""
    return Prompts([opening(model)]), Prompts([*repeat(opening(model), held_out)])


def told(
    model: TransformerLM, data: TextData, folder: Path, held_out: int, tell: Callable[[str], None]
) -> tuple[Prompts, Prompts]:
    """Prompts that tell some of the properties of molecules, and a scaffold: to learn from, and at most ``held_out``.

    Args:
        tell: is given how far it has come.

    Raises:
        RecipeWrong: the model cannot be told anything, or the data are no molecules.
    """
    conditions = None if model.tokenizer is None else conditions_of(model.tokenizer)
    if conditions is None:
        raise RecipeWrong("data tell what molecules are wished: this model cannot be told anything, so leave them out")
    if not data.of_molecules:
        raise RecipeWrong("data are no molecules: name moses or drugs, or files with document: molecule")
    molecules = training_and_held_out(data, folder)

    def of(part: list[str], seed: int) -> Prompts:
        known = annotated(part, lambda done: tell(f"properties of molecules: {done:,} of {len(part):,}"))
        return Prompts([*_prompts(model, conditions, part, known, seed)])

    return of(molecules.learned, 0), of(molecules.held_out[:held_out], 1)


def _prompts(
    model: TransformerLM, conditions: Conditions, molecules: list[str], known: Annotations, seed: int
) -> Iterator[list[int]]:
    assert model.tokenizer is not None
    spelled, generator = [[each] for each in molecules], np.random.default_rng(seed)
    for text in conditioned(model.tokenizer, conditions, spelled, known, generator):
        prompt = [model.config.start, *text[: text.index(conditions.molecule) + 1]]
        if len(prompt) + _ROOM <= model.config.context_length:
            yield prompt
