"""Train any generative model on tensors, in one call.

from genaisys.models import build
from genaisys.training import TrainingSettings, fit

model = build("realnvp", space)
fit(model, x, held_out, TrainingSettings(steps=2000, batch_size=64, patience=10))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.training.data import TensorExamples
from genaisys.training.loop import TrainingResult, train
from genaisys.training.metrics import Record
from genaisys.training.settings import TrainingSettings


def fit(
    model: GenerativeModel,
    x: Tensor,
    held_out: Tensor | None,
    settings: TrainingSettings,
    folder: Path | None = None,
    *,
    on_record: Callable[[Record], None] = lambda record: None,
) -> TrainingResult:
    """Train ``model`` in place, by its own loss; it then has the weights that were best on ``held_out``.

    Args:
        x: [N, *shape], of the model's space.
        folder: keeps metrics and checkpoints, from which the same call goes on; None: nothing is kept.

    Raises:
        OutOfSpace: the data are not of the model's space.
        GenaisysError: see :func:`genaisys.training.train`.
    """
    for part in (x, held_out):
        if part is not None:
            model.space.validated(part)
    examples = TensorExamples(x), None if held_out is None else TensorExamples(held_out)
    if folder is not None:
        return train(model, *examples, settings, folder, on_record=on_record)
    with TemporaryDirectory() as temporary:
        return train(model, *examples, settings, Path(temporary), on_record=on_record)
