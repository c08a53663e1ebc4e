"""What each click on the models tab does: from a visit and an event to the HTML that changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from genaisys.apps.actions import plain
from genaisys.apps.zoo import pictures
from genaisys.apps.zoo.gallery import Exhibit, Gallery, log_prob

SAMPLES, COMPLETIONS, STEPS = 30, 20, 12


@dataclass
class Visit:
    """What one visitor looks at.

    Attributes:
        drawn: how many samples were drawn, so that each click draws others.
        values: what is on the board.
    """

    name: str = ""
    drawn: int = 0
    values: tuple[int, ...] = (0,) * pictures.SIDE**2
    rows: int = pictures.SIDE // 2


class ZooActions:
    """The tab's event handlers. Each returns new values for the components that its event is wired to."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    def enter(self, visit: Visit) -> tuple[str, str, str, str]:
        """The tab is looked at. -> models, facts, board, samples"""
        results = self.gallery.results
        if not visit.name:
            visit.name = min(results, key=lambda name: results[name]["test_nats"] or float("inf"), default="")
            if visit.name:
                visit.values = tuple(self.gallery.data.test[0].flatten().tolist())
        return self._look(visit)

    def choose(self, visit: Visit, event: gr.EventData) -> tuple[str, str, str, str]:
        """Another model. -> models, facts, board, samples"""
        name = str(event._data.get("name", ""))
        if name in self.gallery.results:
            visit.name = name
        return self._look(visit)

    def sample(self, visit: Visit) -> str:
        """Other samples. -> samples"""
        visit.drawn += 1
        return self._shown(visit, self._samples)

    def paint(self, visit: Visit, event: gr.EventData) -> str:
        """The drawing has changed. -> verdict"""
        self._read(visit, event)
        return self.judge(visit)

    def judge(self, visit: Visit) -> str:
        """How likely the drawing is. -> verdict"""
        return self._shown(visit, self._verdict)

    def real(self, visit: Visit) -> str:
        """A test image onto the board. -> board"""
        visit.drawn += 1
        test = self.gallery.data.test
        visit.values = tuple(test[visit.drawn * 37 % len(test)].flatten().tolist())
        return self._shown(visit, self._board)

    def complete(self, visit: Visit, event: gr.EventData) -> str:
        """The given rows, completed. -> outcome"""
        self._read(visit, event)
        return self._shown(visit, self._completions)

    def between(self, visit: Visit, event: gr.EventData) -> str:
        """From the drawing to a real digit. -> outcome"""
        self._read(visit, event)
        return self._shown(visit, self._path)

    # -- with a model

    def _look(self, visit: Visit) -> tuple[str, str, str, str]:
        from genaisys.zoo.catalogue import ZOO

        results = self.gallery.results
        models = pictures.render_models(results, ZOO, visit.name)
        if not visit.name:
            return models, "", "", ""
        facts = self._shown(visit, lambda visit, exhibit: pictures.render_facts(exhibit))
        return models, facts, self._shown(visit, self._board), self._shown(visit, self._samples)

    def _shown(self, visit: Visit, render: Any) -> str:
        """What ``render`` makes of the visitor's model, or what is wrong."""
        if not visit.name:
            return ""
        try:
            with self.gallery.turn:
                return render(visit, self.gallery.exhibit(visit.name))
        except Exception as problem:
            return pictures.render_note(plain(problem))

    def _board(self, visit: Visit, exhibit: Exhibit) -> str:
        return pictures.render_board(visit.values, visit.rows, exhibit.abilities)

    def _samples(self, visit: Visit, exhibit: Exhibit) -> str:
        import torch

        generator = torch.Generator().manual_seed(visit.drawn)
        x = exhibit.model.sample(SAMPLES, generator=generator, **exhibit.entry.effort)
        return pictures.render_digits(x, "New digits")

    def _verdict(self, visit: Visit, exhibit: Exhibit) -> str:
        x = self._drawing(visit)
        found = log_prob(exhibit.model, exhibit.entry, x)
        if found is None or exhibit.real is None:
            return pictures.render_verdict(None, 0.0, None)
        likelier = (exhibit.real > found).double().mean().item()
        return pictures.render_verdict(-found.item(), likelier, exhibit.abilities.likelihood)

    def _completions(self, visit: Visit, exhibit: Exhibit) -> str:
        import torch

        from genaisys.models.base import Completes

        if not isinstance(exhibit.model, Completes):  # the button of another model, clicked too late
            return ""
        visit.drawn += 1
        observed = torch.zeros(1, pictures.SIDE, pictures.SIDE, dtype=torch.bool)
        observed[:, : visit.rows] = True
        x = self._drawing(visit).expand(COMPLETIONS, -1, -1, -1)
        completed = exhibit.model.complete(x, observed, generator=torch.Generator().manual_seed(visit.drawn))
        return pictures.render_digits(completed, "What may follow", visit.rows)

    def _path(self, visit: Visit, exhibit: Exhibit) -> str:
        import torch

        from genaisys.models.base import Representation

        if not isinstance(exhibit.model, Representation):
            return ""
        visit.drawn += 1
        test = self.gallery.data.test
        ends = torch.cat([self._drawing(visit), test[visit.drawn * 37 % len(test)][None]])
        codes = exhibit.model.encode(ends)
        share = torch.linspace(0, 1, STEPS).view(-1, *[1] * (codes.dim() - 1))
        path = codes[:1] * (1 - share) + codes[1:] * share
        decoded = exhibit.model.decode(path if codes.is_floating_point() else path.round().to(codes.dtype))
        return pictures.render_path(decoded.detach(), "From your drawing to a real digit")

    def _drawing(self, visit: Visit) -> Any:
        import torch

        return torch.tensor(visit.values).view(1, 1, pictures.SIDE, pictures.SIDE)

    def _read(self, visit: Visit, event: gr.EventData) -> None:
        values, rows = pictures.read_board(event._data)
        visit.values, visit.rows = tuple(values), rows
