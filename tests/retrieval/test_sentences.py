"""Sentence spans: what they promise for any text, and how they decide on real ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaisys.retrieval.sentences import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


TRICKY = st.text(alphabet="aZé9 .!?…。」\"')[]\n\t-*\u00a0U S", max_size=80)


@given(st.one_of(st.text(max_size=200), TRICKY))
def test_spans_cover_everything_but_white_space_once(text: str) -> None:
    spans = sentence_spans(text)
    covered = [position for start, end in spans for position in range(start, end)]
    assert len(covered) == len(set(covered))
    assert covered == sorted(covered)
    outside = set(range(len(text))) - set(covered)
    assert all(text[position].isspace() for position in outside)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)


@given(TRICKY, TRICKY)
def test_a_blank_line_always_ends_a_sentence(first: str, second: str) -> None:
    first, second = first.strip(), second.strip()
    if first and second:
        assert sentences(f"{first}\n\n{second}") == sentences(first) + sentences(second)


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Smith met J. R. R. Tolkien at 5 p.m.", "They talked."],
        ["It costs 3.5 crowns!", "Really?!", "Yes... And so it goes on, e.g. here."],
        ["See Fig. 3 and No. 5 on pp. 12 to 14.", "She said no.", "Then she left."],
        ['He cried "Stop!" and left.', '"Go on."', "She nodded.", "(This is one.)", "This is another."],
        ["Next came a note.[3]", "And another.[4][5]", "The end."],
        ["In the U.S. Army he served.", "He left the U.S.", "The end."],
        ["Call sorted().", "os.path is a module.", "str.split() splits, v. 2 too."],
        ["これは文です。", "次の文です！", "「はい。」", "と言った。"],
        ["On Dec. 5 we sailed.", "It was cold in Jan.", "The sea froze."],
        ["Acme Inc. Berlin sold it.", "Acme Inc.", "The others did not.", "Prof. Oakes et al. (2019) disagree."],
        ["1. Introduction.", "The rest."],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
    ],
)
def test_decisions(expected: list[str]) -> None:
    joined = "".join(sentence if sentence[0] in "次「と" else f" {sentence}" for sentence in expected)
    found = sentences(joined.replace("Yes... And", "Yes... and"))
    assert [sentence.replace("Yes... and", "Yes... And") for sentence in found] == expected


def test_line_breaks() -> None:
    text = "A line that is\nwrapped. Second\n\nA new paragraph\n- one item\n- another\n2) a third\nits second line"
    assert sentences(text) == [
        "A line that is\nwrapped.",
        "Second",
        "A new paragraph",
        "- one item",
        "- another",
        "2) a third\nits second line",
    ]


@pytest.mark.parametrize("text", ["." * 300_000 + "x", "\n " * 200_000 + "x", ".)" * 200_000, "a.[1" * 100_000])
def test_long_runs_of_stops_are_one_sentence(text: str) -> None:
    """Also a guard against quadratic search, which would take minutes here."""
    assert len(sentence_spans(text)) == 1
