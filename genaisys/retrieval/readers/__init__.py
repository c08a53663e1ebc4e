"""Reading files as documents.

A reader takes the bytes of a file and returns a :class:`Draft`. Which one is meant is told by the file's first bytes
where they are unmistakable, else by its suffix; so a PDF that is called ``.txt`` is read as the PDF that it is.
"""

from collections.abc import Callable
from pathlib import Path

from genaisys.retrieval.documents import Document
from genaisys.retrieval.readers.draft import Draft, UnreadableDocument
from genaisys.retrieval.readers.html import read_html
from genaisys.retrieval.readers.markdown import read_markdown
from genaisys.retrieval.readers.text import read_text

SUFFIXES: dict[str, Callable[[bytes], Draft]] = {
    ".txt": read_text,
    ".md": read_markdown,
    ".html": read_html,
    ".htm": read_html,
}


def read_document(path: Path, *, source: str | None = None) -> Document:
    import hashlib

    content = path.read_bytes()
    draft = SUFFIXES[path.suffix.lower()](content)
    return draft.document(source or path.name, path.stem, "text/plain", hashlib.sha256(content).hexdigest())


__all__ = ["SUFFIXES", "UnreadableDocument", "read_document"]
