"""From a language model and its data to the files that are left: the same whatever its texts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genaisys.models.transformer import TransformerLM
from genaisys.tokenizers import Tokenizer
from genaisys.training.curves import draw_curves
from genaisys.training.data import TokenSequences
from genaisys.training.loop import train
from genaisys.training.metrics import Record, read_metrics
from genaisys.training.model_card import write_model_card
from genaisys.training.processes import training_processes
from genaisys.training.report import measure, write_samples
from genaisys.training.settings import TrainingSettings


@dataclass(frozen=True)
class Pretraining:
    """What is to be trained.

    Attributes:
        start: the name of the model whose weights it begins with; None: it begins with random ones.
        data: what the texts are, and their licence.
        counts: of the texts, for the report; ``training_texts`` and ``held_out_texts`` are among them.
        recipe: as it was written.
    """

    model: TransformerLM
    tokenizer: Tokenizer
    training: TokenSequences
    held_out: TokenSequences
    start: str | None
    data: tuple[str, str]
    counts: Mapping[str, Any]
    recipe: Mapping[str, Any]


def pretrain(
    name: str, prepared: Pretraining, settings: TrainingSettings, output: Path, on_record: Callable[[Record], None]
) -> dict[str, Any]:
    """Train, write model, model card, curves and samples into ``output``, and report: the numbers, as JSON.

    Args:
        name: the recipe's.
    """
    model, recipe = prepared.model, prepared.recipe
    data = {"data": prepared.training.fingerprint, "held_out_data": prepared.held_out.fingerprint}
    result = train(
        model,
        prepared.training,
        prepared.held_out,
        settings,
        output,
        described={"recipe": recipe, **data},
        on_record=on_record,
    )
    report = {
        "output": str(output),
        "steps": result.step,
        "best_step": result.best_step,
        "weights": sum(weight.numel() for weight in model.parameters()),
        **prepared.counts,
        **measure(model, prepared.held_out, prepared.tokenizer),
    }
    processes = training_processes()
    if processes.is_main_process:
        model.save_pretrained(output)
        records = read_metrics(output / "metrics.jsonl")
        draw_curves(
            records, output / "curves.png", loss_is="NLL, nats a token", accuracy_is="top-1 accuracy of next tokens"
        )
        write_samples(model, prepared.tokenizer, report, output / "samples.md", seed=settings.seed)
        write_model_card(name, prepared.start, recipe, prepared.data, report, output / "README.md")
    processes.wait_for_everyone()
    return report
