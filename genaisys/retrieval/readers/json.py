"""JSON and JSON lines: nested keys become headings, lists of like records become tables."""

import json
from collections.abc import Iterator
from typing import Any

from genaisys.retrieval.readers.draft import Draft, UnreadableDocument
from genaisys.retrieval.readers.encoding import decode
from genaisys.retrieval.readers.tables import add_table

MAX_LEVEL = 6
LONG_TEXT = 200  # characters; a longer value is a paragraph of its own
_NAMES = ("title", "name", "label", "id", "key")  # the fields that say what a record is about


def read_json(content: bytes) -> Draft:
    try:
        value = _parse(decode(content))
    except ValueError as error:
        raise UnreadableDocument(f"is not valid JSON: {error}") from error
    return _draft(value)


def read_jsonl(content: bytes) -> Draft:
    values = []
    for number, line in enumerate(decode(content).split("\n"), start=1):
        if line.strip():
            try:
                values.append(_parse(line))
            except json.JSONDecodeError as error:
                reason = f"in line {number}: {error.msg} at column {error.colno}"
                raise UnreadableDocument(f"is not valid JSON {reason}") from error
    return _draft(values)


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_int=str, parse_float=str)  # numbers stay as they are written
    except RecursionError as error:
        raise UnreadableDocument("nests too deeply for a JSON document; flatten it") from error


def _draft(value: Any) -> Draft:
    draft = Draft()
    if isinstance(value, dict):
        draft.title = next((value[name] for name in ("title", "name") if isinstance(value.get(name), str)), "")
    for level, key, content in _walk(value):
        if isinstance(content, list):  # of records that make a table
            draft.heading(key, level)
            keys = list(content[0])
            add_table(draft, [keys, *([_scalar(record[field]) for field in keys] for record in content)])
        elif content is None:
            draft.heading(key, level)
        elif len(content) > LONG_TEXT:
            draft.paragraph(f"{key}: {content}" if key else content)
        else:
            draft.item(f"{key}: {content}" if key else content)
    return draft


def _walk(root: Any) -> Iterator[tuple[int, str, Any]]:
    """What is to be written, in order: (level, heading, None), (level, heading, records) or (level, key, text).

    The parser bounds the depth, but the order is kept by a list and not by recursion.
    """
    waiting: list[tuple[int, str, Any]] = [(1, "", root)]
    while waiting:
        level, key, value = waiting.pop()
        if isinstance(value, list) and _are_records(value):
            yield level, key, value
        elif isinstance(value, list) and all(_is_short(element) for element in value):
            yield level, key, ", ".join(filter(None, map(_scalar, value)))
        elif isinstance(value, dict | list):
            if key:
                yield level, key, None
                level = min(level + 1, MAX_LEVEL)
            members = value.items() if isinstance(value, dict) else _named(value)
            # Text that belongs to the value itself comes before the headings of its parts.
            ordered = sorted(members, key=lambda member: isinstance(member[1], dict | list))
            waiting.extend((level, str(name), member) for name, member in reversed(ordered))
        else:
            yield level, key, _scalar(value)


def _named(values: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict):
            name = next((value[name] for name in _NAMES if isinstance(value.get(name), str)), f"No. {number}")
            yield name, value
        else:
            yield ("", value) if not isinstance(value, list) else (f"No. {number}", value)


def _are_records(values: list[Any]) -> bool:
    """Whether the values are objects of the same keys with short values, the rows of a table."""
    if len(values) < 2 or not isinstance(values[0], dict) or len(values[0]) < 2:
        return False
    keys = values[0].keys()
    return all(
        isinstance(value, dict) and value.keys() == keys and all(map(_is_short, value.values())) for value in values
    )


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and (not isinstance(value, str) or len(value) <= LONG_TEXT)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
    return str(value)
