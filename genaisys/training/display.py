"""The live display of a training, for people at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from genaisys.training.metrics import Record


@contextmanager
def live_progress(steps: int | None, console: Console) -> Iterator[Callable[[Record], None]]:
    """A bar over ``steps``, with the last losses; what it gives takes the records of a training. Silent in a pipe.

    Args:
        steps: None where their number is not known.
    """
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=steps)
        loss = held_out = ""

        def show(record: Record) -> None:
            nonlocal loss, held_out
            if "preparing" in record:
                progress.update(task, description=record["preparing"])
                return
            if "held_out" in record:
                held_out = f", held out {record['held_out']['loss']:.3f}"
            else:
                loss = f"loss {record['loss']:.3f}"
            progress.update(task, completed=record["step"], description=loss + held_out)

        yield show
