"""``genaisys index``, ``search``, ``ask`` and ``chat``: questions to one's own documents."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn

from genaisys.commands.terminal import AsJson, err, one_line, out, print_json, print_piece
from genaisys.errors import GenaisysError
from genaisys.hub import DEFAULT_CHAT_MODEL

# Torch and its friends take seconds to import: each verb imports what it needs, so that `--help` is instant.
if TYPE_CHECKING:
    from genaisys.messages import ChatMessage
    from genaisys.retrieval.answering import Answer
    from genaisys.retrieval.documents import Hit
    from genaisys.system import GenAISys

DEFAULT_COLLECTION = "Documents"

documents = typer.Typer()


def _not_empty(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("is empty")
    return text


Store = Annotated[Path | None, typer.Option(help="Folder of the index (instead of a named collection).")]
Collection = Annotated[str, typer.Option(help="Named collection, as in the app.")]
Model = Annotated[str, typer.Option(help="Chat model: a part, hub id, folder, or openai:http://host:port#model.")]
Encoder = Annotated[str | None, typer.Option(help="Text encoder of a new index: a part, hub id or folder.")]


@documents.command()
def index(
    folder: Annotated[list[Path], typer.Argument(help="Folders and files to bring in.", metavar="DIR")],
    store: Store = None,
    collection: Collection = DEFAULT_COLLECTION,
    encoder: Encoder = None,
    as_json: AsJson = False,
) -> None:
    """Bring a folder of documents into the index; only what has changed is read again.

    A file that cannot be read is reported, the others are indexed all the same, and the exit code is 1.
    """
    from genaisys.system import GenAISys

    outcomes = []
    with (
        GenAISys.open(_store(store, collection), encoder=encoder) as system,
        Progress(
            SpinnerColumn(),
            TextColumn("{task.completed} files"),
            TextColumn("[dim]{task.description}", markup=True),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        ) as progress,
    ):
        task = progress.add_task("")
        for outcome in system.ingest(folder):
            outcomes.append(outcome)
            progress.update(task, advance=1, description=escape(one_line(outcome.source)))
            if outcome.status in ("failed", "skipped") and not as_json:
                name, detail = one_line(outcome.source), one_line(outcome.detail)
                style = "red" if outcome.status == "failed" else "dim"
                line = detail if detail.startswith(name) else f"{name}: {detail}"
                err.print(f"[{style}]{outcome.status}[/]  {escape(line)}")
    counts = Counter(outcome.status for outcome in outcomes)
    chunks = sum(outcome.chunks for outcome in outcomes)
    if as_json:
        print_json({**counts, "chunks": chunks, "outcomes": [asdict(outcome) for outcome in outcomes]})
    else:
        summary = ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to index"
        out.print(f"{summary} ({chunks} passages)")
    if counts["failed"]:
        raise typer.Exit(1)


@documents.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.", callback=_not_empty)],
    store: Store = None,
    collection: Collection = DEFAULT_COLLECTION,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many passages.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The passages that fit a query best."""
    with _open(store, collection) as system:
        hits = system.search(query, k)
    if as_json:
        print_json([_hit_as_json(hit) for hit in hits])
        return
    for rank, hit in enumerate(hits, start=1):
        out.print(f"[bold]{rank}. {escape(_place(hit.chunk.source, hit.chunk.page))}[/] [dim]{hit.score:.2f}[/]")
        out.print(escape(hit.chunk.text.strip()), end="\n\n")
    if not hits:
        out.print("Nothing found.")


@documents.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.", callback=_not_empty)],
    store: Store = None,
    collection: Collection = DEFAULT_COLLECTION,
    model: Model = DEFAULT_CHAT_MODEL,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the documents, with quotations."""
    with _open(store, collection, model) as system:
        if as_json:
            print_json(asdict(system.ask(question)))
        else:
            _answer(system, question, [])


@documents.command()
def chat(store: Store = None, collection: Collection = DEFAULT_COLLECTION, model: Model = DEFAULT_CHAT_MODEL) -> None:
    """Ask questions one after the other. Ctrl-C stops an answer; Ctrl-D or an empty line ends."""
    from genaisys.messages import ChatMessage

    history: list[ChatMessage] = []
    with _open(store, collection, model) as system:
        while question := _read_question():
            try:
                answer = _answer(system, question, history)
            except KeyboardInterrupt:
                err.print("\nstopped.")
                continue
            history += [ChatMessage.user(question), ChatMessage.assistant(answer.answer)]


def _store(store: Path | None, collection: str) -> Path:
    if store is not None:
        return store
    from genaisys.retrieval.collections import store_of

    return store_of(collection)


def _open(store: Path | None, collection: str, model: str = DEFAULT_CHAT_MODEL) -> GenAISys:
    folder = _store(store, collection)
    if not (folder / "index.db").exists():
        raise GenaisysError(f"there is no index at {folder}; make one with: genaisys index DIR")
    from genaisys.system import GenAISys

    return GenAISys.open(folder, model=model)


def _read_question() -> str:
    if sys.stdin is None:  # closed by whoever started us
        return ""
    try:
        return out.input("[bold]› [/]").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _answer(system: GenAISys, question: str, history: list[ChatMessage]) -> Answer:
    """Print an answer as it comes into being, then its quotations."""
    from genaisys.retrieval.answering import Finished, Wrote

    for event in system.stream(question, history):
        match event:
            case Wrote(text):
                print_piece(text)
            case Finished(answer):
                break
    out.print()
    for sentence in answer.sentences:
        if not sentence.supported and not answer.refused:
            out.print(f"[yellow]not in the documents:[/] {escape(one_line(sentence.text))}")
    if answer.citations:
        out.print("\n[dim]Closest passages[/]" if answer.refused else "")
    for number, citation in enumerate(answer.citations, start=1):
        place = _place(citation.source, citation.page)
        out.print(f"[dim]\\[{number}][/] {escape(citation.quote)}\n    [dim]{escape(place)}[/]")
    return answer


def _hit_as_json(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "source": chunk.source,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "score": hit.score,
    }


def _place(source: str, page: int | None) -> str:
    return one_line(source) + (f", page {page}" if page is not None else "")
