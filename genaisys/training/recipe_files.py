"""Files of recipes: found by path, or by name among those that are shipped, and read as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml

from genaisys.training.fields import RecipeWrong, chosen

Command = Literal["train", "finetune"]

SHIPPED = Path(__file__).with_name("recipes")
COMMANDS: Mapping[str, Command] = {  # which of them follows recipes of a kind
    "language model": "train",
    "conditional molecules": "train",
    "conversations": "finetune",
    "preferences": "finetune",
    "labels": "finetune",
    "texts": "finetune",
    "verdicts": "finetune",
}

_LARGEST = 1 << 20  # bytes


def find_recipe(name: str) -> Path:
    """The file ``name``, or the shipped recipe that is called so.

    Raises:
        RecipeWrong: there is neither.
    """
    file = Path(name).expanduser()
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name in shipped and not file.is_file():
        return SHIPPED / f"{name}.yaml"
    if file.is_file():
        return file
    near = get_close_matches(name, shipped, n=1)
    advice = f"did you mean {near[0]}?" if near else f"give a YAML file, or one of {', '.join(shipped)}"
    raise RecipeWrong(f"there is no recipe {name}: {advice}")


def read_recipe(file: Path, command: Command) -> dict[str, Any]:
    """What the file holds, its ``kind`` among it, which is one that ``command`` follows.

    Raises:
        RecipeWrong: it cannot be read, or it is for the other command.
    """
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
    kind = content.get("kind")
    other = chosen(kind, COMMANDS, "kind")
    if other != command:
        name = file.stem if file.parent == SHIPPED else file
        raise RecipeWrong(f"{name} is a recipe of the kind {kind}: follow it with genaisys {other} {name}")
    return content
