"""``genaisys molecules``: sample, score, check, draw, compare and optimise molecules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from genaisys.commands.terminal import AsJson, err, out, print_json, progress_bar
from genaisys.errors import GenaisysError

# RDKit and torch take seconds to import: each verb imports what it needs, so that `--help` is instant.
molecules = typer.Typer(help="New molecules: proposals of a model, not tested compounds.", no_args_is_help=True)

_FIRST_REJECTS = 5  # that people are shown one by one
_FEW = 10_000  # molecules below which scores depend on how many there are

T = TypeVar("T")
Wish = Annotated[str | None, typer.Option(metavar="VALUE", help="A value to be near to; or a range: 2..3, 2.. or ..3.")]
Range = Annotated[str | None, typer.Option(metavar="LOW..HIGH", help="A range, such as 2..3, 2.. or ..3.")]


@molecules.command()
def sample(
    n: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="How many molecules.")] = 20,
    output: Annotated[Path | None, typer.Option("--out", help="A .smi, .csv, .sdf, .svg or .png file.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="smiles-gpt, or where something is wished smiles-gpt-conditional; or the folder of a model."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="1: as the model has learned; less: likelier ones.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens of this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Makes what is drawn repeatable.")] = 0,
    unique: Annotated[bool, typer.Option("--unique", help="Each molecule once.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="What the model writes, valid or not: for score.")] = False,
    logp: Wish = None,
    qed: Wish = None,
    sa: Wish = None,
    weight: Wish = None,
    tpsa: Range = None,
    rings: Range = None,
    scaffold: Annotated[str | None, typer.Option(help="A substructure that each must hold, SMILES or SMARTS.")] = None,
    as_json: AsJson = False,
) -> None:
    """New molecules, valid and as they are wished, and how many were drawn for them."""
    from genaisys.molecules.drawing import require_writable, write_molecules
    from genaisys.molecules.generators import generator_for, load_generator
    from genaisys.molecules.sampling import MoleculeSampling, raw_smiles, stream_molecules
    from genaisys.molecules.wishes import read_wishes

    wished = {"logP": logp, "QED": qed, "SA": sa, "weight": weight, "TPSA": tpsa, "rings": rings}
    wishes = read_wishes({name: text for name, text in wished.items() if text is not None}, scaffold)
    if raw and (unique or wishes):
        raise GenaisysError("--raw gives what the model writes: leave out --unique, --scaffold and the properties")
    if raw and output is not None and output.suffix != ".smi":
        raise GenaisysError("--raw writes a .smi file: not all of it are molecules")
    sampling = MoleculeSampling(temperature, top_p, unique, wishes, seed)
    if output is not None:
        require_writable(output, n)
    generator = load_generator(generator_for(wishes, model))
    with progress_bar("molecules", n) as show:
        if raw:
            growing = _collected(raw_smiles(generator, n, sampling))
            smiles, end = _last(growing, lambda found: show("molecules", len(found), n))
            counts: dict[str, float] = {"drawn": len(smiles)}
        else:
            streamed = stream_molecules(generator, n, sampling)
            samples, end = _last(streamed, lambda found: show("molecules", found.counts.kept, n))
            smiles, counts = samples.smiles, samples.counts.as_json()
    if end is not None and not smiles:
        raise end
    if output is not None:
        write_molecules(smiles, output)
    if as_json:
        print_json({**counts, "seed": seed, "out": None if output is None else str(output), "smiles": smiles})
    else:
        for each in smiles if output is None else ():
            out.print(each, markup=False, soft_wrap=True)
        described = ", ".join(f"{value:.1%} {name}" if name == "validity" else f"{value:,} {name}"
                              for name, value in counts.items() if value)  # fmt: skip
        err.print(f"{described}. These are proposals, not tested compounds.", markup=False)
    if end is not None:
        raise end


@molecules.command()
def score(
    file: Annotated[Path, typer.Argument(help="SMILES, one a line; a table with a column smiles; or SDF.")],
    reference: Annotated[str, typer.Option(help="moses, or a file of molecules to compare with.")] = "moses",
    as_json: AsJson = False,
) -> None:
    """The metrics of the MOSES benchmark, by their names there. The first time, its test sets are measured."""
    from genaisys.molecules.files import read_molecules, read_smiles
    from genaisys.molecules.metrics import metrics, moses_metrics
    from genaisys.molecules.parsing import canonical
    from genaisys.molecules.reference import statistics

    generated = read_smiles(file)
    if not generated:
        raise GenaisysError(f"{file} holds no SMILES")
    if len(generated) < _FEW:
        err.print(f"FCD and Scaf depend on how many are compared, and these are {len(generated):,}: MOSES takes 30,000")
    with progress_bar("reading", len(generated)) as show:
        if reference == "moses":
            result = moses_metrics(generated, show)
        else:
            library = read_molecules(Path(reference))
            _tell_rejects(library.rejects)
            known = [each for each in map(canonical, library.smiles) if each is not None]
            result = metrics(generated, {"Test": statistics(known, "the reference", show)}, known, show)
    if as_json:
        print_json({name: value if math.isfinite(value) else None for name, value in result.items()})
        return
    table = Table("metric", "value")
    for name, value in result.items():
        table.add_row(name, f"{value:.4f}")
    out.print(table)


@molecules.command()
def check(
    file: Annotated[Path, typer.Argument(help="SMILES, one a line; a table with a column smiles; or SDF.")],
    output: Annotated[Path | None, typer.Option("--out", help="A .smi, .csv or .sdf file of those to keep.")] = None,
    as_json: AsJson = False,
) -> None:
    """How many strings of a file are molecules, and why the others are not; what training needs are clean files."""
    from genaisys.molecules.drawing import require_writable, write_molecules
    from genaisys.molecules.files import read_molecules

    if output is not None:
        require_writable(output, 1)
    library = read_molecules(file)
    if output is not None:
        write_molecules(library.smiles, output)
    if as_json:
        rejected = [
            {"line": each.line, "smiles": each.smiles, "reason": f"{each.reason}{each.detail}",
             "position": each.position} for each in library.rejected
        ]  # fmt: skip
        counts = dict(library.rejects.most_common())
        print_json({"molecules": len(library.smiles), "rejects": counts, "rejected": rejected})
        return
    out.print(f"{len(library.smiles):,} molecules")
    for reason, count in library.rejects.most_common():
        out.print(f"{count:,} rejected: {escape(reason)}")
    for each in library.rejected[:_FIRST_REJECTS]:
        out.print(f"line {each.line:,}: {escape(f'{each.smiles!r}, {each.reason}{each.detail}')}")
    if (more := len(library.rejected) - _FIRST_REJECTS) > 0:
        out.print(f"and {more:,} more: --json names all")


@molecules.command()
def draw(
    molecule: Annotated[list[str], typer.Argument(help="SMILES, or a file of them.")],
    output: Annotated[Path, typer.Option("--out", help="An .svg or .png file.")] = Path("molecules.svg"),
) -> None:
    """A picture of molecules, with their properties below."""
    from genaisys.molecules.drawing import CannotWrite, draw_grid, require_writable
    from genaisys.molecules.files import read_molecules
    from genaisys.molecules.parsing import parse
    from genaisys.molecules.properties import properties

    if output.suffix.lower() not in (".svg", ".png"):
        raise CannotWrite(f"a picture is an .svg or a .png file, and {output} is neither")
    smiles: list[str] = []
    for name in molecule:
        if _is_file(name):
            library = read_molecules(Path(name))
            _tell_rejects(library.rejects)
            smiles += library.smiles
        else:
            smiles.append(name)
    require_writable(output, len(smiles))
    legends = []
    for each in smiles:
        values = properties(parse(each))
        legends.append(f"logP {values['logP']:.1f}, QED {values['QED']:.2f}, {values['weight']:.0f} g/mol")
    output.write_bytes(draw_grid(smiles, legends, output.suffix.lower()))
    out.print(f"{len(smiles)} drawn in {escape(str(output))}")


@molecules.command()
def similar(
    smiles: Annotated[str, typer.Argument(help="The molecule to look for.")],
    library: Annotated[str, typer.Option(help="A file of molecules; or moses, for its training set.")] = "moses",
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    encoder: Annotated[str, typer.Option(help="morgan: Tanimoto's similarity; smiles-gpt: the cosine.")] = "morgan",
    as_json: AsJson = False,
) -> None:
    """The molecules of a library that are most like one. A library is read once, and then searched at once."""
    from genaisys.molecules.known import known_molecules
    from genaisys.molecules.parsing import parse
    from genaisys.retrieval.molecules import MoleculeLibraries

    parse(smiles)
    rejects: Counter[str] = Counter()
    with progress_bar("reading", 0) as show:
        if library == "moses":
            if encoder != "morgan":
                raise GenaisysError(
                    "MOSES is searched by morgan only: leave out --encoder, or name a file as --library"
                )
            found = known_molecules(show).similar(smiles, k)
        else:
            with MoleculeLibraries.open(encoder) as libraries:
                libraries.encoder.check(smiles)  # before the work of reading
                name, rejects = libraries.add(Path(library), show)
                found = libraries.similar(smiles, name, k)
    if as_json:
        print_json([{"smiles": each.smiles, "similarity": each.similarity} for each in found])
        return
    for each in found:
        out.print(f"{each.similarity:.3f}  {escape(each.smiles)}", soft_wrap=True)
    _tell_rejects(rejects)


@molecules.command()
def optimise(
    goal: Annotated[
        str, typer.Option(help="qed, celecoxib or median (of GuacaMol), or a molecule (SMILES) to become similar to.")
    ] = "qed",
    output: Annotated[Path | None, typer.Option("--out", help="A .smi, .csv, .sdf, .svg or .png file.")] = None,
    model: Annotated[str, typer.Option(help="The shipped smiles-gpt, or the folder of a model.")] = "smiles-gpt",
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many to give.")] = 100,
    at_least: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Give the most different ones of this score or more, and not just the best."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of learning at most, 64 molecules each.")] = 200,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Stop after so many steps in which the hundred best got no better: 50; never with --at-least.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Makes the search repeatable.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search for molecules with a high score, by REINVENT's policy gradient. Ctrl-C ends it and keeps what is found."""
    from genaisys.molecules.drawing import require_writable, write_molecules
    from genaisys.molecules.generators import load_generator
    from genaisys.molecules.goals import goal_called
    from genaisys.molecules.metrics import internal_diversity
    from genaisys.molecules.optimisation import Optimisation, stream_optimisation
    from genaisys.molecules.similarity import fingerprints

    score, scaffold_limit = goal_called(goal)
    if output is not None:
        require_writable(output, top)
    prior = load_generator(model)
    if patience is None and at_least is None:
        patience = 50
    settings = Optimisation(steps=steps, seed=seed, scaffold_limit=scaffold_limit, patience=patience)
    with progress_bar("steps", steps) as show:
        found, end = _last(
            stream_optimisation(prior, score, settings),
            lambda found: show(f"mean score {found.mean:.3f}", found.step, steps),
        )
    given = found.best(top) if at_least is None else found.diverse(top, at_least)
    if not given:
        highest = f"the highest is {found.best(1)[0][1]:.3f}" if found.scores else "no valid molecule was written"
        raise end or GenaisysError(f"no molecule has the score that is wanted, {highest}: give more --steps")
    smiles, scores = [each for each, _ in given], [value for _, value in given]
    summary = {
        "steps": found.step,
        "drawn": found.drawn,
        "valid": found.valid,
        "unscored": found.unscored,
        "mean": sum(scores) / len(scores),
        "lowest": min(scores),
        "IntDiv": internal_diversity(fingerprints(smiles))[0],
    }
    if output is not None:
        write_molecules(smiles, output)
    if as_json:
        print_json({**summary, "best": [{"smiles": each, "score": value} for each, value in given]})
    else:
        for each, value in given if output is None else ():
            out.print(f"{value:.3f}  {escape(each)}", soft_wrap=True)
        err.print(
            f"{found.drawn:,} drawn in {found.step:,} steps, {found.valid:,} valid; the {len(given)} given have a mean "
            f"score of {summary['mean']:.3f} (lowest {summary['lowest']:.3f}) and an internal diversity of "
            f"{summary['IntDiv']:.3f}. These are proposals, not tested compounds."
        )
    if end is not None:
        raise end


def _last(results: Iterable[T], then: Callable[[T], object]) -> tuple[T, BaseException | None]:
    """The last of results that grow, and what has ended them too early, Ctrl-C or a failure: what is found is kept."""
    found: list[T] = []  # the last one
    try:
        for result in results:
            found[:] = [result]
            then(result)
    except (KeyboardInterrupt, GenaisysError) as end:
        if not found:
            raise
        return found[0], end
    return found[0], None


def _collected(results: Iterable[T]) -> Iterator[list[T]]:
    collected: list[T] = []
    for result in results:
        collected.append(result)
        yield collected


def _tell_rejects(rejects: Counter[str]) -> None:
    for reason, count in rejects.most_common():
        err.print(f"{count:,} left out: {escape(reason)}")


def _is_file(name: str) -> bool:
    """Whether an argument is a file, or is called like one that is missing, and no SMILES."""
    from genaisys.molecules.files import ENDINGS

    return name.lower().endswith(ENDINGS) or (len(name) < 256 and Path(name).is_file())
