"""``genaisys zoo``: list, train, evaluate and compare the generative models, and compress with them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from genaisys.commands.terminal import AsJson, err, out, print_json
from genaisys.errors import GenaisysError

# Torch takes seconds to import: each verb imports what it needs, so that `--help` is instant.
if TYPE_CHECKING:
    from genaisys.models.base import GenerativeModel, Lossless
    from genaisys.zoo.entries import OnRecord

zoo = typer.Typer(help="The generative models: train, measure and compare them.", no_args_is_help=True)

Data = Annotated[str, typer.Option(help="digits, fashion-mnist, or a .npy file of rows.")]
Runs = Annotated[Path, typer.Option(help="Folder of all runs.")]
RUNS = Path("zoo")


class SomeFailed(GenaisysError):
    """Some models of a table were not trained."""


class NoLossless(GenaisysError):
    """The model does not compress."""


@zoo.command("list")
def list_(runs: Runs = RUNS, data: Data = "digits", as_json: AsJson = False) -> None:
    """What each model can do, and how well it did."""
    from genaisys.models.presets import build
    from genaisys.zoo.abilities import abilities, misfit
    from genaisys.zoo.catalogue import entries_for
    from genaisys.zoo.data import load_data
    from genaisys.zoo.runs import results_in
    from genaisys.zoo.table import shipped_rows, table

    loaded = load_data(data)
    rows = shipped_rows(loaded.name) + table(results_in(runs / loaded.name))
    measured = {row["name"]: row for row in rows}
    listed = []
    for name, entry in entries_for(loaded.name).items():
        about = {"family": entry.family, "section": entry.section, "about": entry.about}
        reason = misfit(entry, loaded.space)
        can = None if reason else asdict(abilities(build(entry.preset, loaded.space, **entry.sizes)))
        listed.append({"name": name, **about, "misfit": reason, "abilities": can, "measured": measured.get(name)})
    if as_json:
        print_json(listed)
    else:
        out.print(_list_as_table(listed))
        out.print(f"[dim]{_MARKS}[/]")


@zoo.command()
def train(
    name: Annotated[str, typer.Argument(help="A model of `genaisys zoo list`.")],
    data: Data = "digits",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the weights and of all that is drawn.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; by default zoo/DATA/NAME-SEED.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, measure it, and draw a sheet.

    Ctrl-C stops; the same command goes on from the last checkpoint.
    """
    from genaisys.training.display import live_progress
    from genaisys.zoo.data import load_data
    from genaisys.zoo.runs import SHEET, entry_called, run_folder, train_run

    loaded = load_data(data)
    folder = output or run_folder(RUNS / loaded.name, name, seed)
    with live_progress(entry_called(name, loaded.name).trained.steps, err) as show:
        result = train_run(name, loaded, seed, folder, show)
    if as_json:
        print_json(result)
        return
    out.print(_result_as_table(result))
    out.print(
        f"The model is in {escape(str(folder))}, a picture of it in {escape(str(folder / SHEET))}", soft_wrap=True
    )


@zoo.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of a trained model, or a shipped one by its name.")],
    data: Annotated[str | None, typer.Option(help="Other data than it was trained on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a trained model on test data."""
    from genaisys.zoo.data import DATASETS, DataMissing, load_data
    from genaisys.zoo.runs import evaluate_run, open_run, run_of

    opened, folder = open_run(model)
    known = run_of(folder)
    trained_on = known.get("data", "digits")
    if data is None and trained_on not in DATASETS:
        raise DataMissing(f"{model} was trained on a file {trained_on}.npy: give it as --data")
    loaded = load_data(data or trained_on)
    with err.status("measuring …"):
        result = evaluate_run(opened, folder, loaded)
    if as_json:
        print_json(result)
    else:
        out.print(_result_as_table(result))


@zoo.command("table")
def table_(
    names: Annotated[list[str] | None, typer.Argument(help="Models; if none, all that such data can have.")] = None,
    data: Data = "digits",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many, from 0.")] = 3,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> None:
    """Train and measure all models, and print the table.

    What is done already is not done again. Ctrl-C as in train.
    """
    from genaisys.training.display import live_progress
    from genaisys.zoo.abilities import misfit
    from genaisys.zoo.catalogue import entries_for
    from genaisys.zoo.data import load_data
    from genaisys.zoo.runs import entry_called, results_in
    from genaisys.zoo.table import MARKDOWN, published_rows, table, train_all

    loaded = load_data(data)
    if names:
        chosen = [name for name in names if entry_called(name)]
    else:
        chosen = [name for name, entry in entries_for(loaded.name).items() if not misfit(entry, loaded.space)]
    folder = runs / loaded.name

    def on_run(name: str, seed: int, done: int, of: int) -> AbstractContextManager[OnRecord]:
        err.print(f"[dim]{done + 1} of {of}: {escape(name)}, seed {seed}[/]")
        return live_progress(entry_called(name, loaded.name).trained.steps, err)

    failed = train_all(chosen, loaded, range(seeds), folder, on_run)
    rows = table([result for result in results_in(folder) if result["name"] in chosen]) + published_rows(loaded.name)
    if as_json:
        print_json(rows)
    else:
        out.print(_rows_as_table(rows))
        out.print(
            f"All runs are in {escape(str(folder))}, the table in {escape(str(folder / MARKDOWN))}", soft_wrap=True
        )
    if failed:
        reasons = "; ".join(f"{run}: {error}" for run, error in failed.items())
        raise SomeFailed(f"{len(failed)} of the runs failed: {reasons}")


@zoo.command()
def compress(
    model: Annotated[str, typer.Argument(help="Folder of a trained model, or a shipped one by its name.")],
    source: Annotated[Path, typer.Argument(metavar="IN.npy", help="An array of integers, one example a row.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The compressed file.")],
    as_json: AsJson = False,
) -> None:
    """Compress data without loss.

    An example takes about as many bits as the model's likelihood says.
    """
    from genaisys.zoo.data import load_array

    lossless = _lossless(model)
    x = load_array(source)
    with err.status("compressing …"):
        data = lossless.compress(x)
    target.write_bytes(data)
    counts = {"examples": len(x), "bytes": len(data), "bytes_per_example": len(data) / max(1, len(x))}
    if as_json:
        print_json(counts)
    else:
        out.print(f"{len(x):,} examples in {len(data):,} bytes, {counts['bytes_per_example']:.2f} each")


@zoo.command()
def decompress(
    model: Annotated[str, typer.Argument(help="The model that has compressed the file.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="The compressed file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.npy", help="The array of its data.")],
    as_json: AsJson = False,
) -> None:
    """The very data that `compress` was given."""
    from genaisys.zoo.data import save_array

    lossless = _lossless(model)
    with err.status("decompressing …"):
        x = lossless.decompress(source.read_bytes())
    save_array(target, x)
    if as_json:
        print_json({"examples": len(x)})
        return
    out.print(f"{len(x):,} examples in {escape(str(target))}", soft_wrap=True)


def _lossless(name: str) -> Lossless:
    from genaisys.models.base import Lossless
    from genaisys.zoo.runs import open_run

    model: GenerativeModel | Lossless = open_run(name)[0]
    if not isinstance(model, Lossless):
        raise NoLossless(f"{name} does not compress without loss: `genaisys zoo list` tells which models do")
    return model


_MARKS = (
    "code: how many numbers; < fewer than the data have (a bottleneck), = the example itself comes back (invertible)\n"
    "MAP: the likeliest completion · nats of test data, ± over seeds; ms of a processor for a sample"
)


def _list_as_table(listed: list[dict[str, Any]]) -> Table:
    from genaisys.zoo.table import numbers

    table = Table("model", "what it is", box=None, padding=(0, 1, 0, 0))
    for title in ("likeli-\nhood", "loss-\nless", "code", "com-\npletes", "mar-\nginals", "MAP"):
        table.add_column(title, no_wrap=True)
    for title in ("nats", "FD", "ms"):
        table.add_column(title, justify="right", no_wrap=True)
    family = None
    for each in listed:
        if each["family"] != family:
            family = each["family"]
            table.add_row(f"[bold]{escape(family)}[/]")
        can, values = each["abilities"], numbers(each["measured"]) if each["measured"] else {}
        if can is None:
            table.add_row(f"[dim]{each['name']}[/]", f"[dim]{escape(each['misfit'])}[/]")
            continue
        code = f"{_said(can['code'])}{' <' if can['bottleneck'] else ' =' if can['invertible'] else ''}"
        likelihood = _said(can["likelihood"]).replace("lower bound", "bound")
        able = [_said(can[name]) for name in ("completes", "marginals", "most_probable")]
        measured = [values.get(name, "") for name in ("nats", "FD", "ms")]
        table.add_row(each["name"], escape(each["about"]), likelihood, _said(can["lossless"]), code, *able, *measured)
    return table


def _rows_as_table(rows: list[dict[str, Any]]) -> Table:
    from genaisys.zoo.table import numbers

    table = Table("model", "likelihood", box=None)
    for name in numbers(rows[0]) if rows else ():
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], _said(row["likelihood"]), *numbers(row).values())
    return table


def _result_as_table(result: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for name, value in result.items():
        if value is None:
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.replace("_", " "), escape(shown))
    return table


def _said(value: bool | int | str | None) -> str:
    if value is None or value is False:
        return "–"
    return "yes" if value is True else escape(str(value))
