"""The models that write molecules: those that are shipped, by name, and a user's own."""

from __future__ import annotations

from pathlib import Path

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM

SHIPPED = Path(__file__).with_name("weights")


class GeneratorMissing(GenaisysError):
    """There is no such model here."""


def load_generator(name: str) -> TransformerLM:
    """The model called ``name``: a shipped one, or the folder that `genaisys train` has written.

    Raises:
        GeneratorMissing: there is none; the message says how to get it.
        GenaisysError: see :meth:`TransformerLM.from_pretrained`.
    """
    shipped = SHIPPED / name
    if (shipped / "config.json").is_file():
        return TransformerLM.from_pretrained(shipped)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return TransformerLM.from_pretrained(folder)
    raise GeneratorMissing(
        f"there is no model {name}: train one with `genaisys train smiles-gpt`, and give its folder as --model"
    )
