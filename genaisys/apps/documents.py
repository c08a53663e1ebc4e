"""The app in which people ask their documents: layout and wiring."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from genaisys.apps.actions import Actions
from genaisys.apps.serving import PAGE, serve
from genaisys.apps.workspace import Workspace
from genaisys.hub import DEFAULT_CHAT_MODEL, models
from genaisys.retrieval import collections
from genaisys.retrieval.readers import MAX_FILE_BYTES

FILES_AT_ONCE = 1000  # of one drop; the rest follows
ANSWERS_AT_ONCE = 8  # they take turns, word by word; more questions wait in line
INDEXING_AT_ONCE = 2  # visitors; leaves room for answers

HEAD = '<link rel="stylesheet" href="/page/style.css"><script src="/page/page.js" defer></script>'

_BRAND = "<div class='brand'><b>gen<i>ai</i>sys</b><span>Answers from your own documents</span></div>"

_TOP = (
    "<div class='top'><button data-menu aria-label='Collections and documents'>☰</button><b>gen<i>ai</i>sys</b></div>"
)

_DROPZONE = f"""
<div class='dropzone' data-max-bytes='{MAX_FILE_BYTES}' data-max-files='{FILES_AT_ONCE}'>
  <p class='lead'>Drop files or a folder here</p>
  <p class='or'><label>Choose files<input type='file' id='pick-files' multiple></label>
  <label>Choose a folder<input type='file' id='pick-folder' webkitdirectory></label></p>
  <p class='line' role='status'></p>
</div>
<p class='formats'>PDF, Word, slides, sheets, web pages, e-books, mail, text and code.
Up to {MAX_FILE_BYTES // 1_000_000} MB each.</p>
"""


def launch(collection: str | None = None, port: int | None = None, open_browser: bool = True) -> None:
    """Serve the app on 127.0.0.1 until Ctrl-C.

    Args:
        collection: the one to open first; made if it is not there. ``None``: the first in the alphabet.
        port: ``None`` takes the first free one from 7860 on.

    Raises:
        GenaisysError: the port is taken, or no collection can have this name.
    """
    if collection is not None:
        collection = collections.find_or_create(collection)
    with tempfile.TemporaryDirectory(prefix="genaisys-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        logging.getLogger("httpx").setLevel(logging.WARNING)
        workspace = Workspace()
        workspace.warm_up()
        page = build(Actions(workspace, collection, Path(uploads)))
        serve(page, HEAD, MAX_FILE_BYTES, port, open_browser)


def build(actions: Actions) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="genaisys", analytics_enabled=False, fill_width=True) as page:
        visit = gr.State()
        _html(_TOP, "top")
        with gr.Row(elem_id="frame"):
            with gr.Column(elem_id="rail"):
                _html(_BRAND, "brand")
                names = _html("", "collections", "switch", "create", "drop")
                dropzone = gr.HTML(
                    _DROPZONE, elem_id="dropzone", apply_default_css=False, js_on_load=_script("dropzone")
                )
                outcomes = _html("", "outcomes", "clear")
                documents = _html("", "documents", "open", "delete")
                status = _html("", "status")
                with gr.Accordion("Model and settings", open=False, elem_id="settings"):
                    model = gr.Dropdown(
                        _chat_models(),
                        value=DEFAULT_CHAT_MODEL,
                        allow_custom_value=True,
                        label="Chat model",
                        info="A part, a folder, or openai:http://host:port#model, which is then sent the passages.",
                    )
            with gr.Column(elem_id="desk"):
                conversation = _html("", "conversation", "ask", "open")
                question = gr.Textbox(
                    elem_id="question",
                    placeholder="Ask a question",
                    show_label=False,
                    label="Question",
                    container=False,
                    lines=1,
                    max_lines=6,
                    max_length=2000,
                    submit_btn="Ask",
                    autofocus=True,
                )
        reader = _html("", "reader", "close")

        library = [names, documents, conversation]
        now: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        later: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}

        page.load(actions.enter, None, visit, **now).then(actions.show_library, visit, library, **now)
        page.load(actions.await_models, None, status, concurrency_limit=None, **later)

        names.switch(actions.switch, visit, library, **now)
        names.create(actions.create, visit, library, **now)
        names.drop(actions.drop, visit, library, **now)
        documents.delete(actions.delete, visit, [documents, conversation], **now)
        dropzone.bring(
            actions.bring, visit, [outcomes, documents, conversation], concurrency_limit=INDEXING_AT_ONCE, **later
        )
        outcomes.clear(lambda: "", None, outcomes, **now)

        for asked in (
            question.submit(actions.ask, [visit, question], [question, conversation], **now),
            conversation.ask(actions.ask_suggested, visit, [question, conversation], **now),
        ):
            asked.then(
                actions.answer,
                visit,
                [conversation, question],
                concurrency_limit=ANSWERS_AT_ONCE,
                concurrency_id="answers",
                **later,
            )
        question.stop(actions.stop, visit, [conversation, question], **now)

        conversation.open(actions.open, visit, reader, **now)
        documents.open(actions.open, visit, reader, **now)
        reader.close(lambda: "", None, reader, **now)
        model.input(actions.choose_model, [visit, model], [status, model], concurrency_limit=INDEXING_AT_ONCE, **later)
    page.queue(api_open=False)
    return page


def _html(value: str, elem_id: str, *events: str, script: str = "") -> gr.HTML:
    """A part of the page that we draw ourselves; ``events`` are the ``data-do`` of what can be clicked in it."""
    script = script or (f"const events = {list(events)};\n{_script('clicks')}" if events else "")
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=script or None)


def _script(name: str) -> str:
    return (PAGE / f"{name}.js").read_text(encoding="utf-8")


def _chat_models() -> list[str]:
    return [part["name"] for part in models() if part["role"] == "chat" and part["present"]] or [DEFAULT_CHAT_MODEL]
