"""What is drawn: all of the text and nothing but the text, whatever the text is."""

from dataclasses import replace
from html.parser import HTMLParser

from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.apps.conversation import Turn, history, render_conversation, render_welcome
from genaisys.apps.library import render_collections, render_documents, render_outcomes
from genaisys.apps.markup import place, shown, shown_in_one_line
from genaisys.apps.passages import CONTEXT, render_passage
from genaisys.apps.suggestions import MOST, suggested_questions
from genaisys.retrieval.answering import Answer, Citation, Sentence
from genaisys.retrieval.documents import Block, Document
from genaisys.retrieval.ingestion import Outcome

HOSTILE = """</q><script>alert(1)</script><img src=x onerror='alert(2)'>"&amp;' \ud800"""
SAFE_TAGS = {
    "div",
    "section",
    "header",
    "aside",
    "article",
    "h1",
    "h2",
    "h3",
    "p",
    "pre",
    "span",
    "b",
    "em",
    "q",
    "mark",
}
SAFE_TAGS |= {"mark", "ul", "ol", "li", "details", "summary", "form", "input", "button", "progress"}


class Tags(HTMLParser):
    """Every tag and every attribute's name that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def document(text: str, *blocks: Block, title: str = "A title", source: str = "a.txt") -> Document:
    return Document(source, title, text, blocks or (Block("paragraph", 0, len(text)),), "text/plain", "0" * 64)


def answered(text: str, *sentences: Sentence, citations: tuple[Citation, ...] = (), refused: bool = False) -> Turn:
    answer = Answer(text, refused, citations, sentences, {"search": 0.004, "total": 2.5})
    return Turn("Why?", "answered", citations=citations, answer=answer)


def soup(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    citation = Citation(HOSTILE, 1, 0, 5, HOSTILE)
    turn = answered(HOSTILE, Sentence(HOSTILE, False), citations=(citation,))
    pages = [
        render_conversation([replace(turn, question=HOSTILE), Turn(HOSTILE, "failed", HOSTILE, error=HOSTILE)]),
        render_welcome(HOSTILE, 1, [HOSTILE]),
        render_welcome(HOSTILE, 0, []),
        render_collections([HOSTILE], HOSTILE, HOSTILE),
        render_documents([document("x", title=HOSTILE, source=HOSTILE)], HOSTILE),
        render_outcomes([Outcome(HOSTILE, "failed", HOSTILE)], [HOSTILE]),
        render_passage(document(HOSTILE, Block("row", 0, 9, header=HOSTILE), title=HOSTILE, source=HOSTILE), 0, 5),
    ]
    for page in pages:
        page.encode()  # no lone surrogate is left
        seen = Tags(page)
        assert seen.tags <= SAFE_TAGS
        assert not [name for name in seen.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "<script>alert(1)</script>" in soup(pages[0]).get_text()


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\r"), max_size=300))
def test_text_comes_back_as_it_was(text: str) -> None:
    whole = text.encode("utf-8", "replace").decode()
    assert soup(f"<pre>{shown(text)}</pre>").pre.get_text() == whole
    assert soup(f"<p title='{shown(text)}'></p>").p["title"] == whole


def test_names_cannot_break_lines_or_turn_the_writing_round() -> None:
    assert shown_in_one_line("a\nb\u202etxt.exe") == "a�b�txt.exe"
    assert soup(place("reports/2024/spring.md", 3)).get_text() == "reports/2024/spring.mdpage 3"


@settings(deadline=None)
@given(st.lists(st.text("ab<&>é", min_size=1, max_size=30), min_size=1, max_size=8), st.data())
def test_a_passage_is_marked_exactly_across_blocks(paragraphs: list[str], data: st.DataObject) -> None:
    text, blocks = "", []
    for paragraph in paragraphs:
        blocks.append(Block("paragraph", len(text), len(text) + len(paragraph)))
        text += f"{paragraph}\n\n"
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    page = soup(render_passage(document(text, *blocks), start, end))
    assert [paragraph.get_text() for paragraph in page.select(".text > p")] == paragraphs
    marked = "".join(text[max(b.start, start) : min(b.end, end)] for b in blocks if b.start < end and b.end > start)
    assert "".join(mark.get_text() for mark in page.select("mark")) == marked


def test_only_the_surroundings_of_a_passage_in_a_long_document_are_drawn() -> None:
    text = "x" * 100_000 + "NEEDLE" + "y" * 100_000
    page = soup(render_passage(document(text), 100_000, 100_006))
    assert page.mark.get_text() == "NEEDLE"
    assert len(page.get_text()) < 2 * CONTEXT + 500
    assert len(page.select(".cut")) == 2


def test_pages_are_told_in_the_text_and_above_it() -> None:
    blocks = Block("paragraph", 0, 5, page=4), Block("paragraph", 6, 11, page=5), Block("paragraph", 12, 17, page=5)
    page = soup(render_passage(document("first secnd third", *blocks), 6, 11))
    assert [line.get_text() for line in page.select(".pagebreak")] == ["Page 4", "Page 5"]
    assert page.select_one("header .page").get_text() == "page 5"


def test_the_structure_of_a_document_is_kept() -> None:
    text = "Title\n1. one\nloose\nx = 1"
    blocks = Block("heading", 0, 5, level=1), Block("item", 6, 12), Block("item", 13, 18), Block("code", 19, 24)
    page = soup(render_passage(document(text, *blocks), 0, 0))
    assert page.h3["data-level"] == "1"
    assert [item.has_attr("data-numbered") for item in page.select(".item")] == [True, False]
    assert page.pre.get_text() == "x = 1"
    assert not page.select("mark")


def test_sentences_that_nothing_supports_are_marked_and_no_others() -> None:
    turn = answered("It rained. It snowed. It rained.", Sentence("It rained.", True), Sentence("It snowed.", False))
    page = soup(render_conversation([turn]))
    assert [part.get_text() for part in page.select(".unsupported")] == ["It snowed."]
    flag = page.select_one(".flag").extract()
    assert flag.get_text() == "not in the documents"
    assert page.select_one(".prose").get_text() == "It rained. It snowed. It rained."


def test_a_refusal_has_a_form_of_its_own() -> None:
    page = soup(render_conversation([answered("The documents do not say.", refused=True)]))
    assert page.select_one(".refusal p").get_text() == "The documents do not say."
    assert not page.select(".prose")


def test_a_short_answer_is_marked_in_its_quotation() -> None:
    citation = Citation("a.txt", 2, 10, 30, "It weighs 310 kilograms.")
    turn = answered("310 kilograms", Sentence("310 kilograms", True), citations=(citation,))
    page = soup(render_conversation([turn]))
    assert page.select_one(".source mark").get_text() == "310 kilograms"
    assert page.select_one(".source q").get_text() == citation.quote
    button = page.select_one(".source")
    assert (button["data-source"], button["data-start"], button["data-end"]) == ("a.txt", "10", "30")


def test_timings_are_in_units_that_people_read() -> None:
    assert (
        soup(render_conversation([answered("Yes.")])).select_one(".timings").get_text(" ") == "search 4 ms total 2.5 s"
    )


def test_only_whole_answers_are_history() -> None:
    messages = history([answered("A."), Turn("stopped?", "stopped", "half of"), Turn("failed?", "failed")])
    assert [(message.role, message.text) for message in messages] == [("user", "Why?"), ("assistant", "A.")]


def test_outcomes_name_failures_first_and_say_why() -> None:
    results = [
        Outcome("a.txt", "added", chunks=3),
        Outcome("b.pdf", "failed", "is damaged"),
        Outcome("c.md", "unchanged"),
    ]
    page = soup(render_outcomes(results, []))
    assert page.select_one(".title").contents[0] == "1 added, 1 failed, 1 unchanged"
    assert page.li.get_text(" ") == "b.pdf failed is damaged"
    assert page.div["data-done"] == "true"
    page = soup(render_outcomes(results, ["d.txt"]))
    assert page.select_one(".title").get_text() == "Reading 4 of 4"
    assert (page.progress["value"], page.progress["max"], page.div["data-done"]) == ("3", "4", "false")


def test_questions_come_from_the_documents() -> None:
    asks = document("How do I reset it?", Block("heading", 0, 18))
    tells = document("2.1 The dome motor\ntext", Block("heading", 0, 18), Block("paragraph", 19, 23))
    plain = document("no headings", title="Frog diary")
    assert suggested_questions([asks, tells, plain]) == [
        "How do I reset it?",
        "What do the documents say about “The dome motor”?",
        "What is “Frog diary” about?",
    ]
    assert len(suggested_questions(document("x", title=f"Note {n}") for n in range(20))) == MOST
