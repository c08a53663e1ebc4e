"""Circuits in the shape of a tree of variables: Chow-Liu trees, and trees of hidden states.

    p(x) = sum_z prod_d p(z_d | z_parent(d)) p(x_d | z_d)

Each variable has a state z_d, which depends on the state of its parent. Where the state is the value itself, this is
the tree of Chow and Liu (1968); else the states are hidden, and the tree is a mixture of mixtures, whose size grows
linearly with the number of variables (Liu and Van den Broeck 2021, arXiv:2106.02264).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from genaisys.models.circuits.circuit import Deterministic, DiscreteCircuit, NotACircuit
from genaisys.models.circuits.leaves import DiscreteLeaves, IndicatorLeaves, leaves_of_kind
from genaisys.models.circuits.sums import Mix, Simplex
from genaisys.models.spaces import Integers

_PAIRS = 4096  # values of all variables together, whose pairs are counted: 4096 ** 2 numbers


class TreeCircuit(DiscreteCircuit):
    """A tree of one state for each variable: Chow and Liu's, with states that EM learns.

    Args:
        leaves: the distributions of the values by state; K of them make K states.
        smoothing: how many counts EM adds to those of each state's next states.
    """

    parents: Tensor

    def __init__(self, leaves: DiscreteLeaves, smoothing: float) -> None:
        super().__init__(leaves)
        dimensions, states = leaves.space.dimensions, leaves.count
        # A chain, until the structure is learned: the root is its own parent.
        self.register_buffer("parents", (torch.arange(dimensions) - 1).clamp(min=0))
        # [d, i, j]: of z_d = j if the parent's state is i. The root goes on from state 0.
        self.transitions = Simplex(dimensions, states, states, smoothing=smoothing)
        self.register_load_state_dict_post_hook(lambda tree, _: tree._require_tree())

    def initialise(self, x: Tensor) -> None:
        super().initialise(x)
        self.parents.copy_(chow_liu(self._row(x), self.space))

    def root(self, leaves: Tensor, mix: Mix) -> Tensor:
        log_weights = self.transitions()  # [D, K, K]
        values = leaves  # of each variable's states: all below them. [B, D, K]
        *levels, (root,) = reversed(self._levels())
        for variables in levels:
            messages = mix(log_weights[variables], values[:, variables])  # [B, n, K]
            values = values.index_add(1, self.parents[variables], messages)
        return mix(log_weights[root, :1], values[:, root])[:, 0]

    def _levels(self) -> list[list[int]]:
        """The variables by their distance from the root."""
        parents = self.parents.tolist()
        children: dict[int, list[int]] = {}
        for variable, parent in enumerate(parents):
            if variable != parent:
                children.setdefault(parent, []).append(variable)
        levels = [[variable for variable, parent in enumerate(parents) if variable == parent]]
        while below := [child for variable in levels[-1] for child in children.get(variable, [])]:
            levels.append(below)
        return levels

    def _require_tree(self) -> None:
        levels = self._levels()
        if len(levels[0]) != 1 or sum(map(len, levels)) < len(self.parents):
            raise NotACircuit("the parents of the variables are no tree: there is not one root from which all descend")


class ChowLiuTree(TreeCircuit, Deterministic):
    """The likeliest tree of dependences between pairs: ``prod_d p(x_d | x_parent(d))`` (Chow and Liu 1968).

    Its states are the values themselves: so no two inputs of a sum are possible together, and the most probable
    completion is exact. Once the structure is learned, one step of EM gives the likeliest probabilities.
    """

    def __init__(self, space: Integers, smoothing: float = 20.0) -> None:
        super().__init__(IndicatorLeaves(space), smoothing)


def chow_liu(x: Tensor, space: Integers) -> Tensor:
    """The tree with the largest sum of mutual informations: each variable's parent, the root's being itself.

    The root is in the middle, so that the tree is as shallow as can be. [N, D] -> [D]
    """
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree  # slow to import

    information = mutual_information(x, space).numpy()
    # Kept above zero: scipy takes a zero for no edge. The tree depends on the order of the weights alone.
    tree = minimum_spanning_tree(information.max() + 1 - information)
    ends, _ = breadth_first_order(tree, 0, directed=False)
    end, parents = breadth_first_order(tree, ends[-1], directed=False)
    path = [end[-1]]  # the longest there is
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    middle = path[len(path) // 2]
    _, parents = breadth_first_order(tree, middle, directed=False)
    return torch.from_numpy(np.where(parents < 0, middle, parents)).long()


def mutual_information(x: Tensor, space: Integers) -> Tensor:
    """Of every two variables, in nats, from their counts with one more for each pair of variables. [N, D] -> [D, D]

    Neighbouring values are taken together where their pairs would be too many to count.
    """
    values = min(space.levels, max(2, _PAIRS // space.dimensions))
    binned = (x.cpu() - space.low) * values // space.levels
    joint = torch.zeros(space.dimensions * values, space.dimensions * values)
    for batch in binned.split(4096):
        one_hot = torch.nn.functional.one_hot(batch, values).flatten(1).float()  # [B, D * V]
        joint += one_hot.T @ one_hot
    pairs = joint.view(space.dimensions, values, space.dimensions, values).transpose(1, 2)  # [D, D, V, V]
    result = torch.zeros(space.dimensions, space.dimensions)
    for variable, counts in enumerate(pairs):
        counts = counts + 1 / values**2
        log_p = counts.log() - counts.sum((1, 2), keepdim=True).log()  # [D, V, V]
        independent = log_p.logsumexp(2, keepdim=True) + log_p.logsumexp(1, keepdim=True)
        result[variable] = (log_p.exp() * (log_p - independent)).sum((1, 2))
    return result


def chow_liu_tree(space: Integers, smoothing: float = 20.0) -> ChowLiuTree:
    """The preset."""
    return ChowLiuTree(space, smoothing)


def hidden_tree(
    space: Integers, states: int = 16, leaves: Literal["normal", "categorical"] = "normal", smoothing: float = 1.0
) -> TreeCircuit:
    """The preset."""
    return TreeCircuit(leaves_of_kind(leaves, space, states), smoothing)
