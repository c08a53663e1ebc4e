"""Train any generative model on tensors, in one call.

from genaisys.models import build
from genaisys.training import TrainingSettings, fit

model = build("realnvp", space)
fit(model, x, held_out, TrainingSettings(steps=2000, batch_size=64, patience=10))

of_classes = build("realnvp", space, classes=10)
fit(of_classes, x, held_out, TrainingSettings(), conditions=(classes, held_out_classes))
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.training.data import ConditionedExamples, Examples, TensorExamples
from genaisys.training.loop import TrainingResult, train
from genaisys.training.metrics import Record
from genaisys.training.objectives import loss_given_conditions
from genaisys.training.settings import TrainingSettings


def fit(
    model: GenerativeModel,
    x: Tensor,
    held_out: Tensor | None,
    settings: TrainingSettings,
    folder: Path | None = None,
    *,
    conditions: tuple[Tensor, Tensor | None] | None = None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> TrainingResult:
    """Train ``model`` in place, by its own loss; it then has the weights that were best on ``held_out``.

    Args:
        x: [N, *shape], of the model's space.
        conditions: those of ``x`` and of ``held_out``, one for each example, where the model is conditional.
        folder: keeps metrics and checkpoints, from which the same call goes on; None: nothing is kept.

    Raises:
        OutOfSpace: the data are not of the model's space.
        ConditionWrong: the model needs conditions and there are none, or the other way round, or of other examples.
        GenaisysError: see :func:`genaisys.training.train`.
    """
    of_training, of_held_out = conditions or (None, None)
    training = _examples(model, x, of_training)
    evaluated = None if held_out is None else _examples(model, held_out, of_held_out)
    objective = loss_given_conditions if model.conditional else None
    with TemporaryDirectory() if folder is None else nullcontext(folder) as kept:
        return train(model, training, evaluated, settings, Path(kept), objective=objective, on_record=on_record)


def _examples(model: GenerativeModel, x: Tensor, conditions: Tensor | None) -> Examples:
    model.validated(x, conditions)
    return TensorExamples(x) if conditions is None else ConditionedExamples(x, conditions)
