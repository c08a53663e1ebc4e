"""``genaisys generate``, ``train`` and ``finetune``: language models, of others and one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from genaisys.commands.terminal import AsJson, err, out, print_json, print_piece
from genaisys.hub import DEFAULT_CHAT_MODEL

# Torch and its friends take seconds to import: each verb imports what it needs, so that `--help` is instant.
if TYPE_CHECKING:
    from genaisys.training.finetuning.recipes import FineTuning
    from genaisys.training.recipes import Recipe

language_models = typer.Typer()


@language_models.command()
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
            print_piece(piece)
        out.print()
        return
    done = generation.result()
    print_json(
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


@language_models.command()
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


@language_models.command()
def finetune(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or a shipped recipe: json-answers, short-answers, bbc-topics, drugs-lora, "
            "smiles-gpt-verdicts, smiles-gpt-conditional-verdicts."
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder of the results; by default, the recipe's name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on training a pretrained model: on conversations, preferences, labels, texts, verdicts. Ctrl-C as in train."""
    from genaisys.training.finetuning.recipes import open_fine_tuning
    from genaisys.training.processes import told_once

    with told_once():
        _follow(open_fine_tuning(recipe), output, as_json)


def _follow(recipe: Recipe | FineTuning, output: Path | None, as_json: bool) -> None:
    from genaisys.training.display import live_progress
    from genaisys.training.processes import training_processes

    first = training_processes().is_main_process  # of those that torchrun may have started
    with live_progress(recipe.steps, err if first else Console(quiet=True)) as show:
        report = recipe.run(output or Path(recipe.name), show)
    if not first:
        return
    if as_json:
        print_json(report)
        return
    table = Table(show_header=False)
    for name, value in report.items():
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.replace("_", " "), escape(shown))
    out.print(table)
