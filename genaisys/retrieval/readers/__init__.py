"""Reading files as documents.

A reader takes the bytes of a file and returns a :class:`Draft`. Which one is meant is told by the file's first bytes
where they are unmistakable, else by its suffix; so a PDF that is called ``.txt`` is read as the PDF that it is.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from genaisys.retrieval.documents import Document
from genaisys.retrieval.readers.code import read_code
from genaisys.retrieval.readers.detection import real_suffix
from genaisys.retrieval.readers.draft import Draft, UnreadableDocument, one_line
from genaisys.retrieval.readers.epub import read_epub
from genaisys.retrieval.readers.html import read_html
from genaisys.retrieval.readers.json import read_json, read_jsonl
from genaisys.retrieval.readers.mail import read_eml
from genaisys.retrieval.readers.markdown import read_markdown
from genaisys.retrieval.readers.pdf import read_pdf
from genaisys.retrieval.readers.sheets import read_xlsx
from genaisys.retrieval.readers.slides import read_pptx
from genaisys.retrieval.readers.tables import read_csv, read_tsv
from genaisys.retrieval.readers.text import read_text
from genaisys.retrieval.readers.word import read_docx

__all__ = ["MAX_FILE_BYTES", "SUFFIXES", "UnreadableDocument", "read_document"]

MAX_FILE_BYTES = 200_000_000

Reader = Callable[[bytes], Draft]

SUFFIXES: dict[str, Reader] = {
    **dict.fromkeys((".txt", ".text", ".log", ".rst"), read_text),
    **dict.fromkeys((".md", ".markdown"), read_markdown),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".pptx": read_pptx,
    ".xlsx": read_xlsx,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    **dict.fromkeys((".jsonl", ".ndjson"), read_jsonl),
    ".epub": read_epub,
    ".eml": read_eml,
    **dict.fromkeys((".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".scala", ".cs"), read_code),
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".m", ".swift", ".rs", ".go"), read_code),
    **dict.fromkeys((".rb", ".php", ".pl", ".lua", ".jl", ".r", ".f90", ".sh", ".bash", ".ps1", ".sql"), read_code),
    **dict.fromkeys((".css", ".tex", ".yaml", ".yml", ".toml", ".ini", ".cfg"), read_code),
}

_OFFICE = "application/vnd.openxmlformats-officedocument."
_MEDIA_TYPES: dict[Reader, str] = {
    read_markdown: "text/markdown",
    read_html: "text/html",
    read_pdf: "application/pdf",
    read_docx: f"{_OFFICE}wordprocessingml.document",
    read_pptx: f"{_OFFICE}presentationml.presentation",
    read_xlsx: f"{_OFFICE}spreadsheetml.sheet",
    read_csv: "text/csv",
    read_tsv: "text/tab-separated-values",
    read_json: "application/json",
    read_jsonl: "application/jsonl",
    read_epub: "application/epub+zip",
    read_eml: "message/rfc822",
    read_code: "text/x-source",
}


def read_document(path: Path, *, source: str | None = None) -> Document:
    """Reads the file at ``path``.

    Args:
        path: a regular file; what is behind a symbolic link is read.
        source: the document's key in its collection; the file's name if not given.

    Raises:
        UnreadableDocument: the file can't be read; one line names it, says why, and what to do.
    """
    name = one_line(source or path.name)
    try:
        content = _content(path)
        suffix = path.suffix.lower()
        reader = SUFFIXES.get(real_suffix(content, suffix)) or (read_text if not suffix else None)
        if reader is None:
            raise UnreadableDocument(f"has a suffix that is not known ({suffix}); rename it if it is text")
        draft = reader(content)
        if not draft.blocks:
            raise UnreadableDocument("holds no text; there is nothing to index")
    except UnreadableDocument as error:
        raise UnreadableDocument(f"{name} {error}") from error
    except Exception as error:
        # What is wrong inside a file shows as any exception of the library that reads it, at any place.
        kind = path.suffix[1:].upper() or "text"
        raise UnreadableDocument(
            f"{name} is damaged or not a valid {one_line(kind)} file ({type(error).__name__}); get a complete copy"
        ) from error
    content_hash = hashlib.sha256(content).hexdigest()
    key = source or path.name.encode("utf-8", "replace").decode()
    called = PurePosixPath(key)  # an upload has a name on disk that means nothing
    title = called.name if reader is read_code else called.stem
    return draft.document(key, title, _MEDIA_TYPES.get(reader, "text/plain"), content_hash)


def _content(path: Path) -> bytes:
    """The bytes of a regular file. Opening anything else, such as a pipe, does not wait."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "its name is not valid"
        raise UnreadableDocument(f"can't be opened: {reason}; check the file and its permissions") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableDocument("is not a regular file; name files or folders of documents")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableDocument(f"is larger than {MAX_FILE_BYTES // 1_000_000} MB; split it into parts")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(status.st_size)
    finally:
        os.close(descriptor)
    if not content:
        raise UnreadableDocument("is empty; there is nothing to index")
    return content
