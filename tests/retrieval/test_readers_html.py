"""Web pages: boilerplate goes, everything else stays, in order."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.retrieval.documents import Block
from genaisys.retrieval.readers.draft import Draft
from genaisys.retrieval.readers.html import read_html


def blocks(markup: str | bytes) -> list[tuple[str, str]]:
    draft = read_html(markup.encode() if isinstance(markup, str) else markup)
    document = draft.document("page.html", "page", "text/html", "")
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def rows(draft: Draft) -> list[Block]:
    return [block for block in draft.blocks if block.kind == "row"]


WORD = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
WORDS = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


@st.composite
def pages(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A page of documentation, and the blocks that a reader must find in it."""
    markup, expected = [], []
    for _ in range(draw(st.integers(1, 8))):
        text = draw(WORDS)
        match draw(st.sampled_from(["h", "p", "li", "pre", "dl", "table", "noise", "div", "nested"])):
            case "h":
                markup.append(f'<h2>{text}<a class="headerlink" href="#x">¶</a></h2>')
                expected.append(("heading", text))
            case "p":
                markup.append(f"<p>{text.replace(' ', ' <em>', 1)}</em>\n </p>" if " " in text else f"<p>{text}</p>")
                expected.append(("paragraph", text))
            case "li":
                markup.append(f"<ul><li>{text}</li><li><p>{text}</p></li></ul>")
                expected += [("item", text)] * 2
            case "pre":
                markup.append(f"<div><pre><span></span><span>{text}</span>\n\n  <b>{text}</b>\n</pre></div>")
                expected.append(("code", f"{text}\n\n  {text}"))
            case "dl":
                markup.append(f"<dl><dt><code>{text}</code></dt><dd><p>{text}</p></dd></dl>")
                expected += [("item", text), ("paragraph", text)]
            case "table":
                markup.append(f"<table><tr><th>a</th><th>b</th></tr><tr><td>{text}</td><td>9</td></tr></table>")
                expected += [("row", "a | b"), ("row", f"{text} | 9")]
            case "noise":
                markup.append(
                    f"<nav>{text}</nav><script>{text}</script><style>p {{}}</style><aside>{text}</aside>"
                    f'<div role="navigation">{text}</div><p hidden>{text}</p><p style="display: none">{text}</p>'
                    f'<footer>{text}</footer><button>{text}</button><b aria-hidden="true">{text}</b><!-- {text} -->'
                )
            case "div":
                markup.append(f"<div>{text}</div>{text}<br><br>{text}")
                expected += [("paragraph", text)] * 3
            case "nested":
                markup.append(f"<section><header><h1>{text}</h1></header><blockquote>{text}</blockquote></section>")
                expected += [("heading", text), ("paragraph", text)]
    return "<html><head><title>t</title></head><body>" + "\n".join(markup) + "</body></html>", expected


@settings(max_examples=200, deadline=None)
@given(pages())
def test_generated_pages(page: tuple[str, list[tuple[str, str]]]) -> None:
    markup, expected = page
    assert blocks(markup) == expected


def test_only_the_main_part_where_a_page_marks_it() -> None:
    main = "<div role='main'><h1>Title</h1><p>Text<aside>Remark</aside></div>"
    page = f"<body><div>menu</div>{main}<div>related</div></body>"
    assert blocks(page) == [("heading", "Title"), ("paragraph", "Text"), ("paragraph", "Remark")]


def test_layout_tables_are_no_tables() -> None:
    page = "<table><tr><td>left<h1>Title</h1><p>One.</p><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    assert blocks(page) == [("paragraph", "left"), ("heading", "Title"), ("paragraph", "One."), ("row", "a | b")]


def test_table_rows_know_their_header() -> None:
    draft = read_html(b"<table><tr><th>Day<th>Glow<tr><td>Monday<td>3<tr><td>Tuesday<td>4</table>")
    assert [block.header for block in rows(draft)] == ["Day | Glow"] * 3


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title>Bay — The Observatory</title>", "Bay"),
        ("<title>The Observatory</title>", "The Observatory"),
        ("", "Bay"),
    ],
)
def test_title(head: str, title: str) -> None:
    draft = read_html(f"<head>{head}</head><h1>Bay</h1><p>x".encode())
    assert draft.document("a.html", "a", "", "").title == title


def test_declared_encoding() -> None:
    text = "Łódź leży w środku Polski; żółć"
    page = f'<html><head><meta charset="iso-8859-2"></head><body><p>{text}</p></body></html>'
    assert blocks(page.encode("iso-8859-2")) == [("paragraph", text)]


@pytest.mark.parametrize("tag", ["div", "span", "ul><li", "table><tr><td", "blockquote", "b"])
def test_deep_nesting(tag: str) -> None:
    closing = "".join(f"</{name}>" for name in reversed(tag.split("><")))
    page = "<body>" + f"<{tag}>" * 100_000 + "<p>The treasure.</p>" + closing * 100_000 + "<p>The end.</p></body>"
    assert [text for _, text in blocks(page)] == ["The treasure.", "The end."]


def test_pages_that_stop_anywhere(samples: Path) -> None:
    page = (samples / "press-release.html").read_bytes()
    for end in range(0, len(page), 97):
        blocks(page[:end])
