import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.retrieval.questions import AnswerKind, Question, could_answer
from genaisys.retrieval.words import term_id


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("When was the bridge opened?", "time"),
        ("In what year did she leave?", "time"),
        ("The bridge was opened when?", "time"),
        ("What should I do when the red lamp lights?", "other"),
        ("How many steps are there?", "quantity"),
        ("What percentage of the rent is paid back?", "quantity"),
        ("Who designed it?", "name"),
        ("What is the name of the person who designed it?", "name"),
        ("What is a place where eels live?", "other"),
        ("Why is the gate closed?", "reason"),
        ("Tell me about eels.", "other"),
    ],
)
def test_first_question_word_decides_the_kind(text: str, kind: AnswerKind) -> None:
    assert Question(text).kind == kind


def test_names_are_numbers_and_capitals_but_not_the_first_word() -> None:
    question = Question("Rivers flow into Lake Vänern since 1890?")
    assert question.names == {term_id("lake"), term_id("vanern"), term_id("1890")}


def test_head_of_a_which_question() -> None:
    assert Question("Which small river is the longest?").head == {term_id("small"), term_id("river")}
    assert Question("Who is the captain?").head == frozenset()


@pytest.mark.parametrize(
    ("question", "sentence", "expected"),
    [
        ("When was the Vasa built?", "The Vasa was built in 1627.", True),
        ("When was the Vasa built?", "The Vasa was built quickly.", False),
        ("What happened to the Vasa in 1628, and when did it end?", "The Vasa had 64 guns in 1628.", True),
        ("Who built the Vasa?", "The Vasa was built by Henrik Hybertsson.", True),
        ("Who built the Vasa?", "The Vasa was built by Dutch hands.", True),
        ("Who built the Vasa?", "The Vasa was built by hand.", False),
        ("How many guns had the Vasa of 1628?", "In 1628 the Vasa had guns.", False),
        ("How many guns had the Vasa of 1628?", "In 1628 the Vasa had sixty-four guns and two masts.", True),
    ],
)
def test_a_sentence_that_only_repeats_the_question_holds_no_answer(
    question: str, sentence: str, expected: bool
) -> None:
    asked = Question(question)
    assert could_answer(asked.kind, sentence.rstrip(".").split(), asked) is expected


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_question(text: str) -> None:
    question = Question(text)
    assert question.names <= question.terms
    assert question.head <= question.terms
    assert could_answer(question.kind, text.split(), question) in (True, False)
