"""Train a model by expectation maximisation, in one call, and keep what was best on held-out data.

model = build("mixture", space)
model.initialise(x)
fit_by_em(model, x, held_out, iterations=50)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from genaisys.training.loop import TrainingResult
from genaisys.training.metrics import Record

_AT_ONCE = 512  # held-out examples


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
    *,
    patience: int = 10,
    on_record: Callable[[Record], None] = lambda record: None,
) -> TrainingResult:
    """Train ``model`` in place, on from the parameters that it has; it then has those that were best on ``held_out``.

    Args:
        x: [N, *shape], of the model's space; each iteration passes over all.
        patience: it ends after so many iterations without a better held-out loss.
        on_record: is given the loss of each iteration, and the held-out loss after it, as by the training loop.

    Raises:
        OutOfSpace: the data are not of the model's space.
    """
    began = time.monotonic()
    step = best_step = 0
    best, kept = _mean_loss(model, held_out), _copied(model)
    while step < iterations and step - best_step < patience:
        step += 1
        on_record({"step": step, "loss": -model.em_step(x).item()})
        measured = _mean_loss(model, held_out)
        seconds = round(time.monotonic() - began, 3)
        on_record({"step": step, "held_out": {"loss": measured}, "seconds": seconds})
        if measured < best:
            best_step, best, kept = step, measured, _copied(model)
    model.load_state_dict(kept)
    return TrainingResult(step, best_step, {"loss": best})


@torch.no_grad()
def _mean_loss(model: LearnsByEM, x: Tensor) -> float:
    return torch.cat([model.loss(batch) for batch in x.split(_AT_ONCE)]).mean().item()


def _copied(model: LearnsByEM) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
