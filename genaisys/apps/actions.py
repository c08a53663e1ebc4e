"""What each click on the page does: from a visitor's state and an event to the HTML that changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from genaisys.apps.conversation import Turn, history, render_conversation, render_welcome
from genaisys.apps.library import render_collections, render_documents, render_outcomes
from genaisys.apps.markup import shown
from genaisys.apps.passages import render_passage
from genaisys.apps.suggestions import suggested_questions
from genaisys.apps.uploads import received
from genaisys.apps.workspace import Workspace
from genaisys.errors import GenaisysError
from genaisys.hub import DEFAULT_CHAT_MODEL
from genaisys.retrieval import collections
from genaisys.retrieval.ingestion import Outcome, ingest_files

FIRST_COLLECTION = "Documents"
LOOKED_INTO = 20  # documents, for questions to suggest
REDRAW_SECONDS = 0.06  # a page redrawn for each token would be slower than the model

log = logging.getLogger(__name__)


@dataclass
class Visit:
    """What one visitor sees: theirs alone. Collections are everybody's on this machine; conversations are not."""

    collection: str
    model: str = DEFAULT_CHAT_MODEL
    conversations: dict[str, list[Turn]] = field(default_factory=dict)

    @property
    def turns(self) -> list[Turn]:
        return self.conversations.setdefault(self.collection, [])


class Actions:
    """The page's event handlers. Each returns new values for the components that its event is wired to."""

    def __init__(self, workspace: Workspace, collection: str | None, uploads: Path) -> None:
        self.workspace = workspace
        self.collection = collection
        self.uploads = uploads

    # ---- the page

    def enter(self) -> Visit:
        """A new visitor."""
        visit = Visit(self.collection or "")
        self._stay_somewhere(visit)
        return visit

    def await_models(self) -> Iterator[str]:
        """The line under the settings while the models are loaded, and when that failed."""
        yield "<p class='working'>Loading the models</p>"
        problem = self.workspace.await_models()
        yield f"<p class='error' role='alert'>{shown(problem)}</p>" if problem else ""

    def show_library(self, visit: Visit) -> tuple[str, str, str]:
        """-> collections, documents, conversation"""
        self._stay_somewhere(visit)
        return self._collections(visit), self._documents(visit), self._conversation(visit)

    # ---- collections and documents

    def create(self, visit: Visit, event: gr.EventData) -> tuple[str, str, str]:
        """-> collections, documents, conversation"""
        error = ""
        try:
            visit.collection = collections.create(str(event._data.get("name", "")))
        except GenaisysError as problem:
            error = str(problem)
        return self._collections(visit, error), self._documents(visit), self._conversation(visit)

    def switch(self, visit: Visit, event: gr.EventData) -> tuple[str, str, str]:
        """-> collections, documents, conversation"""
        visit.collection = str(event._data.get("name", ""))
        return self.show_library(visit)

    def drop(self, visit: Visit, event: gr.EventData) -> tuple[str, str, str]:
        """Delete a collection. -> collections, documents, conversation"""
        error = ""
        try:
            name = str(event._data.get("name", ""))
            self.workspace.delete(name)
            visit.conversations.pop(name, None)
        except GenaisysError as problem:
            error = str(problem)
        self._stay_somewhere(visit)
        return self._collections(visit, error), self._documents(visit), self._conversation(visit)

    def bring(self, visit: Visit, event: gr.EventData) -> Iterator[tuple[str, Any, Any]]:
        """Index the files that were sent, one after the other. -> outcomes, documents, conversation"""
        self._stay_somewhere(visit)
        collection = visit.collection
        uploads = received(event._data.get("files"), self.uploads)
        results, pending, error = list(uploads.failed), list(uploads.files), ""
        try:
            yield render_outcomes(results, pending), gr.skip(), gr.skip()
            for outcome in ingest_files(uploads.files, self.workspace.index(collection)):
                results.append(outcome)
                pending.remove(outcome.source)
                yield render_outcomes(results, pending), gr.skip(), gr.skip()
        except Exception as problem:
            error = plain(problem)
            results += [Outcome(source, "failed", "was not read") for source in pending]
        finally:
            uploads.remove()
        yield render_outcomes(results, []), self._documents(visit, error), self._conversation(visit)

    def delete(self, visit: Visit, event: gr.EventData) -> tuple[str, str]:
        """Delete a document. -> documents, conversation"""
        error = ""
        try:
            self.workspace.store(visit.collection).delete(str(event._data.get("source", "")))
        except GenaisysError as problem:
            error = str(problem)
        return self._documents(visit, error), self._conversation(visit)

    def open(self, visit: Visit, event: gr.EventData) -> str:
        """Open a document at a passage. -> reader"""
        try:
            document = self.workspace.store(visit.collection).document(str(event._data.get("source", "")))
        except GenaisysError as problem:
            return _reader_note(str(problem))
        if document is None:
            return _reader_note("This document is no longer in the collection.")
        start, end = (int(event._data.get(key, 0)) for key in ("start", "end"))
        return render_passage(document, start, end)

    # ---- questions

    def ask(self, visit: Visit, question: str) -> tuple[Any, Any]:
        """Put a question into the conversation. -> question box, conversation"""
        question = question.strip()
        if not question or any(turn.is_open for turn in visit.turns):
            return gr.skip(), gr.skip()
        self._stay_somewhere(visit)
        visit.turns.append(Turn(question))
        return gr.Textbox(value="", submit_btn=False, stop_btn="Stop"), self._conversation(visit)

    def ask_suggested(self, visit: Visit, event: gr.EventData) -> tuple[Any, Any]:
        """Put a suggested question into the conversation. -> question box, conversation"""
        return self.ask(visit, str(event._data.get("question", "")))

    def answer(self, visit: Visit) -> Iterator[tuple[str, Any]]:
        """Answer the question that waits. -> conversation, question box"""
        turns = visit.turns
        turn = next((turn for turn in turns if turn.state == "waiting"), None)
        if turn is None:
            return
        turn.state = "searching"
        yield self._conversation(visit), gr.skip()
        try:
            for _ in self._write(turn, visit.collection, visit.model, turns):
                yield self._conversation(visit), gr.skip()
        except Exception as error:
            turn.state, turn.error = "failed", plain(error)
        yield self._conversation(visit), _ready()

    def stop(self, visit: Visit) -> tuple[str, Any]:
        """Stop the running answer. -> conversation, question box"""
        for turn in visit.turns:
            if turn.is_open:
                turn.state = "stopped"  # the thread that answers sees it before its next word
        return self._conversation(visit), _ready()

    def choose_model(self, visit: Visit, name: str) -> Iterator[tuple[str, Any]]:
        """Load another chat model. -> the line under the settings, the box with the model's name"""
        name = (name or "").strip() or DEFAULT_CHAT_MODEL
        yield f"<p class='working'>Loading {shown(name)}</p>", gr.skip()
        try:
            self.workspace.model(name)
            visit.model = name
            yield f"<p class='note'>{shown(name)} answers from now on.</p>", name
        except Exception as error:
            yield f"<p class='error' role='alert'>{shown(plain(error))}</p>", visit.model

    def _write(self, turn: Turn, collection: str, model: str, turns: list[Turn]) -> Iterator[None]:
        """Fill in ``turn`` as its answer comes into being; a step for each time that it should be drawn."""
        from genaisys.retrieval.answering import Finished, Quoted, Wrote

        before = [earlier for earlier in turns if earlier is not turn]
        drawn = 0.0
        with closing(self.workspace.system(collection, model).stream(turn.question, history(before))) as events:
            for event in events:
                if turn.state == "stopped":
                    return
                match event:
                    case Quoted(citations):
                        turn.citations, turn.state = citations, "writing"
                    case Wrote(text):
                        turn.written += text
                        turn.state = "writing"
                    case Finished(answer):
                        turn.answer, turn.citations, turn.state = answer, answer.citations, "answered"
                if time.monotonic() - drawn > REDRAW_SECONDS:
                    drawn = time.monotonic()
                    yield

    # ---- parts of the page

    def _stay_somewhere(self, visit: Visit) -> None:
        """Someone else may have deleted the collection that this visitor is in; there is always one to be in."""
        there = collections.names()
        if visit.collection not in there:
            visit.collection = there[0] if there else collections.create(FIRST_COLLECTION)

    def _collections(self, visit: Visit, error: str = "") -> str:
        return render_collections(collections.names(), visit.collection, error)

    def _documents(self, visit: Visit, error: str = "") -> str:
        try:
            return render_documents(self.workspace.store(visit.collection).documents(), error)
        except GenaisysError as problem:
            return render_documents([], str(problem))

    def _conversation(self, visit: Visit) -> str:
        if visit.turns:
            return render_conversation(visit.turns)
        try:
            store = self.workspace.store(visit.collection)
            entries = store.documents()
            documents = (store.document(entry.source) for entry in entries[:LOOKED_INTO])
            questions = suggested_questions(document for document in documents if document is not None)
            return render_welcome(visit.collection, len(entries), questions)
        except GenaisysError as problem:
            return f"<div class='welcome'><p class='error' role='alert'>{shown(str(problem))}</p></div>"


def _ready() -> Any:
    return gr.Textbox(submit_btn="Ask", stop_btn=False)


def _reader_note(note: str) -> str:
    return (
        "<section class='reader' role='dialog' aria-label='Document'><header><div></div>"
        "<button class='close' data-do='close' aria-label='Close'>×</button></header>"
        f"<div class='text'><p class='error'>{shown(note)}</p></div></section>"
    )


def plain(error: Exception) -> str:
    """What to tell people. Only our own errors are written for them; the rest is a defect and goes to the log."""
    if isinstance(error, GenaisysError):
        return str(error)
    log.error("a defect in genaisys", exc_info=error)
    return "Something went wrong inside genaisys; the terminal it runs in shows the details."
