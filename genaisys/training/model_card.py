"""Model cards, in the form of the Hugging Face hub: of what a recipe has trained from the beginning, or fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from genaisys.hub import PARTS
from genaisys.training.report import numbers_table
from genaisys.version import __version__


def write_model_card(
    name: str,
    start: str | None,
    recipe: Mapping[str, Any],
    data: tuple[str, str],
    report: Mapping[str, Any],
    file: Path,
) -> None:
    """Write what the model is, what it has learned from, how well, and how to make it again.

    Args:
        start: the model whose weights it began with, if any.
        data: what the data are, and their licence.
    """
    what, licence = data
    began = "from the beginning" if start is None else f"from the weights of `{start}` on"
    file.write_text(
        f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [genaisys]
---

# {name}

A language model with {report["weights"]:,} weights, trained {began} with genaisys {__version__}.

- **Data:** {what}; {report["training_texts"]:,} texts to learn from, {report["held_out_texts"]:,} held out.
- **Licence of the data:** {licence}.
- **Command:** `genaisys train {name}.yaml`, where that file holds the recipe below.
- **Steps:** {report["steps"]:,}; these are the weights of step {report["best_step"]:,}, the best on held-out texts.

{numbers_table(report)}

`curves.png` shows the course of the training, `samples.md` what the model writes.

{_in_a_block(recipe)}
""",
        "utf-8",
    )


def write_fine_tuned_card(
    name: str,
    library: str,
    recipe: Mapping[str, Any],
    data: str,
    counts: Mapping[str, int],
    measured: Mapping[str, str],
    report: Mapping[str, Any],
    file: Path,
) -> None:
    """Write what the model goes on from, what it has learned from, what that has changed, and how to make it again.

    Args:
        library: what opens it: ``transformers``, ``peft`` or ``genaisys``.
        data: what the data are.
        counts: of the examples, by their names.
        measured: what the numbers of held-out examples are, by their names in the report: the loss, and its unit.
    """
    base = recipe["model"]
    licence = f", whose licence is {PARTS[base].licence}" if base in PARTS else ""
    examples = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())
    file.write_text(
        f"""---
library_name: {library}
tags: [genaisys]
---

# {name}

Fine-tuned from `{base}`{licence}, with genaisys {__version__}: {report["trained_weights"]:,} of \
{report["weights"]:,} weights ({report["trained_share"]:.2%}) were trained.

- **Data:** {data}: {examples}.
- **Command:** `genaisys finetune {name}.yaml`, where that file holds the recipe below.
- **Steps:** {report["steps"]:,}; these are the weights of step {report["best_step"]:,}.

{_before_and_after(report, measured)}

{_in_a_block(recipe)}
""",
        "utf-8",
    )


def _before_and_after(report: Mapping[str, Any], measured: Mapping[str, str]) -> str:
    prefix, suffix = "held_out_", "_before"
    names = [name.removeprefix(prefix).removesuffix(suffix) for name in report if name.endswith(suffix)]
    if not names:
        return "Nothing was held out."
    rows = [
        f"| {measured.get(name) or name.replace('_', ' ')} "
        f"| {report[prefix + name + suffix]:.4f} | {report[prefix + name]:.4f} |"
        for name in names
    ]
    return "\n".join(["| held-out examples | before | after |", "| --- | --- | --- |", *rows])


def _in_a_block(recipe: Mapping[str, Any]) -> str:
    written = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=120)
    return f"```yaml\n{written.rstrip()}\n```"
