"""Recipes: YAML files that say everything about a training.

    kind: language model
    data: {files: [my-notes.txt]}
    tokenizer: {kind: character}
    model: {preset: gpt, context_length: 128, layers: 4, width: 128, heads: 4}
    training: {steps: 1000, learning_rate: 1e-3}

What a recipe names is looked up in dicts here in the code; nothing is imported by a name that data gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genaisys.training.conditional_molecules import ConditionalTraining
from genaisys.training.language_models import LanguageModelTraining
from genaisys.training.metrics import Record
from genaisys.training.recipe_files import find_recipe, read_recipe

KINDS: Mapping[str, type[LanguageModelTraining | ConditionalTraining]] = {
    "language model": LanguageModelTraining,
    "conditional molecules": ConditionalTraining,
}


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and found right.

    Attributes:
        name: its file's, without the ending.
        steps: of its training, at most.
    """

    name: str
    training: LanguageModelTraining | ConditionalTraining

    @property
    def steps(self) -> int:
        return self.training.settings.steps

    def run(self, output: Path, on_record: Callable[[Record], None] = lambda record: None) -> dict[str, Any]:
        """Train into the folder ``output``, or go on there, and report: the numbers, as JSON.

        Raises:
            GenaisysError: see :func:`genaisys.training.loop.train`; or the data cannot be had.
        """
        return self.training.run(self.name, output, on_record)


def open_recipe(name: str) -> Recipe:
    """The recipe in the file ``name``, or the shipped one that is called so.

    Raises:
        RecipeWrong: there is none, or it cannot be followed; the message names the key.
    """
    file = find_recipe(name)
    content = read_recipe(file, "train")
    kind = KINDS[content.pop("kind")]
    return Recipe(file.stem, kind.from_recipe(content, file.parent))
