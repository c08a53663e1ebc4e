"""Bad files: each gets one plain line that names it and says what to do; none hangs, crashes or fills the memory."""

import io
import os
import resource
import socket
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from genaisys.retrieval.readers import MAX_FILE_BYTES, UnreadableDocument, archives, draft, pdf, read_document


def refusal(path: Path) -> str:
    """The reason why the file at ``path`` is not read."""
    with pytest.raises(UnreadableDocument) as caught:
        read_document(path)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(f"{path.name} ")


def read_or_refused(path: Path) -> str:
    """The text of the document, or the line that says why there is none."""
    try:
        return read_document(path).text
    except UnreadableDocument as error:
        assert str(error).startswith(path.name)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
        return str(error)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def rezipped(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """A zip archive with the content of every member changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


ZIPPED = ["board-minutes.docx", "maintenance-log.xlsx", "open-night.pptx", "field-guide.epub"]


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".pdf", ".docx", ".csv", ".json", ".epub", ".eml", ".py"])
def test_empty(tmp_path: Path, suffix: str) -> None:
    assert refusal(written(tmp_path, f"a{suffix}", b"")) == "is empty; there is nothing to index"


@pytest.mark.parametrize("content", [b" \n\t\n", b"\xef\xbb\xbf\n"])
def test_blank(tmp_path: Path, content: bytes) -> None:
    assert refusal(written(tmp_path, "a.txt", content)) == "holds no text; there is nothing to index"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".csv", ".py", ".json", ""])
def test_binary_content(tmp_path: Path, suffix: str) -> None:
    content = bytes(range(256)) * 40
    assert refusal(written(tmp_path, f"a{suffix}", content)).startswith("is not text but binary data; convert it")


@pytest.mark.parametrize("name", ["telescope-manual.pdf", *ZIPPED])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.98])
def test_truncated(tmp_path: Path, samples: Path, name: str, part: float) -> None:
    content = (samples / name).read_bytes()
    reason = refusal(written(tmp_path, name, content[: int(part * len(content))]))
    assert reason == "is cut off or damaged; get a complete copy"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["telescope-manual.pdf", *ZIPPED])
@given(data=st.data())
def test_damaged_anywhere(tmp_path: Path, samples: Path, name: str, data: st.DataObject) -> None:
    content = bytearray((samples / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert read_or_refused(written(tmp_path, name, bytes(content)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ZIPPED)
@given(data=st.data())
def test_damaged_inside_the_archive(tmp_path: Path, samples: Path, name: str, data: st.DataObject) -> None:
    def damaged(member: str, content: bytes) -> bytes:
        if not content or not member.endswith((".xml", ".rels", ".opf", ".xhtml")) or data.draw(st.integers(0, 3)):
            return content
        start = data.draw(st.integers(0, len(content) - 1))
        return content[:start] + content[start + data.draw(st.integers(1, 200)) :]

    assert read_or_refused(written(tmp_path, name, rezipped((samples / name).read_bytes(), damaged)))


def encrypted_pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=StandardEncryption("secret", canPrint=0))
    canvas.drawString(72, 700, "You can't read this.")
    canvas.save()
    return buffer.getvalue()


def encrypted_zip(samples: Path) -> bytes:
    content = bytearray((samples / "board-minutes.docx").read_bytes())
    place = 0
    while (place := content.find(b"PK\x01\x02", place)) >= 0:
        content[place + 8] |= 1
        place += 4
    return bytes(content)


def test_password_protected(tmp_path: Path, samples: Path) -> None:
    container = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le") + bytes(500)
    for name, content in {
        "a.pdf": encrypted_pdf(),
        "a.docx": container,
        "a.xlsx": container,
        "b.docx": encrypted_zip(samples),
    }.items():
        reason = refusal(written(tmp_path, name, content))
        assert reason == "is password-protected; save a copy without the password"


@pytest.mark.parametrize(
    ("name", "as_name"),
    [
        ("telescope-manual.pdf", "a.txt"),
        ("telescope-manual.pdf", "a.docx"),
        ("telescope-manual.pdf", "manual"),
        ("board-minutes.docx", "a.pdf"),
        ("maintenance-log.xlsx", "a.docx"),
        ("field-guide.epub", "a.zip"),
        ("press-release.html", "a.txt"),
        ("press-release.html", "a.docx"),
        ("history.txt", "HISTORY"),
    ],
)
def test_misnamed_files_are_read_as_what_they_are(tmp_path: Path, samples: Path, name: str, as_name: str) -> None:
    content = (samples / name).read_bytes()
    misnamed = read_document(written(tmp_path, as_name, content))
    right = read_document(samples / name)
    assert (misnamed.text, misnamed.media_type) == (right.text, right.media_type)


@pytest.mark.parametrize("word", ["ID3", "RIFF", "BZh", "GIF8", "Rar!", "OggS", "PK", "II*"])
def test_a_text_may_begin_with_the_letters_of_a_binary_format(tmp_path: Path, word: str) -> None:
    text = f"{word} is what this note begins with."
    assert read_document(written(tmp_path, "note.md", text.encode())).text == text


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG image; convert it to text"),
        ("a.txt", b"\x1f\x8b\x08" + bytes(100), "is a gzip archive; convert it to text"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "is in an old binary Office format; save it as DOCX",
        ),
        ("a.docx", b"just text", "is damaged or not a valid DOCX; get a complete copy"),
        ("a.pdf", b"just text", "is damaged or not a valid PDF; get a complete copy"),
        ("a.pdf", b"%PDF-1.7\nrubbish\nstartxref\n0\n%%EOF", "is damaged or not a valid PDF; get a complete copy"),
        ("a.xyz", b"just text", "has a suffix that is not known (.xyz)"),
    ],
)
def test_other_kinds_of_files(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    assert refusal(written(tmp_path, name, content)).startswith(reason)


def test_a_plain_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("notes.txt", b"The sea.")
    assert refusal(tmp_path / "a.docx").startswith("is a zip archive; unpack it")


def lying(content: bytes, size: int) -> bytes:
    """A zip archive whose members say that they unpack to ``size`` bytes."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = -1
        while (place := changed.find(signature, place + 1)) >= 0:
            struct.pack_into("<I", changed, place + offset, size)
    return bytes(changed)


def test_zip_bombs(tmp_path: Path, samples: Path) -> None:
    bomb = rezipped(
        (samples / "board-minutes.docx").read_bytes(),
        lambda name, content: content + bytes(120_000_000) if name == "word/document.xml" else content,
    )
    assert len(bomb) < 300_000
    for content in (bomb, lying(bomb, 50_000)):
        tracemalloc.start()
        reason = refusal(written(tmp_path, "a.docx", content))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "zip bomb" in reason or reason.startswith(("is cut off or damaged", "is damaged"))
        assert peak < 20_000_000


def test_an_archive_of_very_many_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(archives.MAX_ENTRIES + 1):
            archive.writestr(str(number), b"")
    assert "zip bomb" in refusal(written(tmp_path, "a.xlsx", buffer.getvalue()))


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><lolz>&j;</lolz>"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("board-minutes.docx", "word/document.xml"),
        ("maintenance-log.xlsx", "xl/worksheets/sheet1.xml"),
        ("open-night.pptx", "ppt/presentation.xml"),
        ("field-guide.epub", "OEBPS/content.opf"),
    ],
)
def test_entity_bombs(tmp_path: Path, samples: Path, name: str, member: str, encoding: str) -> None:
    laughs = LAUGHS.decode().encode(encoding)
    bomb = rezipped((samples / name).read_bytes(), lambda n, content: laughs if n == member else content)
    assert refusal(written(tmp_path, name, bomb)) == "defines XML entities, like an entity bomb; it was not opened"


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", b"The sea.\n")
    os.truncate(path, 1_000_000_000)  # sparse: takes no room on the disk
    tracemalloc.start()
    assert refusal(path) == f"is larger than {MAX_FILE_BYTES // 1_000_000} MB; split it into parts"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_too_much_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MAX_TEXT_CHARACTERS", 1_000)
    path = written(tmp_path, "a.csv", b"some,cells\n" * 200)
    assert refusal(path) == "holds more than 1,000 characters of text; split it into parts"


def test_too_many_pages(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 3)
    path = written(tmp_path, "a.pdf", (samples / "telescope-manual.pdf").read_bytes())
    assert refusal(path) == "has more than 3 pages; split it into parts"


@pytest.mark.parametrize("content", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_deep_json(tmp_path: Path, content: bytes) -> None:
    assert refusal(written(tmp_path, "a.json", content)) == "nests too deeply for a JSON document; flatten it"


def test_invalid_json(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "a.json", b'{"a": ')).startswith("is not valid JSON: Expecting value: line 1")


def test_deep_html(tmp_path: Path) -> None:
    page = b"<body>" + b"<div>" * 100_000 + b"The treasure." + b"</div>" * 100_000
    assert read_document(written(tmp_path, "a.html", page)).text == "The treasure."


def test_deep_markdown(tmp_path: Path) -> None:
    assert read_document(written(tmp_path, "a.md", b"> " * 100_000 + b"deep\n\nThe end.")).text.endswith("The end.")


def test_deep_mime(tmp_path: Path) -> None:
    mail = "Subject: Deep\n"
    for number in range(2_000):
        mail += f'Content-Type: multipart/mixed; boundary="b{number}"\n\n--b{number}\n'
    path = written(tmp_path, "a.eml", (mail + "\nbottom\n").encode())
    assert refusal(path).startswith("is damaged or not a valid EML file (RecursionError)")


def test_deep_word_document(tmp_path: Path, samples: Path) -> None:
    def deep(name: str, content: bytes) -> bytes:
        nested = b"<w:body>" + b"<w:sdt>" * 100_000 + b"</w:sdt>" * 100_000
        return content.replace(b"<w:body>", nested) if name == "word/document.xml" else content

    path = written(tmp_path, "a.docx", rezipped((samples / "board-minutes.docx").read_bytes(), deep))
    assert refusal(path).startswith("is damaged or not a valid DOCX file")


def test_wide_table(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "a.csv", b"1," * 1_000_000)).startswith("has more than 16,384 columns")
    assert refusal(written(tmp_path, "a.tsv", b"1\t" * 1_000_000)).startswith("has more than 16,384 columns")


def test_giant_field(tmp_path: Path) -> None:
    reason = refusal(written(tmp_path, "a.csv", b'a,b\n1,"' + b"x" * 1_000_000))
    assert reason.startswith("is not a table that can be read: field larger than field limit")


def test_far_away_cells(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "here"
    book.active["XFD1048576"] = "there"
    book.save(tmp_path / "a.xlsx")
    assert read_document(tmp_path / "a.xlsx").text.split() == ["Sheet", "here", *["|"] * 16_383, "there"]


@pytest.mark.parametrize("name", ["two\nlines.txt", "🐟 lantern.txt", "é" * 125 + ".txt", "a\x1b[31mred.txt", " .txt"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    document = read_document(written(tmp_path, name, b"The sea."))
    assert document.source == name
    assert "\n" not in document.title
    assert document.title.isprintable()

    with pytest.raises(UnreadableDocument) as caught:
        read_document(written(tmp_path, name, b""))
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    document = read_document(written(path.parent, path.name, b"The sea."))
    document.source.encode()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert refusal(tmp_path / "pipe.txt").startswith("is not a regular file")

    (tmp_path / "folder.txt").mkdir()
    assert refusal(tmp_path / "folder.txt").startswith("is not a regular file")

    assert refusal(Path("/dev/zero")).startswith("is not a regular file")

    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        try:
            server.bind("socket.txt")
        finally:
            os.chdir(place)
        assert refusal(tmp_path / "socket.txt").startswith("can't be opened")

    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    assert refusal(tmp_path / "loop.txt").startswith("can't be opened: too many levels of symbolic links")
    assert refusal(tmp_path / "missing.txt").startswith("can't be opened: no such file")
    assert refusal(tmp_path / ("x" * 300)).startswith("can't be opened: file name too long")


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), KeyError("x"), AssertionError(), OSError("disk")])
def test_any_failure_of_a_library_is_a_plain_line(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pypdfium2, "PdfDocument", fail)
    path = written(tmp_path, "a.pdf", (samples / "telescope-manual.pdf").read_bytes())
    assert refusal(path) == f"is damaged or not a valid PDF file ({type(error).__name__}); get a complete copy"


def test_files_are_closed(tmp_path: Path, samples: Path) -> None:
    """A folder may hold more files than a process may have open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 8, hard))
    try:
        for _ in range(6):
            for path in samples.iterdir():
                read_document(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
