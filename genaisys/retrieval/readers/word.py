"""Word documents (docx)."""

import io
from collections.abc import Iterator
from typing import Any

import docx
from docx.oxml.ns import qn

from genaisys.retrieval.readers.archives import open_archive
from genaisys.retrieval.readers.draft import Draft
from genaisys.retrieval.readers.tables import add_table

_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT, _SPACES = qn("w:t"), frozenset((qn("w:tab"), qn("w:br"), qn("w:cr")))
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # repeats its text box


def read_docx(content: bytes) -> Draft:
    open_archive(content).close()
    document = docx.Document(io.BytesIO(content))
    draft = Draft()
    properties = document.core_properties
    draft.title = properties.title
    draft.metadata = {"author": properties.author, "subject": properties.subject, "keywords": properties.keywords}
    if properties.created:
        draft.metadata["date"] = properties.created.date().isoformat()
    styles = {style.style_id: (style.name or "").lower() for style in document.styles}
    for element in _body(document.element.body):
        if element.tag == _TABLE:
            add_table(draft, [_cells(row) for row in element.iter(_ROW)])
        else:
            _add_paragraph(draft, element, styles)
    return draft


def _body(body: Any) -> Iterator[Any]:
    """The paragraphs and tables of a document in order, also those within content controls and text boxes."""
    done: set[Any] = set()  # elements inside what was yielded or is not shown
    for element in body.iter(_PARAGRAPH, _TABLE, _FALLBACK):
        if element in done:
            continue
        if element.tag != _PARAGRAPH:
            done.update(element.iter(_PARAGRAPH, _TABLE, _FALLBACK))
        if element.tag != _FALLBACK:
            yield element


def _add_paragraph(draft: Draft, paragraph: Any, styles: dict[str, str]) -> None:
    text = _text(paragraph)
    properties = paragraph.pPr
    style = styles.get(properties.pStyle.val, "") if properties is not None and properties.pStyle is not None else ""
    number = style.removeprefix("heading ")
    if style == "title":
        draft.title = draft.title or text
        draft.heading(text, 1)
    elif style.startswith("heading ") and number.isdigit():
        draft.heading(text, 1 + int(number))
    elif style.startswith("toc "):
        return
    elif style.startswith("list") or (properties is not None and properties.numPr is not None):
        draft.item(text)
    else:
        draft.paragraph(text)


def _text(paragraph: Any) -> str:
    """The text of a paragraph, tracked insertions included, text boxes anchored in it not."""
    pieces = []
    for element in paragraph.iter(_TEXT, *_SPACES):
        if next(element.iterancestors(_PARAGRAPH)) is paragraph:
            pieces.append(element.text or "" if element.tag == _TEXT else " ")
    return "".join(pieces)


def _cells(row: Any) -> list[str]:
    return [" ".join(_text(paragraph) for paragraph in cell.iter(_PARAGRAPH)) for cell in row.iter(_CELL)]
