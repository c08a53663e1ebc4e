"""Probabilistic circuits: what every one of them can be asked, whatever its structure (book section 2.4.2).

A circuit computes a log-probability from those of its leaves [B, D, K] by sums and products. A variable that is missing
has leaves of probability one, so that it is summed out in the same pass (section 2.4.2.2): exactly, if the circuit is
smooth and decomposable. A subclass says how the root follows from the leaves; the queries, the samples and EM are here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.models.base import Density, GenerativeModel, Likelihood, MostProbable, Queries, inference
from genaisys.models.circuits.leaves import DiscreteLeaves, Leaves
from genaisys.models.circuits.sums import Mix, Simplex, expectation, largest, sampled
from genaisys.models.lossless import CodesInTurn
from genaisys.models.spaces import Integers, Reals, validated_mask

_AT_ONCE = 512  # examples that EM passes through the circuit together


class NotACircuit(GenaisysError):
    """What was put together, or read from a file, is not smooth and decomposable; the message says where it is not."""


class Circuit(GenerativeModel, Density, Queries):
    """A smooth and decomposable circuit over K leaves for each variable.

    Attributes:
        leaves: the distributions of single variables.
    """

    space: Integers | Reals
    likelihood: Likelihood = "exact"
    completes = "any part"

    def __init__(self, leaves: Leaves) -> None:
        super().__init__()
        self.space, self.leaves = leaves.space, leaves

    @abstractmethod
    def root(self, leaves: Tensor, mix: Mix) -> Tensor:
        """The logarithm of the root's value, sums being computed by ``mix``. [B, D, K], of logarithms -> [B]"""

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return -self.log_prob(x, condition=condition)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        return self.root(self.leaves.log_prob(self.validated(x, condition).flatten(1)), expectation)

    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        x = self.space.validated(x)
        return self.root(self._evidence(x, validated_mask(observed, x)), expectation)

    def complete(self, x: Tensor, observed: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """By the sum units from the root down: each draws one of its inputs, by its share given what is observed."""
        x = self.space.validated(x)
        observed = validated_mask(observed, x)
        with inference(self, generator):
            chosen = self.posterior(self._evidence(x, observed), sampled).argmax(-1)  # [B, D]
            return torch.where(observed, x, self.leaves.sample(chosen).view_as(x))

    def posterior(self, leaves: Tensor, mix: Mix) -> Tensor:
        """How much each leaf takes part in the root's value: the gradient of the root. [B, D, K] -> [B, D, K]

        With ``expectation`` it is the posterior probability of a variable's leaves, which add up to one; with
        ``sampled`` or ``largest`` it is one for one leaf of every variable, and zero for the others.
        """
        with torch.enable_grad():
            leaves = leaves.detach().requires_grad_()
            return torch.autograd.grad(self.root(leaves, mix).sum(), leaves)[0]

    @torch.no_grad()
    def em_step(self, x: Tensor) -> Tensor:
        """One step of EM on all examples; the mean log-likelihood of before. [N, *shape] -> []

        Without smoothing no step makes the likelihood less.
        """
        counts, log_prob = self.expected_counts(x)
        self.maximise(counts)
        return log_prob

    @torch.no_grad()
    def expected_counts(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """How often each weight and leaf is expected to be used, and the mean log-likelihood. [N, *shape] -> *, []

        The expected number of times is the gradient of the log-likelihood by its logarithm (Darwiche 2003; so do
        Einets, arXiv:2004.06231).
        """
        x = self._row(x)
        simplexes = self._simplexes()
        counts = [torch.zeros_like(simplex.logits) for simplex in simplexes]
        of_leaves: Tensor | float = 0.0
        total = torch.zeros((), dtype=torch.float64)
        for batch in x.split(_AT_ONCE):
            with torch.enable_grad(), _outputs(simplexes) as outputs:
                leaves = self.leaves.log_prob(batch).detach().requires_grad_()
                log_prob = self.root(leaves, expectation).sum()
            weights, *used = torch.autograd.grad(log_prob, [leaves, *outputs])
            of_leaves = self.leaves.statistics(batch, weights) + of_leaves
            for sums, gradient in zip(counts, used, strict=True):
                sums += gradient
            total += log_prob.double().cpu()
        return [torch.as_tensor(of_leaves), *counts], total / len(x)

    @torch.no_grad()
    def maximise(self, counts: Sequence[Tensor]) -> None:
        """The parameters that are likeliest, given what :meth:`expected_counts` gives."""
        of_leaves, *of_sums = counts
        self.leaves.maximise(of_leaves)
        for simplex, sums in zip(self._simplexes(), of_sums, strict=True):
            simplex.maximise(sums)

    def _simplexes(self) -> list[Simplex]:
        return [module for module in self.modules() if isinstance(module, Simplex)]

    def _sample(self, n: int, *, condition: Any) -> Tensor:
        nothing = next(self.parameters()).new_zeros(n, self.space.dimensions, self.leaves.count)
        return self.leaves.sample(self.posterior(nothing, sampled).argmax(-1)).view(n, *self.space.shape)

    def _row(self, x: Tensor) -> Tensor:
        return self.space.validated(x).flatten(1)  # [B, D]

    def _evidence(self, x: Tensor, observed: Tensor) -> Tensor:
        """The leaves' log-probabilities, and 0 where a variable is missing. [B, *shape] each -> [B, D, K]"""
        return self.leaves.log_prob(x.flatten(1)).masked_fill(~observed.flatten(1)[..., None], 0.0)


class DiscreteCircuit(Circuit, CodesInTurn):
    """A circuit on integers: it compresses too."""

    space: Integers
    leaves: DiscreteLeaves

    def initialise(self, x: Tensor) -> None:
        """Leaves, and structure where it is learned, from data; a beginning for EM. [N, *shape]"""
        self.leaves.initialise(self._row(x))

    def conditionals(self, n: int) -> Generator[Tensor, Tensor, None]:
        """For each variable a pass up and down: the posterior of its leaves, given those before it."""
        tables = self.leaves.log_table()  # [D, K, V]
        leaves = tables.new_zeros(n, *tables.shape[:2])
        for variable, table in enumerate(tables):
            weights = self.posterior(leaves, expectation)[:, variable]  # [n, K]
            value = yield (weights @ table.exp()).log()
            leaves[:, variable] = table.T[value - self.space.low]


def max_product(circuit: Circuit, x: Tensor, observed: Tensor) -> Tensor:
    """The completion by the largest input of every sum unit. -> [B, *shape]

    It is the most probable one only if the circuit is deterministic: a sum unit's inputs are never above zero
    together. Otherwise the largest term of a sum says little about the sum (trap P7).
    """
    leaves, x = circuit.leaves, circuit.space.validated(x)
    assert isinstance(leaves, DiscreteLeaves)
    observed = validated_mask(observed, x)
    with inference(circuit):
        given = observed.flatten(1)[..., None]  # [B, D, 1]
        best = torch.where(given, leaves.log_prob(x.flatten(1)), leaves.log_table().amax(-1))
        completed = leaves.mode(circuit.posterior(best, largest).argmax(-1)).view_as(x)
    return torch.where(observed, x, completed)


class Deterministic(Circuit, MostProbable):
    """A circuit of which no two inputs of a sum unit are above zero for the same data: max-product is exact."""

    def most_probable(self, x: Tensor, observed: Tensor) -> Tensor:
        return max_product(self, x, observed)


@contextmanager
def _outputs(simplexes: list[Simplex]) -> Iterator[list[Tensor]]:
    """What the simplexes give while the context lasts, in their order; each must be called once."""
    found: dict[Simplex, Tensor] = {}
    outputs: list[Tensor] = []

    def keep(simplex: Simplex, _: Any, output: Tensor) -> None:
        found[simplex] = output

    hooks = [simplex.register_forward_hook(keep) for simplex in simplexes]
    try:
        yield outputs
        outputs.extend(found[simplex] for simplex in simplexes)
    finally:
        for hook in hooks:
            hook.remove()
