"""A conversation: its turns, and how they are shown, with the sources beside each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genaisys.apps.markup import place, shown
from genaisys.messages import ChatMessage

if TYPE_CHECKING:  # answering brings torch, and the page should open before that is loaded
    from genaisys.retrieval.answering import Answer, Citation

State = Literal["waiting", "searching", "writing", "answered", "stopped", "failed"]

SHORT = 80  # characters

_WORKING: Mapping[State, str] = {
    "waiting": "Waiting for its turn",
    "searching": "Searching the documents",
    "writing": "Writing",
}


@dataclass
class Turn:
    """One question and what became of it."""

    question: str
    state: State = "waiting"
    written: str = ""  # the answer so far
    citations: Sequence[Citation] = ()
    answer: Answer | None = None
    error: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in _WORKING


def history(turns: Sequence[Turn]) -> list[ChatMessage]:
    """What was said before, for questions that refer to it. Only whole answers count."""
    messages: list[ChatMessage] = []
    for turn in turns:
        if turn.answer is not None:
            messages += [ChatMessage.user(turn.question), ChatMessage.assistant(turn.answer.answer)]
    return messages


def render_conversation(turns: Sequence[Turn]) -> str:
    """The turns as HTML, the oldest first."""
    return f"<div class='turns'>{''.join(map(_turn, turns))}</div>"


def render_welcome(collection: str, documents: int, questions: Sequence[str]) -> str:
    """What stands in the place of a conversation that has not begun: what to do first."""
    if not documents:
        return (
            "<div class='welcome'><h1>Ask your <em>documents</em></h1>"
            f"<p><b>{shown(collection)}</b> is empty. Drop files or a whole folder where it says so"
            "<span class='wide'> on the left</span><span class='narrow'> in the menu</span>, then ask here.</p>"
            "<p>Answers come with the sentences they rest on. Documents are read and kept on this machine.</p></div>"
        )
    count = "one document" if documents == 1 else f"{documents:,} documents"
    chips = "".join(
        f"<button class='chip' data-do='ask' data-question='{shown(question)}'>{shown(question)}</button>"
        for question in questions
    )
    return (
        f"<div class='welcome'><h1>Ask <em>{shown(collection)}</em></h1>"
        f"<p>{count}, ready. Each answer shows the sentences it rests on; open one to read on around it.</p>"
        f"<div class='chips'>{chips}</div></div>"
    )


def _turn(turn: Turn) -> str:
    return (
        f"<article class='turn' data-state='{turn.state}'><h2 class='question'>{shown(turn.question)}</h2>"
        f"<div class='answer'>{_answer(turn)}</div>{_sources(turn)}</article>"
    )


def _answer(turn: Turn) -> str:
    if turn.answer is not None and turn.answer.refused:
        return (
            f"<div class='refusal'><p>{shown(turn.answer.answer)}</p>"
            "<p class='hint'>Nothing in this collection answers it. "
            f"{'The closest passages are shown with it.' if turn.citations else 'Other words may help.'}</p></div>"
            f"{_timings(turn.answer.timings)}"
        )
    if turn.answer is not None:
        length = "short" if _is_short(turn.answer) else "long"
        return f"<p class='prose' data-length='{length}'>{_checked(turn.answer)}</p>{_timings(turn.answer.timings)}"
    written = f"<p class='prose'>{shown(turn.written)}</p>" if turn.written else ""
    if turn.is_open:
        return f"{written}<p class='working' role='status'>{_WORKING[turn.state]}</p>"
    if turn.state == "stopped":
        return f"{written}<p class='note'>Stopped. What is written so far has not been checked.</p>"
    return f"{written}<p class='error' role='alert'>{shown(turn.error)}</p>"


def _checked(answer: Answer) -> str:
    """The answer, with the sentences that nothing supports marked."""
    parts, done = [], 0
    for sentence in answer.sentences:
        start = answer.answer.find(sentence.text, done)
        if sentence.supported or start < 0:
            continue
        end = start + len(sentence.text)
        parts += [shown(answer.answer[done:start]), f"<span class='unsupported'>{shown(sentence.text)}</span>"]
        parts.append("<span class='flag'>not in the documents</span>")
        done = end
    return "".join(parts) + shown(answer.answer[done:])


def _sources(turn: Turn) -> str:
    if not turn.citations:
        return ""
    title = "Closest passages" if turn.answer is not None and turn.answer.refused else "Sources"
    answer = turn.answer.answer if turn.answer is not None and _is_short(turn.answer) else ""
    cards = "".join(_source(citation, answer) for citation in turn.citations)
    return f"<aside class='sources'><h3>{title}</h3><ol>{cards}</ol></aside>"


def _is_short(answer: Answer) -> bool:
    """A name, a number, a few words: set larger, and marked in the quotations that hold it."""
    return not answer.refused and len(answer.answer) <= SHORT


def _source(citation: Citation, answer: str) -> str:
    before, found, after = citation.quote.partition(answer) if answer else (citation.quote, "", "")
    quote = f"{shown(before)}<mark>{shown(found)}</mark>{shown(after)}" if found else shown(before)
    return (
        f"<li><button class='source' data-do='open' data-source='{shown(citation.source)}'"
        f" data-start='{citation.start}' data-end='{citation.end}' title='Read it in its place'>"
        f"<q>{quote}</q>{place(citation.source, citation.page)}</button></li>"
    )


def _timings(timings: Mapping[str, float]) -> str:
    """How long each step took, small. The first word is told apart only where more words followed."""
    at_once = timings.get("total", 0.0) - timings.get("first_word", 0.0) < 0.5
    steps = (
        f"<span>{shown(step.replace('_', ' '))} {_amount(step, value)}</span>"
        for step, value in timings.items()
        if not (at_once and step == "first_word")
    )
    return f"<p class='timings'>{''.join(steps)}</p>"


def _amount(step: str, value: float) -> str:
    if step.endswith("_per_second"):
        return f"{value:.0f}"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
