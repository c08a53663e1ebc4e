"""What each click on the molecules tab does: from a visitor's bench and an event to the HTML that changes."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import gradio as gr

from genaisys.apps.actions import plain
from genaisys.apps.markup import shown
from genaisys.apps.molecules.bench import SIMILARITY, Arrangement, Bench, Proposal
from genaisys.apps.molecules.cards import render_detail, render_grid, render_progress, render_summary
from genaisys.apps.molecules.labels import LABELS
from genaisys.apps.molecules.workshop import Workshop
from genaisys.errors import GenaisysError

REDRAW_SECONDS = 0.4  # a grid of drawings is much to send
COMPARED_AT_ONCE = 24  # each comparison goes through all that is known, whether for one molecule or some

Drawn = tuple[Any, Any, Any]  # progress, summary, grid


class MoleculeActions:
    """The tab's event handlers. Each returns new values for the components that its event is wired to."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def enter(self) -> None:
        """The tab is looked at: what takes seconds to load, begins to."""
        self.workshop.warm_up()

    # ---- making molecules

    def draw_start(self, event: gr.EventData) -> str:
        """What was pasted, drawn while it is typed, or what is wrong with it. -> the drawing"""
        from genaisys.apps.molecules.orders import read_start
        from genaisys.molecules.depiction import depict
        from genaisys.molecules.parsing import NotAMolecule

        smiles = str(event._data.get("smiles", "")).strip()
        if not smiles:
            return ""
        try:
            return f"<div class='start'>{depict(read_start(smiles), 276, 150)}</div>"
        except NotAMolecule as problem:
            return (
                f"<p class='error' role='alert'>{_marked(smiles, problem.position)}{shown(_what_is_wrong(problem))}</p>"
            )
        except GenaisysError as problem:
            return f"<p class='error' role='alert'>{shown(_sentence(str(problem)))}</p>"

    def generate(self, bench: Bench, event: gr.EventData) -> Iterator[Drawn]:
        """Fill an order. -> progress, summary, grid; again and again"""
        from genaisys.apps.molecules.orders import read_order

        try:
            order = read_order(event._data, secrets.randbelow(2**31))
        except Exception as problem:
            bench.problem = _sentence(plain(problem))
            yield render_progress(bench, "", 0, 0), gr.skip(), gr.skip()
            return
        run = bench.begin(order.n, order.start)
        yield self._drawn(bench, "Loading the generator")
        yield from self._finish(bench, run, chain(self._draw(bench, run, order), self._compare(bench, run)))

    def fetch(self, bench: Bench) -> Iterator[Drawn]:
        """Fetch what is known over the network, because the visitor asks for it. -> progress, summary, grid"""
        bench.problem = ""  # of the last time that it was tried
        yield from self._finish(bench, bench.run, self._compare(bench, bench.run, may_fetch=True))

    def stop(self, bench: Bench) -> None:
        """No more molecules; those that were found stay."""
        bench.stopped = True

    def _finish(self, bench: Bench, run: int, work: Iterable[Drawn]) -> Iterator[Drawn]:
        """Do the work of an order, and say what came of it, unless a newer order has taken its place."""
        problem = ""
        try:
            yield from work
        except Exception as error:
            problem = _sentence(plain(error))
        if bench.run == run:
            bench.phase, bench.problem = "done", problem or bench.problem
            yield self._drawn(bench, _outcome(bench))

    def _draw(self, bench: Bench, run: int, order: Any) -> Iterator[Drawn]:
        from genaisys.molecules.sampling import NothingFound, stream_molecules

        generator = self.workshop.generator(order.sampling.wishes)
        bench.phase, drawn_at = "drawing", 0.0
        yield self._drawn(bench, "Writing the first molecules")
        try:
            for samples in stream_molecules(generator, order.n, order.sampling):
                if bench.run != run:
                    return
                bench.counts = samples.counts
                for smiles in samples.smiles[len(bench.proposals) :]:
                    bench.take(smiles)
                if bench.stopped:
                    return
                if time.monotonic() - drawn_at > REDRAW_SECONDS:
                    drawn_at = time.monotonic()
                    yield self._drawn(bench, _so_far(bench), len(bench.proposals), order.n)
        except NothingFound as nothing:
            if bench.run != run:
                return
            found = f"Only {len(bench.proposals)} were found" if bench.proposals else "Nothing was found"
            bench.problem = f"{found}: of the last 20,000 molecules that were written none {_lacked(nothing.wish)}"

    def _compare(self, bench: Bench, run: int, may_fetch: bool = False) -> Iterator[Drawn]:
        """Find the nearest known molecules; the first time, all that is known has to be read."""
        if bench.run != run or not bench.proposals or not (may_fetch or self.workshop.can_prepare()):
            return
        bench.phase = "comparing"
        yield self._drawn(bench, "Comparing with known molecules")
        for step, done, total in self.workshop.prepare():
            if bench.run != run:
                return
            share = f": {done / total:.0%}" if total else ""
            line = f"{_sentence(step + share)} All else can be used meanwhile."
            yield render_progress(bench, line, done, total), gr.skip(), gr.skip()
        known = self.workshop.known
        if known is None:  # the app is being stopped
            return
        proposals = bench.proposals
        for start in range(0, len(proposals), COMPARED_AT_ONCE):
            bench.compare(proposals[start : start + COMPARED_AT_ONCE], known)
            if bench.run != run:
                return
            yield self._drawn(bench, "Comparing with known molecules", start, len(proposals))

    # ---- looking at them

    def arrange(self, bench: Bench, event: gr.EventData) -> tuple[str, str]:
        """Sort and filter. -> summary, grid"""
        sent = event._data
        measures = {*LABELS, SIMILARITY}
        sort, only = str(sent.get("sort", "")), str(sent.get("only", ""))
        bench.arrangement = Arrangement(
            sort=sort if sort in measures else "",
            descending=sent.get("order") != "up",
            new_only=bool(sent.get("new_only")),
            only=only if only in measures else "",
            low=_number(sent.get("low")),
            high=_number(sent.get("high")),
        )
        return self._summary(bench), render_grid(bench)

    def open(self, bench: Bench, event: gr.EventData) -> str:
        """One molecule in detail. -> the sheet"""
        number = str(event._data.get("number", ""))
        proposal = next((p for p in bench.proposals if str(p.number) == number), None)
        return "" if proposal is None else render_detail(proposal)

    def save(self, bench: Bench, event: gr.EventData) -> str:
        """What is shown, as a file that the page hands to the browser. -> its name, kind and content"""
        from genaisys.molecules.drawing import CannotWrite, draw_grid, encode_molecules

        proposals, kind = bench.shown, str(event._data.get("kind", ""))
        if not proposals:
            return ""
        smiles = [proposal.smiles for proposal in proposals]
        try:
            if kind == "png":
                content = draw_grid(smiles, [_legend(proposal) for proposal in proposals], ".png")
            else:
                content = encode_molecules(smiles, f".{kind}", _columns(proposals))
        except CannotWrite:
            return ""
        data = base64.b64encode(content).decode()
        # The time makes it another value, where the same is saved again.
        return f"<data data-name='proposals.{kind}' data-time='{time.time()}' data-content='{data}'></data>"

    # ---- parts of the page

    def _drawn(self, bench: Bench, step: str, done: int = 0, total: int = 0) -> Drawn:
        return render_progress(bench, step, done, total), self._summary(bench), render_grid(bench)

    def _summary(self, bench: Bench) -> str:
        return render_summary(bench, offer_moses=bench.phase == "done" and not self.workshop.can_prepare())


def _so_far(bench: Bench) -> str:
    counts = bench.counts
    drawn = f" among {counts.drawn:,} that were written" if counts is not None else ""
    return f"{len(bench.proposals)} of {bench.wanted} found{drawn}"


def _lacked(wish: str) -> str:
    """What the molecules were not, to end a sentence with, and what to do. ``wish``: as in ``NothingFound``."""
    if not wish:
        return "was new and valid. Wish for fewer, or choose a lower temperature."
    if wish not in LABELS:
        return "was as you wish. The fewest held the start: take a part of it, such as its rings."
    return f"was as you wish. The fewest fulfilled the wish for {LABELS[wish].name.lower()}: widen it."


def _outcome(bench: Bench) -> str:
    if bench.stopped and len(bench.proposals) < bench.wanted:
        return f"Stopped: {_so_far(bench)}."
    return "" if bench.problem else f"{_so_far(bench)}."


def _columns(proposals: list[Proposal]) -> dict[str, list[str]]:
    found = [proposal.nearest for proposal in proposals]
    return {
        "number": [str(proposal.number) for proposal in proposals],
        "nearest known": ["" if each is None else each.smiles for each in found],
        "similarity": ["" if each is None else f"{each.similarity:.3f}" for each in found],
        "known": ["" if p.is_known is None else str(p.is_known).lower() for p in proposals],
    }


def _legend(proposal: Proposal) -> str:
    values = proposal.properties
    looks = f"QED {values['QED']:.2f}, logP {values['logP']:.1f}, SA {values['SA']:.1f}"
    return f"{proposal.number}: {looks}, {values['weight']:.0f} g/mol"


def _marked(smiles: str, position: int | None) -> str:
    """What was pasted, with the place marked where it is wrong."""
    if position is None:
        return ""
    before, here, after = smiles[: position - 1][-24:], smiles[position - 1 : position], smiles[position:][:24]
    return f"<code>{shown(before)}<mark>{shown(here)}</mark>{shown(after)}</code>"


def _what_is_wrong(problem: Any) -> str:
    place = f" at position {problem.position}" if problem.position is not None else ""
    return f"This is no molecule: {problem.reason}{place}."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _number(sent: Any) -> float | None:
    try:
        return float(str(sent).replace(",", "."))
    except ValueError:
        return None
