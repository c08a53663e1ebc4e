"""Tables: comma- and tab-separated files, and the rows of any other format's tables."""

import csv
import io
import itertools
from collections.abc import Iterable, Sequence

from genaisys.retrieval.readers.draft import Draft, UnreadableDocument, clean, is_header, row_text
from genaisys.retrieval.readers.encoding import decode

MAX_COLUMNS = 16_384  # as in spreadsheets
DELIMITERS = ",;\t|"
SAMPLE_LINES = 50


def read_csv(content: bytes) -> Draft:
    text = clean(decode(content))
    draft = Draft()
    try:
        add_table(draft, csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise UnreadableDocument(f"is not a table that can be read: {error}") from error
    return draft


def read_tsv(content: bytes) -> Draft:
    draft = Draft()
    lines = clean(decode(content)).split("\n")
    add_table(draft, (line.split("\t") for line in lines))
    return draft


def add_table(draft: Draft, rows: Iterable[Sequence[str]], page: int | None = None) -> None:
    """Adds the rows of a table; lines of one cell above it are its captions, and its first row may name the columns."""
    filled = (_checked(row) for row in rows if _filled_cells(row))
    first, second = next(filled, None), next(filled, None)
    while first and second and _filled_cells(first) == 1 < _filled_cells(second):
        draft.paragraph(" ".join(first), page)
        first, second = second, next(filled, None)
    if first is None:
        return
    header = row_text(first) if second and is_header(first) else ""
    for row in itertools.chain([first], [second] if second else [], filled):
        draft.row(row, header, page)


def _filled_cells(row: Sequence[str]) -> int:
    return sum(bool(cell and not cell.isspace()) for cell in row)


def _checked(row: Sequence[str]) -> Sequence[str]:
    if len(row) > MAX_COLUMNS:
        raise UnreadableDocument(f"has more than {MAX_COLUMNS:,} columns; transpose or split the table")
    return row


def _delimiter(text: str) -> str:
    """The delimiter that divides most of the first lines into the same number of cells, more than one."""
    lines = [line for line in text[:100_000].split("\n")[:SAMPLE_LINES] if line]

    def regularity(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        usual = max(set(widths), key=widths.count, default=1)
        return (widths.count(usual) if usual > 1 else 0, usual)

    return max(DELIMITERS, key=regularity)
