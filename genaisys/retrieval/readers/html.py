"""Web pages: their real content in reading order, without navigation, scripts and other boilerplate.

The parser calls back for every tag and no tree is built, so that nesting may be as deep as it likes.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from genaisys.retrieval.readers.draft import Draft, is_header, one_line, row_text
from genaisys.retrieval.readers.encoding import decode


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DROPPED = _words(
    "script style noscript template svg canvas iframe object embed audio video nav button select textarea input label"
    " legend datalist dialog menu map rp rt"
)
_DROPPED_OUTSIDE_ARTICLES = frozenset(("header", "footer", "aside"))
_ARTICLES = frozenset(("main", "article", "section"))
_DROPPED_ROLES = frozenset(
    ("navigation", "search", "banner", "contentinfo", "menu", "menubar", "dialog", "alertdialog")
)
_DROPPED_CLASSES = _words(
    "headerlink anchor-link sphinxsidebar navbar breadcrumb breadcrumbs skip-link skip-to-content cookie-banner"
)
_INVISIBLE_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_BLOCKS = _words(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form h1 h2 h3"
    " h4 h5 h6 header hgroup hr html li main ol p pre section summary table tbody td tfoot th thead tr ul caption"
)
_ITEMS = frozenset(("li", "dt"))
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_DECLARED_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_XML_CHARSET = re.compile(rb"""\A\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]{2,40})""")


def read_html(content: bytes) -> Draft:
    draft = Draft()
    read_markup_into(draft, decode(content, declared_encoding(content)))
    return draft


def declared_encoding(content: bytes) -> str | None:
    """The encoding that a page or an XML file names itself, as Python calls it."""
    declared = _XML_CHARSET.match(content) or _DECLARED_CHARSET.search(content[:4096])
    try:
        name = codecs.lookup(declared[1].decode()).name if declared else None
    except LookupError:
        return None
    return "cp1252" if name in ("iso8859-1", "ascii") else name  # as browsers have it


def read_markup_into(draft: Draft, markup: str) -> None:
    """Adds the content of a page, or of a fragment of one, to ``draft``."""
    page = _Page()
    parser = etree.HTMLParser(target=page, encoding="utf-8", huge_tree=True)
    parser.feed(markup.encode("utf-8", "replace"))
    parser.close()
    for entry in page.content():
        match entry.kind:
            case "heading":
                draft.heading(entry.text, entry.level)
            case "code":
                draft.code(entry.text)
            case "item":
                draft.item(entry.text)
            case "row":
                draft.row([entry.text], entry.header)
            case _:
                draft.paragraph(entry.text)
    title = one_line(page.title)
    if page.first_heading and title.startswith(page.first_heading):
        title = page.first_heading  # without the name of the site
    draft.title = draft.title or title
    draft.metadata = page.metadata | draft.metadata


@dataclass(slots=True)
class _Entry:
    kind: str
    text: str
    level: int = 0
    header: str = ""
    in_main: bool = False


@dataclass(slots=True)
class _Table:
    rows: list[list[list[str]]] = field(default_factory=list)  # the pieces of text of each cell of each row
    named: bool = False  # whether its first row is made of <th> only
    in_cell: bool = False
    is_layout: bool = False  # a table that only arranges the page: its cells hold headings, code or other tables


class _Page:
    """The target of the parser: is told of tags and text, and keeps what a reader would read."""

    def __init__(self) -> None:
        self.title = ""
        self.first_heading = ""
        self.metadata: dict[str, str] = {}
        self._entries: list[_Entry] = []
        self._pending: list[str] = []  # text of the block being read
        self._skipped = 0  # depth inside an element that is dropped
        self._articles = 0
        self._mains: list[int] = []
        self._depth = 0
        self._level = 0  # of the heading being read
        self._code = 0
        self._items: list[bool] = []  # for each open <li>, <dt>, <dd>: whether its text is an item
        self._tables: list[_Table] = []
        self._in_title = False

    def content(self) -> list[_Entry]:
        """The entries of the main part if the page marks one, else all."""
        main = [entry for entry in self._entries if entry.in_main]
        return main if any(entry.kind != "heading" for entry in main) else self._entries

    # Called by the parser.

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._skipped:
            self._skipped += 1
            return
        outside = tag in _DROPPED_OUTSIDE_ARTICLES and not self._articles and not self._mains
        if outside or tag in _DROPPED or (attributes and _is_dropped(attributes)):
            self._skipped = 1
            return
        self._depth += 1
        if attributes and (tag == "main" or attributes.get("role") == "main"):
            self._flush()
            self._mains.append(self._depth)
        if tag in _BLOCKS:
            self._start_block(tag)
        elif tag == "br":
            if self._pending and self._pending[-1] == "\n" and not self._code:
                self._flush()
            self._pending.append("\n")
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "meta" and attributes.get("name", "").lower() in ("author", "date", "keywords", "description"):
            self.metadata[attributes["name"].lower()] = attributes.get("content", "")

    def end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        if tag in _BLOCKS:
            self._end_block(tag)
        elif tag == "title":
            self._in_title = False
        if self._mains and self._mains[-1] == self._depth:
            self._flush()
            self._mains.pop()
        self._depth -= 1

    def data(self, text: str) -> None:
        if self._skipped:
            return
        if self._in_title:
            self.title += text
        else:
            self._pending.append(text)

    def close(self) -> "_Page":
        self._flush()
        while self._tables:
            self._end_table()
        return self

    # Blocks.

    def _start_block(self, tag: str) -> None:
        table = self._tables[-1] if self._tables else None
        if table and table.in_cell and not table.is_layout and _arranges_page(tag, table):
            table.is_layout = True
            self._add_rows(table)
        self._flush()
        if tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        elif tag == "pre":
            self._code += 1
        elif tag in _ITEMS or tag == "dd":
            self._items.append(tag in _ITEMS)
        elif tag in _ARTICLES:
            self._articles += 1
        elif tag == "table":
            self._tables.append(_Table())
        elif table and tag == "tr":
            table.rows.append([])
            table.named = table.named or len(table.rows) == 1
        elif table and tag in ("td", "th"):
            if not table.rows:
                table.rows.append([])
            table.rows[-1].append([])
            table.in_cell = True
            if tag == "td" and len(table.rows) == 1:
                table.named = False

    def _end_block(self, tag: str) -> None:
        self._flush()
        if tag in _HEADINGS:
            self._level = 0
        elif tag == "pre":
            self._code = max(0, self._code - 1)
        elif tag in _ITEMS or tag == "dd":
            if self._items:
                self._items.pop()
        elif tag in _ARTICLES:
            self._articles -= 1
        elif tag in ("td", "th"):
            if self._tables:
                self._tables[-1].in_cell = False
        elif tag == "table" and self._tables:
            self._end_table()

    def _flush(self) -> None:
        """Ends the block being read."""
        if not self._pending:
            return
        text = "".join(self._pending)
        self._pending.clear()
        if not text or text.isspace():
            return
        table = self._tables[-1] if self._tables else None
        if table and table.in_cell and not table.is_layout:
            table.rows[-1][-1].append(text)
        elif self._level:
            self.first_heading = self.first_heading or one_line(text)
            self._add("heading", text, self._level)
        elif self._code:
            self._add("code", text)
        else:
            self._add("item" if self._items and self._items[-1] else "paragraph", text)

    def _end_table(self) -> None:
        self._add_rows(self._tables.pop())

    def _add_rows(self, table: _Table) -> None:
        rows = [[" ".join(cell) for cell in row] for row in table.rows if any(row)]
        table.rows = []
        if not rows:
            return
        header = row_text(rows[0]) if len(rows) > 1 and (table.named or is_header(rows[0])) else ""
        for row in rows:
            if sum(map(bool, row)) == 1:
                self._add("paragraph", " ".join(row))
            else:
                self._add("row", row_text(row), header=header)

    def _add(self, kind: str, text: str, level: int = 0, header: str = "") -> None:
        self._entries.append(_Entry(kind, text, level, header, bool(self._mains)))


def _arranges_page(tag: str, table: _Table) -> bool:
    """Whether ``tag`` inside a cell tells that the table holds no data: a heading, or lists in the first row, say."""
    return tag in _HEADINGS or tag in ("pre", "table") or (tag in ("ul", "ol", "dl") and len(table.rows) == 1)


def _is_dropped(attributes: Mapping[str, Any]) -> bool:
    """Whether an element is not shown, or belongs to the site and not to the page."""
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in _DROPPED_ROLES
        or not _DROPPED_CLASSES.isdisjoint(attributes.get("class", "").split())
        or ("style" in attributes and bool(_INVISIBLE_STYLE.search(attributes["style"])))
    )
