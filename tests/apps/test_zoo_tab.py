"""The models tab: what each click shows, computed by real models."""

import base64
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from genaisys.apps.zoo import pictures
from genaisys.apps.zoo.actions import COMPLETIONS, SAMPLES, STEPS, Visit, ZooActions
from genaisys.apps.zoo.gallery import Gallery, NotShown
from genaisys.apps.zoo.pictures import digit, read_board, render_models, render_verdict
from genaisys.apps.zoo.tab import zoo_tab
from genaisys.models.base import Density, Representation
from genaisys.models.factorised import FactorisedCategorical
from genaisys.zoo import runs
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.data import digits
from genaisys.zoo.runs import train_run


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shipped models, with one in it."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "draw_sheet", lambda *arguments: None)
        train_run("factorised", digits(), 0, folder / "factorised")
    return folder


@pytest.fixture
def gallery(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    monkeypatch.setattr(runs, "SHIPPED", shipped)
    return Gallery()


@pytest.fixture
def actions(gallery: Gallery) -> ZooActions:
    return ZooActions(gallery)


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def seen(html: str) -> Tensor:
    """The ink of the pictures in it. [N, 8, 8]"""
    found = re.findall(r"base64,([^']+)'", html)
    images = [np.array(Image.open(io.BytesIO(base64.b64decode(each))))[..., 1] for each in found]
    return (torch.from_numpy(np.stack(images)).double() * 16 / 255).round().long()


def test_it_opens_with_a_model_and_a_real_digit(actions: ZooActions, gallery: Gallery) -> None:
    visit = Visit()
    models, facts, board, samples = actions.enter(visit)
    assert "aria-current='true'" in models
    assert "106.3 nats" in models
    assert "exact likelihood" in facts
    assert "1,088 parameters" in facts
    inks = [int(ink) for ink in re.findall(r"data-ink='(\d+)'", board)]
    assert inks == gallery.data.test[0].flatten().tolist()
    assert seen(samples).shape == (SAMPLES, 8, 8)


def test_a_drawing_is_judged_by_its_likelihood(actions: ZooActions, gallery: Gallery) -> None:
    visit, real = Visit(name="factorised"), gallery.data.test[5].flatten().tolist()
    said = actions.paint(visit, event(values=real, rows=4))
    with gallery.turn:
        model = gallery.exhibit("factorised").model
    assert isinstance(model, Density)
    with torch.no_grad():
        nats = -model.log_prob(gallery.data.test[5:6]).item()
    assert f"{nats:.1f} nats" in said
    assert visit.values == tuple(real)
    assert "like no digit" in actions.paint(visit, event(values=[16] * 64, rows=4))


def test_completions_begin_with_the_rows_that_are_given(actions: ZooActions, gallery: Gallery) -> None:
    visit, real = Visit(name="factorised"), gallery.data.test[3]
    for rows in (0, 3, 7):
        completed = seen(actions.complete(visit, event(values=real.flatten().tolist(), rows=rows)))
        assert completed.shape == (COMPLETIONS, 8, 8)
        assert torch.equal(completed[:, :rows], real[:, :rows].expand(COMPLETIONS, -1, -1))
        assert len(completed.flatten(1).unique(dim=0)) > 1


def test_other_samples_and_other_real_digits_each_time(actions: ZooActions) -> None:
    visit = Visit(name="factorised")
    assert actions.sample(visit) != actions.sample(visit)
    assert actions.real(visit) != actions.real(visit)


class Mirror(FactorisedCategorical, Representation):
    """The code of an image is the image."""

    def encode(self, x: Tensor) -> Tensor:
        return x.double()

    def decode(self, z: Tensor) -> Tensor:
        return z.round().long()


def test_a_morph_begins_with_the_drawing_and_ends_with_a_real_digit(actions: ZooActions, gallery: Gallery) -> None:
    with gallery.turn:
        exhibit = gallery.exhibit("factorised")
        can = replace(exhibit.abilities, code=64)
        gallery._opened["factorised"] = replace(exhibit, model=Mirror(gallery.data.space), abilities=can)
    visit = Visit(name="factorised")
    path = seen(actions.between(visit, event(values=[16] * 64, rows=4)))
    assert path.shape == (STEPS, 8, 8)
    assert (path[0] == 16).all()
    assert any(torch.equal(path[-1], image[0]) for image in gallery.data.test)
    assert "data-do='between'" in actions.enter(visit)[2]


def test_what_a_model_cannot_do_is_not_offered(actions: ZooActions) -> None:
    visit = Visit(name="factorised")
    board = actions.enter(visit)[2]
    assert "data-do='complete'" in board
    assert "data-do='between'" not in board
    assert actions.between(visit, event(values=[0] * 64, rows=4)) == ""


def test_without_shipped_models_it_says_how_to_train_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SHIPPED", tmp_path)
    actions, visit = ZooActions(Gallery()), Visit()
    assert "zoo train" in actions.enter(visit)[0]
    assert actions.sample(visit) == ""


def test_a_model_that_is_not_there_is_not_chosen(actions: ZooActions, gallery: Gallery) -> None:
    visit = Visit(name="factorised")
    actions.choose(visit, event(name="../../etc"))
    assert visit.name == "factorised"
    with gallery.turn, pytest.raises(NotShown):
        gallery.exhibit("../../etc")


def test_visitors_at_the_same_time_get_what_they_would_get_alone(actions: ZooActions) -> None:
    alone = [actions.sample(Visit(name="factorised", drawn=seed)) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: actions.sample(Visit(name="factorised", drawn=seed)), range(6)))
    assert together == alone


def test_whatever_the_board_sends_is_made_to_fit() -> None:
    blank = [0] * 64
    for sent in ({}, {"values": None, "rows": None}, {"values": [], "rows": "4"}, {"values": ["x", None]}):
        assert read_board(sent) == (blank, 4)
    values, rows = read_board({"values": [99, -3, 7.0, *range(100)], "rows": 99})
    assert values[:4] == [16, 0, 7, 0]
    assert len(values) == 64
    assert rows == 7


def test_pictures_are_ink_on_nothing() -> None:
    x = torch.arange(64).view(1, 8, 8) % 17
    assert torch.equal(seen(f"<img src='{digit(x).split(chr(39))[3]}'>")[0], x[0])


def test_names_are_shown_and_not_obeyed() -> None:
    hostile = "<script>'\""
    entry = replace(ZOO["factorised"], about=hostile, family=hostile)
    html = render_models({hostile: {"test_nats": 1.0}}, {hostile: entry}, hostile)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_the_words_follow_the_numbers() -> None:
    assert "more likely than most" in render_verdict(80.0, 0.1, "exact")
    assert "at most" in render_verdict(80.0, 0.5, "lower bound")
    assert "no likelihood" in render_verdict(None, 0.0, None)


def test_the_tab_is_wired(gallery: Gallery) -> None:
    with gr.Blocks() as page, gr.Tabs():
        zoo_tab(gallery)
    events = {target[1] for function in page.fns.values() for target in function.targets}
    assert {"select", "choose", "sample", "painted", "real", "complete", "between"} <= events


def test_every_model_of_the_digits_has_words_about_it() -> None:
    assert all(entry.about for entry in ZOO.values())
    assert digits().space.dimensions == pictures.SIDE**2
