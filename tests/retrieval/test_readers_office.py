"""Word documents, slides, spreadsheets and electronic books."""

import datetime
import io
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pptx.util import Inches

from genaisys.retrieval.documents import Document
from genaisys.retrieval.readers import UnreadableDocument, read_document


def blocks(document: Document) -> list[tuple[str, int, str]]:
    return [(block.kind, block.level, document.text[block.start : block.end]) for block in document.blocks]


def test_docx(tmp_path: Path) -> None:
    word = docx.Document()
    word.core_properties.author = "Juno"
    word.add_heading("Minutes", 0)
    word.add_heading("Accounts", 1)
    word.add_paragraph("All is ").add_run("well.").bold = True
    word.add_paragraph("First task", style="List Bullet")
    table = word.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Item", "Crowns", "Soup", "12"], strict=True):
        cell.text = text
    word.add_heading("Ferry", 2)
    inserted = parse_xml(
        f"<w:p {nsdecls('w')}><w:ins><w:r><w:t>Agreed</w:t><w:tab/><w:t>now.</w:t></w:r></w:ins></w:p>"
    )
    control = parse_xml(
        f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>In a form.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    word.element.body.insert(-1, inserted)
    word.element.body.insert(-1, control)
    word.save(str(tmp_path / "minutes.docx"))

    document = read_document(tmp_path / "minutes.docx")
    assert document.title == "Minutes"
    assert document.metadata["author"] == "Juno"
    assert blocks(document) == [
        ("heading", 1, "Minutes"),
        ("heading", 2, "Accounts"),
        ("paragraph", 0, "All is well."),
        ("item", 0, "First task"),
        ("row", 0, "Item | Crowns"),
        ("row", 0, "Soup | 12"),
        ("heading", 3, "Ferry"),
        ("paragraph", 0, "Agreed now."),
        ("paragraph", 0, "In a form."),
    ]
    assert document.blocks[5].header == "Item | Crowns"


def test_pptx(tmp_path: Path) -> None:
    slides = pptx.Presentation()
    for title, text in (("Welcome", "Mind the steps"), ("Stars", "Saturn")):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text_frame.text = text
    group = slide.shapes.add_group_shape().shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "Grouped"
    table = slide.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(2)).table
    for cell, text in zip(table.iter_cells(), ["Time", "Place", "20:30", "Terrace"], strict=True):
        cell.text = text
    slide.notes_slide.notes_text_frame.text = "Speak slowly."
    slides.save(str(tmp_path / "evening.pptx"))

    document = read_document(tmp_path / "evening.pptx")
    assert [(block.page, document.text[block.start : block.end]) for block in document.blocks] == [
        (1, "Welcome"),
        (1, "Mind the steps"),
        (2, "Stars"),
        (2, "Saturn"),
        (2, "Grouped"),
        (2, "Time | Place"),
        (2, "20:30 | Terrace"),
        (2, "Speak slowly."),
    ]


def test_xlsx(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Log"
    sheet.append(["The log of 2024"])
    sheet.append(["Day", "Part", "Hours", "Share", "Done"])
    sheet.append([datetime.date(2024, 1, 16), "Dome", 9.50, 0.25, True])
    sheet.append([datetime.datetime(2024, 2, 1, 8, 30), "Lift", 3, None, False])
    sheet["D3"].number_format = "0 %"
    sheet["XFD1048576"] = "far away"
    other = book.create_sheet("Parts")
    other.append(["only", "one row", 3])
    book.save(tmp_path / "log.xlsx")

    document = read_document(tmp_path / "log.xlsx")
    header = "Day | Part | Hours | Share | Done"
    expected = [
        (1, "heading", "", "Log"),
        (1, "paragraph", "", "The log of 2024"),
        (1, "row", header, header),
        (1, "row", header, "2024-01-16 | Dome | 9.5 | 25% | yes"),
        (1, "row", header, "2024-02-01 08:30 | Lift | 3 |  | no"),
        (2, "heading", "", "Parts"),
        (2, "row", "", "only | one row | 3"),
    ]
    found = [(b.page, b.kind, b.header, document.text[b.start : b.end]) for b in document.blocks]
    assert [block for block in found if "far away" not in block[3]] == expected


def epub(chapters: dict[str, str], extra: dict[str, str] | None = None) -> bytes:
    items = "".join(f'<item id="{n}" href="text/{n}.xhtml" media-type="application/xhtml+xml"/>' for n in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in reversed(chapters))
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:title>Lights</dc:title><dc:creator>Liv</dc:creator></metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine></package>",
        **{f"OPS/text/{name}.xhtml": text for name, text in chapters.items()},
        **(extra or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_epub_in_the_order_of_its_spine(tmp_path: Path) -> None:
    (tmp_path / "lights.epub").write_bytes(epub({"b": "<h1>Sky</h1><p>Stars.</p>", "a": "<h1>Sea</h1><p>Fish.</p>"}))
    document = read_document(tmp_path / "lights.epub")
    assert document.title == "Lights"
    assert document.metadata["author"] == "Liv"
    assert [text for _, _, text in blocks(document)] == ["Sea", "Fish.", "Sky", "Stars."]


def test_epub_with_drm_is_refused(tmp_path: Path) -> None:
    encryption = '<e><d xmlns="http://www.w3.org/2001/04/xmlenc#"><CipherReference URI="OPS/text/a.xhtml"/></d></e>'
    (tmp_path / "sold.epub").write_bytes(epub({"a": "<p>Text</p>"}, {"META-INF/encryption.xml": encryption}))
    with pytest.raises(UnreadableDocument, match=r"^sold\.epub is protected by DRM"):
        read_document(tmp_path / "sold.epub")
