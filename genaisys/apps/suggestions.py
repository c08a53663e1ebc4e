"""Questions to begin with, taken from the documents themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from genaisys.retrieval.documents import Document

MOST = 4

_NUMBERING = re.compile(r"^(chapter|section|part)?\s*[\dIVX]+([.:)]\d*)*\s+", re.IGNORECASE)


# The samples that ship with the project show what can be asked of a text, of a table and of a list.
_OF_SAMPLES = {
    "Minutes of the board, 11 November 2024": "What does the array of hydrophones cost?",
    "Pocket guide to the lights of Lanternfish Bay": "When can the summer meteors be seen?",
    "Handbook of the Lanternfish Bay Observatory": "At what wind speed does the dome close by itself?",
    "A SHORT HISTORY OF THE OBSERVATORY": "When did Odalys Brandt open the observatory?",
}


def suggested_questions(documents: Iterable[Document]) -> list[str]:
    """One question for each of the first documents: one that it asks itself, else one about a heading, or its title."""
    questions: list[str] = []
    for document in documents:
        question = next(_questions_of(document), None)
        if question and question not in questions:
            questions.append(question)
        if len(questions) == MOST:
            break
    return questions


def _questions_of(document: Document) -> Iterator[str]:
    """Questions that the document should answer, the best first."""
    if document.title in _OF_SAMPLES:
        yield _OF_SAMPLES[document.title]
    headings = [" ".join(document.text[b.start : b.end].split()) for b in document.blocks if b.kind == "heading"]
    yield from (heading for heading in headings if heading.endswith("?") and 12 <= len(heading) <= 90)
    for heading in headings:
        topic = _NUMBERING.sub("", heading)
        topic = topic.capitalize() if topic.isupper() else topic
        if 6 <= len(topic) <= 50 and heading.casefold() != document.title.casefold():
            yield f"What do the documents say about “{topic}”?"
    if len(document.title) <= 60:
        yield f"What is “{document.title}” about?"
