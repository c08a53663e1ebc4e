"""PDF: lines become paragraphs, larger type becomes headings, running headers and page numbers are dropped."""

import collections
import ctypes
import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2
from pypdfium2 import raw as pdfium

from genaisys.retrieval.readers.draft import Draft, UnreadableDocument, clean, one_line
from genaisys.retrieval.readers.tables import add_table
from genaisys.retrieval.sentences import sentence_spans

MAX_PAGES = 5_000
TAIL_BYTES = 4_096  # where a complete file says where its table of contents is

HEADING_SIZE = 1.12  # of the type of the body
BOLD_WEIGHT = 600
MAX_HEADING_CHARACTERS = 150
WIDE_GAP = 1.4  # of the usual distance of lines
TYPE_SPACING = 1.15  # of lines, in sizes of their type
CELL_GAP = 1.2  # between the cells of a table, in sizes of the type
REPEATS = 3  # pages on which a line at the edge makes a running header
EDGE_LINES = 2

_ITEM = re.compile(r"(?:[-*•‣◦▪●–\uf0b7]|\(?(?:\d{1,2}|[a-z])[.)])\s+\S")
_PAGE_NUMBER = re.compile(r"(?:page\s*)?[-–—\s]*(?:\d{1,4}|[ivxlc]{1,6})[-–—\s]*(?:(?:/|of)\s*\d{1,4})?", re.IGNORECASE)
_LINE = re.compile("([^\r\n\ufffe]*\ufffe?)(?:\r\n)?")
_LEADERS = re.compile(r"(?:\s*+\.){4,}+")  # the dots of a table of contents
_WORD = re.compile(r"\w+(?:-\w+)*")
_HYPHENS = ("-", "\u00ad", "\u2010", "\ufffe")  # the last is how PDFium marks a broken word
_NO_TITLE = re.compile(r"untitled|microsoft \w+ - .*|.*\.(?:docx?|pdf|tex|dvi|indd|pptx?|xlsx?|odt|rtf)|[\W\d_]*", re.I)
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ft", "ﬆ": "st"})
_UNFINISHED = re.compile(r"[^.!?…:;。！？]\Z")
_PDFIUM = threading.Lock()  # the library does not allow two threads at once


@dataclass(slots=True)
class _Line:
    """A line of text with its place on the page, in points from the lower left corner."""

    text: str
    left: float
    right: float
    bottom: float
    size: float
    bold: bool
    cells: tuple[str, ...]  # in rows of tables only


@dataclass(slots=True)
class _Paragraph:
    kind: str  # heading, item, paragraph or table
    text: str
    page: int
    size: float
    rows: tuple[tuple[str, ...], ...] = ()  # tables only


def read_pdf(content: bytes) -> Draft:
    if b"startxref" not in content[-TAIL_BYTES:]:
        raise UnreadableDocument("is cut off or damaged; get a complete copy")
    with _PDFIUM:
        properties, pages = _read_pages(content)
    if not any(pages):
        raise UnreadableDocument("has no text layer, only pictures of pages; run OCR first")
    _drop_running_lines(pages)
    draft = Draft()
    title = one_line(properties.get("Title", ""))
    draft.title = "" if _NO_TITLE.fullmatch(title) else title
    draft.metadata = {"author": properties.get("Author", ""), "date": _date(properties.get("CreationDate", ""))}
    paragraphs = _mend_page_breaks(_paragraphs(pages))
    sizes = sorted({round(paragraph.size) for paragraph in paragraphs if paragraph.kind == "heading"}, reverse=True)
    for paragraph in paragraphs:
        match paragraph.kind:
            case "heading":
                draft.heading(paragraph.text, 1 + min(5, sizes.index(round(paragraph.size))), paragraph.page)
            case "item":
                draft.item(paragraph.text, paragraph.page)
            case "table":
                add_table(draft, paragraph.rows, paragraph.page)
            case _:
                draft.paragraph(paragraph.text, paragraph.page)
    return draft


def _read_pages(content: bytes) -> tuple[dict[str, str], list[list[_Line]]]:
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pdfium.FPDF_ERR_PASSWORD:
            raise UnreadableDocument("is password-protected; save a copy without the password") from error
        raise UnreadableDocument("is damaged or not a valid PDF; get a complete copy") from error
    try:
        if len(document) > MAX_PAGES:
            raise UnreadableDocument(f"has more than {MAX_PAGES:,} pages; split it into parts")
        pages = []
        for number in range(len(document)):
            page = document[number]
            text_page = page.get_textpage()
            pages.append(list(_lines(text_page)))
            text_page.close()
            page.close()
        return document.get_metadata_dict(skip_empty=True), pages
    finally:
        document.close()


def _lines(page: pypdfium2.PdfTextPage) -> Iterator[_Line]:
    position = 0  # in characters as PDFium counts them
    for line in _LINE.finditer(page.get_text_range()):
        text = line[1]
        first, last = position, position + len(text) - 1
        position += len(line[0])
        if text.isspace() or not text:
            continue
        while text[last - first].isspace():
            last -= 1
        left, bottom, _ = _box(page, first)
        _, _, right = _box(page, last)
        size = pdfium.FPDFText_GetFontSize(page, first)
        bold = pdfium.FPDFText_GetFontWeight(page, first) >= BOLD_WEIGHT
        cells = _cells(page, first, last, CELL_GAP * size)
        yield _Line(_readable(text), left, right, bottom, size, bold, cells)


def _cells(page: pypdfium2.PdfTextPage, first: int, last: int, gap: float) -> tuple[str, ...]:
    """The parts of a line that stand wide apart."""
    areas = [
        page.get_rect(index) for index in range(page.count_rects(first, 1 + last - first))
    ]  # left, bottom, right, top
    cells: list[tuple[float, float, float, float]] = []
    for left, bottom, right, top in areas:
        if cells and left - cells[-1][2] < gap:
            before = cells.pop()
            left, bottom, top = before[0], min(before[1], bottom), max(before[3], top)
        cells.append((left, bottom, right, top))
    return tuple(_readable(page.get_text_bounded(*cell)) for cell in cells) if len(cells) > 1 else ()


def _box(page: pypdfium2.PdfTextPage, index: int) -> tuple[float, float, float]:
    """Left, bottom and right of a character."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pdfium.FPDFText_GetCharBox(page, index, left, right, bottom, top)
    return left.value, bottom.value, right.value


def _readable(text: str) -> str:
    return _LEADERS.sub(" ", text.translate(_LIGATURES)).strip()


def _drop_running_lines(pages: list[list[_Line]]) -> None:
    """Drops lines at the edges of pages that are page numbers, or the same on several pages but for numbers."""

    def edges(lines: list[_Line]) -> list[_Line]:
        ordered = sorted(lines, key=lambda line: line.bottom)
        return ordered[:EDGE_LINES] + ordered[EDGE_LINES:][-EDGE_LINES:]

    def pattern(line: _Line) -> str:
        return re.sub(r"\d+|\b[ivxlc]+\Z", "#", line.text)

    counts = collections.Counter(key for lines in pages for key in {pattern(line) for line in edges(lines)})
    needed = min(REPEATS, max(2, len(pages)))
    for lines in pages:
        for line in edges(lines):
            if counts[pattern(line)] >= needed or _PAGE_NUMBER.fullmatch(line.text):
                lines.remove(line)


def _paragraphs(pages: list[list[_Line]]) -> Iterator[_Paragraph]:
    type_sizes: collections.Counter[float] = collections.Counter()
    words: set[str] = set()
    for lines in pages:
        for line in lines:
            type_sizes[round(line.size, 1)] += len(line.text)
            words.update(_WORD.findall(line.text))
    body = type_sizes.most_common(1)[0][0] if type_sizes else 0.0
    for number, lines in enumerate(pages, start=1):
        spacing = _usual_spacing(lines)
        margins = _right_margins(lines)
        group: list[_Line] = []
        for line in lines:
            if group and _begins_paragraph(group[-1], line, spacing, margins[_column(group[-1])]):
                yield _joined(group, number, body, words)
                group = []
            group.append(line)
        if group:
            yield _joined(group, number, body, words)


def _usual_spacing(lines: list[_Line]) -> float:
    gaps = [round(upper.bottom - lower.bottom) for upper, lower in itertools.pairwise(lines)]
    positive = collections.Counter(gap for gap in gaps if gap > 0)
    return float(positive.most_common(1)[0][0]) if positive else 0.0


def _column(line: _Line) -> int:
    return round(line.left / 50)


def _right_margins(lines: list[_Line]) -> dict[int, float]:
    """The right margin of the lines that begin at about the same place."""
    margins: dict[int, float] = {}
    for line in lines:
        for column in (_column(line) - 1, _column(line), _column(line) + 1):
            margins[column] = max(margins.get(column, 0.0), line.right)
    return margins


def _begins_paragraph(previous: _Line, line: _Line, spacing: float, margin: float) -> bool:
    if previous.cells or line.cells:
        return not (previous.cells and line.cells)
    if round(previous.size) != round(line.size) or _ITEM.match(line.text):
        return True
    gap = previous.bottom - line.bottom
    if gap > WIDE_GAP * max(spacing, line.size * TYPE_SPACING):
        return True
    if gap < -spacing:  # the next column
        return not _UNFINISHED.search(previous.text)
    if previous.bold != line.bold and (previous.bold or _UNFINISHED.search(previous.text) is None):
        return True
    # If the next word had fitted, the writer wanted the line to end here.
    width = (line.right - line.left) / max(1, len(line.text)) * (1 + len(line.text.split(None, 1)[0]))
    return margin - previous.right > 1.5 * width + line.size


def _joined(lines: list[_Line], page: int, body: float, words: set[str]) -> _Paragraph:
    first = lines[0]
    if len(lines) > 1 and first.cells:
        return _Paragraph("table", first.text, page, first.size, tuple(line.cells for line in lines))
    text = first.text
    for line in lines[1:]:
        text = _join(text, line.text, words)
    large = first.size >= HEADING_SIZE * body
    bold = all(line.bold for line in lines) and first.size >= body and _UNFINISHED.search(text) is not None
    if (large or bold) and len(text) <= MAX_HEADING_CHARACTERS and any(map(str.isalpha, text)):
        return _Paragraph("heading", text, page, first.size)
    return _Paragraph("item" if _ITEM.match(text) else "paragraph", text, page, first.size)


def _join(text: str, following: str, words: set[str]) -> str:
    """Two lines as one; a word that was broken is made whole, unless its hyphen belongs to it."""
    if not text.endswith(_HYPHENS) or not following[:1].islower():
        return f"{text} {following}"
    stem, rest = _WORD.findall(text[-40:-1])[-1:], _WORD.findall(following[:40])[:1]
    if stem and rest and f"{stem[0]}-{rest[0]}" in words and stem[0] + rest[0] not in words:
        return f"{text[:-1]}-{following}"
    return text[:-1] + following


def _mend_page_breaks(paragraphs: Iterator[_Paragraph]) -> list[_Paragraph]:
    """Moves the end of a sentence that a page break cut to the page where it begins."""
    mended: list[_Paragraph] = []
    for paragraph in paragraphs:
        last = mended[-1] if mended else None
        if (
            last
            and last.page < paragraph.page
            and last.kind != "heading"
            and last.kind != "table"
            and paragraph.kind == "paragraph"
            and paragraph.text[0].islower()
            and _UNFINISHED.search(last.text)
        ):
            text = clean(paragraph.text)
            end = sentence_spans(text)[0][1]
            last.text = _join(last.text, text[:end], set())
            paragraph.text = text[end:].lstrip()
        if paragraph.text:
            mended.append(paragraph)
    return mended


def _date(value: str) -> str:
    """``D:20220531112935`` as ``2022-05-31``."""
    digits = re.match(r"(?:D:)?(\d{4})(\d\d)(\d\d)", value)
    return "-".join(digits.groups()) if digits else ""
