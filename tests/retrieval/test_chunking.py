"""Chunks: what they promise for any document, and how they divide real ones."""

from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.retrieval.chunking import MAX_TOKENS, chunk_document
from genaisys.retrieval.documents import Block, Chunk, Document
from genaisys.retrieval.readers.draft import Draft
from genaisys.retrieval.sentences import sentence_spans


def document(draft: Draft) -> Document:
    return draft.document("notes.txt", "notes", "text/plain", "0" * 64)


def words(count: int, word: str = "sea") -> str:
    return " ".join([word] * count)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    draft = Draft()
    page = draw(st.sampled_from([None, 1]))
    text = st.one_of(
        st.text(alphabet="ab. ?!,:\n漢éU", max_size=40),
        st.integers(1, 300).map(words),
        st.integers(1, 400).map(lambda count: words(count) + "."),
        st.integers(1, 30).map(lambda count: " ".join(["The sea is blue."] * count)),
        st.just("x" * 3000),
    )
    for _ in range(draw(st.integers(0, 12))):
        if page is not None and draw(st.booleans()):
            page += draw(st.integers(0, 2))
        match draw(st.sampled_from(["heading", "paragraph", "item", "code", "row"])):
            case "heading":
                draft.heading(draw(text)[:80], draw(st.integers(1, 4)), page)
            case "paragraph":
                draft.paragraph(draw(text), page)
            case "item":
                draft.item(draw(text), page)
            case "code":
                draft.code(draw(text).replace(". ", "\n\n  "), page)
            case "row":
                header = draft.row(["name", "depth"], "name | depth", page)
                for _ in range(draw(st.integers(1, 40))):
                    draft.row([words(draw(st.integers(1, 30))), "7"], header, page)
    return document(draft)


def body(document: Document) -> list[Block]:
    """The blocks that must be searchable: all but headings with something below them."""
    followers = (*document.blocks[1:], None)
    return [
        block
        for block, following in zip(document.blocks, followers, strict=False)
        if block.kind != "heading"
        or following is None
        or (following.kind == "heading" and following.level <= block.level)
    ]


@settings(max_examples=200, deadline=None)
@given(documents())
def test_chunks_of_any_document(document: Document) -> None:
    chunks = chunk_document(document)
    text = document.text
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert len({chunk.id for chunk in chunks}) == len(chunks)

    previous_end = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip()
        assert chunk.source == document.source
        assert chunk.start >= previous_end
        previous_end = chunk.end
        place = chunk.start
        for start, end in chunk.sentences:
            assert place <= start < end <= chunk.end
            assert text[start:end] == text[start:end].strip()
            place = end

    for block in body(document):
        held = [chunk for chunk in chunks if chunk.start < block.end and block.start < chunk.end]
        covered = sum(
            not text[position].isspace()
            for chunk in held
            for position in range(max(chunk.start, block.start), min(chunk.end, block.end))
        )
        assert covered == sum(not character.isspace() for character in text[block.start : block.end])
        assert all(chunk.page == block.page for chunk in held)

    headings = [block for block in document.blocks if block.kind == "heading"]
    if len(headings) < len(document.blocks):
        for chunk in chunks:
            alone = [block for block in headings if block.start <= chunk.start and chunk.end <= block.end]
            assert all(block in body(document) for block in alone)


@settings(max_examples=100, deadline=None)
@given(documents())
def test_no_sentence_is_cut_where_it_fits(document: Document) -> None:
    chunks = chunk_document(document)
    for block in body(document):
        if block.kind in ("paragraph", "item"):
            for start, end in sentence_spans(document.text[block.start : block.end]):
                start, end = block.start + start, block.start + end
                if end - start <= MAX_TOKENS:  # a token has a character at least
                    assert any(chunk.start <= start and end <= chunk.end for chunk in chunks)


def test_context_names_the_place() -> None:
    draft = Draft()
    draft.title = "Handbook"
    draft.heading("Handbook", 1)
    draft.heading("Safety", 2)
    draft.paragraph(words(60))
    draft.heading("Storms", 3)
    draft.paragraph(words(61))
    draft.heading("Pay", 2)
    draft.paragraph(words(62))
    assert [chunk.context for chunk in chunk_document(document(draft))] == [
        "Handbook > Safety",
        "Handbook > Safety > Storms",
        "Handbook > Pay",
    ]


def test_tiny_sections_share_a_chunk_and_keep_their_headings() -> None:
    draft = Draft()
    draft.heading("Questions", 1)
    for number in range(3):
        draft.heading(f"Question {number}", 2)
        draft.paragraph(f"Answer {number}.")
    (chunk,) = chunk_document(document(draft))
    assert chunk.text == "Answer 0.\n\nQuestion 1\n\nAnswer 1.\n\nQuestion 2\n\nAnswer 2."
    assert [draft_text(chunk, span) for span in chunk.sentences] == ["Answer 0.", "Answer 1.", "Answer 2."]


def draft_text(chunk: Chunk, span: tuple[int, int]) -> str:
    return chunk.text[span[0] - chunk.start : span[1] - chunk.start]


def test_long_tables_repeat_their_header_as_context() -> None:
    draft = Draft()
    header = draft.row(["Name", "Depth"], "Name | Depth")
    for number in range(200):
        draft.row([f"Buoy {number}", str(number)], header)
    chunks = chunk_document(document(draft))
    assert len(chunks) > 3
    assert chunks[0].text.startswith("Name | Depth\nBuoy 0 | 0\n")
    assert chunks[0].context == "notes"
    assert all(chunk.context == "notes\nName | Depth" for chunk in chunks[1:])
    rows = [draft_text(chunk, span) for chunk in chunks for span in chunk.sentences]
    assert rows == [f"Buoy {number} | {number}" for number in range(200)]  # the header row is no statement


def test_long_text_is_divided_evenly() -> None:
    draft = Draft()
    draft.paragraph(" ".join(["The sea was calm and the sky was clear."] * 25))
    sizes = [len(chunk.text) for chunk in chunk_document(document(draft))]
    assert len(sizes) == 2
    assert abs(sizes[0] - sizes[1]) < 60


def test_what_is_announced_stays_with_its_announcement() -> None:
    draft = Draft()
    draft.paragraph(words(100))
    draft.paragraph(words(90, "calm"))
    draft.paragraph("Put these in the boat:")
    draft.item(words(100, "rope"))
    last = chunk_document(document(draft))[-1]
    assert last.text.startswith("Put these in the boat:\n\nrope")


def test_code_is_divided_at_blank_lines() -> None:
    draft = Draft()
    functions = [f"def f{number}(x):\n    y = x + {number}\n    return y * y\n" for number in range(40)]
    draft.code("\n".join(functions))
    chunks = chunk_document(document(draft))
    assert len(chunks) > 2
    assert all(chunk.text.startswith("def f") for chunk in chunks)


def test_a_title_slide_is_searchable() -> None:
    draft = Draft()
    draft.heading("Thank you, and good night", 1, page=1)
    (chunk,) = chunk_document(document(draft))
    assert chunk.text == "Thank you, and good night"
    assert chunk.sentences == ((0, len(chunk.text)),)


def test_a_passage_rather_begins_with_a_term_than_ends_with_one() -> None:
    draft = Draft()
    for name in ("barnacle", "cuttle", "dogwhelk", "eelgrass"):
        draft.item(f"{name}(depth)")
        draft.paragraph(words(70) + ".")
        draft.paragraph("New in 2018.")
    starts = [chunk.text.split("(")[0] for chunk in chunk_document(document(draft))]
    assert starts == ["barnacle", "dogwhelk"]
