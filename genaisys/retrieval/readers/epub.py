"""Electronic books (epub): their chapters in reading order."""

import posixpath
import urllib.parse
import zipfile

from lxml import etree

from genaisys.retrieval.readers.archives import open_archive
from genaisys.retrieval.readers.draft import Draft, UnreadableDocument
from genaisys.retrieval.readers.encoding import decode
from genaisys.retrieval.readers.html import declared_encoding, read_markup_into

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def read_epub(content: bytes) -> Draft:
    archive = open_archive(content)
    container = _parse(archive, "META-INF/container.xml")
    package_name = next((root.get("full-path") for root in container.iter("{*}rootfile")), None)
    if not package_name:
        raise UnreadableDocument("is not a valid EPUB; get a complete copy")
    package = _parse(archive, package_name)
    draft = Draft()
    for field in ("creator", "date", "language", "publisher"):
        values = [element.text or "" for element in package.iter(_DUBLIN_CORE + field)]
        draft.metadata["author" if field == "creator" else field] = ", ".join(values)
    titles = (element.text or "" for element in package.iter(_DUBLIN_CORE + "title"))
    draft.title = next(titles, "")
    encrypted = _encrypted(archive)
    for name in _chapters(package, posixpath.dirname(package_name)):
        if name in encrypted:
            raise UnreadableDocument("is protected by DRM; only its seller's programs can open it")
        page = archive.read(name)
        read_markup_into(draft, decode(page, declared_encoding(page)))
    return draft


def _parse(archive: zipfile.ZipFile, name: str) -> etree._Element:
    return etree.fromstring(archive.read(name), _PARSER)


def _chapters(package: etree._Element, folder: str) -> list[str]:
    """The names of the pages in reading order, without the table of contents."""
    files = {}
    for item in package.iter("{*}item"):
        is_page = item.get("media-type") in ("application/xhtml+xml", "text/html")
        if is_page and "nav" not in item.get("properties", "").split():
            href = urllib.parse.unquote(item.get("href", ""))
            files[item.get("id")] = posixpath.normpath(posixpath.join(folder, href))
    order = [reference.get("idref") for reference in package.iter("{*}itemref")]
    return [files[key] for key in order if key in files]


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    """The members that are encrypted (many books encrypt only their fonts)."""
    try:
        encryption = _parse(archive, "META-INF/encryption.xml")
    except KeyError:
        return set()
    return {urllib.parse.unquote(reference.get("URI", "")) for reference in encryption.iter("{*}CipherReference")}
