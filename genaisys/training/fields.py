"""Recipes into dataclasses: every key is known, and every value is of its type, or the key is named in the error."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from genaisys.errors import GenaisysError

T = TypeVar("T")

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


class RecipeWrong(GenaisysError):
    """A recipe that cannot be followed; the message names the key."""


def filled(kind: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass ``kind`` with the given values.

    Args:
        where: the key that the values stand under, for errors; empty for the whole recipe.

    Raises:
        RecipeWrong: a key is not known or is lacking, or a value is of another type.
    """
    if not isinstance(values, Mapping):
        raise RecipeWrong(f"{where or 'a recipe'} must hold keys and values, and is {_shown(values)}")
    types = get_type_hints(kind)
    known = [field for field in fields(kind) if field.init]  # type: ignore[arg-type]
    require_known(values, [field.name for field in known], where)
    for field in known:
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise RecipeWrong(f"the recipe lacks {_key(where, field.name)}")
    return kind(**{name: typed(value, types[name], _key(where, name)) for name, value in values.items()})


def require_known(keys: Iterable[Any], known: Iterable[str], where: str) -> None:
    """Raises: RecipeWrong: a key is not among the known ones; the message has the nearest of them."""
    known = list(known)
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there may be {', '.join(known)}"
            raise RecipeWrong(f"nothing is called {_key(where, str(key))}: {advice}")


def chosen(name: Any, table: Mapping[str, T], where: str) -> T:
    """The entry of ``table`` that ``name`` names.

    Raises:
        RecipeWrong: there is none; the message has the names.
    """
    if not isinstance(name, str) or name not in table:
        near = get_close_matches(str(name), table, n=1)
        advice = f"did you mean {near[0]}?" if near else f"it may be {', '.join(table)}"
        raise RecipeWrong(f"{where} is {_shown(name)}: {advice}")
    return table[name]


def typed(value: Any, kind: Any, where: str) -> Any:
    """``value`` as ``kind``: a dataclass, a union, a Literal, a tuple, or a plain type.

    Raises:
        RecipeWrong: it is of another type.
    """
    if is_dataclass(kind) and isinstance(kind, type):
        return filled(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return typed(value, kind, where)
    if origin is Literal:
        return chosen(value, {argument: argument for argument in arguments}, where)
    if origin is tuple:
        items = value if isinstance(value, list) else None
        kinds = arguments[:1] * len(items or ()) if arguments[-1] is Ellipsis else arguments
        if items is None or len(items) != len(kinds):
            number = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
            raise RecipeWrong(f"{where} must be a list{number}, and is {_shown(value)}")
        return tuple(typed(item, kind, where) for item, kind in zip(items, kinds, strict=True))
    return _plain(value, kind, where)


def _plain(value: Any, kind: type, where: str) -> Any:
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            value = float(value)  # YAML reads 1e-3 as text
    if type(value) is float and not math.isfinite(value):
        raise RecipeWrong(f"{where} is {value}: it must be a finite number")
    if type(value) is not kind:
        raise RecipeWrong(f"{where} must be {_NAMES[kind]}, and is {_shown(value)}")
    return value


def _key(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(value: Any) -> str:
    text = reprlib.repr(value)  # of YAML's aliases, which can stand for more than fits into memory
    return text if len(text) <= 60 else f"{text[:57]}..."
