"""Files to fine-tune with: JSON lines in the shapes that TRL reads.

conversations  ``{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}``, or
               ``{"prompt": …, "completion": …}``, both texts or both lists of messages
preferences    ``{"prompt": …, "chosen": …, "rejected": …}``, all texts or all lists of messages
labels         ``{"text": "…", "label": "…"}``

Other keys of a line are ignored; those of a message are not, since what they ask for would not be done. All lines are
read before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from genaisys.errors import GenaisysError

_LARGEST_FILE, _LONGEST_LINE = 1 << 28, 1 << 20  # bytes
_ROLES = ("system", "user", "assistant", "tool")
_SHOWN = 3  # broken lines in an error

T = TypeVar("T")
Messages = tuple[Mapping[str, str], ...]


class ExamplesBroken(GenaisysError):
    """A file of examples that cannot be used; the message names the lines."""


class _LineBroken(Exception):
    """What is wrong with one line."""


@dataclass(frozen=True)
class Chat:
    """A conversation.

    Attributes:
        messages: each with ``role`` and ``content``.
        first: what the assistant says from this message on is learned.
    """

    messages: Messages
    first: int = 0


@dataclass(frozen=True)
class Continuation:
    """A text and what follows it, without a chat template."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Preference:
    """Two ways to go on after the same prompt, one better than the other."""

    chosen: Chat | Continuation
    rejected: Chat | Continuation


@dataclass(frozen=True)
class Labelled:
    """A text of a class."""

    text: str
    label: str


def read_examples(file: Path, kind: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """One example for each line of ``file``; blank lines are skipped.

    Args:
        kind: :func:`conversation`, :func:`preference` or :func:`labelled`.

    Raises:
        ExamplesBroken: the file cannot be read, is too large, or has no or broken lines.
    """
    examples, broken = [], []
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ExamplesBroken(f"{file} is too large: examples may have {_LARGEST_FILE >> 20} MiB")
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    examples.append(kind(_object(line)))
                except _LineBroken as error:
                    broken.append(f"line {number} {error}")
    except OSError as error:
        raise ExamplesBroken(f"{file} cannot be read: {error.strerror}") from error
    if broken:
        more = f"; and {len(broken) - _SHOWN} more lines" if len(broken) > _SHOWN else ""
        raise ExamplesBroken(f"{file} cannot be learned from: {'; '.join(broken[:_SHOWN])}{more}")
    if not examples:
        raise ExamplesBroken(f"{file} holds no examples")
    return examples


def examples_of(name: str, lines: Iterable[Mapping[str, Any]], kind: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """The examples of the data set called ``name``, which has these lines.

    Raises:
        ExamplesBroken: they are of another kind.
    """
    try:
        return [kind(line) for line in lines]
    except _LineBroken as error:
        raise ExamplesBroken(f"{name} is for another kind of recipe: each line {error}") from None


def conversation(line: Mapping[str, Any]) -> Chat | Continuation:
    """A line of ``messages``, or of ``prompt`` and ``completion``."""
    if "messages" in line:
        return _chat(_messages(line, "messages"), 0)
    if "prompt" in line and "completion" in line:
        return _joined(line, "completion")
    raise _LineBroken("has neither messages nor prompt and completion")


def preference(line: Mapping[str, Any]) -> Preference:
    """A line of ``prompt``, ``chosen`` and ``rejected``."""
    if missing := [key for key in ("prompt", "chosen", "rejected") if key not in line]:
        raise _LineBroken(f"has no {missing[0]}")
    if line["chosen"] == line["rejected"]:
        raise _LineBroken("prefers an answer to itself")
    return Preference(_joined(line, "chosen"), _joined(line, "rejected"))


def labelled(line: Mapping[str, Any]) -> Labelled:
    """A line of ``text`` and ``label``."""
    return Labelled(_text(line, "text"), _text(line, "label"))


def _object(line: bytes) -> Mapping[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise _LineBroken(f"is longer than {_LONGEST_LINE >> 20} MiB")
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _LineBroken("is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _LineBroken(f"is not JSON ({' '.join(str(error).split())})") from None
    if not isinstance(value, dict):
        raise _LineBroken("is not a JSON object")
    return value


def _joined(line: Mapping[str, Any], key: str) -> Chat | Continuation:
    """The prompt and what is learned after it."""
    prompt, completion = line["prompt"], line[key]
    if isinstance(prompt, str) and isinstance(completion, str):
        return Continuation(prompt, _text(line, key))
    if isinstance(prompt, list) and isinstance(completion, list):
        before = _messages(line, "prompt")
        return _chat(before + _messages(line, key), len(before))
    raise _LineBroken(f"must have texts or lists of messages as both prompt and {key}")


def _chat(messages: Messages, first: int) -> Chat:
    roles = [message["role"] for message in messages]
    opening = roles[1:2] if roles[:1] == ["system"] else roles[:1]
    if opening != ["user"]:
        raise _LineBroken("does not begin with a user's message, or a system message and a user's")
    said = [message["content"] for message in messages[first:] if message["role"] == "assistant"]
    if not said:
        raise _LineBroken("has no assistant's message to learn")
    if not all(map(str.strip, said)):
        raise _LineBroken("has an assistant's message without text")
    return Chat(messages, first)


def _messages(line: Mapping[str, Any], key: str) -> Messages:
    messages = line[key]
    if not isinstance(messages, list):
        raise _LineBroken(f"has {key} that are no list")
    for number, message in enumerate(messages, start=1):
        where = f"message {number} of {key}"
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise _LineBroken(f"has no role and content in {where}")
        if others := sorted(message.keys() - {"role", "content"}):
            raise _LineBroken(f"has {others[0]!r} in {where}: only role and content are learned from")
        if message["role"] not in _ROLES:
            raise _LineBroken(f"has the role {str(message['role'])[:40]!r} in {where}: it may be {', '.join(_ROLES)}")
        if not isinstance(message["content"], str):
            raise _LineBroken(f"has a content that is no text in {where}")
    return tuple(messages)


def _text(line: Mapping[str, Any], key: str) -> str:
    text = line.get(key)
    if not isinstance(text, str) or not text.strip():
        raise _LineBroken(f"has no text as {key}")
    return text
