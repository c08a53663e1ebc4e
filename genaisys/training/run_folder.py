"""The folder of a training: for one training alone, and for the same one again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from genaisys.errors import GenaisysError
from genaisys.training.checkpoints import Checkpoints

_OF_NO_STEPS = {".lock", "run.json", "run.new", "metrics.jsonl", "checkpoints"}  # all that a training begins with


class RunDiffers(GenaisysError):
    """The folder holds another training, one that is running, or files of somebody else."""


@contextmanager
def claimed(folder: Path, run: Mapping[str, Any]) -> Iterator[None]:
    """The folder for this training alone, which is the one that it has been, if it has been one.

    Args:
        run: what must be equal for what the folder holds to go on.

    Raises:
        RunDiffers: it holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _require_own_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunDiffers(f"another process is training in {folder}") from None
    try:
        _require_same_run(folder, json.loads(json.dumps(run)))
        yield
    finally:
        lock.release()


def _require_own_folder(folder: Path) -> None:
    """Only a training's own files are ever overwritten: its caller writes README.md and the like beside them."""
    names = sorted({path.name for path in folder.iterdir()} - {".lock", "run.new"})
    if names and "run.json" not in names:
        raise RunDiffers(f"{folder} holds {names[0]}, which no training has written: give a new or an empty folder")


def _require_same_run(folder: Path, run: dict[str, Any]) -> None:
    file = folder / "run.json"
    others = {path.name for path in folder.iterdir()} - _OF_NO_STEPS
    if file.exists() and (others or Checkpoints(folder / "checkpoints").steps()):
        try:
            before = json.loads(file.read_bytes())
        except ValueError as error:
            raise RunDiffers(f"{file} is damaged, so what {folder} holds is not known: give another folder") from error
        if differences := list(_differences(before, run)):
            raise RunDiffers(f"{folder} holds a training with another {differences[0]}: give another folder")
    else:
        new = file.with_suffix(".new")
        new.write_text(json.dumps(run, indent=1), "utf-8")
        new.replace(file)


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """The settings that differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name} ({before} there, {now} here)"
