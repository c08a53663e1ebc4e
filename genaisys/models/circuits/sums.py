"""Sum units, a layer at a time, and three ways to add up what comes into them (book section 2.4.2.1).

A sum unit is a mixture: ``log sum_j w_j exp(value_j)`` with weights that add up to one. What a circuit answers depends
on what its sum units do, and on nothing else:

    expectation   adds up                            likelihoods and marginals; their gradients are posteriors
    sampled       adds up, and the gradient goes to one input, drawn by its share: samples of the posterior
    largest       takes the largest                  the gradient goes to it: the most probable, where that is exact

So a backward pass tells which inputs of every unit a query has used: an adjoint that is known from parsers and hidden
Markov models (Darwiche 2003, A differential approach to inference; Rush 2020, arXiv:2002.00876).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# From log-weights [*, I, J] of I sum units, and the values of their J inputs [B, *, J], to their values [B, *, I].
Mix = Callable[[Tensor, Tensor], Tensor]


class Simplex(nn.Module):
    """Weights of sum units, which add up to one along the last axis; called, it gives their logarithms.

    Args:
        shape: [*, I, J] for I units with J inputs each.
        smoothing: how many counts EM adds to those of each unit, see :func:`smoothed`.
    """

    def __init__(self, *shape: int, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.logits = nn.Parameter(torch.randn(shape))

    def forward(self) -> Tensor:
        return self.logits.log_softmax(-1)

    @torch.no_grad()
    def maximise(self, counts: Tensor) -> None:
        """The weights that are likeliest, given how often each was used. [*, I, J]"""
        self.logits.copy_(smoothed(counts, self.smoothing))


def smoothed(counts: Tensor, smoothing: float) -> Tensor:
    """Logarithms of the shares of counts along the last axis, shrunk towards what the rows of a table have in common.

    ``smoothing`` counts are added to each row, distributed as those of all rows together with one more of each: as if
    by a Dirichlet prior whose mean was estimated (Friedman et al. 1997, Bayesian network classifiers, section 4.3).
    Without smoothing the shares are the counts', or equal where there are none. [*, I, J] -> the same
    """
    counts = counts.clamp(min=0)
    common = counts.sum(-2, keepdim=True) + 1  # [*, 1, J]
    counts = counts + smoothing * common / common.sum(-1, keepdim=True) + torch.finfo(counts.dtype).tiny
    return counts.log() - counts.sum(-1, keepdim=True).log()


def expectation(log_weights: Tensor, values: Tensor) -> Tensor:
    """``log sum_j w_ij exp(value_j)``: by a matrix product of what is left when the largest value is taken out."""
    top = values.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).min)  # [B, *, 1]
    total = torch.einsum("...ij,b...j->b...i", log_weights.exp(), (values - top).exp())
    impossible = total == 0  # the logarithm's gradient is infinite there
    return total.masked_fill(impossible, 1).log().masked_fill(impossible, -torch.inf) + top


def sampled(log_weights: Tensor, values: Tensor) -> Tensor:
    """As ``expectation``; but its gradient is one for a single input, drawn by its share, and zero for the others."""
    result: Tensor = _Sampled.apply(log_weights + values[..., None, :])
    return result


def largest(log_weights: Tensor, values: Tensor) -> Tensor:
    """``max_j w_j exp(value_j)``, as a logarithm."""
    return (log_weights + values[..., None, :]).max(-1).values


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, scores: Tensor) -> Tensor:
        gumbel = -torch.empty_like(scores).exponential_().log()
        context.save_for_backward((scores + gumbel).argmax(-1, keepdim=True))
        context.inputs = scores.shape[-1]
        return scores.logsumexp(-1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (chosen,) = context.saved_tensors
        gradient = gradients[0][..., None]  # [*, 1]
        return gradient.new_zeros(*gradient.shape[:-1], context.inputs).scatter(-1, chosen, gradient)
