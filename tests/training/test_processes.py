"""Several processes: the same training as one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from test_recipes import changed, written

from genaisys.errors import GenaisysError
from genaisys.training import processes
from genaisys.training.interruption import TrainingInterrupted
from genaisys.training.metrics import read_metrics
from genaisys.training.recipes import open_recipe

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Seven sequences a batch, four for one process and three for the other."""
    arguments = ["10", "7", "0.0"]
    subprocess.run(
        [*TORCHRUN, tiny.__file__, str(tmp_path / "two"), *arguments], check=True, capture_output=True, timeout=120
    )
    one = [sys.executable, tiny.__file__, str(tmp_path / "one"), *arguments]
    result = json.loads(subprocess.run(one, check=True, capture_output=True, timeout=120).stdout)
    assert result["step"] == 10
    ours, theirs = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert len(ours) == len(theirs) == 12
    for mine, other in zip(ours, theirs, strict=True):
        if "held_out" in mine:
            assert other["held_out"] == pytest.approx(mine["held_out"], rel=1e-4)
        else:
            assert other == pytest.approx(mine, rel=1e-4)


def test_the_command_in_two_processes(tmp_path: Path) -> None:
    """One report, that of the training by one process, and the same files."""
    recipe = written(tmp_path, changed("model.dropout", 0.0))  # which each process draws for itself
    command = ["-m", "genaisys", "train", recipe, "--output", str(tmp_path / "two"), "--json"]
    done = subprocess.run([*TORCHRUN, *command], check=True, capture_output=True, timeout=120)
    two, one = json.loads(done.stdout), open_recipe(recipe).run(tmp_path / "one")
    for name, value in one.items():
        assert name == "output" or two[name] == pytest.approx(value, rel=1e-3), name
    ours, theirs = ({path.name for path in (tmp_path / name).iterdir()} - {".lock"} for name in ("one", "two"))
    assert ours == theirs


def test_what_is_wrong_for_all_is_told_once(tmp_path: Path) -> None:
    command = ["-m", "genaisys", "train", str(tmp_path / "no-such-recipe")]
    failed = subprocess.run([*TORCHRUN, *command], capture_output=True, text=True, timeout=120)
    assert failed.returncode
    [line] = [line for line in failed.stderr.splitlines() if "there is no recipe" in line]
    assert line.startswith("genaisys: there is no recipe")


@pytest.mark.parametrize("error", [GenaisysError("no room"), OSError("no room")])
def test_a_process_that_fails_alone_tells_its_number(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(processes.time, "sleep", waits.append)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(GenaisysError, match=r"^process 3: no room$"), processes.told_once():
        raise error
    assert waits[0] > 1, "the first may have failed as well, and shall tell"
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(type(error), match=r"^no room$"), processes.told_once():
        raise error
    assert len(waits) == 1


def test_an_interruption_is_told_by_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit), processes.told_once():
        raise TrainingInterrupted("stopped")
    monkeypatch.delenv("RANK")
    with pytest.raises(TrainingInterrupted), processes.told_once():
        raise TrainingInterrupted("stopped")
