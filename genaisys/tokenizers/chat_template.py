"""Chat templates: the small jinja2 program that comes with a model and writes a conversation the way it was trained on.

A template is somebody else's code. It runs in jinja2's sandbox, and sees copies of plain data only. The settings and
the helpers are those of transformers, for which templates are written.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from genaisys.errors import GenaisysError


class ChatTemplateFailed(GenaisysError):
    """The conversation cannot be written in the model's chat template."""


def render(template: str, variables: Mapping[str, Any]) -> str:
    """What ``template`` writes, given plain data.

    Raises:
        ChatTemplateFailed: the template is broken, or does not take these variables.
    """
    try:
        return _compiled(template).render(variables)
    except Exception as error:  # a template may fail in any way that an expression can
        raise ChatTemplateFailed(f"the chat template refuses this conversation: {_one_line(error)}") from error


def plain(value: Any, text: Callable[[str], str] = str) -> Any:
    """A copy of ``value`` that is made of dicts, lists, numbers and strings only; ``text`` is applied to its strings.

    Keys are left as they are: they are names that programs give.

    Raises:
        ChatTemplateFailed: it holds something else, whose methods a template could call.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(str.__str__(value))
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, text) for item in value]
    raise ChatTemplateFailed(f"a conversation is made of text, numbers, lists and dicts, not of {type(value).__name__}")


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    environment.globals["namespace"] = _Namespace
    return environment.from_string(template)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as models read it; jinja2's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class _Namespace(Namespace):
    """jinja2's ``namespace``, without names by which a template could reach into Python."""

    def __init__(*args: Any, **names: Any) -> None:
        self, *given = args  # so that a template may say namespace(self=...)
        attributes = dict(*given, **names)
        for name in attributes:
            _refuse_private(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore: {name}")


class _Generation(Extension):
    """``{% generation %}`` … ``{% endgeneration %}`` marks what the model says, for training; it writes nothing."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
