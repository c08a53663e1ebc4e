"""The settings of a training: the same few for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genaisys.errors import GenaisysError


class SettingsWrong(GenaisysError):
    """Settings that no training can be run with; the message names the setting."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained. The defaults suit a small transformer.

    Attributes:
        steps: of the optimizer, at most.
        batch_size: examples a step, over all micro-batches and processes.
        micro_batch_size: the most examples that one process computes at once; None: its whole share of the batch.
        optimizer: ``adamw``, or ``muon`` (see :mod:`genaisys.training.muon`).
        learning_rate: after warm-up.
        final_learning_rate: where the cosine ends, as a share of ``learning_rate``.
        warmup_steps: in which the rate grows linearly from zero.
        weight_decay: on matrices only; biases, gains and other vectors do not decay.
        betas: of AdamW.
        clip_norm: the gradient is shortened to this 2-norm; None: never.
        ema_decay: of the moving average of the weights, by which the model is then evaluated and kept; None: none.
        evaluate_every: steps after which held-out data are looked at and a checkpoint is written; done at the end too.
        patience: stop after so many evaluations without a lower held-out loss; None: never.
        precision: of the arithmetic; weights and optimizer are float32 in either.
        seed: of the order of the data and of all that is drawn in training.
    """

    steps: int
    batch_size: int = 32
    micro_batch_size: int | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.1
    warmup_steps: int = 0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    evaluate_every: int = 100
    patience: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            SettingsWrong: names the setting, and what it may be.
        """
        for name in ("steps", "batch_size", "micro_batch_size", "evaluate_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsWrong(f"{name} is {value}: it must be at least 1")
        for name, highest in (("learning_rate", float("inf")), ("clip_norm", float("inf"))):
            value = getattr(self, name)
            if value is not None and not 0 < value < highest:
                raise SettingsWrong(f"{name} is {value}: it must be above 0")
        for name in ("warmup_steps", "weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                raise SettingsWrong(f"{name} is {getattr(self, name)}: it must not be below 0")
        if self.seed >= 1 << 31:
            raise SettingsWrong(f"seed is {self.seed}: it must be below 2^31")
        if not 0 <= self.final_learning_rate <= 1:
            raise SettingsWrong(f"final_learning_rate is {self.final_learning_rate}: it is a share, from 0 to 1")
        for name, value in (("ema_decay", self.ema_decay), ("betas", self.betas[0]), ("betas", self.betas[1])):
            if value is not None and not 0 <= value < 1:
                raise SettingsWrong(f"{name} has {value}: it must be from 0 to below 1")
        if self.precision not in ("float32", "bfloat16"):
            raise SettingsWrong(f"precision is {self.precision!r}: it must be float32 or bfloat16")
