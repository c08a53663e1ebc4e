"""``genaisys zoo``: what it prints and writes, and how it fails."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_zoo import saved, tiny_data, tiny_entry
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.zoo import runs
from genaisys.zoo.catalogue import ZOO

run = CliRunner().invoke


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "draw_sheet", lambda *arguments: None)


def test_the_help_waits_for_no_torch() -> None:
    code = "import sys, genaisys.cli; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_train_tells_what_was_measured(tmp_path: Path) -> None:
    done = run(app, ["zoo", "train", "factorised", "--seed", "7", "--output", "mine", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert {"name", "likelihood", "test_nats", "bits_per_dim", "fd", "mmd2", "precision", "recall", "seconds",
            "parameters"} <= result.keys()  # fmt: skip
    assert (result["name"], result["seed"], result["likelihood"]) == ("factorised", 7, "exact")
    assert result["test_nats"] == pytest.approx(106.3, abs=0.1)  # as published for independent categoricals
    done = run(app, ["zoo", "evaluate", "mine", "--json"])
    assert done.exit_code == 0, done.output
    again = json.loads(done.stdout)
    assert again | {"sample_seconds": 0} == result | {"sample_seconds": 0}
    assert "106.3" in run(app, ["zoo", "evaluate", "mine"]).stdout


def test_on_a_terminal_each_run_has_a_bar_that_knows_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, file = tiny_entry("tiny", monkeypatch), saved(tiny_data().training, tmp_path / "mine.npy")
    for arguments, bars in (
        (["train", name, "--seed", "1"], ["20/20"]),
        (["table", name, "mixture", "--seeds", "1"], ["20/20", "/60"]),
    ):
        shown = StringIO()
        monkeypatch.setattr("genaisys.commands.zoo.err", Console(file=shown, force_terminal=True, width=120))
        done = run(app, ["zoo", *arguments, "--data", file])
        assert done.exit_code == 0, done.output
        assert all(bar in shown.getvalue() for bar in bars)
        assert "/?" not in shown.getvalue()


def test_list_asks_the_code_what_each_model_can_do_and_shows_what_was_measured() -> None:
    assert run(app, ["zoo", "train", "factorised"]).exit_code == 0
    done = run(app, ["zoo", "list", "--json"])
    assert done.exit_code == 0, done.output
    listed = {each["name"]: each for each in json.loads(done.stdout)}
    assert list(listed) == list(ZOO)
    assert listed["factorised"]["abilities"] == {
        "likelihood": "exact", "lossless": True, "code": None, "bottleneck": False, "invertible": False,
        "completes": "any part", "marginals": True, "most_probable": True,
    }  # fmt: skip
    assert listed["factorised"]["measured"]["test_nats"] == pytest.approx(106.3, abs=0.1)
    assert listed["arm-transformer"]["abilities"]["completes"] == "an end"
    assert listed["pixelcnn"]["measured"]["seeds"] == 3  # which nobody has trained here
    assert listed["factorised"]["measured"]["seeds"] == 1  # a run of one's own counts


def test_list_fits_a_terminal_and_marks_what_the_book_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.commands.zoo.out", Console(file=(shown := StringIO()), force_terminal=True, width=120,
                                                             color_system=None))  # fmt: skip
    done = run(app, ["zoo", "list"])
    assert done.exit_code == 0, done.output
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 120
    for name, marks in {
        "factorised": ["exact", "yes", "–", "any part", "yes", "yes", "106.33 ± 0.00", "1.97", "0.03"],
        "pixelcnn": ["exact", "yes", "–", "an end", "–", "–", "78.80 ± 0.21", "0.36", "0.68"],
        "realnvp": ["bound", "–", "64 =", "–", "–", "–", "89.66 ± 0.04", "0.41", "0.04"],
        "vae": ["bound", "–", "16 <", "–", "–", "–", "84.71 ± 0.25", "0.46", "0.03"],
    }.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.split()[-len(" ".join(marks).split()) :] == " ".join(marks).split()


def test_list_says_which_models_cannot_be_of_such_data(tmp_path: Path) -> None:
    done = run(app, ["zoo", "list", "--data", saved(torch.randn(20, 3), tmp_path / "reals.npy"), "--json"])
    assert done.exit_code == 0, done.output
    listed = {each["name"]: each for each in json.loads(done.stdout)}
    assert listed["realnvp"]["misfit"] is None
    assert listed["factorised"]["abilities"] is None
    assert "model of integers" in listed["factorised"]["misfit"]


def test_table_of_all_leaves_out_what_cannot_be_of_such_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tiny_entry("tiny", monkeypatch)
    monkeypatch.setattr("genaisys.zoo.catalogue.ZOO", {each: ZOO[each] for each in ("factorised", name)})
    reals = saved(torch.randn(40, 4), tmp_path / "reals.npy")
    done = run(app, ["zoo", "table", "--data", reals, "--seeds", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in json.loads(done.stdout)] == ["tiny"]


def test_a_model_learns_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, file = tiny_entry("tiny", monkeypatch), saved(tiny_data().training, tmp_path / "mine.npy")
    done = run(app, ["zoo", "train", name, "--data", file, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"] == "mine"
    assert (tmp_path / "zoo" / "mine" / "tiny-0" / "config.json").is_file()
    done = run(app, ["zoo", "evaluate", "zoo/mine/tiny-0", "--data", file, "--json"])
    assert done.exit_code == 0, done.output


def test_table_trains_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, file = tiny_entry("tiny", monkeypatch), saved(tiny_data().training, tmp_path / "mine.npy")
    arguments = ["zoo", "table", name, "factorised", "--data", file, "--seeds", "2"]
    done = run(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [(row["name"], row["seeds"]) for row in rows] == [("factorised", 2), ("tiny", 2)]
    results = {file: file.stat().st_mtime_ns for file in tmp_path.glob("zoo/mine/*/result.json")}
    assert len(results) == 4
    done = run(app, arguments)
    assert done.exit_code == 0, done.output
    assert "tiny" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in results} == results


def test_what_is_compressed_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data()
    name, file = tiny_entry("tiny", monkeypatch), saved(data.training, tmp_path / "mine.npy")
    assert run(app, ["zoo", "train", name, "--data", file, "--output", "model"]).exit_code == 0
    done = run(app, ["zoo", "compress", "model", file, "small", "--json"])
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert counts["bytes"] == (tmp_path / "small").stat().st_size < data.training.numel() / 4
    done = run(app, ["zoo", "decompress", "model", "small", "again.npy"])
    assert done.exit_code == 0, done.output
    done = run(app, ["zoo", "decompress", "model", "small", "again.npy", "--json"])
    assert json.loads(done.stdout) == {"examples": len(data.training)}
    again = np.load(tmp_path / "again.npy")
    assert again.dtype == np.uint8
    assert torch.equal(torch.from_numpy(again).long(), data.training)


def test_failures_are_one_plain_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_entry("tiny", monkeypatch)
    assert run(app, ["zoo", "train", "factorised", "--output", "mine"]).exit_code == 0
    saved(torch.full((20, 1, 8, 8), 17), tmp_path / "seventeen.npy")
    saved(torch.zeros(19, 2), tmp_path / "few.npy")
    saved(torch.zeros(20, 2), tmp_path / "digits.npy")
    reals = saved(torch.randn(40, 4), tmp_path / "reals.npy")
    assert run(app, ["zoo", "train", "tiny", "--data", reals, "--output", "of-reals"]).exit_code == 0
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "huge.npy", np.full((20, 4), 2**63, np.uint64))
    np.save(tmp_path / "wide.npy", np.array([[-(2**63), 2**63 - 1]] * 20))
    np.save(tmp_path / "narrow.npy", np.zeros((20, 0)))
    for arguments, message in [
        (["train", "no-such"], "choose from"),
        (["train", "factorised", "--data", "no-such"], "there are no data 'no-such'"),
        (["train", "factorised", "--data", "no-such.npy"], "cannot be read"),
        (["train", "factorised", "--data", "text.npy"], "no array of numbers"),
        (["train", "factorised", "--data", "few.npy"], "at least 20"),
        (["train", "factorised", "--data", "digits.npy"], "digits.npy has the name of other data"),
        (["train", "factorised", "--data", "huge.npy"], "below 2^63"),
        (["train", "factorised", "--data", "wide.npy"], "expected a range of at most 65,536"),
        (["train", "factorised", "--data", "narrow.npy"], "20 rows of 0 numbers"),
        (["evaluate", "of-reals"], "was trained on a file reals.npy: give it as --data"),
        (["train", "factorised", "--data", "reals.npy"], "factorised is a model of integers"),
        (["train", "factorised", "--seed", "1", "--output", "mine"], "holds another run"),
        (["evaluate", "no-such"], "there is no trained model no-such"),
        (["evaluate", "mine", "--data", "seventeen.npy"], "expected integers from 0 to 16"),
        (["table", "no-such"], "choose from"),
        (["compress", "of-reals", "reals.npy", "out"], "does not compress"),
        (["compress", "mine", "seventeen.npy", "out"], "expected integers from 0 to 16"),
        (["compress", "mine", "no-such.npy", "out"], "cannot be read"),
        (["decompress", "mine", "text.npy", "out"], "not compressed by this model"),
        (["decompress", "mine", "no-such", "out"], "the system refuses"),
    ]:
        done = run(app, ["zoo", *arguments])
        assert done.exit_code == 1, (arguments, done.output)
        assert message in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1
