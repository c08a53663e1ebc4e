"""Random tensorised circuits (RAT-SPNs, Peharz et al. 2019, arXiv:1806.01910; Einets, 2020, arXiv:2004.06231).

The variables are shuffled and halved, and the halves again, ``depth`` times; ``repetitions`` such trees are drawn. A
region of variables has K distributions:

    the smallest    products of leaves, the k-th of the k-th leaf of each of its variables
    the others      sums, each over all K x K products of a distribution of the one half and one of the other

and the root is one sum over the products of all repetitions. All regions of one size are one tensor operation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genaisys.models.circuits.circuit import DiscreteCircuit, NotACircuit
from genaisys.models.circuits.leaves import CategoricalLeaves
from genaisys.models.circuits.sums import Mix, Simplex
from genaisys.models.spaces import Integers


class Einet(DiscreteCircuit):
    """A circuit of random regions, layer by layer.

    Args:
        sums: K, the distributions of a region.
        depth: how many times the variables are halved; no more often than that each region has a variable.
        repetitions: R.
        leaf_smoothing: see :class:`genaisys.models.circuits.leaves.CategoricalLeaves`.
        sum_smoothing: see :class:`genaisys.models.circuits.sums.Simplex`.
    """

    regions: Tensor
    leaves: CategoricalLeaves

    def __init__(
        self, space: Integers, sums: int, depth: int, repetitions: int, leaf_smoothing: float, sum_smoothing: float
    ) -> None:
        super().__init__(CategoricalLeaves(space, repetitions * sums, leaf_smoothing))
        self.sums, self.repetitions, self.smallest = sums, repetitions, 2**depth
        if self.smallest > space.dimensions:
            raise ValueError(f"{space.dimensions} variables cannot be halved {depth} times")
        # Of each repetition, in which of the smallest regions each variable is, by shuffling equal shares. [R, D]
        shares = torch.arange(space.dimensions) * self.smallest // space.dimensions
        shuffled = [shares[torch.randperm(space.dimensions)] for _ in range(repetitions)]
        self.register_buffer("regions", torch.stack(shuffled))
        self.register_load_state_dict_post_hook(lambda einet, _: einet._require_regions())
        self.layers = nn.ModuleList(
            Simplex(repetitions, 2**level, sums, sums * sums, smoothing=sum_smoothing)
            for level in reversed(range(1, depth))
        )
        self.top = Simplex(1, repetitions * sums * (sums if depth else 1), smoothing=sum_smoothing)

    def initialise(self, x: Tensor) -> None:
        """Let the leaves' distributions be drawn near to the variables' own. [N, *shape]"""
        self.leaves.near_to(self._row(x))

    def _require_regions(self) -> None:
        if not 0 <= self.regions.min() <= self.regions.max() < self.smallest:
            raise NotACircuit(f"the regions of the variables are not numbered from 0 to {self.smallest - 1}")

    def root(self, leaves: Tensor, mix: Mix) -> Tensor:
        repeated = leaves.unflatten(2, (self.repetitions, self.sums)).transpose(1, 2)  # [B, R, D, K]
        values = repeated.new_zeros(len(leaves), self.repetitions, self.smallest, self.sums)
        values = values.scatter_add(2, self.regions[None, :, :, None].expand_as(repeated), repeated)
        for layer in self.layers:
            values = mix(layer(), _products(values))  # [B, R, regions, K], half as many regions as before
        if self.smallest > 1:
            values = _products(values)
        return mix(self.top(), values.flatten(1))[:, 0]


def _products(values: Tensor) -> Tensor:
    """Of each distribution of a region with each of its neighbour's. [B, R, 2 n, K] -> [B, R, n, K * K]"""
    left, right = values[:, :, 0::2], values[:, :, 1::2]
    return (left[..., :, None] + right[..., None, :]).flatten(-2)


def einet(
    space: Integers,
    sums: int = 8,
    depth: int = 4,
    repetitions: int = 8,
    leaf_smoothing: float = 1.0,
    sum_smoothing: float = 1.0,
) -> Einet:
    """The preset."""
    return Einet(space, sums, depth, repetitions, leaf_smoothing, sum_smoothing)
