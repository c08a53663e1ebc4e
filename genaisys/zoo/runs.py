"""Runs of the zoo: a folder for each, with the trained model, what was measured, and a picture of it.

    config.json, model.safetensors    the model, which `load_model` reads
    README.md                         the model card
    result.json                       what was measured; written last, so that a run with a result is done
    metrics.jsonl                     the course of the training
    sheet.png                         data, samples, and what else the model can do, to look at

The same call goes on where an interrupted one has stopped, and gives the result of one that is done.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from genaisys.errors import GenaisysError
from genaisys.hub.checkpoints import CONFIG, CheckpointBroken, read_json
from genaisys.models.base import GenerativeModel
from genaisys.models.presets import build, load_model
from genaisys.training.metrics import read_metrics
from genaisys.zoo.card import card
from genaisys.zoo.catalogue import ZOO, entries_for
from genaisys.zoo.data import Parts
from genaisys.zoo.entries import Entry, OnRecord
from genaisys.zoo.evaluation import Measured, measure
from genaisys.zoo.sheet import draw_sheet

SHIPPED = Path(__file__).with_name("weights")
RESULT, METRICS, SHEET, CARD = "result.json", "metrics.jsonl", "sheet.png", "README.md"
_RUN, _SECONDS, _TRAINING = "run.json", "seconds.json", "training"

Result = dict[str, Any]


class NotInZoo(GenaisysError):
    """There is no such model; the message names those that there are."""


class RunOfAnother(GenaisysError):
    """The folder holds the run of another model, of other data, or with another seed."""


def entry_called(name: str, data: str = "digits") -> Entry:
    """The model of that name, for the data of that name.

    Raises:
        NotInZoo: there is none.
    """
    if name not in ZOO:
        raise NotInZoo(f"there is no model {name!r} in the zoo: choose from {', '.join(ZOO)}")
    return entries_for(data)[name]


def train_run(name: str, data: Parts, seed: int, folder: Path, on_record: OnRecord = lambda record: None) -> Result:
    """Train a model of the zoo, measure it, draw its sheet, and leave all in ``folder``.

    Returns:
        ``name``, ``data``, ``seed``, what :class:`Measured` holds, ``seconds`` of processor time that the training took
        and the number of ``parameters``.

    Raises:
        NotInZoo: there is no such model.
        RunOfAnother: ``folder`` holds another run.
        GenaisysError: the training failed, or was interrupted.
    """
    entry = entry_called(name, data.name)
    run = {"name": name, "data": data.name, "seed": seed}
    _claim(folder, run if data.digest is None else {**run, "digest": data.digest})
    if (folder / RESULT).is_file():
        return read_json(folder / RESULT)
    torch.manual_seed(seed)
    model = build(entry.preset, data.space, **entry.sizes_for(data.training))
    with _counted(folder / _SECONDS):
        entry.trained(model, data.training, data.validation, seed, folder / _TRAINING, on_record)
    model.save_pretrained(folder)
    metrics = folder / _TRAINING / METRICS
    if metrics.is_file():
        shutil.copyfile(metrics, folder / METRICS)
    on_record({"step": 0, "preparing": "measuring"})
    result = {
        **run,
        **asdict(_measured(model, data, entry)),
        "seconds": round(read_json(folder / _SECONDS)["seconds"], 1),
        "parameters": _size(model),
    }
    draw_sheet(model, data, result, read_metrics(folder / METRICS), folder / SHEET, entry.effort)
    (folder / CARD).write_text(card(entry, result), "utf-8")
    _write(folder / RESULT, result)
    shutil.rmtree(folder / _TRAINING, ignore_errors=True)  # nothing will go on from its checkpoints
    return result


def evaluate_run(model: GenerativeModel, folder: Path, data: Parts) -> Result:
    """Measure the model of a folder anew; its ``seconds`` are those that its training took, where they are known."""
    known = run_of(folder)
    name = known.get("name") or (model.preset.name if model.preset else "")
    return {
        "name": name,
        "data": data.name,
        "seed": known.get("seed"),
        **asdict(_measured(model, data, entries_for(data.name).get(name))),
        "seconds": known.get("seconds"),
        "parameters": _size(model),
    }


def _measured(model: GenerativeModel, data: Parts, entry: Entry | None) -> Measured:
    if entry is None:
        return measure(model, data)
    return measure(model, data, bound_samples=entry.samples, effort=entry.effort)


def _size(model: GenerativeModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def open_run(name: str) -> tuple[GenerativeModel, Path]:
    """The trained model in a folder, or the one that is shipped by that name; and its folder.

    Raises:
        NotInZoo: there is neither.
        CheckpointBroken: the model's files are damaged.
    """
    for folder in (Path(name).expanduser(), SHIPPED / name):
        if (folder / CONFIG).is_file():
            return load_model(folder), folder
    shipped = sorted(path.name for path in SHIPPED.glob("*") if (path / CONFIG).is_file())
    known = f"; shipped are {', '.join(shipped)}" if shipped else ""
    raise NotInZoo(f"there is no trained model {name}: train one with `genaisys zoo train`, and give its folder{known}")


def run_of(folder: Path) -> Result:
    """What is known of the model in a folder: its result, or else what it is a run of, or nothing."""
    for file in (RESULT, _RUN):
        if (folder / file).is_file():
            return read_json(folder / file)
    return {}


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where a run is kept among others."""
    return folder / f"{name}-{seed}"


def results_in(folder: Path) -> list[Result]:
    """The results of all runs in a folder, by model and seed.

    Raises:
        CheckpointBroken: one of them is damaged.
    """
    results = [read_json(file) for file in sorted(folder.glob(f"*/{RESULT}"))]
    for result in results:
        if missing := {"name", "data", "seed", "test_nats", "seconds", "parameters"} - result.keys():
            raise CheckpointBroken(f"a {RESULT} in {folder} lacks {min(missing)}: remove that run, and train it again")
    order = list(ZOO)
    known = [result for result in results if result["name"] in ZOO]
    return sorted(known, key=lambda result: (order.index(result["name"]), result["seed"]))


def shipped_results(data: str) -> list[Result]:
    """The results of the models that are shipped, on the data of that name."""
    return [result for result in results_in(SHIPPED) if result["data"] == data]


def _claim(folder: Path, run: dict[str, Any]) -> None:
    """
    Raises:
        RunOfAnother: ``folder`` holds something else.
    """
    file = folder / _RUN
    if file.is_file():
        before = read_json(file)
        if before != run:
            described = ", ".join(f"{key} {value}" for key, value in before.items())
            raise RunOfAnother(f"{folder} holds another run ({described}): give another folder as --output")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise RunOfAnother(f"{folder} holds files, but no run of the zoo: give another folder as --output")
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, run)


@contextmanager
def _counted(file: Path) -> Iterator[None]:
    """Adds the processor time that is spent inside to what the file tells, also when it is interrupted."""
    before = read_json(file)["seconds"] if file.is_file() else 0.0
    began = time.process_time()
    try:
        yield
    finally:
        _write(file, {"seconds": before + time.process_time() - began})


def _write(file: Path, content: Result) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    new.replace(file)
