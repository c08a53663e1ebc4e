"""Slides (pptx); the pages are the slides."""

import io
from collections.abc import Iterator
from typing import Any

import pptx

from genaisys.retrieval.readers.archives import open_archive
from genaisys.retrieval.readers.draft import Draft
from genaisys.retrieval.readers.tables import add_table


def read_pptx(content: bytes) -> Draft:
    open_archive(content).close()
    presentation = pptx.Presentation(io.BytesIO(content))
    draft = Draft()
    properties = presentation.core_properties
    draft.title = properties.title
    draft.metadata = {"author": properties.author, "subject": properties.subject, "keywords": properties.keywords}
    for number, slide in enumerate(presentation.slides, start=1):
        title = slide.shapes.title
        if title is not None:
            draft.heading(title.text_frame.text, 1, number)
        for shape in _shapes(slide.shapes):
            if shape.has_text_frame and (title is None or shape.shape_id != title.shape_id):
                for paragraph in shape.text_frame.paragraphs:
                    draft.item(paragraph.text, number)
            elif getattr(shape, "has_table", False):
                add_table(draft, [[cell.text for cell in row.cells] for row in shape.table.rows], number)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            for paragraph in slide.notes_slide.notes_text_frame.paragraphs:
                draft.paragraph(paragraph.text, number)
    return draft


def _shapes(shapes: Any) -> Iterator[Any]:
    """The shapes of a slide in order, those within groups included."""
    waiting = list(shapes)[::-1]
    while waiting:
        shape = waiting.pop()
        if hasattr(shape, "shapes"):
            waiting.extend(list(shape.shapes)[::-1])
        else:
            yield shape
