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
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from genaisys.training.fields import RecipeWrong, chosen
from genaisys.training.language_models import LanguageModelTraining
from genaisys.training.metrics import Record

SHIPPED = Path(__file__).with_name("recipes")
KINDS: Mapping[str, type[LanguageModelTraining]] = {"language model": LanguageModelTraining}

_LARGEST = 1 << 20  # bytes


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and found right.

    Attributes:
        name: its file's, without the ending.
        steps: of its training, at most.
    """

    name: str
    training: LanguageModelTraining

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
    file = _find(name)
    content = _read(file)
    kind = chosen(content.pop("kind", None), KINDS, "kind")
    return Recipe(file.stem, kind.from_recipe(content, file.parent))


def _find(name: str) -> Path:
    file = Path(name).expanduser()
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name in shipped and not file.is_file():
        return SHIPPED / f"{name}.yaml"
    if file.is_file():
        return file
    near = get_close_matches(name, shipped, n=1)
    advice = f"did you mean {near[0]}?" if near else f"give a YAML file, or one of {', '.join(shipped)}"
    raise RecipeWrong(f"there is no recipe {name}: {advice}")


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST:
            raise RecipeWrong(f"{file} is too large for a recipe")
        content = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise RecipeWrong(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RecipeWrong(f"{file} is not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise RecipeWrong(f"{file} must hold keys and values, such as kind, data and training")
    return content
