"""Parts of the page that we draw ourselves, and how their events run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

PAGE = Path(__file__).parent / "page"

NOW: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
LATER: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}


def drawn(value: str, elem_id: str, *events: str, script: str = "") -> gr.HTML:
    """A part of the page as HTML.

    Args:
        events: the ``data-do`` of what can be clicked or sent in it, each an event of the component.
        script: of ``page/``, which runs in it; by default one that tells of clicks, where there are events.
    """
    script = script or ("clicks" if events else "")
    code = f"const events = {list(events)};\n{(PAGE / f'{script}.js').read_text('utf-8')}" if script else None
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=code)
