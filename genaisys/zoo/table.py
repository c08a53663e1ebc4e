"""The table of the zoo: every model on the same data, with several seeds, trained one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genaisys.errors import GenaisysError
from genaisys.training.loop import TrainingInterrupted
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.data import Parts
from genaisys.zoo.entries import OnRecord
from genaisys.zoo.published import PUBLISHED
from genaisys.zoo.runs import Result, results_in, run_folder, train_run

MARKDOWN, JSON = "table.md", "table.json"
_MEASURED = Path(__file__).with_name("measured")  # tables of all models, one row a line
MEASURES = (
    "test_nats", "bits_per_dim", "fd", "mmd2", "precision", "recall", "sample_seconds", "seconds", "parameters"
)  # fmt: skip

# What is trained now, and the number of runs that are done and of all; it gives, for as long as the run lasts, what
# takes its records.
OnRun = Callable[[str, int, int, int], AbstractContextManager[OnRecord]]


def train_all(
    names: Sequence[str], data: Parts, seeds: Sequence[int], folder: Path, on_run: OnRun
) -> dict[str, GenaisysError]:
    """Train what is not yet trained, and write the table into ``folder`` after every run.

    Returns:
        what has failed, by the names of the runs; the others are trained all the same.

    Raises:
        TrainingInterrupted: by Ctrl-C or SIGTERM; the same call goes on from there.
    """
    failed: dict[str, GenaisysError] = {}
    runs = [(name, seed) for seed in seeds for name in names]  # so that each model has a row early
    for done, (name, seed) in enumerate(runs):
        try:
            with on_run(name, seed, done, len(runs)) as on_record:
                train_run(name, data, seed, run_folder(folder, name, seed), on_record)
        except TrainingInterrupted:
            raise
        except GenaisysError as error:
            failed[f"{name}, seed {seed}"] = error
        write_table(folder, data.name)
    return failed


def write_table(folder: Path, data: str) -> None:
    """Write ``table.md`` and ``table.json`` of all results in a folder, and of what others reach on the same data."""
    rows = table(results_in(folder)) + published_rows(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    (folder / MARKDOWN).write_text(as_markdown(rows), "utf-8")


def table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row for each model: the means over its seeds, and of the nats also the standard deviation."""
    rows = []
    for name in dict.fromkeys(result["name"] for result in results):
        mine = [result for result in results if result["name"] == name]
        row = {"name": name, "family": ZOO[name].family, "seeds": len(mine), "likelihood": mine[0]["likelihood"]}
        for measure in MEASURES:
            values = [result[measure] for result in mine if result.get(measure) is not None]
            row[measure] = sum(values) / len(values) if values else None
        row["test_nats_deviation"] = _deviation([result["test_nats"] for result in mine])
        rows.append(row)
    return rows


def published_rows(data: str) -> list[dict[str, Any]]:
    """Rows of what others reach on the data of that name, as those of the table; ``source`` tells where it is from."""
    nothing = dict.fromkeys((*MEASURES, "seeds", "test_nats_deviation"))
    return [{"family": "others", **nothing, **asdict(line)} for line in PUBLISHED.get(data, ())]


def shipped_rows(data: str) -> list[dict[str, Any]]:
    """Rows of what this project has measured on the data of that name, as those of the table (see ``docs/zoo.md``)."""
    file = _MEASURED / f"{data}.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.is_file() else []
    return rows


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for people; a number that a model does not have is left out."""
    columns = (
        "model", "family", "likelihood", "test nats", "bits/dim", "FD", "MMD² x1e3", "precision", "recall",
        "ms a sample", "minutes", "parameters", "seeds",
    )  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    for row in rows:
        family = row.get("source") or row["family"]
        cells = [row["name"], family, row["likelihood"] or "none", *numbers(row).values(), str(row["seeds"] or "")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def numbers(row: Mapping[str, Any]) -> dict[str, str]:
    """The measured columns of a row, as people read them."""
    deviation = row.get("test_nats_deviation")
    return {
        "nats": _shown(row["test_nats"], ".2f") + (f" ± {deviation:.2f}" if deviation is not None else ""),
        "bits/dim": _shown(row["bits_per_dim"], ".3f"),
        "FD": _shown(row["fd"], ".2f"),
        "MMD²": _shown(row["mmd2"], ".1f", 1e3),
        "precision": _shown(row["precision"], ".2f"),
        "recall": _shown(row["recall"], ".2f"),
        "ms": _shown(row["sample_seconds"], ".2f", 1e3),
        "minutes": _shown(row["seconds"], ".1f", 1 / 60),
        "parameters": _shown(row["parameters"], ",.0f"),
    }


def _shown(value: float | None, form: str, unit: float = 1) -> str:
    return "" if value is None else format(value * unit, form)


def _deviation(values: Sequence[float | None]) -> float | None:
    """The standard deviation over seeds, where there are several."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    mean = sum(known) / len(known)
    return math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
