"""Models of data of one's own: few rows, of any shape, from the command line to the sheet."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_zoo import TINY, saved, tiny_data, tiny_entry
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.latent import from_data

run = CliRunner().invoke


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("rows", [20, 35, 60, 100])
@pytest.mark.parametrize("shape", [(3,), (2, 2, 2, 2)])
def test_few_rows_of_any_shape_are_enough(
    rows: int, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that completes, and one that has codes, with all panels of their sheets."""
    monkeypatch.setitem(ZOO, "arm", replace(ZOO["arm-rnn"], trained=TINY, sizes={"width": 4}))
    monkeypatch.setitem(ZOO, "vae", replace(ZOO["vae-vampprior"], trained=from_data(TINY)))
    x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0)).round().clamp(-2, 2)
    file = saved(x.long(), tmp_path / "few.npy")
    done = run(app, ["zoo", "table", "arm", "vae", "--data", file, "--seeds", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert [row["precision"] is not None for row in json.loads(done.stdout)] == [rows >= 40] * 2
    for name in ("arm", "vae"):
        assert (tmp_path / "zoo" / "few" / f"{name}-0" / "sheet.png").stat().st_size > 5000


def test_the_card_of_a_file_has_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tiny_entry("tiny", monkeypatch)
    file = saved(tiny_data().training, tmp_path / "my own.npy")
    assert run(app, ["zoo", "train", name, "--data", file, "--output", "mine"]).exit_code == 0
    command = "genaisys zoo train tiny --data 'my own.npy' --seed 0"
    assert f"`{command}`" in (tmp_path / "mine" / "README.md").read_text("utf-8")
    done = run(app, [*shlex.split(command)[1:], "--output", "mine"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_mixtures_of_gaussians_learn_real_numbers_of_any_scale(scale: float, tmp_path: Path) -> None:
    """With a least deviation in the unit of the data, those of scale .01 were worth nats of scale .5."""
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([scale, 3 * scale]) + scale
    file = saved(x, tmp_path / "normal.npy")
    done = run(app, ["zoo", "train", "mixture-gaussian", "--data", file, "--output", "mine", "--json"])
    assert done.exit_code == 0, done.output
    entropy = math.log(3 * scale**2 * 2 * math.pi * math.e)
    assert json.loads(done.stdout)["test_nats"] == pytest.approx(entropy, abs=0.2)
