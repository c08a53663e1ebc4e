"""The app: a page with a tab for each thing that people come for, served to this machine."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import gradio as gr

from genaisys.apps.actions import Actions
from genaisys.apps.documents import documents_tab
from genaisys.apps.elements import drawn
from genaisys.apps.molecules.actions import MoleculeActions
from genaisys.apps.molecules.tab import molecules_tab
from genaisys.apps.molecules.workshop import Workshop
from genaisys.apps.serving import serve
from genaisys.apps.workspace import Workspace
from genaisys.apps.zoo.gallery import Gallery
from genaisys.apps.zoo.tab import zoo_tab
from genaisys.retrieval import collections
from genaisys.retrieval.readers import MAX_FILE_BYTES

HEAD = (
    '<link rel="stylesheet" href="/page/style.css"><link rel="stylesheet" href="/page/molecules.css">'
    '<link rel="stylesheet" href="/page/zoo.css">'
    '<script src="/page/page.js" defer></script>'
    '<script src="/page/molecules.js" defer></script>'
)

_TOP = "<div class='top'><button data-menu aria-label='Menu'>☰</button><b>gen<i>ai</i>sys</b></div>"


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
        workspace, workshop = Workspace(), Workshop()
        workspace.warm_up()
        try:
            page = build(Actions(workspace, collection, Path(uploads)), MoleculeActions(workshop))
            serve(page, HEAD, MAX_FILE_BYTES, port, open_browser)
        finally:
            workspace.close()
            workshop.close()


def build(documents: Actions, molecules: MoleculeActions) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="genaisys", analytics_enabled=False, fill_width=True) as page:
        drawn(_TOP, "top")
        with gr.Tabs(elem_id="tabs"):
            documents_tab(documents, page)
            molecules_tab(molecules)
            zoo_tab(Gallery())
    page.queue(api_open=False)
    return page
