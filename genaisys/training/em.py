"""Train a model by expectation maximisation, in one call, and keep what was best on held-out data.

model = build("mixture", space)
model.initialise(x)
fit_by_em(model, x, held_out, iterations=50)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from genaisys.training.checkpoints import Checkpoint, Checkpoints
from genaisys.training.loop import TrainingResult
from genaisys.training.metrics import MetricsLog, Record

_AT_ONCE = 512  # held-out examples
_BETWEEN_CHECKPOINTS = 20.0  # seconds


class LearnsByEM(Protocol):
    """A generative model with a step of EM: mixtures, circuits."""

    def em_step(self, x: Tensor) -> Tensor:
        """Improve the model on all examples, and give their mean log-likelihood of before. [N, *shape] -> []"""

    def loss(self, x: Tensor) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


def fit_by_em(
    model: LearnsByEM,
    x: Tensor,
    held_out: Tensor,
    iterations: int,
    folder: Path | None = None,
    *,
    patience: int = 10,
    on_record: Callable[[Record], None] = lambda record: None,
) -> TrainingResult:
    """Train ``model`` in place, on from the parameters that it has; it then has those that were best on ``held_out``.

    Args:
        x: [N, *shape], of the model's space; each iteration passes over all.
        folder: keeps metrics and checkpoints, from which the same call goes on; None: nothing is kept.
        patience: it ends after so many iterations without a better held-out loss.
        on_record: is given the loss of each iteration, and the held-out loss after it, as by the training loop.

    Raises:
        OutOfSpace: the data are not of the model's space.
        CheckpointNotKept: a checkpoint cannot be written.
        MetricsForeign: ``metrics.jsonl`` has a line of something else.
    """
    began = saved = time.monotonic()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoints")
    if checkpoints and (last := checkpoints.last()):
        course, kept = _Course(**last.state), last.tensors["kept"]
        model.load_state_dict(last.tensors["model"])
    else:
        course, kept = _Course(0, 0, _mean_loss(model, held_out)), _copied(model)
    with MetricsLog((folder or Path()) / "metrics.jsonl", course.step, writes=folder is not None) as log:

        def keep(record: Record) -> None:
            log.add(record)
            on_record(record)

        while course.step < iterations and course.step - course.best_step < patience:
            course.step += 1
            keep({"step": course.step, "loss": -model.em_step(x).item()})
            measured = _mean_loss(model, held_out)
            seconds = round(time.monotonic() - began, 3)
            keep({"step": course.step, "held_out": {"loss": measured}, "seconds": seconds})
            if measured < course.best:
                course.best_step, course.best, kept = course.step, measured, _copied(model)
            if checkpoints and time.monotonic() - saved >= _BETWEEN_CHECKPOINTS:
                checkpoints.write(Checkpoint(asdict(course), {"model": model.state_dict(), "kept": kept}))
                saved = time.monotonic()
    model.load_state_dict(kept)
    return TrainingResult(course.step, course.best_step, {"loss": course.best})


@dataclass
class _Course:
    """How far a training has come, and the held-out loss that was best until then."""

    step: int
    best_step: int
    best: float


@torch.no_grad()
def _mean_loss(model: LearnsByEM, x: Tensor) -> float:
    return torch.cat([model.loss(batch) for batch in x.split(_AT_ONCE)]).mean().item()


def _copied(model: LearnsByEM) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
