"""The ``genaisys`` command.

Every verb works without options, has ``--json`` where a program may want to read its result, exits with 0 only on
success, and says what went wrong in one plain line.
"""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from genaisys.apps.molecule_commands import molecules
from genaisys.apps.zoo_commands import zoo
from genaisys.errors import GenaisysError
from genaisys.hub import DEFAULT_CHAT_MODEL, DEFAULT_TEXT_ENCODER

# Torch and its friends take seconds to import: each verb imports what it needs, so that `--help` is instant.
if TYPE_CHECKING:
    from genaisys.messages import ChatMessage
    from genaisys.retrieval.answering import Answer
    from genaisys.retrieval.documents import Hit
    from genaisys.system import GenAISys
    from genaisys.training.finetuning.recipes import FineTuning
    from genaisys.training.recipes import Recipe

DEFAULT_COLLECTION = "Documents"

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
for console in (out, err):
    console.soft_wrap = not console.is_terminal  # lines of a pipe stay whole

_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class PlainErrors(typer.core.TyperGroup):
    """Turns failures into one plain line and a non-zero exit code."""

    def invoke(self, ctx: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal may not know all letters
        try:
            return super().invoke(ctx)
        except GenaisysError as error:
            _fail(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads has seen enough
                raise
            _fail(f"the system refuses: {error}")
        except KeyboardInterrupt:
            err.print("\ngenaisys: stopped; everything finished so far is kept.", soft_wrap=True)
            raise typer.Exit(130) from None


def _fail(reason: str) -> NoReturn:
    err.print(f"genaisys: {_one_line(reason)}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1) from None


app = typer.Typer(
    name="genaisys",
    cls=PlainErrors,
    help="Ask your own documents, on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(molecules, name="molecules")
app.add_typer(zoo, name="zoo")


def _not_empty(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("is empty")
    return text


Store = Annotated[Path | None, typer.Option(help="Folder of the index (instead of a named collection).")]
Collection = Annotated[str, typer.Option(help="Named collection, as in the app.")]
Model = Annotated[str, typer.Option(help="Chat model: a part, hub id, folder, or openai:http://host:port#model.")]
Encoder = Annotated[str | None, typer.Option(help="Text encoder of a new index: a part, hub id or folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
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
            progress.update(task, advance=1, description=escape(_one_line(outcome.source)))
            if outcome.status in ("failed", "skipped") and not as_json:
                name, detail = _one_line(outcome.source), _one_line(outcome.detail)
                style = "red" if outcome.status == "failed" else "dim"
                line = detail if detail.startswith(name) else f"{name}: {detail}"
                err.print(f"[{style}]{outcome.status}[/]  {escape(line)}")
    counts = Counter(outcome.status for outcome in outcomes)
    chunks = sum(outcome.chunks for outcome in outcomes)
    if as_json:
        _print_json({**counts, "chunks": chunks, "outcomes": [asdict(outcome) for outcome in outcomes]})
    else:
        summary = ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to index"
        out.print(f"{summary} ({chunks} passages)")
    if counts["failed"]:
        raise typer.Exit(1)


@app.command()
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
        _print_json([_hit_as_json(hit) for hit in hits])
        return
    for rank, hit in enumerate(hits, start=1):
        out.print(f"[bold]{rank}. {escape(_place(hit.chunk.source, hit.chunk.page))}[/] [dim]{hit.score:.2f}[/]")
        out.print(escape(hit.chunk.text.strip()), end="\n\n")
    if not hits:
        out.print("Nothing found.")


@app.command()
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
            _print_json(asdict(system.ask(question)))
        else:
            _answer(system, question, [])


@app.command()
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


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="The text to continue; for a chat model, what to answer.")],
    model: Annotated[str, typer.Option(help="A part, hub id, folder or GGUF file.")] = DEFAULT_CHAT_MODEL,
    max_new_tokens: Annotated[int, typer.Option(min=0, max=1_000_000, help="The most tokens to write.")] = 256,
    temperature: Annotated[
        float, typer.Option(min=0, help="0: the likeliest text; 1: as the model has learned.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Draw from the likeliest tokens of this probability.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes what is drawn repeatable.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text itself, without a chat template.")] = False,
    as_json: AsJson = False,
) -> None:
    """Generate text with a language model on this machine. Ctrl-C stops."""
    from genaisys.models.transformer.generation import Sampling, load_engine, prompt_tokens

    engine = load_engine(model)
    tokenizer = engine.tokenizer
    if tokenizer is None or tokenizer.chat_template is None or raw:
        tokens = prompt_tokens(prompt, engine.model.config, tokenizer)
    else:
        tokens = tokenizer.encode_chat([{"role": "user", "content": prompt}])
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    generation = engine.start(tokens, sampling)
    if not as_json:
        for piece in generation:
            shown = "\n".join(map(_one_line, piece.expandtabs().split("\n")))
            out.print(shown, end="", markup=False, soft_wrap=True)
        out.print()
        return
    done = generation.result()
    _print_json(
        {
            "text": done.text,
            "tokens": len(done.tokens),
            "finish": done.finish,
            "prompt_tokens": done.prompt_tokens,
            "prefill_seconds": done.prefill_seconds,
            "decode_seconds": done.decode_seconds,
            "tokens_per_second": len(done.tokens) / done.decode_seconds if done.decode_seconds else None,
        }
    )


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or a shipped recipe: teenygpt, headlines-gpt, smiles-gpt, smiles-gpt-conditional, "
            "smiles-gpt-masked."
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder of the model; by default, the recipe's name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model from a recipe. Ctrl-C stops after a checkpoint; the same command goes on from there."""
    from genaisys.training.processes import told_once
    from genaisys.training.recipes import open_recipe

    with told_once():
        _follow(open_recipe(recipe), output, as_json)


@app.command()
def finetune(
    recipe: Annotated[
        str,
        typer.Argument(help="A YAML file, or a shipped recipe: json-answers, short-answers, bbc-topics, drugs-lora."),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder of the results; by default, the recipe's name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on training a pretrained model, on conversations, preferences, labels or texts. Ctrl-C as in train."""
    from genaisys.training.finetuning.recipes import open_fine_tuning
    from genaisys.training.processes import told_once

    with told_once():
        _follow(open_fine_tuning(recipe), output, as_json)


@app.command(name="app")
def app_(
    collection: Annotated[str | None, typer.Option(help="Collection to open first.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open the app in the browser, on this machine only."""
    from genaisys.apps.app import launch

    launch(collection, port, browser)


@app.command()
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


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the pretrained parts: what they are for, their licence, and which are here."""
    from genaisys import hub

    parts = hub.models()
    if as_json:
        _print_json(parts)
        return
    table = Table("name", "for", "licence", "size", "here")
    for part in parts:
        size = f"{part['size'] / 1e6:.0f} MB"
        table.add_row(part["name"], part["role"], part["licence"], size, "yes" if part["present"] else "no")
    out.print(table)


def _follow(recipe: Recipe | FineTuning, output: Path | None, as_json: bool) -> None:
    from genaisys.training.display import live_progress
    from genaisys.training.processes import training_processes

    first = training_processes().is_main_process  # of those that torchrun may have started
    with live_progress(recipe.steps, err if first else Console(quiet=True)) as show:
        report = recipe.run(output or Path(recipe.name), show)
    if not first:
        return
    if as_json:
        _print_json(report)
        return
    table = Table(show_header=False)
    for name, value in report.items():
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.replace("_", " "), escape(shown))
    out.print(table)


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
                shown = "\n".join(map(_one_line, text.expandtabs().split("\n")))
                out.print(shown, end="", markup=False, soft_wrap=True)
            case Finished(answer):
                break
    out.print()
    for sentence in answer.sentences:
        if not sentence.supported and not answer.refused:
            out.print(f"[yellow]not in the documents:[/] {escape(_one_line(sentence.text))}")
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
    return _one_line(source) + (f", page {page}" if page is not None else "")


def _one_line(text: str) -> str:
    """``text`` without what could break its line or command the terminal."""
    return _UNSHOWABLE.sub("�", text)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2), file=out.file, flush=True)
