"""Cutting documents into the passages that are searched.

A passage stays within one section and one page, holds whole paragraphs where they fit and whole sentences where they
don't, and is about as long as the text encoder can see at once. Headings are not searched on their own: they are the
``context`` of the passages below them.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from genaisys.retrieval.documents import Block, Chunk, Document
from genaisys.retrieval.sentences import sentence_spans

CHUNKER_VERSION = "1"

MAX_TOKENS = 220  # an estimate, see `_count_tokens`; leaves room for the context in an encoder's 256
TINY_TOKENS = 40  # a section this short joins its neighbour
MAX_HEADINGS = 3  # the lowest ones, in the context
MAX_HEADING_CHARACTERS = 120
MAX_HEADER_CHARACTERS = 300

# What it costs to end a passage at a place, on the scale of the cost of a passage's length, (1 - length / maximum)².
AT_TERM, AT_BLOCK, AT_BLANK_LINE, AT_LINE, AT_SENTENCE, AFTER_LEAD_IN = 0.0, 0.1, 0.1, 0.6, 0.5, 1.0

_TOKEN = re.compile(r"[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,7}|\d{1,3}|\S")
_CLAUSE_END = re.compile(r"[,;:–—)\]](?=\s)")


@dataclass(slots=True)
class _Unit:
    """What is not cut: a sentence, a table row, a line of code."""

    start: int
    end: int
    tokens: int
    break_cost: float  # of ending a passage just before this unit
    is_sentence: bool = True
    header: str = ""  # rows only


@dataclass(slots=True)
class _Section:
    """The text below one heading, on one page."""

    headings: tuple[str, ...]
    level: int
    page: int | None
    heading_tokens: int
    units: list[_Unit] = field(default_factory=list)
    tokens: int = 0

    def add(self, units: list[_Unit]) -> None:
        self.units += units
        self.tokens += sum(unit.tokens for unit in units)


def chunk_document(document: Document) -> list[Chunk]:
    """The passages of ``document``, in order. All its text except headings is in exactly one of them."""
    chunks: list[Chunk] = []
    for section in _join_tiny(_sections(document)):
        for units in _pack(section):
            start, end = units[0].start, units[-1].end
            chunks.append(
                Chunk(
                    source=document.source,
                    ordinal=len(chunks),
                    text=document.text[start:end],
                    start=start,
                    end=end,
                    page=section.page,
                    context=_context(document.title, section.headings, units[0]),
                    sentences=tuple((unit.start, unit.end) for unit in units if unit.is_sentence),
                )
            )
    return chunks


def _context(title: str, headings: tuple[str, ...], first: _Unit) -> str:
    parts = [heading for heading in headings if heading.casefold() != title.casefold()][-MAX_HEADINGS:]
    path = " > ".join(part[:MAX_HEADING_CHARACTERS] for part in (title, *parts))
    if first.header and first.is_sentence:  # the header row itself is in another passage
        return f"{path}\n{first.header[:MAX_HEADER_CHARACTERS]}"
    return path


def _sections(document: Document) -> Iterator[_Section]:
    path: list[tuple[int, str]] = []  # (level, text) of the headings above the current place
    heading_tokens = 0
    section: _Section | None = None
    blocks = document.blocks
    for index, block in enumerate(blocks):
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        if block.kind == "heading" and following and not _closes(following, block):
            if section:
                yield section
            section = None
            text = document.text[block.start : block.end]
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, text))
            heading_tokens += _count_tokens(text)
            continue
        if section and section.page != block.page:
            yield section
            section = None
        if section is None:
            level = path[-1][0] if path else 0
            section = _Section(tuple(text for _, text in path), level, block.page, heading_tokens)
            heading_tokens = 0
        section.add(_units(document.text, block, following, _break_cost(document.text, blocks, index)))
    if section:
        yield section


def _closes(following: Block, heading: Block) -> bool:
    """Whether nothing stands below ``heading``, so that it is text of its own."""
    return following.kind == "heading" and following.level <= heading.level


def _join_tiny(sections: Iterator[_Section]) -> Iterator[_Section]:
    """Sections, with very short ones joined to a neighbour that is not above them in the outline."""
    last: _Section | None = None
    for section in sections:
        if (
            last
            and last.page == section.page
            and last.level <= section.level
            and min(last.tokens, section.tokens) < TINY_TOKENS
            and last.tokens + section.heading_tokens + section.tokens <= MAX_TOKENS
        ):
            last.add(section.units)
            last.tokens += section.heading_tokens
        else:
            if last:
                yield last
            last = section
    if last:
        yield last


def _units(text: str, block: Block, following: Block | None, break_cost: float) -> list[_Unit]:
    """The units of one block; ``break_cost`` is that of ending a passage just before the block."""
    piece = text[block.start : block.end]
    if block.kind == "row":
        spans = [(0, len(piece))]
    elif block.kind == "code":
        spans = [line.span() for line in re.finditer(r"\S.*", piece)]
    else:
        spans = sentence_spans(piece)
    is_header = bool(block.header) and block.header == piece and following is not None and following.kind == "row"
    units: list[_Unit] = []
    for start, end in spans:
        if units and block.kind == "code":
            break_cost = AT_BLANK_LINE if "\n\n" in text[units[-1].end : block.start + start] else AT_LINE
        elif units:
            break_cost = AT_SENTENCE
        tokens = _count_tokens(piece[start:end])
        start, end = block.start + start, block.start + end
        if tokens <= MAX_TOKENS:
            units.append(_Unit(start, end, tokens, break_cost, not is_header, block.header))
        else:
            units += _cut(text, start, end, break_cost, block.header)
    return units


def _break_cost(text: str, blocks: tuple[Block, ...], index: int) -> float:
    """The cost of ending a passage just before a block."""
    if index:
        previous = blocks[index - 1]
        is_header = previous.kind == "row" and previous.header == text[previous.start : previous.end]
        if text[previous.end - 1] == ":" or is_header or _is_term(text, blocks, index - 1):
            return AFTER_LEAD_IN
    return AT_TERM if _is_term(text, blocks, index) else AT_BLOCK


def _is_term(text: str, blocks: tuple[Block, ...], index: int) -> bool:
    """Whether a block is a term, such as the name of a function, and its definition follows."""
    if blocks[index].kind != "item" or text[blocks[index].end - 1] in ".!?…。！？":
        return False
    opens = index == 0 or blocks[index - 1].kind != "item"  # else it is the last item of a list
    return opens and index + 1 < len(blocks) and blocks[index + 1].kind == "paragraph"


def _cut(text: str, start: int, end: int, break_cost: float, header: str) -> list[_Unit]:
    """Units of a sentence that is too long: cut at a clause, else at a space, else anywhere."""
    units: list[_Unit] = []
    while start < end:
        limit, tokens = start, 0
        for token in _TOKEN.finditer(text, start, end):
            if tokens == MAX_TOKENS:
                break
            limit, tokens = token.end(), tokens + 1
        else:
            limit = end
        stop = limit
        if limit < end:
            middle = (start + limit) // 2
            clauses = [match.end() for match in _CLAUSE_END.finditer(text, middle, limit)]
            space = max(text.rfind(mark, middle, limit) for mark in " \n\t")
            stop = clauses[-1] if clauses else space if space > 0 else limit
        units.append(_Unit(start, stop, _count_tokens(text[start:stop]), break_cost, True, header))
        break_cost = AT_SENTENCE
        start = stop
        while start < end and text[start].isspace():
            start += 1
    return units


def _pack(section: _Section) -> Iterator[list[_Unit]]:
    """The division of a section into passages that costs least: few, evenly filled, and broken at good places."""
    units = section.units
    if section.tokens <= MAX_TOKENS:
        yield units
        return
    cost = [0.0]  # of the best division of the units before each place
    best_start = [0]
    for end in range(1, len(units) + 1):
        tokens, least, chosen = 0, float("inf"), end - 1
        for start in range(end - 1, -1, -1):
            tokens += units[start].tokens
            if tokens > MAX_TOKENS and start < end - 1:
                break
            total = cost[start] + units[start].break_cost + (1 - tokens / MAX_TOKENS) ** 2
            if total < least:
                least, chosen = total, start
        cost.append(least)
        best_start.append(chosen)
    ends = [len(units)]
    while ends[-1] > 0:
        ends.append(best_start[ends[-1]])
    ends.reverse()
    for start, end in itertools.pairwise(ends):
        yield units[start:end]


def _count_tokens(text: str) -> int:
    """About the number of word pieces that a text encoder sees: long words, numbers and CJK characters count more."""
    return len(_TOKEN.findall(text))
