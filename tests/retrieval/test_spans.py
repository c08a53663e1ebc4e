from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from passages import hit

from genaisys.messages import ChatMessage
from genaisys.retrieval.questions import Question
from genaisys.retrieval.quotations import Quotation, choose_quotations, rank_sentences
from genaisys.retrieval.spans import LONGEST, SCORED, Span, candidate_spans, most_expected_overlap, short_answer


def quotations(question: str, *texts: str) -> list[Quotation]:
    hits = [hit(text, source=f"{n}.txt", start=100 * n) for n, text in enumerate(texts)]
    return choose_quotations(rank_sentences(Question(question), hits))


def candidates(question: str, *texts: str) -> list[str]:
    return [span.text for span, _ in candidate_spans(Question(question), quotations(question, *texts))]


class Prefers:
    """Gives one continuation all the likelihood, and remembers what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []
        self.prompt: Sequence[ChatMessage] = ()

    def log_likelihood(self, messages: Sequence[ChatMessage], continuations: Sequence[str]) -> torch.Tensor:
        self.prompt, self.asked = messages, list(continuations)
        return torch.tensor([0.0 if text == f'"{self.text}"' else -100.0 for text in continuations])


@pytest.mark.parametrize(
    ("question", "sentence", "best"),
    [
        ("When did the Vasa sink?", "The Vasa sank on 10 August 1628 near Stockholm.", "10 August 1628"),
        ("How many guns had she?", "She carried 64 guns and 300 soldiers.", "64"),
        ("When does the ferry leave?", "The ferry leaves at 9:15 every morning.", "9:15"),
        ("What is the ratio of sand to cement?", "The ratio of sand to cement is 3:1.", "3:1"),
        ("How cold is the hold?", "The hold is kept at -18 °C all year.", "-18 °C"),
        ("Who found the wreck?", "The wreck was found by Anders Franzén in a cold summer.", "Anders Franzén"),
    ],
)
def test_features_alone_find_what_the_question_asks_for(question: str, sentence: str, best: str) -> None:
    assert best in candidates(question, sentence)[:3]


def test_candidates_keep_within_clauses_and_say_something_new() -> None:
    found = candidates("Who is the cook of the ship?", "The cook (a quiet man) is Olof; the ship sails.")
    assert "Olof" in found
    assert not {"cook", "ship", "the Olof", "is Olof"} & set(found)
    assert not any(";" in text or "(" in text for text in found)
    assert all(len(text.split()) <= LONGEST for text in found)


def test_the_model_chooses_among_candidates() -> None:
    question, text = "What is in the box?", "The box holds a brass telescope and two maps."
    quoted = quotations(question, text)
    for preferred in ("brass telescope", "two maps"):
        span = short_answer(Question(question), quoted, Prefers(preferred))
        assert span is not None
        assert span.text == preferred
        assert text[span.start : span.end] == preferred


def test_the_model_reads_the_best_quotation_and_few_candidates() -> None:
    question = "How deep is the harbour?"
    deep = "The harbour is 30 metres deep."
    long = " ".join(f"word{n} of thing{n}" for n in range(50)) + "."
    model = Prefers("30 metres")
    quoted = quotations(question, deep, long)
    short_answer(Question(question), quoted, model)
    assert len(model.asked) <= SCORED
    assert model.prompt[-1].text == f"{quoted[0].text}\n\nQuestion: {question}"


def test_what_likely_candidates_share_beats_the_likeliest() -> None:
    text = "She sank on 10 August 1628 near Stockholm."
    quotation = quotations("When did she sink?", text)[0]
    spans = [
        Span(quotation, quotation.start + text.index(part), quotation.start + text.index(part) + len(part))
        for part in ("Stockholm", "1628", "August 1628", "10 August 1628")
    ]
    assert most_expected_overlap(spans, [9.0, 0.0, 0.0, 0.0]).text == "Stockholm"
    assert most_expected_overlap(spans, [0.5, 0.0, 0.0, 0.0]).text == "August 1628"
    assert most_expected_overlap(spans, [0.0, 0.0, 0.0, 9.0]).text == "10 August 1628"


def test_spans_of_two_documents_have_nothing_in_common() -> None:
    first, second = quotations("When did she sink?", "She sank in August 1628.", "It was in 1628 that she sank.")[:2]
    spans = [Span(each, 100, 104) for each in (first, second)]
    assert most_expected_overlap(spans, [0.0, 1.0]) is spans[1]


def test_no_answer_where_nothing_is_new() -> None:
    assert (
        short_answer(Question("the old bridge"), quotations("the old bridge", "The old bridge."), Prefers("")) is None
    )


@settings(deadline=None)
@given(st.text(), st.text(min_size=1))
def test_every_candidate_is_a_span_of_a_quotation(question: str, text: str) -> None:
    quoted = quotations(question, text)
    for span, score in candidate_spans(Question(question), quoted):
        assert span.text
        assert span.text == text[span.start : span.end]
        assert score == score  # not NaN
