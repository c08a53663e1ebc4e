"""Fine-tuning from the prepared model and data to the files that are left: the same for all kinds of recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from genaisys.models.text_classifier import TextClassifier
from genaisys.models.transformer import TransformerLM
from genaisys.training.curves import draw_curves
from genaisys.training.data import Examples
from genaisys.training.evaluation import evaluate
from genaisys.training.finetuning.adapter_files import save_adapter
from genaisys.training.finetuning.lora import lora_layers, merge, trained_weights
from genaisys.training.loop import train
from genaisys.training.metrics import Record, read_metrics
from genaisys.training.model_card import write_fine_tuned_card
from genaisys.training.objectives import Objective
from genaisys.training.processes import training_processes
from genaisys.training.settings import TrainingSettings


class FingerprintedExamples(Examples, Protocol):
    """A data set that can tell whether it is the same as before."""

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Prepared:
    """What is to be trained.

    Attributes:
        model: all of it, and ``backbone``, the language model in it.
        loss_is, accuracy_is: what the loss is, and its unit; and what the metric ``accuracy`` is.
        data: what the examples are.
        counts: of them, for the report.
        blend: the share of the learned weights in those that are kept; the rest are those that it began with.
    """

    model: TransformerLM | TextClassifier
    backbone: TransformerLM
    training: FingerprintedExamples
    held_out: FingerprintedExamples
    objective: Objective
    loss_is: str
    accuracy_is: str
    data: str
    counts: Mapping[str, int]
    blend: float = 1.0


def tune(
    name: str,
    prepared: Prepared,
    settings: TrainingSettings,
    output: Path,
    base: str,
    recipe: Mapping[str, Any],
    on_record: Callable[[Record], None],
) -> dict[str, Any]:
    """Train, save adapter and merged model in ``output``, each with its card, and report, as JSON.

    The held-out loss is measured before as well: an adapter that is new changes nothing.

    Args:
        name: the recipe's.
        base: the name of the model that this goes on from.
    """
    processes = training_processes()
    model, backbone = prepared.model.to(processes.device), prepared.backbone
    held_out = prepared.held_out if len(prepared.held_out) else None
    weights, trained = sum(weight.numel() for weight in model.parameters()), trained_weights(model)
    at_once = settings.micro_batch_size or settings.batch_size
    on_record({"step": 0, "preparing": "measuring the model before training"})
    before = evaluate(model, held_out, prepared.objective, batch_size=at_once) if held_out else {}
    learning = model.named_parameters() if prepared.blend < 1 else ()
    beginning = {name: weight.detach().clone() for name, weight in learning if weight.requires_grad}
    data = {"data": prepared.training.fingerprint, "held_out_data": prepared.held_out.fingerprint}
    result = train(
        model,
        prepared.training,
        held_out,
        settings,
        output,
        objective=prepared.objective,
        described={"recipe": recipe, **data},
        on_record=on_record,
    )
    after = result.held_out
    if prepared.blend < 1:
        _blend(model, beginning, prepared.blend)
        after = evaluate(model, held_out, prepared.objective, batch_size=at_once) if held_out else {}
    report = {
        "output": str(output),
        "steps": result.step,
        "best_step": result.best_step,
        "weights": weights,
        "trained_weights": trained,
        "trained_share": trained / weights,
        **prepared.counts,
        **{f"held_out_{name}_before": value for name, value in before.items()},
        **{f"held_out_{name}": value for name, value in after.items()},
    }
    if processes.is_main_process:
        measured = {"loss": prepared.loss_is, "accuracy": prepared.accuracy_is}

        def write_card(folder: Path, library: str) -> None:
            file = folder / "README.md"
            write_fine_tuned_card(name, library, recipe, prepared.data, prepared.counts, measured, report, file)

        if lora_layers(backbone) and model is backbone:
            save_adapter(backbone, output / "adapter", base)
            write_card(output / "adapter", "peft")
        merge(backbone)
        model.eval().save_pretrained(output / "model")
        write_card(output / "model", "transformers" if model is backbone else "genaisys")
        records = read_metrics(output / "metrics.jsonl")
        draw_curves(records, output / "curves.png", loss_is=prepared.loss_is, accuracy_is=prepared.accuracy_is)
    processes.wait_for_everyone()
    return report


@torch.no_grad()
def _blend(model: nn.Module, beginning: Mapping[str, Tensor], share: float) -> None:
    """Go back towards the beginning: what was learned fades in proportion, what was lost on the way faster.

    Wortsman et al. 2022, arXiv:2109.01903.
    """
    for name, weight in model.named_parameters():
        if name in beginning:
            weight.copy_(beginning[name].lerp(weight, share))
