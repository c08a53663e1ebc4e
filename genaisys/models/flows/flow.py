"""A flow: an invertible map takes data to a simple density (book sections 4.1.2 and 4.1.4).

    flow = Flow(space, bijection, StandardNormal(64), UniformDequantization(space))
    flow.log_prob(x, samples=100)  # [B], nats: of integers a bound, the tighter the more samples

The map is written from data to codes, ``z = f(x)``, so ``log p(x) = log p(z) + log |det dz/dx|``; the book's equations
name the other direction f, its listings this one (trap F6).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genaisys.models.base import (
    ConditionWrong,
    Density,
    GenerativeModel,
    Likelihood,
    Representation,
    inference,
    require_samples,
)
from genaisys.models.dequantization import Dequantization, LogitDequantization
from genaisys.models.flows.bijection import Bijection
from genaisys.models.spaces import Integers, Reals

_NUMBERS = 1 << 20  # of data, as many are computed at once when a bound takes many samples


class Flow(GenerativeModel, Density, Representation):
    """``log p(x) = log p(f(x)) + log |det df/dx|`` (book eq. 4.13).

    Of real numbers that is exact. Integers are dequantized first, and have the lower bound of
    :mod:`genaisys.models.dequantization`, always and inside the model (trap F2); samples are quantized (trap F5).

    Args:
        bijection: f, from [B, *shape] to [B, *code].
        base: called with the context, gives the distribution of codes: one for all, or one for each example.
        dequantization: of integers; None: uniform, with the logit.
        embedding: makes a context [B, C] of what the model is conditioned on, such as classes [B] (book section 4.1.6).
    """

    def __init__(
        self,
        space: Integers | Reals,
        bijection: Bijection,
        base: nn.Module,
        dequantization: Dequantization | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if dequantization is None and isinstance(space, Integers):
            dequantization = LogitDequantization(space)
        self.space: Integers | Reals = space
        self.bijection, self.base, self.dequantization, self.embedding = bijection, base, dequantization, embedding
        self.conditional = embedding is not None
        self.likelihood: Likelihood = "exact" if dequantization is None else "lower bound"

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return -self._bound(self.validated(x, condition), self._context(condition))

    def log_prob(self, x: Tensor, *, condition: Any = None, samples: int = 1) -> Tensor:
        """As in :class:`Density`; of real numbers it is exact, whatever ``samples`` is. -> [B]"""
        x, context = self.validated(x, condition), self._context(condition)
        require_samples(samples, least=1)
        if self.dequantization is None:
            return self._bound(x, context)
        at_once = max(1, _NUMBERS // max(1, x.numel()))
        bounds = []
        for start in range(0, samples, at_once):
            k = min(at_once, samples - start)
            repeated = None if context is None else context.repeat(k, 1)
            bounds.append(self._bound(x.repeat(k, *[1] * (x.dim() - 1)), repeated).view(k, len(x)))
        return torch.cat(bounds).logsumexp(0) - math.log(samples)

    def encode(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """The code; of integers that of the middle of their cell. -> [B, *code]"""
        with inference(self):
            x = self.validated(x, condition)
            y = x if self.dequantization is None else self.dequantization.centres(x).to(self._dtype)
            z: Tensor = self.bijection(y, self._context(condition))
            return z

    def decode(self, z: Tensor, *, condition: Any = None) -> Tensor:
        """-> [B, *shape]"""
        self._require_conditions(condition, len(z) if z.dim() else 0)
        with inference(self):
            context = self._context(condition)
            return self._data(Reals(self.base(context).event_shape).validated(z), context)

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        context = self._context(condition)
        p = self.base(context)
        return self._data(p.sample() if p.batch_shape else p.sample((n,)), context)

    def _bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        """``log p(x)`` of real numbers; of integers the bound of one sample. -> [B]"""
        y, weight = (x, 0.0) if self.dequantization is None else self.dequantization.dequantize(x)
        z, log_det = self.bijection.forward_and_log_det(y.to(self._dtype), context)
        log_prob: Tensor = self.base(context).log_prob(z)
        return log_prob + log_det + weight

    def _data(self, z: Tensor, context: Tensor | None) -> Tensor:
        y = self.bijection.inverse(z, context)
        return y if self.dequantization is None else self.dequantization.quantize(y)

    def _context(self, condition: Any) -> Tensor | None:
        if self.embedding is None:
            return None
        if isinstance(self.embedding, nn.Embedding):
            classes = self.embedding.num_embeddings
            whole = condition.dtype in (torch.int64, torch.int32) and condition.dim() == 1
            if not whole or ((condition < 0) | (condition >= classes)).any():
                raise ConditionWrong(f"expected a class of each example, integers from 0 to {classes - 1}")
        context: Tensor = self.embedding(condition)
        return context

    @property
    def _dtype(self) -> torch.dtype:
        return next((parameter.dtype for parameter in self.parameters()), torch.get_default_dtype())
