"""A run of the zoo: what it leaves, that it goes on, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_zoo import saved, tiny_data, tiny_entry

from genaisys.models import load_model
from genaisys.models.base import Density
from genaisys.training import TrainingSettings
from genaisys.training.metrics import Record, read_metrics
from genaisys.zoo import runs
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.data import load_data
from genaisys.zoo.entries import Trainer, by_gradient
from genaisys.zoo.evaluation import mean_nats
from genaisys.zoo.mixtures import by_em
from genaisys.zoo.runs import (
    CARD,
    SHIPPED,
    NotInZoo,
    RunOfAnother,
    evaluate_run,
    open_run,
    results_in,
    shipped_results,
    train_run,
)

FILES = {"README.md", "config.json", "model.safetensors", "result.json", "sheet.png", "run.json", "seconds.json"}
by_checkpoints = by_gradient(TrainingSettings(steps=20, batch_size=16, evaluate_every=10))


@pytest.fixture(autouse=True)
def quick_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "draw_sheet", lambda *arguments: arguments[4].write_bytes(b"a picture"))


def trained_steps(records: list[Record]) -> list[int]:
    return [record["step"] for record in records if "preparing" not in record]


def test_a_run_leaves_the_model_and_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, name = tiny_data(), tiny_entry("tiny", monkeypatch)
    result = train_run(name, data, 1, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    model = load_model(tmp_path / "run")
    assert isinstance(model, Density)
    assert mean_nats(model, data.test) == result["test_nats"]
    assert result["test_nats"] < 16 * 1.0986  # less than of a uniform distribution
    assert result["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert result["seconds"] == round(json.loads((tmp_path / "run" / "seconds.json").read_text())["seconds"], 1)
    again = evaluate_run(model, tmp_path / "run", data)
    assert {key: again[key] for key in result if key != "sample_seconds"} == {
        key: value for key, value in result.items() if key != "sample_seconds"
    }


def test_a_run_that_is_done_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, name = tiny_data(), tiny_entry("tiny", monkeypatch)
    result = train_run(name, data, 0, tmp_path / "run")
    records: list[Record] = []
    assert train_run(name, data, 0, tmp_path / "run", records.append) == result
    assert not records


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, name = tiny_data(), tiny_entry("tiny", monkeypatch, by_checkpoints)
    expected = train_run(name, data, 0, tmp_path / "whole")

    def pulled_out(record: Record) -> None:
        if record["step"] == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(name, data, 0, tmp_path / "parts", pulled_out)
    assert not (tmp_path / "parts" / "result.json").exists()
    spent = json.loads((tmp_path / "parts" / "seconds.json").read_text())["seconds"]
    records: list[Record] = []
    result = train_run(name, data, 0, tmp_path / "parts", records.append)
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {*FILES, "metrics.jsonl"}
    assert min(trained_steps(records)) == 11  # after the checkpoint of step 10
    assert result["test_nats"] == expected["test_nats"]
    assert json.loads((tmp_path / "parts" / "seconds.json").read_text())["seconds"] > spent > 0
    whole, parts = (load_model(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_killed_measurement_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, name = tiny_data(), tiny_entry("tiny", monkeypatch, by_checkpoints)

    def fails(*arguments: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "draw_sheet", fails)
        with pytest.raises(OSError, match="no space"):
            train_run(name, data, 0, tmp_path / "run")
    records: list[Record] = []
    result = train_run(name, data, 0, tmp_path / "run", records.append)
    assert not trained_steps(records)  # the training itself was done
    assert result == train_run(name, data, 0, tmp_path / "run")


def test_seeds_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, name = tiny_data(), tiny_entry("tiny", monkeypatch)
    nats = {train_run(name, data, seed, tmp_path / str(seed))["test_nats"] for seed in range(3)}
    assert len(nats) == 3
    assert [result["seed"] for result in results_in(tmp_path)] == [0, 1, 2]


def test_the_folder_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, name = tiny_data(), tiny_entry("tiny", monkeypatch)
    train_run(name, data, 0, tmp_path / "run")
    for other, other_data, seed in ((name, data, 1), (name, tiny_data("other"), 0), ("factorised", data, 0)):
        with pytest.raises(RunOfAnother, match="another run"):
            train_run(other, other_data, seed, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(RunOfAnother, match="no run of the zoo"):
        train_run(name, data, 0, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_model_is_opened_by_folder_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tiny_entry("tiny", monkeypatch)
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    train_run(name, tiny_data(), 0, tmp_path / "shipped" / "tiny")
    assert open_run(str(tmp_path / "shipped" / "tiny"))[1] == open_run("tiny")[1]
    with pytest.raises(NotInZoo, match="shipped are tiny"):
        open_run("tinier")
    with pytest.raises(NotInZoo, match="choose from"):
        train_run("tinier", tiny_data(), 0, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_no_run_is_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_run(tiny_entry("tiny", monkeypatch), tiny_data(), 0, tmp_path / "run")
    load_model(tmp_path / "run").save_pretrained(tmp_path / "mine")
    result = evaluate_run(*open_run(str(tmp_path / "mine")), tiny_data())
    assert (result["name"], result["seed"], result["seconds"]) == ("arm-memory", None, None)


def test_another_file_of_the_same_name_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, file = tiny_entry("tiny", monkeypatch), tmp_path / "mine.npy"
    saved(tiny_data().training, file)
    result = train_run(name, load_data(str(file)), 0, tmp_path / "run")
    assert train_run(name, load_data(str(file)), 0, tmp_path / "run") == result
    saved(2 - tiny_data().training, file)
    with pytest.raises(RunOfAnother):
        train_run(name, load_data(str(file)), 0, tmp_path / "run")


@pytest.mark.parametrize("trained", [by_checkpoints, by_em(3)])
def test_a_trainer_knows_how_many_steps_it_takes(
    trained: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ZOO, "small", replace(ZOO["mixture"], trained=trained, sizes={"components": 2}))
    records: list[Record] = []
    train_run("small", tiny_data(), 0, tmp_path / "run", records.append)
    assert max(trained_steps(records)) == trained.steps


def test_em_leaves_its_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ZOO, "small", replace(ZOO["mixture"], trained=by_em(3), sizes={"components": 2}))
    train_run("small", tiny_data(), 0, tmp_path / "run")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3]
    assert [record["step"] for record in records if "held_out" in record] == [1, 2, 3]


def test_each_shipped_model_has_a_card() -> None:
    for result in shipped_results("digits"):
        text = (SHIPPED / result["name"] / CARD).read_text("utf-8")
        assert f"`genaisys zoo train {result['name']} --seed {result['seed']}`" in text
        assert "CC BY 4.0" in text
        assert f"| {result['test_nats']:.2f} |" in text
