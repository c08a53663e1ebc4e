"""The forms of the molecules tab: what to wish for, where to start, and how many. They never change on the server."""

from __future__ import annotations

import json

from genaisys.apps.markup import shown
from genaisys.apps.molecules.labels import LABELS, MAIN
from genaisys.apps.molecules.plots import silhouette
from genaisys.molecules.distributions import Distribution, distributions

BRAND = "<div class='brand'><b>gen<i>ai</i>sys</b><span>New molecules to think about</span></div>"

START = (
    "<label class='label' for='start-smiles'>Start from</label>"
    "<textarea id='start-smiles' rows='2' maxlength='500' spellcheck='false' autocapitalize='off'"
    " placeholder='Anything, or paste a part as SMILES: c1ccc2[nH]ccc2c1'></textarea>"
)


def wishes_form() -> str:
    """The sliders that everybody sees."""
    return (
        "<div class='label'>What they should be like<button class='quiet' data-reset>Reset</button></div>"
        + "".join(map(_wish, MAIN))
        + f"<details class='more'><summary>More</summary>{''.join(_wish(name) for name in LABELS if name not in MAIN)}"
        + _slider(
            "temperature",
            "Boldness",
            "temperature",
            0.5,
            1.5,
            0.05,
            1.0,
            2,
            "Less: more like known molecules. More: stranger ones, and more failures.",
        )
        + "</details>"
    )


def order_form(most: int) -> str:
    """How many, and the buttons of which one is shown at a time."""
    return (
        _slider("count", "How many", "", 8, most, 8, 24, 0, "")
        + "<button class='generate' data-do='generate'>Generate</button>"
        "<button class='stop' data-do='stop'>Stop, and keep what is found</button>"
    )


def _wish(name: str) -> str:
    """A slider with two handles over the silhouette of the known molecules; at the ends it means any."""
    label, distribution = LABELS[name], distributions()[name]
    low, high = distribution.ends
    bins, path = len(distribution.counts), silhouette(distribution)
    picture = f"<svg viewBox='0 0 {bins} 100' preserveAspectRatio='none' aria-hidden='true'><path d='{path}'/></svg>"
    handles = "".join(
        f"<input type='range' min='{low:g}' max='{high:g}' step='{distribution.step:g}' value='{value:g}'"
        f" aria-label='{label.name}, {side}'>"
        for value, side in ((low, "at least"), (high, "at most"))
    )
    return (
        f"<div class='wish' data-name='{name}' data-digits='{label.digits}' data-bins='{shown(_bins(distribution))}'>"
        f"<div class='title'><b>{label.name}</b>{_term(label.term)}<output>any</output></div>"
        f"<div class='range'><div class='all'>{picture}</div><div class='in'>{picture}</div>{handles}</div>"
        f"<p>{label.explanation} <span class='share'></span></p></div>"
    )


def _slider(
    name: str, title: str, term: str, low: float, high: float, step: float, value: float, digits: int, explanation: str
) -> str:
    explained = f"<p>{explanation}</p>" if explanation else ""
    return (
        f"<div class='setting' data-digits='{digits}'>"
        f"<div class='title'><b>{title}</b>{_term(term)}<output>{value:.{digits}f}</output></div>"
        f"<input type='range' name='{name}' min='{low:g}' max='{high:g}' step='{step:g}' value='{value:g}'"
        f" aria-label='{title}'>{explained}</div>"
    )


def _term(term: str) -> str:
    return f"<span class='term'>{term}</span>" if term else ""


def _bins(distribution: Distribution) -> str:
    return json.dumps({"low": distribution.low, "high": distribution.high, "counts": distribution.counts})
