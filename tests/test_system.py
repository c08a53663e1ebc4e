"""The whole system on the shipped samples: real encoder, real chat model, real files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from genaisys import GenAISys
from genaisys.messages import ChatMessage
from genaisys.retrieval.answering import Answer, Finished, Quoted, Wrote

QUESTIONS = json.loads((Path(__file__).parent / "retrieval" / "sample_questions.json").read_text())
ANSWERABLE = [entry for entry in QUESTIONS if entry["answer"]]
UNANSWERABLE = [entry for entry in QUESTIONS if not entry["answer"]]


@pytest.fixture(scope="module")
def system(sample_store: Path) -> Iterator[GenAISys]:
    with GenAISys.open(sample_store) as system:
        yield system


@pytest.fixture(scope="module")
def answers(system: GenAISys) -> dict[str, Answer]:
    return {entry["question"]: system.ask(entry["question"]) for entry in QUESTIONS}


@pytest.mark.parametrize("entry", ANSWERABLE, ids=lambda entry: entry["question"])
def test_the_quotations_hold_the_answer(entry: dict[str, str], answers: dict[str, Answer]) -> None:
    answer = answers[entry["question"]]
    assert not answer.refused
    holders = [citation for citation in answer.citations if entry["answer"] in citation.quote]
    assert entry["source"] in {citation.source for citation in holders}


@pytest.mark.parametrize("entry", UNANSWERABLE, ids=lambda entry: entry["question"])
def test_what_the_documents_do_not_say_is_refused(entry: dict[str, str], answers: dict[str, Answer]) -> None:
    assert answers[entry["question"]].refused


def test_every_quotation_is_found_at_its_span(system: GenAISys, answers: dict[str, Answer]) -> None:
    citations = [citation for answer in answers.values() for citation in answer.citations]
    assert citations
    for citation in citations:
        document = system.index.document(citation.source)
        assert document is not None
        assert document.text[citation.start : citation.end] == citation.quote


def test_an_answer_names_nothing_that_no_quotation_holds(answers: dict[str, Answer]) -> None:
    for answer in answers.values():
        if not answer.refused:
            assert any(answer.answer.rstrip(".") in citation.quote for citation in answer.citations)


def test_a_stream_ends_with_the_answer_that_it_wrote(system: GenAISys) -> None:
    events = list(system.stream(ANSWERABLE[0]["question"]))
    assert isinstance(events[-1], Finished)
    assert any(isinstance(event, Quoted) for event in events)
    written = "".join(event.text for event in events if isinstance(event, Wrote))
    assert written == events[-1].answer.answer


def test_a_follow_up_question_refers_to_what_went_before(system: GenAISys) -> None:
    first = "How much does the hydrophone array cost?"
    history = [ChatMessage.user(first), ChatMessage.assistant(system.ask(first).answer)]
    follow_up = system.ask("And who has promised half of it?", history)
    assert any("Fjordmann Foundation" in citation.quote for citation in follow_up.citations)
