"""Optimizers that decay matrices only, and their learning rate: linear warm-up, then a cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from genaisys.training.muon import Muon
from genaisys.training.settings import TrainingSettings


def optimizer_of(
    model: nn.Module, parameters: Iterable[nn.Parameter], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimizer that the settings name, for some of the parameters of ``model``.

    Muon moves the matrices of linear maps, unless they are tied to an embedding; AdamW all else.
    """
    parameters = list(parameters)
    if settings.optimizer == "adamw":
        return adamw(parameters, settings)
    modules = list(model.modules())
    embeddings = {id(module.weight) for module in modules if isinstance(module, nn.Embedding)}
    maps = {id(module.weight) for module in modules if isinstance(module, nn.Linear)} - embeddings
    rest = adamw([parameter for parameter in parameters if id(parameter) not in maps], settings)
    return Muon(
        [parameter for parameter in parameters if id(parameter) in maps],
        [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in rest.param_groups],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
    )


def adamw(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); biases, gains and other vectors do not decay."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, betas=settings.betas, fused=True
    )


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """The learning rate of the given step, the first of which is 1.

    It grows linearly to the full rate, which step ``warmup_steps`` has, and falls along half a cosine to
    ``final_learning_rate`` of it, which the last step has.
    """
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    lowest = settings.final_learning_rate
    return settings.learning_rate * (lowest + (1 - lowest) * (1 + math.cos(math.pi * done)) / 2)
