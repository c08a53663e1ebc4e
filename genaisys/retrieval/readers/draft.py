"""A document while it is being read: cleaned text and its structure, block by block."""

import re
import unicodedata
from collections.abc import Sequence

from genaisys.errors import GenaisysError
from genaisys.retrieval.documents import Block, BlockKind, Document

MAX_TEXT_CHARACTERS = 20_000_000
MAX_TITLE_CHARACTERS = 300
TITLE_BLOCKS = 3  # a heading among the first blocks may be the title
CELL_SEPARATOR = " | "


class UnreadableDocument(GenaisysError):
    """A file that can't be read as a document, with the reason."""


class Draft:
    """Collects the blocks of a document in reading order and keeps their spans right.

    Attributes:
        title: what the document calls itself; where it does not say, its first heading serves, then its file name.
        metadata: whatever else the format tells.
    """

    def __init__(self) -> None:
        self.title = ""
        self.metadata: dict[str, str] = {}
        self.blocks: list[Block] = []
        self._first_heading = ""
        self._pieces: list[str] = []
        self._length = 0

    def heading(self, text: str, level: int, page: int | None = None) -> None:
        line = one_line(text)
        if len(self.blocks) < TITLE_BLOCKS:
            self._first_heading = self._first_heading or line
        self._add("heading", line, level=level, page=page)

    def paragraph(self, text: str, page: int | None = None) -> None:
        self._add("paragraph", one_line(text), page=page)

    def item(self, text: str, page: int | None = None) -> None:
        self._add("item", one_line(text), page=page)

    def code(self, text: str, page: int | None = None) -> None:
        lines = [line.rstrip() for line in clean(text).split("\n")]
        self._add("code", "\n".join(lines).strip("\n"), page=page)

    def row(self, cells: Sequence[str], header: str = "", page: int | None = None) -> str:
        """Adds a table row under its ``header``, the text of the header row. Returns the text of the row."""
        text = row_text(cells)
        self._add("row", text, page=page, header=header)
        return text

    def _add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None, header: str = "") -> None:
        if not text or text.isspace():
            return
        if self.blocks:
            together = kind == self.blocks[-1].kind and kind in ("row", "item")
            separator = "\n" if together else "\n\n"
            self._pieces.append(separator)
            self._length += len(separator)
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        if self._length > MAX_TEXT_CHARACTERS:
            raise UnreadableDocument(f"holds more than {MAX_TEXT_CHARACTERS:,} characters of text; split it into parts")
        self.blocks.append(Block(kind, start, self._length, level, page, header))

    def document(self, source: str, fallback_title: str, media_type: str, content_hash: str) -> Document:
        metadata = {key: one_line(value) for key, value in self.metadata.items()}
        return Document(
            source=source,
            title=(one_line(self.title) or self._first_heading or one_line(fallback_title))[:MAX_TITLE_CHARACTERS],
            text="".join(self._pieces),
            blocks=tuple(self.blocks),
            media_type=media_type,
            content_hash=content_hash,
            metadata={key: value for key, value in metadata.items() if value},
        )


def row_text(cells: Sequence[str]) -> str:
    """The cells of a table row as one line; empty cells at its end are dropped."""
    texts = [one_line(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return CELL_SEPARATOR.join(texts).strip()


def is_header(cells: Sequence[str]) -> bool:
    """Whether the first row of a table names the columns: distinct words and no numbers."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    distinct = len(set(names)) == len(names) and all(names)
    return len(names) > 1 and distinct and not any(_NUMBER.fullmatch(name) for name in names)


_NUMBER = re.compile(r"[-+(]?[^\w\s]?\d[\d\s.,:/%)-]*\w{0,3}")
# Invisible characters that break words apart for a search: controls, soft hyphens, zero-width marks, lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffc]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")


def clean(text: str) -> str:
    """Readable text: line ends are ``\\n``, invisible characters are gone, letters are composed (NFC)."""
    if text.isascii() and text.isprintable():
        return text
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))


def one_line(text: str) -> str:
    """Clean text with every run of white space made one space."""
    return " ".join(clean(text).split())
