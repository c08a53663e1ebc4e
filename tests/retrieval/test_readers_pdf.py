"""PDF: lines become paragraphs again, and what is furniture of the pages goes."""

import io
from pathlib import Path

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from genaisys.retrieval.documents import Document
from genaisys.retrieval.readers import UnreadableDocument, read_document

Text = tuple[float, float, float, str]  # x and y from the lower left corner, size of the type, text; all in points


def read(folder: Path, pages: list[list[Text]], title: str = "") -> Document:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    canvas.setTitle(title)
    for page in pages:
        for x, y, size, text in page:
            canvas.setFont("Helvetica", size)
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    path = folder / "paper.pdf"
    path.write_bytes(buffer.getvalue())
    return read_document(path)


def lines(top: float, *texts: str, size: float = 10) -> list[Text]:
    return [(72, top - 12 * number, size, text) for number, text in enumerate(texts)]


def blocks(document: Document) -> list[tuple[int | None, str, str]]:
    return [(block.page, block.kind, document.text[block.start : block.end]) for block in document.blocks]


def test_lines_become_paragraphs(tmp_path: Path) -> None:
    page = [
        (72, 780, 20, "The Glow of the Bay"),
        *lines(740, "The bay begins to glow in the first warm nights of the year, when the plank-"),
        *lines(728, "ton has had time to grow. It is brightest at about the time of the new Moon", "in August."),
        *lines(680, "A new paragraph that is far enough below the first one to be seen as such."),
        *lines(650, "1. The first point of a list."),
        *lines(638, "2. The second point."),
    ]
    assert blocks(read(tmp_path, [page])) == [
        (1, "heading", "The Glow of the Bay"),
        (
            1,
            "paragraph",
            "The bay begins to glow in the first warm nights of the year, when the plankton has had time to grow. "
            "It is brightest at about the time of the new Moon in August.",
        ),
        (1, "paragraph", "A new paragraph that is far enough below the first one to be seen as such."),
        (1, "item", "1. The first point of a list."),
        (1, "item", "2. The second point."),
    ]


def test_hyphens_that_belong_to_a_word_stay(tmp_path: Path) -> None:
    page = lines(700, "The well-known observatory at the cape is known for its very, very well-", "known soup and sky.")
    assert "very well-known soup" in read(tmp_path, [page]).text


def test_headings_have_the_level_of_their_size(tmp_path: Path) -> None:
    body = "This line of text has the size of type that most of the text of the document has."
    page = [
        (72, 800, 20, "Chapter"),
        *lines(770, body),
        (72, 740, 14, "Section"),
        *lines(710, body),
        (72, 680, 14, "Other section"),
        *lines(650, body),
    ]
    document = read(tmp_path, [page])
    levels = [(block.level, document.text[block.start : block.end]) for block in document.blocks if block.level]
    assert levels == [(1, "Chapter"), (2, "Section"), (2, "Other section")]
    assert document.title == "Chapter"


def test_running_headers_and_page_numbers_go(tmp_path: Path) -> None:
    names = ["Anglerfish", "Barnacle", "Cuttle", "Dogwhelk"]
    pages = [
        [
            (72, 810, 8, f"Manual of the buoys, chapter {number}"),
            *lines(700, f"The buoy {name} measures light, and sends what it measures to the boathouse by radio."),
            (300, 30, 8, f"Page {number} of 4"),
        ]
        for number, name in enumerate(names, start=1)
    ]
    assert blocks(read(tmp_path, pages)) == [
        (number, "paragraph", f"The buoy {name} measures light, and sends what it measures to the boathouse by radio.")
        for number, name in enumerate(names, start=1)
    ]


def test_a_sentence_that_a_page_break_cuts_stays_whole(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        [
            lines(100, "The first page ends in the middle of a sentence that has a good many words and goes"),
            lines(780, "on here. Then the second page has a sentence of its own, which belongs to this page."),
        ],
    )
    assert blocks(document) == [
        (
            1,
            "paragraph",
            "The first page ends in the middle of a sentence that has a good many words and goes on here.",
        ),
        (2, "paragraph", "Then the second page has a sentence of its own, which belongs to this page."),
    ]


def test_tables(tmp_path: Path) -> None:
    rows = [("Code", "Meaning"), ("E12", "Encoder lost its zero"), ("E27", "Camera too warm")]
    page = lines(700, "The table below says what the codes mean, which the control room shows in red.")
    for number, cells in enumerate(rows):
        page += [(72 + 120 * column, 660 - 14 * number, 10, cell) for column, cell in enumerate(cells)]
    document = read(tmp_path, [page])
    assert [text for _, kind, text in blocks(document) if kind == "row"] == [" | ".join(cells) for cells in rows]
    assert {block.header for block in document.blocks if block.kind == "row"} == {"Code | Meaning"}


@pytest.mark.parametrize(
    ("title", "expected"),
    [("On Light", "On Light"), ("Microsoft Word - draft7.doc", "Big"), ("untitled", "Big"), ("scan_07.pdf", "Big")],
)
def test_title(tmp_path: Path, title: str, expected: str) -> None:
    page = [(72, 800, 24, "Big"), *lines(700, "This is some text of the usual size, and there is enough of it.")]
    assert read(tmp_path, [page], title).title == expected


def test_a_scan_without_text_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"^paper\.pdf has no text layer.*run OCR first"):
        read(tmp_path, [[], []])
