"""``metrics.jsonl``: what was measured, one JSON object a line, in the order of the steps.

A line of a step has ``step``, ``loss``, ``learning_rate``, ``gradient_norm`` and the objective's metrics, all of the
training batch; a line of an evaluation has ``step``, ``held_out`` (``loss`` and metrics) and ``seconds`` so far.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genaisys.errors import GenaisysError

Record = dict[str, Any]


class MetricsForeign(GenaisysError):
    """``metrics.jsonl`` has a line that no training has written; the message says which."""


class MetricsLog:
    """The file, open for adding lines; lines after ``step``, to which a training went back, are dropped first."""

    def __init__(self, file: Path, step: int, writes: bool = True) -> None:
        """
        Args:
            writes: False for all but one of several processes.

        Raises:
            MetricsForeign: see :func:`read_metrics`.
        """
        self._file = None
        if not writes:
            return
        kept = [record for record in read_metrics(file) if record["step"] <= step]
        new = file.with_suffix(".new")
        new.write_text("".join(map(_line, kept)), "utf-8")
        new.replace(file)
        self._file = file.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, record: Record) -> None:
        if self._file:
            self._file.write(_line(record))
            self._file.flush()

    def to_disk(self) -> None:
        if self._file:
            os.fsync(self._file.fileno())


def read_metrics(file: Path) -> list[Record]:
    """The whole lines of the file; a line that a killed process has left unfinished ends it.

    Raises:
        MetricsForeign: a line is no record of a step.
    """
    if not file.exists():
        return []
    records: list[Record] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise MetricsForeign(f"{file} has a line, number {number}, that is no record of a step: remove that line")
        records.append(record)
    return records


def _line(record: Record) -> str:
    return json.dumps({name: _finite(value) for name, value in record.items()}) + "\n"


def _finite(value: Any) -> Any:
    """``value``, with what JSON has no number for as null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
