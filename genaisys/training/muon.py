"""Muon for matrices, AdamW for the rest (Jordan et al. 2024; scaled as in Liu et al. 2025, arXiv:2502.16982).

A matrix moves along its momentum made orthogonal: ``U V^T`` of ``M = U S V^T``, so that rare directions move as far as
frequent ones. For small language models that takes about half of AdamW's steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration; they bring singular values to about 0.7 to 1.2
_ITERATIONS = 5
_LIKE_ADAMW = 0.2  # the root mean square of AdamW's steps, so that one learning rate suits both


class Muon(torch.optim.Optimizer):
    """Steps of Muon for the parameters in groups with ``momentum``, of AdamW for those in the others.

    Args:
        matrices: [rows, columns] each; no embeddings, whose rows have no common directions.
        others: of any shape.
        betas: of AdamW.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[Mapping[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        momentum: float = 0.95,
    ) -> None:
        groups = [{"params": list(matrices), "weight_decay": weight_decay, "momentum": momentum}, *map(dict, others)]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "betas": betas, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum" in group:
            mean = state.setdefault("mean", torch.zeros_like(parameter))
            mean.lerp_(gradient, 1 - group["momentum"])
            ahead = gradient.lerp(mean, group["momentum"])  # Nesterov's
            scale = _LIKE_ADAMW * max(parameter.shape) ** 0.5
            parameter.add_(orthogonal(ahead), alpha=-group["lr"] * scale)
            return
        first, second = group["betas"]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        step = state.setdefault("step", torch.zeros(())).add_(1)
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        root = (square / (1 - second**step)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean, root, value=-float(group["lr"] / (1 - first**step)))


def orthogonal(matrix: Tensor) -> Tensor:
    """About ``U V^T`` of ``matrix = U S V^T``, by Newton and Schulz' iteration in bfloat16. [R, C] -> [R, C]"""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    wide = x if x.shape[0] <= x.shape[1] else x.T  # the product below is of the shorter side
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        product = wide @ wide.T
        wide = a * wide + (b * product + c * product @ product) @ wide
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)
