"""Zip archives (docx, xlsx, pptx, epub), opened only when they are no trap.

Every member is unpacked once in small pieces before a library sees it: what an archive declares about itself may be a
lie, and a library that trusts it can be made to fill the memory.
"""

import io
import re
import struct
import zipfile

from genaisys.retrieval.readers.draft import UnreadableDocument

MAX_ENTRIES = 10_000
MAX_DIRECTORY_BYTES = 5_000_000
MAX_UNPACKED_BYTES = 400_000_000
MAX_XML_BYTES = 150_000_000  # a parsed tree takes many times as much
MAX_RATIO = 200  # unpacked to packed; honest documents stay below 100
MIN_RATIO_BYTES = 10_000_000  # small members may be as repetitive as they like
PIECE_BYTES = 1 << 20

_END_OF_DIRECTORY = b"PK\x05\x06"
_ENTITY = re.compile(rb"<!ENTITY|<\0!\0E\0N\0T\0I\0T\0Y|\0<\0!\0E\0N\0T\0I\0T\0Y")


def open_archive(content: bytes) -> zipfile.ZipFile:
    """The archive in ``content``, checked.

    Raises:
        UnreadableDocument: it is damaged, encrypted, would unpack to too much, or holds XML that defines entities.
    """
    archive = _open(content)
    unpacked = 0
    for info in archive.infolist():
        if info.flag_bits & 1:
            raise UnreadableDocument("is password-protected; save a copy without the password")
        is_xml = info.filename.lower().endswith((".xml", ".rels", ".xhtml", ".html", ".htm", ".opf", ".ncx"))
        limit = MAX_XML_BYTES if is_xml else MAX_UNPACKED_BYTES
        if info.file_size > limit or _is_bomb(info.file_size, info.compress_size):
            raise _too_much()
        unpacked += _unpack(archive, info, is_xml)
        if unpacked > MAX_UNPACKED_BYTES:
            raise _too_much()
    return archive


def archive_names(content: bytes) -> frozenset[str]:
    """The names of the members, without unpacking anything."""
    return frozenset(_open(content).namelist())


def _open(content: bytes) -> zipfile.ZipFile:
    end = content.rfind(_END_OF_DIRECTORY, max(0, len(content) - 66_000))
    if end < 0 or end + 22 > len(content):
        raise UnreadableDocument("is cut off or damaged; get a complete copy")
    entries, directory_bytes = struct.unpack_from("<HI", content, end + 10)
    if entries > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:  # a zip64 archive says 65,535 here
        raise UnreadableDocument(f"holds more than {MAX_ENTRIES:,} files, like a zip bomb; it was not opened")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise UnreadableDocument("is cut off or damaged; get a complete copy") from error
    if len(archive.infolist()) > MAX_ENTRIES:
        raise UnreadableDocument(f"holds more than {MAX_ENTRIES:,} files, like a zip bomb; it was not opened")
    return archive


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, is_xml: bool) -> int:
    """The number of bytes that a member really holds."""
    size, seam = 0, b""
    with archive.open(info) as member:
        while piece := member.read(PIECE_BYTES):
            size += len(piece)
            if size > info.file_size:
                raise _too_much()
            if is_xml and _ENTITY.search(seam + piece):
                raise UnreadableDocument("defines XML entities, like an entity bomb; it was not opened")
            seam = piece[-32:]
    return size


def _is_bomb(unpacked: int, packed: int) -> bool:
    return unpacked > MIN_RATIO_BYTES and unpacked > MAX_RATIO * max(1, packed)


def _too_much() -> UnreadableDocument:
    return UnreadableDocument("would unpack to far more than a document holds, like a zip bomb; it was not opened")
