"""Means over held-out data, measured without a trace: modes, gradients and random numbers stay as they were."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import reduce, send_to_device
from torch import nn

from genaisys.training.data import Examples, OfUnequalLength
from genaisys.training.objectives import Objective, Sums
from genaisys.training.processes import training_processes
from genaisys.training.settings import SettingsWrong

_SEED = 0  # what is drawn in an evaluation is the same each time, so that one can be compared with another


class Means:
    """Sums over batches and processes, and their means."""

    def __init__(self) -> None:
        self._sums: list[torch.Tensor] = []
        self._names: list[str] = []
        self.total = self.weight = 0.0
        self._metrics: dict[str, float] = {}

    def add(self, sums: Sums) -> None:
        self._names = sorted(sums.metrics)
        values = [sums.total, sums.weight, *(sums.metrics[name] for name in self._names)]
        device = sums.total.device
        dtype = torch.float32 if device.type == "mps" else torch.float64  # which has no doubles
        self._sums.append(torch.stack([torch.as_tensor(value, device=device).detach().to(dtype) for value in values]))

    def over_processes(self, wish: bool = False) -> bool:
        """Add up what all processes have; whether any of them wishes something."""
        columns = torch.stack(self._sums).tolist()  # one transfer from the device, and the sums in double precision
        sums = [
            math.fsum(column) if all(map(math.isfinite, column)) else math.nan for column in zip(*columns, strict=True)
        ]
        processes = training_processes()
        if processes.num_processes > 1:
            shared = torch.tensor([*sums, wish], dtype=torch.float64, device=processes.device)
            *sums, wishes = reduce(shared, "sum").tolist()
            wish = wishes > 0
        self.total, self.weight, *metrics = sums
        self._metrics = dict(zip(self._names, metrics, strict=True))
        return wish

    def values(self) -> dict[str, float]:
        """The means: ``loss``, and the metrics by their names."""
        weight = self.weight or 1.0
        return {"loss": self.total / weight} | {name: value / weight for name, value in self._metrics.items()}


def evaluate(model: nn.Module, examples: Examples, objective: Objective, *, batch_size: int = 64) -> dict[str, float]:
    """``loss`` and metrics of ``model`` on all ``examples``, which the processes share.

    The model is in eval mode meanwhile. Random numbers are drawn from a seed of their own.

    Raises:
        SettingsWrong: see :func:`require_enough`.
    """
    require_enough(examples)
    processes = training_processes()
    numbers = list(range(len(examples)))[processes.process_index :: processes.num_processes]
    if isinstance(examples, OfUnequalLength):
        numbers.sort(key=examples.length)
    means = Means()
    devices = [processes.device] if processes.device.type == "cuda" else []
    with modes_kept(model), torch.no_grad(), torch.random.fork_rng(devices=devices):
        model.eval()
        torch.manual_seed(_SEED + processes.process_index)
        for start in range(0, len(numbers), batch_size):
            batch: Any = send_to_device(examples.batch(numbers[start : start + batch_size]), processes.device)
            means.add(Sums(*objective(model, batch)))
    means.over_processes()
    return means.values()


def require_enough(held_out: Examples) -> None:
    """
    Raises:
        SettingsWrong: a process would have no example to evaluate.
    """
    if len(held_out) < training_processes().num_processes:
        raise SettingsWrong("there are no held-out examples, or fewer than processes")


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Modules are afterwards in train or eval mode as they were."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
