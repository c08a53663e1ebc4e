"""EM on data of which there are so many that a small part of them tells already where to go.

model = build("hidden-tree", space)
model.initialise(x)
fit_by_em(StepwiseEM(model), x, held_out, iterations=10)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class CountsForEM(Protocol):
    """A generative model whose step of EM has two halves, with numbers between them that add up over examples."""

    def expected_counts(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The counts of all examples, and their mean log-likelihood. [N, *shape] -> *, []"""

    def maximise(self, counts: Sequence[Tensor]) -> None: ...

    def loss(self, x: Tensor) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class StepwiseEM:
    """A model that learns after each batch: its counts are a running mean, to which the k-th adds ``k ** -decay``.

    Stepwise EM (Cappé and Moulines 2009, arXiv:0712.4273; Liang and Klein 2009, of which are the defaults' reasons):
    the mean forgets what was counted with worse parameters, and settles as its steps become smaller.

    Args:
        batch_size: examples.
        decay: above 0.5, for the steps to end at all, and at most 1.
    """

    def __init__(self, model: CountsForEM, batch_size: int = 1000, decay: float = 0.6) -> None:
        self.model, self.batch_size, self.decay = model, batch_size, decay
        self._counts: list[Tensor] = []  # per example
        self._steps = 0

    def em_step(self, x: Tensor) -> Tensor:
        """A pass over all examples; their mean log-likelihood on the way. [N, *shape] -> []"""
        total = torch.zeros((), dtype=torch.float64)
        generator = torch.Generator().manual_seed(self._steps)
        for batch in torch.randperm(len(x), generator=generator).split(self.batch_size):
            counts, log_prob = self.model.expected_counts(x[batch])
            self._steps += 1
            rate = self._steps**-self.decay  # 1 in the first step: there is nothing to forget
            new = [each / len(batch) for each in counts]
            self._counts = [torch.lerp(old, each, rate) for old, each in zip(self._counts or new, new, strict=True)]
            self.model.maximise([each * len(x) for each in self._counts])
            total += log_prob * len(batch)
        return total / len(x)

    def loss(self, x: Tensor) -> Tensor:
        return self.model.loss(x)

    def state_dict(self) -> dict[str, Any]:
        counts = {f"counts.{place}": each for place, each in enumerate(self._counts)}
        of_model = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return {**of_model, **counts, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        of_model = {name: tensor for name, tensor in state_dict.items() if name.startswith("model.")}
        self.model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in of_model.items()})
        self._counts = [state_dict[f"counts.{place}"] for place in range(len(state_dict) - len(of_model) - 1)]
        self._steps = int(state_dict["steps"])
