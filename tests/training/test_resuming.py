"""Going on after a crash: the same trajectory, whatever happened and whenever."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from genaisys.training import TrainingSettings, train
from genaisys.training.checkpoints import Checkpoint, CheckpointNotKept, Checkpoints, CheckpointsDamaged
from genaisys.training.metrics import MetricsForeign, MetricsLog, read_metrics
from genaisys.training.random_states import random_states, set_random_states

SETTINGS = TrainingSettings(20, 8, learning_rate=0.01, ema_decay=0.9, evaluate_every=5)


class Crash(Exception):
    pass


def crash_at(step: int):
    def crash(record: dict[str, object]) -> None:
        if record["step"] == step:
            raise Crash

    return crash


def run(folder: Path, settings: TrainingSettings = SETTINGS, **more: object) -> torch.Tensor:
    model = tiny.model(dropout=0.2)
    train(model, tiny.sequences(30), tiny.sequences(12, seed=2), settings, folder, **more)
    return tiny.weights(model)


def losses(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize("step", [3, 5, 13])
def test_a_crashed_training_ends_as_an_undisturbed_one(tmp_path: Path, step: int) -> None:
    with pytest.raises(Crash):
        run(tmp_path / "crashed", on_record=crash_at(step))
    assert torch.equal(run(tmp_path / "crashed"), run(tmp_path / "whole"))
    assert losses(tmp_path / "crashed") == losses(tmp_path / "whole")


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert torch.equal(run(tmp_path, on_record=crash_at(1)), first)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        run(tmp_path / "damaged", on_record=crash_at(13))
    file = tmp_path / "damaged" / "checkpoints" / "step-00000010" / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    steps = []
    weights = run(tmp_path / "damaged", on_record=lambda record: steps.append(record["step"]))
    assert steps[0] == 6
    assert torch.equal(weights, run(tmp_path / "whole"))
    assert losses(tmp_path / "damaged") == losses(tmp_path / "whole")


def test_metrics_end_before_a_line_that_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    for damaged in (b'{"step": 2', b"\xff\xfe\n", b"\0\0\0"):
        file.write_bytes(b'{"step": 1}\n' + damaged)
        assert read_metrics(file) == [{"step": 1}]


@pytest.mark.parametrize("line", ["7", "[1]", '"step"', "null", '{"loss": 1.0}', '{"step": "2"}', '{"step": null}'])
def test_a_line_of_something_else_is_a_plain_error_and_stays(line: str, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    before = file.read_bytes()
    for read in (lambda: read_metrics(file), lambda: MetricsLog(file, step=1)):
        with pytest.raises(MetricsForeign, match="number 2, that is no record of a step: remove that line"):
            read()
        assert file.read_bytes() == before
    MetricsLog(file, step=1, writes=False)  # of another process, which leaves the file alone


def test_all_checkpoints_damaged_is_a_plain_error(tmp_path: Path) -> None:
    run(tmp_path)
    for state in (tmp_path / "checkpoints").glob("*/state.json"):
        state.write_text("{")
    with pytest.raises(CheckpointsDamaged, match=r"no checkpoint in .* is whole"):
        run(tmp_path)


def test_kill_9_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    """A process is killed again and again, wherever it is; in the end the weights are the same to the last bit."""
    steps = 400
    command = [sys.executable, tiny.__file__, str(tmp_path / "killed"), str(steps), "8", "0.2"]
    chance, kills, metrics = random.Random(0), 0, tmp_path / "killed" / "metrics.jsonl"
    while kills < 3:
        before = len(read_metrics(metrics))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while len(read_metrics(metrics)) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.4))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    whole = [*command[:2], str(tmp_path / "whole"), *command[3:]]
    assert json.loads(done.stdout) == json.loads(subprocess.run(whole, check=True, capture_output=True).stdout)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 3), (6, 3)):
        checkpoints.write(Checkpoint({"step": step, "best_step": best}, {"model": {"w": torch.tensor(step)}}))
        if step == 3:  # should 3 be damaged, 2 needs 1
            assert checkpoints.steps() == [1, 2, 3]
    assert checkpoints.steps() == [3, 5, 6]
    assert checkpoints.read(3).tensors["model"]["w"].item() == 3


def test_a_checkpoint_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(Checkpoint({"step": 1, "best_step": None}, {}))
    (tmp_path / ".new").mkdir()
    (tmp_path / ".new" / "state.json").write_text("{")
    last = checkpoints.last()
    assert last is not None
    assert last.state["step"] == 1


def test_a_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointNotKept, match="no checkpoint can be written"):
        Checkpoints(tmp_path / "file").write(Checkpoint({"step": 1, "best_step": None}, {}))


def test_nothing_is_pickled(tmp_path: Path) -> None:
    run(tmp_path, replace(SETTINGS, steps=5))
    files = {path.suffix for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert files == {".json", ".jsonl", ".safetensors"}


def test_all_random_number_generators_go_on() -> None:
    def draw() -> tuple[float, ...]:
        return random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(()).item()

    random.seed(3)
    draw()  # Gaussians come in pairs: one is in store
    states = {name: state.clone() for name, state in random_states().items()}
    drawn = [draw() for _ in range(3)]
    set_random_states(states)
    assert [draw() for _ in range(3)] == drawn
    assert all(state.dtype == torch.uint8 for state in states.values())
