"""Documents, their structure, and the chunks that are searched.

All spans are half-open character offsets into ``Document.text``, so that a quotation can always be found again:
``document.text[start:end]`` *is* the quotation.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

BlockKind = Literal["heading", "paragraph", "item", "row", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """A unit of a document's structure: a heading, a paragraph, a list item, a table row or a piece of code."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0  # headings only: 1 is the highest
    page: int | None = None  # 1-based page, slide or sheet, where the format has them
    header: str = ""  # rows only: the table's header row, which gives the cells their meaning


@dataclass(frozen=True)
class Document:
    """The text of one source, with its structure.

    Attributes:
        source: the key of a document in its collection: a POSIX path relative to the indexed folder, or a file name.
        title: from the document itself where it has one, else from its file name.
        text: the whole readable text; every span refers to it.
        blocks: in reading order, not overlapping; text between blocks is white space.
        media_type: for example ``application/pdf``.
        content_hash: SHA-256 of the raw bytes, in hexadecimal; unchanged files are recognised by it.
        metadata: whatever else the format tells (author, date, ...); filters may name these keys.
    """

    source: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    media_type: str
    content_hash: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A passage of one document: what is encoded, searched and cited.

    Attributes:
        text: exactly ``document.text[start:end]``.
        context: where the passage stands (title, headings, table header). It is encoded and searched with the text
            but never quoted.
        sentences: spans of the sentences inside the passage, as offsets into ``Document.text``, in order.
    """

    source: str
    ordinal: int  # position among the document's chunks, from 0
    text: str
    start: int
    end: int
    page: int | None = None
    context: str = ""
    sentences: tuple[tuple[int, int], ...] = ()

    @cached_property
    def id(self) -> str:
        """A content hash: equal passages at equal places of equal sources have equal ids."""
        key = "\0".join((self.source, str(self.start), str(self.end), self.context, self.text))
        return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Hit:
    """A passage that a search found. A higher score is better; scores of one search are comparable."""

    chunk: Chunk
    score: float
    sentence_scores: tuple[float, ...] = ()  # one per sentence of the chunk, higher is better
