"""Stop texts, however the text was cut into pieces."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.models.transformer.stopping import StopTexts

LETTERS = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


def first_stop(text: str, stops: list[str]) -> int | None:
    """Where the stop text begins that is whole first, if letters come one by one."""
    for end in range(len(text) + 1):
        begins = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begins:
            return min(begins)
    return None


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    borders = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[first:last] for first, last in pairwise(borders)]


@settings(max_examples=500, derandomize=True, deadline=None)
@given(text=LETTERS, stops=STOPS, cuts=st.lists(st.integers(0, 12), max_size=6))
def test_shown_is_what_lies_before_the_first_stop_text(text: str, stops: list[str], cuts: list[int]) -> None:
    filter, shown, came = StopTexts(stops), "", ""
    for piece in in_pieces(text, cuts):
        came += piece
        shown += filter.push(piece)
        begin = first_stop(came, stops)
        assert filter.found == (begin is not None)
        if filter.found:
            assert shown == came[:begin]
            assert filter.finish() == ""
            return
        held = came[len(shown) :]
        assert came.startswith(shown)
        # What is held back is the longest that may yet become a stop text, and no more.
        assert held == max((came[n:] for n in range(len(came) + 1) if any(map_starts(stops, came[n:]))), key=len)
    assert shown + filter.finish() == text


def map_starts(stops: list[str], end: str) -> list[bool]:
    return [not end, *(stop.startswith(end) for stop in stops)]


def test_nothing_is_held_back_without_stop_texts() -> None:
    filter = StopTexts(())
    assert [filter.push(piece) for piece in ("a", "", "bc")] == ["a", "", "bc"]
    assert filter.finish() == ""
    assert not filter.found


def test_a_beginning_is_shown_as_soon_as_it_is_none() -> None:
    filter = StopTexts(["\nUser:", "###"])
    assert [filter.push(piece) for piece in ("Yes.\n", "Us", "ually ##", "# no")] == ["Yes.", "", "\nUsually ", ""]
    assert filter.found


def test_the_stop_text_that_is_whole_first_ends_the_text() -> None:
    for pieces in (["xabcdy"], list("xabcdy"), ["xab", "cdy"]):
        filter, shown = StopTexts(["abcd", "bc"]), ""
        for piece in pieces:
            if not filter.found:
                shown += filter.push(piece)
        assert shown == "xa"
