"""The whole system on the shipped samples: real encoder, real chat model, real files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from genaisys import GenAISys
from genaisys.messages import ChatMessage
from genaisys.retrieval.answering import Finished, Quoted, Wrote


@pytest.fixture(scope="module")
def system(sample_store: Path) -> Iterator[GenAISys]:
    with GenAISys.open(sample_store) as system:
        yield system


def test_a_stream_ends_with_the_answer_that_it_wrote(system: GenAISys) -> None:
    events = list(system.stream("When was the observatory opened?"))
    assert isinstance(events[-1], Finished)
    assert isinstance(events[0], Quoted)
    written = "".join(event.text for event in events if isinstance(event, Wrote))
    assert written == events[-1].answer.answer


def test_a_follow_up_question_refers_to_what_went_before(system: GenAISys) -> None:
    first = "How much does the hydrophone array cost?"
    history = [ChatMessage.user(first), ChatMessage.assistant(system.ask(first).answer)]
    follow_up = system.ask("And who has promised half of it?", history)
    assert any("Fjordmann Foundation" in citation.quote for citation in follow_up.citations)
