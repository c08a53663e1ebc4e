"""The models that write molecules: those that are shipped, by name, and a user's own."""

from __future__ import annotations

from pathlib import Path

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM
from genaisys.molecules.reach import require_reach
from genaisys.molecules.wishes import Wishes

SHIPPED = Path(__file__).with_name("weights")


class GeneratorMissing(GenaisysError):
    """There is no such model here."""


def load_generator(name: str) -> TransformerLM:
    """The model called ``name``: a shipped one, or the folder that `genaisys train` has written.

    Raises:
        GeneratorMissing: there is none; the message says how to get it.
        GenaisysError: see :meth:`TransformerLM.from_pretrained`.
    """
    if folder := shipped(name):
        return TransformerLM.from_pretrained(folder)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return TransformerLM.from_pretrained(folder)
    raise GeneratorMissing(
        f"there is no model {name}: {' and '.join(sorted(each.name for each in SHIPPED.iterdir()))} are shipped; "
        "or train one with `genaisys train smiles-gpt`, and give its folder as --model"
    )


def generator_for(wishes: Wishes, model: str | None = None) -> str:
    """The name of a model for them: ``model``, or the shipped one that can be told, where anything is wished.

    Raises:
        WishImpossible: it is a shipped one, and they are out of its reach; see :func:`require_reach`.
    """
    name = model or ("smiles-gpt-conditional" if wishes else "smiles-gpt")
    if shipped(name):
        require_reach(wishes)
    return name


def shipped(name: str) -> Path | None:
    """The folder of the shipped model ``name``, if there is one; ``./name`` is one's own."""
    folder = SHIPPED / name
    return folder if name == folder.name and (folder / "config.json").is_file() else None
