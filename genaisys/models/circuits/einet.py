"""Random tensorised circuits (RAT-SPNs, Peharz et al. 2019, arXiv:1806.01910; Einets, 2020, arXiv:2004.06231).

The variables are put in a random order and halved, and the halves again, ``depth`` times; ``repetitions`` such trees of
regions are drawn. A region of variables has K distributions:

    the smallest    products of leaves, the k-th of the k-th leaf of each of its variables
    the others      sums, each over all K x K products of a distribution of the one half and one of the other

and the root is one sum over the products of all repetitions. All regions of one size are one tensor operation.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from genaisys.models.circuits.circuit import DiscreteCircuit, NotACircuit
from genaisys.models.circuits.leaves import DiscreteLeaves, leaves_of_kind
from genaisys.models.circuits.sums import Mix, Simplex
from genaisys.models.circuits.trees import chow_liu
from genaisys.models.spaces import Integers, SpaceUnfit


class Einet(DiscreteCircuit):
    """A circuit of random regions, layer by layer.

    Args:
        leaves: ``repetitions * K`` for each variable.
        depth: how many times the variables are halved.
        repetitions: R.
        smoothing: how many counts EM adds to those of each sum.

    Raises:
        SpaceUnfit: there are fewer variables than regions.
        ValueError: there are no repetitions, or leaves that are of none.
    """

    regions: Tensor

    def __init__(self, leaves: DiscreteLeaves, depth: int, repetitions: int, smoothing: float = 1.0) -> None:
        super().__init__(leaves)
        if repetitions < 1 or leaves.count % repetitions:
            raise ValueError(f"{leaves.count} leaves of a variable cannot be shared by {repetitions} repetitions")
        dimensions, sums = leaves.space.dimensions, leaves.count // repetitions
        if 2**depth > dimensions:
            raise SpaceUnfit(f"{dimensions} variables cannot be halved {depth} times: take a smaller depth")
        self.sums, self.repetitions, self.smallest = sums, repetitions, 2**depth
        # Of each repetition, in which of the smallest regions each variable is. [R, D]
        self.register_buffer("regions", torch.empty(repetitions, dimensions, dtype=torch.int64))
        self._divide([torch.randperm(dimensions) for _ in range(repetitions)])
        self.register_load_state_dict_post_hook(lambda einet, _: einet._require_regions())
        self.layers = nn.ModuleList(
            Simplex(repetitions, 2**level, sums, sums**2, smoothing=smoothing) for level in reversed(range(1, depth))
        )
        self.top = Simplex(1, repetitions * (sums**2 if depth else sums), smoothing=smoothing)

    def initialise(self, x: Tensor) -> None:
        """Leaves near to the data, and regions of related variables.

        Each repetition walks through the Chow-Liu tree of the data by a random path, depth first, and this order is
        halved. Regions that know nothing of the data make worse circuits of images.
        """
        super().initialise(x)
        parents = chow_liu(self._row(x), self.space)
        self._divide([_walk(parents) for _ in range(self.repetitions)])

    def root(self, leaves: Tensor, mix: Mix) -> Tensor:
        repeated = leaves.unflatten(2, (self.repetitions, self.sums)).transpose(1, 2)  # [B, R, D, K]
        values = repeated.new_zeros(len(leaves), self.repetitions, self.smallest, self.sums)
        values = values.scatter_add(2, self.regions[None, :, :, None].expand_as(repeated), repeated)
        for layer in self.layers:
            values = mix(layer(), _products(values))  # [B, R, regions, K], half as many regions as before
        if self.smallest > 1:
            values = _products(values)
        return mix(self.top(), values.flatten(1))[:, 0]

    def _divide(self, orders: list[Tensor]) -> None:
        shares = torch.arange(self.space.dimensions) * self.smallest // self.space.dimensions
        for regions, order in zip(self.regions, orders, strict=True):
            regions.copy_(torch.empty_like(shares).scatter(0, order, shares))

    def _require_regions(self) -> None:
        if not 0 <= self.regions.min() <= self.regions.max() < self.smallest:
            raise NotACircuit(f"the regions of the variables are not numbered from 0 to {self.smallest - 1}")


def _products(values: Tensor) -> Tensor:
    """Of each distribution of a region with each of its neighbour's. [B, R, 2 n, K] -> [B, R, n, K * K]"""
    left, right = values[:, :, 0::2], values[:, :, 1::2]
    return (left[..., :, None] + right[..., None, :]).flatten(-2)


def _walk(parents: Tensor) -> Tensor:
    """The nodes of a tree in a random order, depth first from a random one. [D] -> [D]"""
    neighbours: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents.tolist()):
        if node != parent:
            neighbours[node].append(parent)
            neighbours[parent].append(node)
    found: dict[int, None] = {}
    waiting = [int(torch.randint(len(parents), ()))]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += [neighbours[node][place] for place in torch.randperm(len(neighbours[node])).tolist()]
    return torch.tensor(list(found))


def einet(
    space: Integers,
    sums: int = 6,
    depth: int = 4,
    repetitions: int = 12,
    leaves: Literal["normal", "categorical"] = "normal",
    smoothing: float = 1.0,
) -> Einet:
    """The preset."""
    return Einet(leaves_of_kind(leaves, space, repetitions * sums), depth, repetitions, smoothing)
