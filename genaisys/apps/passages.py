"""A document opened at a passage: the text around it, in the document's own structure, with the passage highlighted."""

from __future__ import annotations

import re

from genaisys.apps.markup import place, shown
from genaisys.retrieval.documents import Block, Document

CONTEXT = 8000  # characters shown before and after the passage; a book would choke the browser

_NUMBER = re.compile(r"\s*(\w{1,4}[.)]|[-*•‣–])\s")  # an item that brings its own mark
_TAGS = {"heading": "h3", "paragraph": "p", "item": "p", "row": "p", "code": "pre"}


def render_passage(document: Document, start: int, end: int) -> str:
    """``document`` around ``text[start:end]``, which is highlighted, as HTML. An empty span shows the beginning."""
    first, last = max(0, start - CONTEXT), min(len(document.text), end + CONTEXT)
    blocks = [block for block in document.blocks if block.start < last and block.end > first]
    page = next((block.page for block in blocks if block.start < end and block.end > start), None)
    body = [_cut("Earlier text is not shown here.")] if first > 0 else []
    shown_page = None
    for block in blocks:
        if block.page not in (None, shown_page):
            shown_page = block.page
            body.append(f"<div class='pagebreak'><span>Page {block.page}</span></div>")
        body.append(_block(document.text, block, (max(block.start, first), min(block.end, last)), (start, end)))
    if last < len(document.text):
        body.append(_cut("Later text is not shown here."))
    return (
        "<section class='reader' role='dialog' aria-label='The passage in its document'><header>"
        f"<div><h2>{shown(document.title)}</h2>{place(document.source, page)}</div>"
        "<button class='close' data-do='close' aria-label='Close'>×</button></header>"
        f"<div class='text' tabindex='0'>{''.join(body)}</div></section>"
    )


def _block(text: str, block: Block, visible: tuple[int, int], passage: tuple[int, int]) -> str:
    first, last = visible
    start, end = (min(max(offset, first), last) for offset in passage)
    marked = f"<mark>{shown(text[start:end])}</mark>" if start < end else ""
    inner = f"{shown(text[first:start])}{marked}{shown(text[end:last])}"
    tag, attributes = _TAGS[block.kind], f"class='{block.kind}'"
    if block.kind == "heading":
        attributes += f" data-level='{block.level}'"
    elif block.kind == "item" and _NUMBER.match(text, block.start):
        attributes += " data-numbered"
    elif block.kind == "row" and block.header:
        attributes += f" title='{shown(block.header)}'"
    return f"<{tag} {attributes}>{inner}</{tag}>"


def _cut(note: str) -> str:
    return f"<p class='cut'>{note}</p>"
