"""What a file really is, whatever it is called."""

from genaisys.retrieval.readers.archives import archive_names
from genaisys.retrieval.readers.draft import UnreadableDocument

HEAD_BYTES = 1_024
BINARY_SUFFIXES = frozenset((".pdf", ".docx", ".pptx", ".xlsx", ".epub"))
_TEXT_SUFFIXES = frozenset((".txt", ""))  # such a file may be anything

_PARTS = {"word/document.xml": ".docx", "ppt/presentation.xml": ".pptx", "xl/workbook.xml": ".xlsx"}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OTHERS = {  # long enough that no text begins like this
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!\x1a": "a RAR archive",
    b"BZh91AY&SY": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x7fELF": "a program",
    b"SQLite format 3\0": "an SQLite database",
    b"ID3\3": "an MP3 recording",
    b"ID3\4": "an MP3 recording",
    b"OggS\0": "an Ogg recording",
    b"%!PS": "a PostScript file",
    b"{\\rtf": "an RTF document",
}


def real_suffix(content: bytes, suffix: str) -> str:
    """The suffix that fits ``content``: ``suffix`` itself unless the first bytes say otherwise.

    Raises:
        UnreadableDocument: the content is of a kind that no reader reads.
    """
    head = content[:HEAD_BYTES]
    if b"%PDF-" in head and (suffix in BINARY_SUFFIXES or head.lstrip().startswith(b"%PDF-")):
        return ".pdf"
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(content)
    if head.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise UnreadableDocument("is password-protected; save a copy without the password")
        raise UnreadableDocument("is in an old binary Office format; save it as DOCX, XLSX or PPTX")
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise UnreadableDocument(f"is {kind}; convert it to text, PDF or another readable format")
    if suffix in BINARY_SUFFIXES | _TEXT_SUFFIXES and _is_html(head):
        return ".html"
    if suffix in BINARY_SUFFIXES:
        raise UnreadableDocument(f"is damaged or not a valid {suffix[1:].upper()}; get a complete copy")
    return suffix


def _kind_of_archive(content: bytes) -> str:
    names = archive_names(content)
    for part, suffix in _PARTS.items():
        if part in names:
            return suffix
    if "META-INF/container.xml" in names:
        return ".epub"
    raise UnreadableDocument("is a zip archive; unpack it and add the files in it")


def _is_html(head: bytes) -> bool:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))
