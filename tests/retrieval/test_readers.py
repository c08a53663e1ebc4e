"""Readers: what every one promises, and the plainer formats. The larger formats have files of their own."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genaisys.retrieval.documents import Document
from genaisys.retrieval.readers import SUFFIXES, UnreadableDocument, read_document

SAMPLES = sorted((Path(__file__).parents[2] / "samples").iterdir())
QUESTIONS = json.loads((Path(__file__).parent / "sample_questions.json").read_text())


def check(document: Document) -> Document:
    """Asserts what holds for every document, and returns it."""
    end, page = 0, 0
    for block in document.blocks:
        text = document.text[block.start : block.end]
        assert not document.text[end : block.start].strip()
        assert text.strip()
        assert text == text.strip() or block.kind == "code"
        assert block.kind == "code" or "\n" not in text
        assert (block.level > 0) == (block.kind == "heading")
        assert block.start >= end
        assert (block.page or 0) >= page
        end, page = block.end, block.page or page
    assert end == len(document.text)
    assert document.title
    document.text.encode()  # no lone surrogates
    assert not any(character in document.text for character in "\0\r\x0b\u200b\ufeff\u00ad")
    return document


def read(folder: Path, name: str, content: str | bytes) -> Document:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return check(read_document(path))


def read_or_refused(path: Path) -> Document | str:
    """The document, or the line that says why there is none."""
    try:
        return check(read_document(path))
    except UnreadableDocument as error:
        return str(error)


def texts(document: Document, kind: str) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks if block.kind == kind]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_can_be_read(path: Path) -> None:
    document = check(read_document(path))
    assert document.source == path.name
    assert len(document.text) > 500


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q["answer"]], ids=lambda q: q["source"])
def test_samples_hold_the_answers(question: dict[str, str]) -> None:
    (path,) = [path for path in SAMPLES if path.name == question["source"]]
    assert question["answer"] in read_document(path).text


def test_source_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The bay glows.")
    assert read_document(tmp_path / "a.txt", source="papers/a.txt").source == "papers/a.txt"


SOME_TEXT = st.text(max_size=400) | st.text(alphabet='ab <>/#*|-\n\t`[](){}",:&;=1.\0\u0301\ud800', max_size=400)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".csv", ".tsv", ".json", ".jsonl", ".eml", ".py"])
@given(content=SOME_TEXT)
def test_any_text_is_read_or_refused(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    outcome = read_or_refused(path)
    assert isinstance(outcome, Document) or (outcome.startswith(path.name) and outcome.isprintable())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", sorted({".txt", ".html", ".pdf", ".docx", ".xlsx", ".epub", ".eml", ".csv"}))
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    outcome = read_or_refused(path)
    assert isinstance(outcome, Document) or (outcome.startswith(path.name) and outcome.isprintable())


def test_plain_text(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        "log.txt",
        "THE LOG OF THE PETREL\n\nWe left the harbour before dawn, with a light wind from the\nnorth-east and "
        "all hands in good spirits.\n\nPack:\n- rope\n- a lamp, because the nights\n  are long\n\n1.2 Weather\n\n"
        "Tiger, tiger, burning bright\nIn the forests\nof the night\n\nResults\n=======\nGood.\n",
    )
    assert document.title == "THE LOG OF THE PETREL"
    assert texts(document, "heading") == ["THE LOG OF THE PETREL", "1.2 Weather", "Results"]
    assert texts(document, "paragraph")[0] == (
        "We left the harbour before dawn, with a light wind from the north-east and all hands in good spirits."
    )
    assert "- a lamp, because the nights are long" in texts(document, "item")
    assert "In the forests" in texts(document, "item")  # verse keeps its lines
    assert texts(document, "paragraph")[-1] == "Good."


def test_markdown(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        "notes.md",
        "---\ntitle: 'The notes'\nauthor: Liv\n---\n# One\n\nSome *emphasis*, a [link](http://x.example) and `code`\n"
        "over two lines.\n\nTwo\n---\n\n- first\n- second\n  with more\n\n```python\nx = 1\n\ny = 2\n```\n\n"
        "| a | b |\n| - | - |\n| 1 | **2** |\n\n> quoted\n\n<div>inside <b>HTML</b></div>\n",
    )
    assert document.title == "The notes"
    assert document.metadata == {"author": "Liv"}
    assert [(block.level, document.text[block.start : block.end]) for block in document.blocks if block.level] == [
        (1, "One"),
        (2, "Two"),
    ]
    assert texts(document, "paragraph") == [
        "Some emphasis, a link and code over two lines.",
        "quoted",
        "inside HTML",
    ]
    assert texts(document, "item") == ["first", "second with more"]
    assert texts(document, "code") == ["x = 1\n\ny = 2"]
    assert [(block.header, document.text[block.start : block.end]) for block in document.blocks if block.header] == [
        ("a | b", "a | b"),
        ("a | b", "1 | 2"),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv(tmp_path: Path, delimiter: str) -> None:
    rows = [["name", "depth (m)", "note"], ["Cuttle", "58", '"two\nlines; and, commas"'], ["Eelgrass", "94", ""]]
    document = read(tmp_path, "buoys.csv", "\r\n".join(delimiter.join(row) for row in rows))
    header = "name | depth (m) | note"
    assert texts(document, "row") == [header, "Cuttle | 58 | two lines; and, commas", "Eelgrass | 94"]
    assert {block.header for block in document.blocks} == {header}


def test_csv_without_header_row(tmp_path: Path) -> None:
    document = read(tmp_path, "numbers.csv", "1,2\n3,4\n")
    assert {block.header for block in document.blocks} == {""}


def test_tsv(tmp_path: Path) -> None:
    document = read(tmp_path, "buoys.tsv", 'name\tsize\nCut"tle\t58\n')
    assert texts(document, "row") == ["name | size", 'Cut"tle | 58']


def test_json(tmp_path: Path) -> None:
    content = {
        "title": "Stations",
        "count": 2.50,
        "open": True,
        "where": {"bay": "Lanternfish", "tags": ["sea", "sky"]},
        "buoys": [{"name": "Cuttle", "depth": 58}, {"name": "Eelgrass", "depth": None}],
        "people": [{"name": "Liv", "tasks": ["count", "film"]}, {"name": "Rafiq", "boat": "Petrel"}],
        "story": "A long story. " * 20,
    }
    document = read(tmp_path, "stations.json", json.dumps(content))
    assert document.title == "Stations"
    assert texts(document, "item") == [
        "title: Stations",
        "count: 2.5",
        "open: yes",
        "bay: Lanternfish",
        "tags: sea, sky",
        "name: Liv",
        "tasks: count, film",
        "name: Rafiq",
        "boat: Petrel",
    ]
    assert texts(document, "heading") == ["where", "buoys", "people", "Liv", "Rafiq"]
    assert texts(document, "row") == ["name | depth", "Cuttle | 58", "Eelgrass"]
    assert texts(document, "paragraph") == ["story: " + ("A long story. " * 20).strip()]


def test_json_keeps_numbers_as_written(tmp_path: Path) -> None:
    document = read(tmp_path, "numbers.json", f'{{"pi": 3.140, "big": {"9" * 5000}}}')
    assert texts(document, "item")[0] == "pi: 3.140"
    assert "9" * 5000 in document.text


def test_json_lines(tmp_path: Path) -> None:
    document = read(tmp_path, "log.jsonl", '{"day": "Monday", "glow": 3}\n\n{"day": "Tuesday", "glow": 4}\n')
    assert texts(document, "row") == ["day | glow", "Monday | 3", "Tuesday | 4"]
    with pytest.raises(UnreadableDocument, match=r"^bad\.jsonl is not valid JSON in line 2"):
        read(tmp_path, "bad.jsonl", '{"a": 1}\n{"a": \n')


def test_code(tmp_path: Path) -> None:
    document = read(
        tmp_path, "clock.py", "import math\n\n\ndef f(x):\n\tif x:\n\n\t\treturn 1\n\n\nclass A:\n    pass\n"
    )
    assert document.title == "clock.py"
    assert texts(document, "code") == [
        "import math",
        "def f(x):\n    if x:\n\n        return 1",
        "class A:\n    pass",
    ]


MAIL = """From: =?utf-8?q?Liv_Castellane?= <liv@bay.example>
To: all@bay.example
Subject: =?utf-8?b?R2zDvGhlbg==?= tonight
Date: Tue, 3 Sep 2024 21:15:00 +0200
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

--b1
Content-Type: {kind}; charset="iso-8859-1"
Content-Transfer-Encoding: quoted-printable

{body}
--b1
Content-Type: application/pdf; name="map.pdf"
Content-Disposition: attachment; filename="map.pdf"
Content-Transfer-Encoding: base64

AAAA
--b1--
"""


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/plain", "The bay gl=FChs blue.\n"), ("text/html", "<p>The bay <b>gl=FChs</b> blue.</p><script>x</script>")],
)
def test_mail(tmp_path: Path, kind: str, body: str) -> None:
    document = read(tmp_path, "letter.eml", MAIL.format(kind=kind, body=body))
    assert document.title == "Glühen tonight"
    assert document.metadata["date"] == "2024-09-03"
    assert document.metadata["from"] == "Liv Castellane <liv@bay.example>"
    assert texts(document, "paragraph") == ["The bay glühs blue."]
    assert texts(document, "item")[-1] == "Attachment: map.pdf"


ENCODED = {
    "utf-8-sig": "Das Meer leuchtet – schön.",
    "utf-16": "Das Meer leuchtet – schön.",
    "utf-16-le": "The sea glows blue tonight.",
    "utf-16-be": "The sea glows blue tonight.",
    "utf-32": "Das Meer leuchtet – schön.",
    "latin-1": "Año nuevo en España: ¿qué tal? Está más allá.",
    "cp1252": "Der Vogel frißt Körner – “naïve” cafés, £5.",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "cp1251": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "shift_jis": "これは日本語の文章です。漢字も入っています。",
    "gb18030": "我能吞下玻璃而不伤身体。这是一个测试文件。",
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_encodings_are_found_out(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, "a.txt", ENCODED[encoding].encode(encoding)).text == ENCODED[encoding]


def test_invisible_characters_are_cleaned(tmp_path: Path) -> None:
    document = read(tmp_path, "a.txt", "The\u200b sea\x07 is co\u00adoperative, cafe\u0301,\u00a0blue.\x0c\x1b")
    assert document.text == "The sea is cooperative, caf\u00e9, blue."


def test_suffixes_are_lower_case_and_dotted() -> None:
    assert all(
        suffix[0] == "." and set(suffix[1:]) <= set(string.ascii_lowercase + string.digits) for suffix in SUFFIXES
    )
