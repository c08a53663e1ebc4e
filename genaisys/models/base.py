"""What every generative model owes, and the capabilities that a model may have besides.

A model owes a training loss and samples. Whatever else it can do it says by its type: ``isinstance(model, Density)``
tells whether it has likelihoods, and no method exists only to raise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Tokens:
    """The space of token sequences of up to ``length`` tokens, each from 0 to ``vocabulary - 1``."""

    length: int
    vocabulary: int


Space = Tokens


class GenerativeModel(nn.Module, ABC):
    """A distribution over data of one space, which can be learned and sampled."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """Shape and support of the data."""

    @abstractmethod
    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """The training objective per example; its mean over a batch is what training minimises. -> [B]"""

    @abstractmethod
    def sample(self, n: int, *, condition: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """``n`` samples in the units of the data, without gradients; train or eval mode stays. -> [n, *shape]"""


Likelihood = Literal["exact", "lower bound", "estimate", "unnormalised"]


class Density(ABC):
    """A capability: the likelihood of given data, in nats.

    Attributes:
        likelihood: what ``log_prob`` is: the exact value, a lower bound, an estimate, or right up to a constant.
    """

    likelihood: Likelihood

    @abstractmethod
    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """``log p(x)`` in nats. -> [B]"""
