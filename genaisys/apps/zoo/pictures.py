"""The models tab as HTML: the list of models, pictures of digits, the drawing board, and what is said of a drawing."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from genaisys.apps.markup import shown

if TYPE_CHECKING:  # torch takes seconds to load, and the page should open before that
    from torch import Tensor

    from genaisys.apps.zoo.gallery import Exhibit
    from genaisys.zoo.abilities import Abilities
    from genaisys.zoo.entries import Entry

SIDE, INK = 8, 16  # pixels of a side, and the darkest value

BRAND = "<div class='brand'><b>gen<i>ai</i>sys</b><span>Generative models, to look at</span></div>"


def render_models(results: Mapping[str, Mapping[str, Any]], entries: Mapping[str, Entry], chosen: str) -> str:
    """The list of models by their families, with how well each explains unseen digits."""
    if not results:
        return (
            "<p class='none'>No trained models are here. <code>genaisys zoo train arm-rnn</code> trains one, and "
            "<code>genaisys zoo list</code> tells of them all.</p>"
        )
    families: dict[str, list[str]] = {}
    for name, result in results.items():
        nats = "" if result["test_nats"] is None else f"{result['test_nats']:.1f} nats"
        state = " aria-current='true'" if name == chosen else ""
        families.setdefault(entries[name].family, []).append(
            f"<li><button data-do='choose' data-name='{shown(name)}'{state}><b>{shown(name)}</b>"
            f"<em>{nats}</em><span>{shown(entries[name].about)}</span></button></li>"
        )
    return "".join(
        f"<p class='label'>{shown(family.capitalize())}</p><ul class='models'>{''.join(rows)}</ul>"
        for family, rows in families.items()
    )


def render_facts(exhibit: Exhibit) -> str:
    """What the model is and can do."""
    can, result = exhibit.abilities, exhibit.result
    facts = [
        f"{can.likelihood} likelihood" if can.likelihood else "no likelihood",
        "compresses without loss" if can.lossless else "",
        {"any part": "completes any part", "an end": "completes an end"}.get(can.completes or "", ""),
        f"a code of {can.code} numbers" if can.code else "",
        f"{result['parameters']:,} parameters",
        f"trained in {_duration(result['seconds'])} of one core",
        f"Fréchet distance {result['fd']:.2f}, precision {result['precision']:.2f}, recall {result['recall']:.2f}",
    ]
    items = "".join(f"<li>{shown(fact)}</li>" for fact in facts if fact)
    return f"<h2 class='model'>{shown(exhibit.name)}</h2><ul class='abilities'>{items}</ul>"


def render_digits(x: Tensor, title: str, given: int = 0) -> str:
    """Digits side by side. [N, 1, 8, 8]

    Args:
        given: so many rows of each were given, and are marked.
    """
    return _section(title, "".join(f"<span class='digit' style='--given:{given}'>{digit(each)}</span>" for each in x))


def render_path(x: Tensor, title: str) -> str:
    """Digits on the way from the first to the last. [N, 1, 8, 8]"""
    return _section(title, "".join(f"<span class='digit'>{digit(each)}</span>" for each in x), "path")


def render_note(text: str) -> str:
    return f"<p class='note'>{shown(text)}</p>"


def render_board(values: Iterable[int], rows: int, abilities: Abilities) -> str:
    """The drawing board: cells of ink, a border below the rows that a completion is given, and what can be done."""
    complete = "<button data-do='complete' class='first'>Complete</button>" if abilities.completes else ""
    between = "<button data-do='between'>Morph</button>" if abilities.code else ""
    given = (
        "<label class='given'>Complete from row"
        f"<input type='range' min='0' max='{SIDE - 1}' value='{rows}' aria-label='Rows that are given'></label>"
    )
    cells = "".join(f"<i data-ink='{value}' style='--ink-share:{value / INK:.3f}'></i>" for value in values)
    return (
        f"<div class='board' data-side='{SIDE}' data-most='{INK}' data-rows='{rows}' style='--rows:{rows}'"
        f"{' data-completes' if complete else ''}>"
        f"<div class='cells' role='img' aria-label='Drawing of 8 by 8 pixels'>{cells}</div>{given if complete else ''}"
        "<p class='tools'><button data-tool='clear'>Clear</button><button data-do='real'>A real digit</button>"
        f"{complete}{between}</p></div>"
    )


def render_verdict(nats: float | None, likelier: float, kind: str | None) -> str:
    """How likely a drawing is.

    Args:
        likelier: the share of real digits that are likelier.
        kind: of the likelihood.
    """
    if nats is None:
        return render_note("This model has no likelihood: it can draw, but not judge.")
    words = (
        "more likely than most real digits" if likelier < 0.3
        else "as likely as a real digit" if likelier < 0.9
        else "less likely than nearly all real digits" if likelier < 1
        else "like no digit that the model has seen"
    )  # fmt: skip
    bound = {"exact": "", "lower bound": " at most", "estimate": " about"}.get(kind or "", "")
    return (
        f"<div class='verdict'><p><b>{nats:.1f} nats</b>{bound}: {words}</p>"
        f"<div class='scale' style='--at:{1 - likelier:.3f}'><i></i></div>"
        f"<p class='ends'><span>no digit</span><span>likelier than {1 - likelier:.0%} of real digits</span></p></div>"
    )


def digit(x: Tensor) -> str:
    """A picture of ink on nothing, so that it stands on light and on dark. [1, 8, 8]"""
    ink = (np.clip(x[0].cpu().numpy(), 0, INK) * 255 / INK).astype(np.uint8)
    pixels = np.stack([np.zeros_like(ink), ink], -1)  # [8, 8, 2]: black, as dense as there is ink
    buffer = io.BytesIO()
    Image.fromarray(pixels, "LA").save(buffer, "PNG")
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'>"


def read_board(data: Mapping[str, Any]) -> tuple[Sequence[int], int]:
    """The ink and the number of given rows that the board has sent; whatever else was sent is made to fit."""
    raw = data.get("values")
    values = [min(INK, max(0, int(value))) if isinstance(value, int | float) else 0 for value in raw or ()]
    values = (values + [0] * SIDE * SIDE)[: SIDE * SIDE]
    rows = data.get("rows")
    return values, min(SIDE - 1, max(0, int(rows))) if isinstance(rows, int | float) else SIDE // 2


def _section(title: str, content: str, kind: str = "") -> str:
    return f"<section class='digits {kind}'><h3>{shown(title)}</h3><div>{content}</div></section>"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
