"""Circuits put together by hand, unit by unit (book section 2.4.2, figures 2.8 to 2.10).

    leaves = CategoricalLeaves(Integers((2,), 0, 4), count=2)  # two distributions for each of x0 and x1
    red, blue = (Product([Leaf(leaves, 0, k), Leaf(leaves, 1, k)]) for k in range(2))
    circuit = UnitCircuit(Sum([red, blue]))
    circuit.log_marginal(x, observed)

Units may be shared. What is no circuit, or answers no marginal, is refused when it is put together.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from genaisys.models.circuits.circuit import Circuit, Deterministic, NotACircuit
from genaisys.models.circuits.leaves import DiscreteLeaves, Leaves
from genaisys.models.circuits.sums import Mix, Simplex


class Unit:
    """A distribution of some of the variables.

    Attributes:
        inputs: the units below.
        scope: the variables, as their places in an example when it is laid out as a row.
    """

    scope: frozenset[int]

    def __init__(self, inputs: Iterable[Unit] = ()) -> None:
        self.inputs = tuple(inputs)


class Leaf(Unit):
    """One distribution of one variable: one of a layer of leaves, which the circuit's leaves have in common."""

    def __init__(self, leaves: Leaves, variable: int, which: int) -> None:
        super().__init__()
        self.leaves, self.variable, self.which = leaves, variable, which
        self.scope = frozenset([variable])


class Product(Unit):
    """Independent units: their values are multiplied.

    Raises:
        NotACircuit: it has no inputs, or is not decomposable: two inputs have a variable in common.
    """

    def __init__(self, inputs: Iterable[Unit]) -> None:
        super().__init__(inputs)
        if not self.inputs:
            raise NotACircuit("a product has one input or more: this one has none")
        self.scope = frozenset().union(*(unit.scope for unit in self.inputs))
        if len(self.scope) < sum(len(unit.scope) for unit in self.inputs):
            scopes = ", ".join(str(sorted(unit.scope)) for unit in self.inputs)
            raise NotACircuit(f"a product is decomposable only if its inputs share no variable: these have {scopes}")


class Sum(Unit):
    """A mixture of units of the same variables, with learned weights.

    Raises:
        NotACircuit: it has no inputs, or is not smooth: two inputs have different variables.
    """

    def __init__(self, inputs: Iterable[Unit]) -> None:
        super().__init__(inputs)
        if not self.inputs:
            raise NotACircuit("a sum has one input or more: this one has none")
        self.scope = self.inputs[0].scope
        if any(unit.scope != self.scope for unit in self.inputs):
            scopes = ", ".join(str(sorted(unit.scope)) for unit in self.inputs)
            raise NotACircuit(f"a sum is smooth only if its inputs have the same variables: these have {scopes}")
        self.weights = Simplex(1, len(self.inputs))


class UnitCircuit(Circuit):
    """The circuit below a unit.

    Raises:
        NotACircuit: a variable of the space is missing, or the leaves are of several layers.
    """

    def __init__(self, root: Unit) -> None:
        order = _inputs_first(root)
        layers = {leaf.leaves: None for leaf in order if isinstance(leaf, Leaf)}
        if len(layers) != 1:
            raise NotACircuit(f"the leaves of a circuit are of one layer: these are of {len(layers)}")
        super().__init__(next(iter(layers)))
        if root.scope != frozenset(range(self.space.dimensions)):
            raise NotACircuit(
                f"a circuit is of all {self.space.dimensions} variables of its space: this one of {sorted(root.scope)}"
            )
        self.units = order
        self.weights = nn.ModuleList(unit.weights for unit in order if isinstance(unit, Sum))

    def root(self, leaves: Tensor, mix: Mix) -> Tensor:
        values: dict[Unit, Tensor] = {}  # of every unit. [B]
        for unit in self.units:
            match unit:
                case Leaf():
                    values[unit] = leaves[:, unit.variable, unit.which]
                case Product():
                    values[unit] = torch.stack([values[each] for each in unit.inputs]).sum(0)
                case Sum():
                    inputs = torch.stack([values[each] for each in unit.inputs], -1)  # [B, J]
                    values[unit] = mix(unit.weights(), inputs)[:, 0]
        return values[self.units[-1]]


class DeterministicCircuit(UnitCircuit, Deterministic):
    """A circuit of units on integers whose most probable completion is exact.

    Raises:
        NotACircuit: also if two inputs of a sum are not told apart by the values that a variable can have in them.
            This is sufficient, and what indicator leaves give.
    """

    def __init__(self, root: Unit) -> None:
        super().__init__(root)
        if not isinstance(self.leaves, DiscreteLeaves):
            raise NotACircuit("a deterministic circuit has leaves on integers")
        possible = self.leaves.log_table() > -torch.inf  # [D, K, V]
        supports: dict[Unit, dict[int, Tensor]] = {}  # of every unit: for each variable, the values it can have. [V]
        for unit in self.units:
            match unit:
                case Leaf():
                    supports[unit] = {unit.variable: possible[unit.variable, unit.which]}
                case Product():
                    supports[unit] = {d: values for each in unit.inputs for d, values in supports[each].items()}
                case Sum():
                    inputs = [supports[each] for each in unit.inputs]
                    _require_apart(inputs)
                    supports[unit] = {d: torch.stack([each[d] for each in inputs]).any(0) for d in unit.scope}


def _require_apart(supports: list[dict[int, Tensor]]) -> None:
    for number, first in enumerate(supports):
        for second in supports[:number]:
            if all((first[d] & second[d]).any() for d in first):
                raise NotACircuit(
                    "a sum is deterministic only if no two inputs are possible together: give them indicator leaves "
                    "of different values of one variable"
                )


def _inputs_first(root: Unit) -> list[Unit]:
    """All units below one, and it, each once, after its inputs."""
    found: dict[Unit, None] = {}

    def visit(unit: Unit) -> None:
        if unit not in found:
            for each in unit.inputs:
                visit(each)
            found[unit] = None

    visit(root)
    return list(found)
