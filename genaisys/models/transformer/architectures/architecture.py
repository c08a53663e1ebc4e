"""What an architecture of Hugging Face is to us: its settings and its tensors, in its words and in ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointUnsupported
from genaisys.models.transformer.config import TransformerConfig

# How a tensor of theirs holds one of ours: as it is; with the axes of its weight swapped (their Conv1D); as one third
# of such a one; or behind two rows that are not used.
Layout = Literal["plain", "transposed", "first third", "second third", "last third", "after two rows"]

_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Architecture:
    """One architecture of Hugging Face.

    Attributes:
        name: as ``architectures`` in ``config.json`` has it, and ``model_type`` its short name there.
        defaults: what transformers takes for settings that ``config.json`` leaves out.
        read: settings to fields of TransformerConfig, but for those that all architectures name alike.
        write: the other way round.
        modules: our modules to theirs, ``{}`` standing for the number of the block.
    """

    name: str
    model_type: str
    defaults: Mapping[str, Any]
    read: Callable[[Settings], dict[str, Any]]
    write: Callable[[TransformerConfig], dict[str, Any]]
    modules: Mapping[str, tuple[str, Layout]]

    def stored(self, name: str) -> tuple[str, Layout]:
        """The name of the tensor that holds our tensor ``name``, and how it does."""
        module, _, kind = name.rpartition(".")
        block = next((part for part in module.split(".") if part.isdigit()), "")
        theirs, layout = self.modules[module.replace(f".{block}.", ".{}.", 1) if block else module]
        return f"{theirs.format(block)}.{kind}", layout


class Settings:
    """Settings out of a file, each checked when it is asked for.

    All of its methods raise :class:`CheckpointBroken` where a setting is missing or makes no sense.
    """

    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._settings = {**defaults, **given}

    def given(self, name: str, default: Any = None) -> Any:
        """The setting as it is, or ``default`` where it is missing or null."""
        value = self._settings.get(name)
        return default if value is None else value

    def size(self, name: str, default: int | None = None) -> int:
        """A number of things, at least one."""
        size = self.given(name, default)
        if not _is_integer(size) or not 1 <= size <= _LARGEST:
            raise self._wrong(name, size)
        return int(size)

    def integer(self, name: str) -> int:
        value = self.given(name)
        if not _is_integer(value):
            raise self._wrong(name, value)
        return int(value)

    def number(self, name: str, *, most: float = 1e30) -> float:
        """A number from 0 to ``most``."""
        number = self.given(name)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= most:
            raise self._wrong(name, number)
        return float(number)

    def positive(self, name: str) -> float:
        """A number above 0."""
        number = self.number(name)
        if not number:
            raise self._wrong(name, number)
        return number

    def flag(self, name: str) -> bool:
        value = self.given(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, value)
        return value

    def choice(self, name: str, known: Mapping[str, str]) -> str:
        """What ``known`` has for the setting, which is a name."""
        value = self.given(name)
        if not isinstance(value, str) or value not in known:
            raise CheckpointUnsupported(f"{name} {_short(value)} is not known; known are {', '.join(known)}")
        return known[value]

    def require(self, name: str, only: Any) -> None:
        """Refuse any other value than ``only``, which holds where nothing is said."""
        if self.given(name, only) != only:
            raise CheckpointUnsupported(f"{name} {_short(self.given(name))} is not known; known is {only!r}")

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.given(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, value)
        return value

    def tokens(self, name: str, vocabulary: int) -> tuple[int, ...]:
        """A token or several. Those outside the vocabulary, which defaults may bring to small models, are left out."""
        value = self.given(name, [])
        tokens = list(value) if isinstance(value, list | tuple) else [value]
        if not all(map(_is_integer, tokens)):
            raise self._wrong(name, value)
        return tuple(dict.fromkeys(token for token in tokens if 0 <= token < vocabulary))

    def token(self, name: str, vocabulary: int) -> int | None:
        """A token, or None."""
        return next(iter(self.tokens(name, vocabulary)), None)

    def _wrong(self, name: str, value: Any) -> CheckpointBroken:
        return CheckpointBroken(f"the setting {name} is {'missing' if value is None else _short(value)}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return repr(value)[:80]
