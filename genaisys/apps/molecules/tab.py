"""The tab in which people make molecules: layout and wiring."""

from __future__ import annotations

import gradio as gr

from genaisys.apps.elements import LATER, NOW, drawn
from genaisys.apps.molecules.actions import MoleculeActions
from genaisys.apps.molecules.bench import MOST, Bench
from genaisys.apps.molecules.cards import WELCOME, arrange_form
from genaisys.apps.molecules.wishes import BRAND, START, order_form, wishes_form

ORDERS_AT_ONCE = 4  # visitors; the others wait in line


def molecules_tab(actions: MoleculeActions) -> None:
    """The content of the tab."""
    with gr.Tab("Molecules", id="molecules") as tab:
        bench = gr.State(Bench())
        with gr.Row(elem_id="laboratory", elem_classes="frame"):
            with gr.Column(elem_id="wishing", elem_classes="rail"):
                drawn(BRAND, "molecules-brand")
                drawn(wishes_form(), "wishes")
                start = drawn(START, "start", "paste", script="start")
                start_drawing = drawn("", "start-drawing", script="reveal")
                order = drawn(order_form(MOST), "order", "generate", "stop", script="order")
            with gr.Column(elem_id="bench", elem_classes="desk"):
                progress = drawn("", "progress")
                summary = drawn("", "summary", "fetch", "save")
                arrange = drawn(arrange_form(), "arrange", "arrange", script="arrange")
                grid = drawn(WELCOME, "proposals", "open")
        detail = drawn("", "proposal", "close")
        saved = drawn("", "saved", script="save")

        everything = [progress, summary, grid]
        tab.select(actions.enter, None, None, **NOW)
        start.paste(actions.draw_start, None, start_drawing, **NOW)
        order.generate(actions.generate, bench, everything, concurrency_limit=ORDERS_AT_ONCE, **LATER)
        order.stop(actions.stop, bench, None, **NOW)
        summary.fetch(actions.fetch, bench, everything, concurrency_limit=ORDERS_AT_ONCE, **LATER)
        arrange.arrange(actions.arrange, bench, [summary, grid], **NOW)
        summary.save(actions.save, bench, saved, **NOW)
        grid.open(actions.open, bench, detail, **NOW)
        detail.close(lambda: "", None, detail, **NOW)
