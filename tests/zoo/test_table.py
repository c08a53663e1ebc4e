"""The table: every model and seed once, and the means of what was measured."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from tiny_zoo import tiny_data, tiny_entry

from genaisys.errors import GenaisysError
from genaisys.models import Integers
from genaisys.training.loop import TrainingInterrupted
from genaisys.training.metrics import Record
from genaisys.zoo import runs
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.entries import Trainer
from genaisys.zoo.runs import results_in, shipped_results
from genaisys.zoo.table import as_markdown, numbers, published_rows, shipped_rows, table, train_all, write_table


@pytest.fixture(autouse=True)
def quick_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "draw_sheet", lambda *arguments: None)


class Watched:
    """Counts what is trained."""

    def __init__(self) -> None:
        self.runs: list[tuple[Any, ...]] = []
        self.records: list[Record] = []

    def __call__(self, *run: Any) -> Any:
        self.runs.append(run)
        return nullcontext(self.records.append)


def test_all_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tiny_entry("one", monkeypatch), tiny_entry("two", monkeypatch)]
    first, second = Watched(), Watched()
    assert train_all(names, tiny_data(), [0, 1], tmp_path, first) == {}
    assert first.runs == [("one", 0, 0, 4), ("two", 0, 1, 4), ("one", 1, 2, 4), ("two", 1, 3, 4)]
    assert train_all(names, tiny_data(), [0, 1], tmp_path, second) == {}
    assert first.records
    assert not second.records
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(row["name"], row["seeds"]) for row in rows] == [("one", 2), ("two", 2)]
    assert rows == table(results_in(tmp_path))
    assert (tmp_path / "table.md").read_text() == as_markdown(rows)


def fails(*arguments: Any) -> None:
    raise GenaisysError("the loss is not finite")


def test_one_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tiny_entry("bad", monkeypatch, Trainer(fails)), tiny_entry("good", monkeypatch)]
    failed = train_all(names, tiny_data(), [3], tmp_path, Watched())
    assert list(failed) == ["bad, seed 3"]
    assert "not finite" in str(failed["bad, seed 3"])
    assert [row["name"] for row in json.loads((tmp_path / "table.json").read_text())] == ["good"]


def interrupted(*arguments: Any) -> None:
    raise TrainingInterrupted("stopped after step 3")


def test_an_interruption_stops_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tiny_entry("first", monkeypatch, Trainer(interrupted)), tiny_entry("second", monkeypatch)]
    watched = Watched()
    with pytest.raises(TrainingInterrupted):
        train_all(names, tiny_data(), [0], tmp_path, watched)
    assert len(watched.runs) == 1


def test_rows_are_means_over_seeds() -> None:
    measures = {"bits_per_dim": 2.0, "fd": 1.0, "mmd2": 0.001, "precision": 0.5, "recall": 0.5,
                "sample_seconds": 0.001, "seconds": 60.0, "parameters": 1000}  # fmt: skip
    results = [
        {"name": "factorised", "seed": seed, "likelihood": "exact", "test_nats": nats, **measures}
        for seed, nats in enumerate((99.0, 100.0, 101.0))
    ]
    (row,) = table(results)
    assert (row["test_nats"], row["test_nats_deviation"], row["seeds"]) == (100.0, 1.0, 3)
    line = as_markdown([row]).splitlines()[2]
    assert line == (
        "| factorised | mixtures | exact | 100.00 ± 1.00 | 2.000 | 1.00 | 1.0 | 0.50 | 0.50 | 1.00 | 1.0 | 1,000 | 3 |"
    )


def test_a_model_without_likelihood_has_a_row() -> None:
    result = {"name": "factorised", "seed": 0, "likelihood": None, "test_nats": None, "bits_per_dim": None, "fd": 1.0,
              "mmd2": 0.0, "precision": 1.0, "recall": 1.0, "sample_seconds": 0.0, "seconds": 1.0,
              "parameters": 1}  # fmt: skip
    (row,) = table([result])
    assert row["test_nats"] is None
    assert as_markdown([row]).splitlines()[2].startswith("| factorised | mixtures | none |  |  | 1.00 |")


def test_what_others_reach_stands_below_in_the_same_units(tmp_path: Path) -> None:
    write_table(tmp_path, "digits")
    rows = {row["name"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    assert rows["SPFlow: Einet"]["bits_per_dim"] == pytest.approx(100.7 / 44.36, abs=1e-3)
    assert all(row["source"] and row["seeds"] is None for row in rows.values())
    assert "| zuko: NSF | benchmarks/flow_likelihood.py" in (tmp_path / "table.md").read_text()
    (idf,) = [row for row in published_rows("fashion-mnist") if row["name"] == "IDF"]
    assert Integers((1, 28, 28), 0, 255).bits_per_dimension(idf["test_nats"]) == pytest.approx(3.47)
    assert published_rows("mine") == []


def test_every_model_is_measured_as_the_document_says() -> None:
    rows = shipped_rows("digits")
    assert [row["name"] for row in rows] == list(ZOO)
    lines = (Path(__file__).parents[2] / "docs" / "zoo.md").read_text("utf-8").splitlines()
    for row in rows:
        assert f"| {' | '.join([row['name'], row['likelihood'], *numbers(row).values()])} |" in lines
        assert row["seeds"] == 3
    shipped = {result["name"]: result for result in shipped_results("digits")}
    for row in rows:
        if result := shipped.get(row["name"]):
            assert result["parameters"] == row["parameters"]
            # It is one of three.
            assert abs(result["test_nats"] - row["test_nats"]) <= 1.2 * row["test_nats_deviation"] + 1e-3
    assert shipped_rows("mine") == []
