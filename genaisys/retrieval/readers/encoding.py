"""Bytes to text, with the encoding found out."""

import codecs

from charset_normalizer import from_bytes

from genaisys.retrieval.readers.draft import UnreadableDocument

SAMPLE_BYTES = 100_000
MAX_CONTROL_SHARE = 0.02

_BYTE_ORDER_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What is still met; each read wrongly as another looks odd, which is how charset-normalizer tells them apart.
_LEGACY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "shift_jis", "euc_jp"]
_LEGACY += ["gb18030", "big5", "euc_kr", "iso2022_jp"]


def decode(content: bytes, declared: str | None = None) -> str:
    """The text in ``content``; ``declared`` is the encoding that the document itself names, if any.

    Raises:
        UnreadableDocument: the bytes are no text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _checked(content.decode(encoding, errors="replace"))
    for candidate in (_utf16_without_mark(content), "utf-8", declared):
        if candidate:
            try:
                return _checked(content.decode(candidate))
            except (UnicodeError, LookupError):
                continue
    return _checked(content.decode(_legacy_encoding(content), errors="replace"))


def _legacy_encoding(content: bytes) -> str:
    """The likeliest single-byte or East Asian encoding of ``content``."""
    # Lines with letters beyond ASCII are what tells encodings apart.
    telling = b"\n".join(line for line in content[: 10 * SAMPLE_BYTES].split(b"\n") if not line.isascii())
    matches = list(from_bytes(telling[:SAMPLE_BYTES], cp_isolation=_LEGACY))
    if not matches:
        return "cp1252"
    # The commonest one wins a tie: Western and Central European letters share their bytes.
    equal = [match.encoding for match in matches if match.chaos <= matches[0].chaos]
    return "cp1252" if "cp1252" in equal else equal[0]


def _utf16_without_mark(content: bytes) -> str | None:
    """UTF-16 in its byte order if every other byte is mostly zero, as in text of Latin letters."""
    sample = content[:SAMPLE_BYTES]
    half = len(sample) // 2
    if half == 0 or len(content) % 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None


def _checked(text: str) -> str:
    sample = text[:SAMPLE_BYTES]
    controls = sum(map(sample.count, _CONTROLS))
    if controls > 1 + MAX_CONTROL_SHARE * len(sample):
        raise UnreadableDocument("is not text but binary data; convert it to text, PDF or another readable format")
    return text


_CONTROLS = [chr(code) for code in range(32) if chr(code) not in "\t\n\v\f\r\x1b"] + ["\ufffd"]
