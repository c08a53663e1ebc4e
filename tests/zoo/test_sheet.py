"""The sheet: what its panels hold, and where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_zoo import tiny_data
from torch import Tensor

from genaisys.models import Reals, build
from genaisys.models.base import GenerativeModel, Representation
from genaisys.zoo import sheet
from genaisys.zoo.data import Parts
from genaisys.zoo.sheet import brightness, completions, draw_sheet, interpolations, tiled, traversals

RESULT = {"name": "tiny", "data": "tiny", "seed": 0, "test_nats": 1.0, "likelihood": "exact", "bits_per_dim": 0.1,
          "fd": 0.1, "mmd2": 0.001, "precision": 0.5, "recall": 0.5, "parameters": 10, "seconds": 1.0}  # fmt: skip


class Halves(GenerativeModel, Representation):
    """Its code is the left half of an image, twice; the right half is forgotten."""

    def __init__(self, data: Parts) -> None:
        super().__init__()
        self.space = data.space

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return torch.zeros(len(x))

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        return torch.zeros(n, *self.space.shape, dtype=torch.long)

    def encode(self, x: Tensor) -> Tensor:
        return 2.0 * x[..., :2].float()

    def decode(self, z: Tensor) -> Tensor:
        return torch.cat([z, z], -1) / 2


def test_completions_keep_what_is_given_and_end_with_the_original() -> None:
    data = tiny_data()
    torch.manual_seed(0)
    shown, known = completions(build("arm-memory", data.space), data)
    shown, known = shown.unflatten(0, (8, 8)), known.unflatten(0, (8, 8))
    originals = data.test[:8]
    assert torch.equal(shown[:, -1], originals)
    assert torch.equal(shown[:, :, :, :2], originals[:, None, :, :2].expand(-1, 8, -1, -1, -1))
    assert (shown[:, 0, :, 2:] == 0).all()
    assert known[:, :-1, :, :2].all()
    assert not known[:, :-1, :, 2:].any()
    assert not torch.equal(shown[:, 1], shown[:, 2])


def test_interpolations_go_from_one_image_to_the_other() -> None:
    data = tiny_data()
    model = Halves(data)
    found = interpolations(model, data).unflatten(0, (8, 8))
    assert torch.equal(found[:, 0], model.decode(model.encode(data.test[:8])))
    assert torch.equal(found[:, -1], model.decode(model.encode(data.test[8:16])))


def test_traversals_change_one_number_a_row_the_most_varied_first() -> None:
    data = tiny_data()
    model = Halves(data)
    found = traversals(model, data).unflatten(0, (8, 8)).double()
    changed = (found.std(1) > 0).flatten(1)[:, [0, 1, 4, 5, 8, 9, 12, 13]]  # the left half, [rows, code]
    spread = model.encode(data.test).flatten(1).std(0)
    assert changed.sum(1).tolist() == [1 if value > 0 else 0 for value in spread.sort(descending=True).values]
    order = spread[changed.double().argmax(1)][: int((spread > 0).sum())]
    assert (order[:-1] >= order[1:]).all()


def test_images_are_dark_on_light_in_rows_and_what_is_given_is_tinted() -> None:
    data = tiny_data()
    images = brightness(data, data.test[:3])
    known = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    known[1] = True
    picture = tiled(images, 2, known)
    assert picture.shape == (9, 9, 3)
    assert torch.equal(picture[:4, :4, 0], 1 - data.test[0, 0] / 2)
    assert torch.equal(picture[5:, :4, 2], 1 - data.test[2, 0] / 2)
    assert (picture[4] == picture[4, 0]).all()  # the gap
    light = data.test[1, 0] == 0
    assert (picture[:4, 5:, 0][light] < picture[:4, 5:, 2][light]).all()  # bluish


def test_sheets_are_pictures(tmp_path: Path) -> None:
    data = tiny_data()
    records = [{"step": step, "loss": 10.0 - step} for step in (1, 2)] + [{"step": 2, "held_out": {"loss": 8.0}}]
    file = tmp_path / "sheet.png"
    for model in (build("factorised", data.space), Halves(data)):
        draw_sheet(model, data, RESULT, records, file)
        assert file.read_bytes().startswith(b"\x89PNG")
    draw_sheet(build("factorised", data.space), data, RESULT | {"test_nats": None, "bits_per_dim": None}, [], file)


def test_ways_between_codes_are_drawn_where_codes_are_no_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_data()
    drawn: list[str] = []
    for panel in (interpolations, traversals):

        def noted(*arguments: Any, panel: Callable[..., Tensor] = panel) -> Tensor:
            drawn.append(panel.__name__)
            return panel(*arguments)

        monkeypatch.setattr(sheet, panel.__name__, noted)
    for preset, expected in (("idf", []), ("realnvp", ["interpolations", "traversals"])):
        drawn.clear()
        draw_sheet(build(preset, data.space, width=4), data, RESULT, [], tmp_path / "sheet.png")
        assert drawn == expected


def test_points_of_the_plane_are_drawn_too(tmp_path: Path) -> None:
    x = torch.randn(30, 2)
    data = Parts("plane", Reals((2,)), x[:20], x[20:], x[20:])
    draw_sheet(build("arm-rnn", data.space, width=4), data, RESULT, [], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 5000
