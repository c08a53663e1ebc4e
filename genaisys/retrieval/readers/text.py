"""Plain text: paragraphs between blank lines, lists, and headings where the layout shows them."""

import re

from genaisys.retrieval.readers.draft import Draft, clean
from genaisys.retrieval.readers.encoding import decode

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_ITEM = re.compile(r"\s*(?:[-*+•‣◦▪●–]|\(?(?:\d{1,3}|[a-z])[.)])\s+\S")
_RULE = re.compile(r"\s*(?P<mark>[-=~*_^#])(?P=mark){2,}\s*")
_NUMBERED = re.compile(r"(?:\d{1,2}(?:\.\d{1,2}){1,4}\.?|(?:Chapter|Section|Part|Appendix)\s\w+[.:]?)\s+\S")
_SHORT_LINE = 0.6  # of the longest line of its paragraph: a line this short was ended by its writer
_NARROWEST_WRAP = 40  # characters; nobody wraps prose at less


def read_text(content: bytes) -> Draft:
    """``.txt`` and anything else that is plain text."""
    draft = Draft()
    read_text_into(draft, decode(content))
    return draft


def read_text_into(draft: Draft, text: str) -> None:
    for paragraph in _BLANK_LINES.split(clean(text)):
        lines = [line.rstrip() for line in paragraph.split("\n") if line and not line.isspace()]
        _add_paragraph(draft, lines)


def _add_paragraph(draft: Draft, lines: list[str]) -> None:
    level = _heading_level(lines)
    if level:
        draft.heading(lines[0], level)
        lines = lines[1:]
    lines = [line for line in lines if not _RULE.fullmatch(line)]
    if not lines:
        return
    for entry in _entries(lines):
        if _ITEM.match(entry[0]):
            draft.item(" ".join(entry))
        elif _is_wrapped(entry):
            draft.paragraph(" ".join(entry))
        else:
            for line in entry:
                draft.item(line)


def _entries(lines: list[str]) -> list[list[str]]:
    """The lines of a paragraph, divided where a list item begins."""
    entries: list[list[str]] = []
    for line in lines:
        if not entries or _ITEM.match(line):
            entries.append([])
        entries[-1].append(line)
    return entries


def _is_wrapped(lines: list[str]) -> bool:
    """Whether the lines are one running text that was broken at a margin, and not verse, an address or a log."""
    widest = max(map(len, lines))
    return len(lines) == 1 or (
        widest >= _NARROWEST_WRAP and all(len(line) >= _SHORT_LINE * widest for line in lines[:-1])
    )


def _heading_level(lines: list[str]) -> int:
    """The level of the heading that the first of ``lines`` is, or 0."""
    if not lines:
        return 0
    first = lines[0].strip()
    if len(first) > 100 or _RULE.fullmatch(first):
        return 0
    if len(lines) > 1 and _RULE.fullmatch(lines[1]) and len(lines[1].strip()) >= 0.5 * len(first):
        return 1 if lines[1].strip()[0] in "=#" else 2
    if len(lines) > 1 or first[-1] in ".,;:":
        return 0
    if _NUMBERED.match(first):
        return 2 + first.split()[0].strip(".").count(".")
    if first.isupper() and len(first) > 3:
        return 2
    return 0
