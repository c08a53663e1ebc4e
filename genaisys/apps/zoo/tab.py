"""The tab in which people play with generative models: layout and wiring."""

from __future__ import annotations

import gradio as gr

from genaisys.apps.elements import LATER, NOW, drawn
from genaisys.apps.zoo.actions import Visit, ZooActions
from genaisys.apps.zoo.gallery import Gallery
from genaisys.apps.zoo.pictures import BRAND, render_note

VISITORS_AT_ONCE = 4  # the models take turns anyway; others wait in line

_LOADING = render_note("The models are being loaded. The first time it takes a few seconds.")
_SAMPLES = "<p class='tools'><button data-do='sample'>Draw again</button></p>"


def zoo_tab(gallery: Gallery) -> None:
    """The content of the tab."""
    actions = ZooActions(gallery)
    with gr.Tab("Model zoo", id="zoo") as tab:
        visit = gr.State(Visit())
        with gr.Row(elem_id="zoo", elem_classes="frame"):
            with gr.Column(elem_id="cages", elem_classes="rail"):
                drawn(BRAND, "zoo-brand")
                models = drawn("", "zoo-models", "choose")
            with gr.Column(elem_id="meadow", elem_classes="desk"):
                facts = drawn(_LOADING, "zoo-facts")
                with gr.Row(elem_id="easel"):
                    board = drawn("", "zoo-board", "painted", "real", "complete", "between", script="paint")
                    with gr.Column(elem_id="judgement"):
                        verdict = drawn("", "zoo-verdict")
                        outcome = drawn("", "zoo-outcome")
                samples = drawn("", "zoo-samples")
                again = drawn(_SAMPLES, "zoo-again", "sample")

        everything = [models, facts, board, samples]
        together = {"concurrency_limit": VISITORS_AT_ONCE, "concurrency_id": "zoo", **LATER}
        for looked in (tab.select(actions.enter, visit, everything, **together),
                       models.choose(actions.choose, visit, everything, **together)):  # fmt: skip
            looked.then(actions.judge, visit, verdict, **together).then(lambda: "", None, outcome, **NOW)
        again.sample(actions.sample, visit, samples, **together)
        board.painted(actions.paint, visit, verdict, **together)
        board.real(actions.real, visit, board, **NOW).then(actions.judge, visit, verdict, **together)
        board.complete(actions.complete, visit, outcome, **together)
        board.between(actions.between, visit, outcome, **together)
