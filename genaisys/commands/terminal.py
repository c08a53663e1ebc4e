"""What all verbs say to people, to programs, and to terminals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
for _console in (out, err):
    if not _console.is_terminal:
        _console.soft_wrap = True  # lines of a pipe stay whole
        _console.width = 200  # and so do tables

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """``text`` without what could break its line or command the terminal."""
    return _UNSHOWABLE.sub("�", text)


def print_piece(text: str) -> None:
    """A piece of a text that comes into being, and that may have lines."""
    shown = "\n".join(map(one_line, text.expandtabs().split("\n")))
    out.print(shown, end="", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False), file=out.file, flush=True)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for people at a terminal; what it gives takes what is done, how many, and of how many."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda step, done, of: progress.update(task, description=escape(step), completed=done, total=of or None)
