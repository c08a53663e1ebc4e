"""``genaisys pull`` and ``models``: the pretrained parts."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.table import Table

from genaisys.commands.terminal import AsJson, err, out, print_json
from genaisys.hub import DEFAULT_CHAT_MODEL, DEFAULT_TEXT_ENCODER

parts = typer.Typer()


@parts.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Parts or hub ids; all default parts if none.")] = None,
) -> None:
    """Fetch pretrained parts, check their SHA-256, and keep them for use without a network."""
    from genaisys import hub

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        for name in names or (DEFAULT_CHAT_MODEL, DEFAULT_TEXT_ENCODER):
            task = progress.add_task(escape(name), total=None)

            def show(step: str, done: int, total: int, name: str = name, task: TaskID = task) -> None:
                progress.update(task, description=f"{escape(name)}: {step}", completed=done, total=total or None)

            folder = hub.pull(name, show)
            if name in hub.PARTS and hub.PARTS[name].role == "chat":
                show("compiling the kernel for this processor", 0, 0)
                from genaisys.models.transformer.generation import compile_kernel

                compile_kernel()
            out.print(f"{escape(name)}: {escape(str(folder))}", soft_wrap=True)


@parts.command()
def models(as_json: AsJson = False) -> None:
    """List the pretrained parts: what they are for, their licence, and which are here."""
    from genaisys import hub

    known = hub.models()
    if as_json:
        print_json(known)
        return
    table = Table("name", "for", "licence", "size", "here")
    for part in known:
        size = f"{part['size'] / 1e6:.0f} MB"
        table.add_row(part["name"], part["role"], part["licence"], size, "yes" if part["present"] else "no")
    out.print(table)
