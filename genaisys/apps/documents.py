"""The tab in which people ask their documents: layout and wiring."""

from __future__ import annotations

import gradio as gr

from genaisys.apps.actions import Actions
from genaisys.apps.elements import LATER, NOW, drawn
from genaisys.hub import DEFAULT_CHAT_MODEL, models
from genaisys.retrieval.readers import MAX_FILE_BYTES

FILES_AT_ONCE = 1000  # of one drop; the rest follows
ANSWERS_AT_ONCE = 8  # they take turns, word by word; more questions wait in line
INDEXING_AT_ONCE = 2  # visitors; leaves room for answers

_BRAND = "<div class='brand'><b>gen<i>ai</i>sys</b><span>Answers from your own documents</span></div>"

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


def documents_tab(actions: Actions, page: gr.Blocks) -> None:
    """The content of the tab."""
    with gr.Tab("Documents", id="documents"):
        visit = gr.State()
        with gr.Row(elem_id="frame", elem_classes="frame"):
            with gr.Column(elem_id="rail", elem_classes="rail"):
                drawn(_BRAND, "brand")
                names = drawn("", "collections", "switch", "create", "drop")
                dropzone = drawn(_DROPZONE, "dropzone", "bring", script="dropzone")
                outcomes = drawn("", "outcomes", "clear")
                documents = drawn("", "documents", "open", "delete")
                status = drawn("", "status")
                with gr.Accordion("Model and settings", open=False, elem_id="settings"):
                    model = gr.Dropdown(
                        _chat_models(),
                        value=DEFAULT_CHAT_MODEL,
                        allow_custom_value=True,
                        label="Chat model",
                        info="A part, a folder, or openai:http://host:port#model, which is then sent the passages.",
                    )
            with gr.Column(elem_id="desk", elem_classes="desk"):
                conversation = drawn("", "conversation", "ask", "open")
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
        reader = drawn("", "reader", "close")

        library = [names, documents, conversation]

        page.load(actions.enter, None, visit, **NOW).then(actions.show_library, visit, library, **NOW)
        page.load(actions.await_models, None, status, concurrency_limit=None, **LATER)

        names.switch(actions.switch, visit, library, **NOW)
        names.create(actions.create, visit, library, **NOW)
        names.drop(actions.drop, visit, library, **NOW)
        documents.delete(actions.delete, visit, [documents, conversation], **NOW)
        dropzone.bring(
            actions.bring, visit, [outcomes, documents, conversation], concurrency_limit=INDEXING_AT_ONCE, **LATER
        )
        outcomes.clear(lambda: "", None, outcomes, **NOW)

        for asked in (
            question.submit(actions.ask, [visit, question], [question, conversation], **NOW),
            conversation.ask(actions.ask_suggested, visit, [question, conversation], **NOW),
        ):
            asked.then(
                actions.answer,
                visit,
                [conversation, question],
                concurrency_limit=ANSWERS_AT_ONCE,
                concurrency_id="answers",
                **LATER,
            )
        question.stop(actions.stop, visit, [conversation, question], **NOW)

        conversation.open(actions.open, visit, reader, **NOW)
        documents.open(actions.open, visit, reader, **NOW)
        reader.close(lambda: "", None, reader, **NOW)
        model.input(actions.choose_model, [visit, model], [status, model], concurrency_limit=INDEXING_AT_ONCE, **LATER)


def _chat_models() -> list[str]:
    return [part["name"] for part in models() if part["role"] == "chat" and part["present"]] or [DEFAULT_CHAT_MODEL]
