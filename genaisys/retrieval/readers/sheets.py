"""Spreadsheets (xlsx); the pages are the sheets, and their names are headings."""

import datetime
import io
import warnings
from collections.abc import Iterator
from typing import Any

import openpyxl

from genaisys.retrieval.readers.archives import open_archive
from genaisys.retrieval.readers.draft import Draft
from genaisys.retrieval.readers.tables import add_table


def read_xlsx(content: bytes) -> Draft:
    open_archive(content).close()
    draft = Draft()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about features that are no text, such as drop-down lists
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        try:
            draft.title = book.properties.title or ""
            draft.metadata = {"author": book.properties.creator or ""}
            for number, sheet in enumerate(book.worksheets, start=1):
                sheet.reset_dimensions()  # what a sheet declares about its size may be wrong
                draft.heading(sheet.title, 1, number)
                add_table(draft, _rows(sheet), number)
        finally:
            book.close()
    return draft


def _rows(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows():
        yield [_cell_text(cell.value, cell.number_format) if cell.value is not None else "" for cell in row]


def _cell_text(value: Any, number_format: str) -> str:
    """A value much as the spreadsheet shows it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(" ", "minutes")
        case float() if number_format.rstrip().endswith("%"):
            return f"{100 * value:.10g}%"
        case float():
            return f"{value:.15g}"
    return str(value)
