import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.messages import ChatMessage
from genaisys.retrieval.followup import standalone_question

# Turns of a conversation, alternately question and answer, and what the last question means.
DIALOGUES = [
    (["Who opened the observatory?", "Odalys Brandt", "When did she die?"], "When did Odalys Brandt die?"),
    (["When was the observatory opened?", "14 March 1931", "Who founded it?"], "Who founded the observatory?"),
    (["How many cakes were eaten in 2023?", "eleven", "And in 2022?"], "How many cakes were eaten in 2022?"),
    (["When does the day shift begin?", "9:00", "What about the dusk shift?"], "When does the dusk shift begin?"),
    (["How deep is the buoy Cuttle?", "58", "And Barnacle?"], "How deep is the buoy Barnacle?"),
    (["Who replaced the rope?", "Rafiq Moss", "What is his extension?"], "What is Rafiq Moss's extension?"),
    (["Who replaced the rope?", "Rafiq Moss", "When?"], "When replaced the rope?"),
    (
        ["When does the ferry Petrel leave?", "at 7:40", "How long does it take?"],
        "How long does the ferry Petrel take?",
    ),
    (
        ["Which telescope was inaugurated in 2008?", "Tidewater telescope", "How big is its mirror?"],
        "How big is Tidewater telescope's mirror?",
    ),
    (
        ["Who built the glow meter?", "Henrik Solberg", "When did he come?", "August 1952", "How long did he stay?"],
        "How long did Henrik Solberg stay?",
    ),
    (
        ["What is the salary of the director?", "The documents do not say.", "And of the treasurer?"],
        "What is the salary of the treasurer?",
    ),
    (["What is photosynthesis?", "a process", "Why is it important?"], "Why is photosynthesis important?"),
    (["What does adult membership cost?", "20", "And for students?"], "What does adult membership cost for students?"),
]

STAND_ALONE = [
    "Where was the cat Parallax found?",
    "How long does it take to reach the island?",
    "Is it true that the ferry is late?",
    "How many volunteers are there at the gate?",
    "Did Ada Brandt say when she will retire?",
]


@pytest.mark.parametrize(
    ("turns", "expected"), DIALOGUES, ids=lambda value: value[-1] if isinstance(value, list) else ""
)
def test_followup_takes_what_it_leaves_out_from_the_conversation(turns: list[str], expected: str) -> None:
    assert standalone_question(turns[-1], conversation(turns[:-1])) == expected


@pytest.mark.parametrize("question", STAND_ALONE)
def test_question_that_stands_alone_is_left_alone(question: str) -> None:
    assert standalone_question(question, conversation(["Who opened the museum?", "Maria Ott"])) == question


@settings(deadline=None)
@given(st.text(), st.lists(st.text(), max_size=4))
def test_any_conversation_gives_a_question(question: str, turns: list[str]) -> None:
    assert standalone_question(question, []) == question.strip()
    standalone_question(question, conversation(turns))


def conversation(turns: list[str]) -> list[ChatMessage]:
    return [(ChatMessage.assistant if place % 2 else ChatMessage.user)(turn) for place, turn in enumerate(turns)]
