"""Chow-Liu trees and trees of hidden states, against sums over everything that is hidden."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import mutual_info_score
from torch import Tensor

from genaisys.models import Integers, build, load_model
from genaisys.models.circuits.circuit import NotACircuit
from genaisys.models.circuits.leaves import CategoricalLeaves, DiscretizedNormalLeaves
from genaisys.models.circuits.trees import ChowLiuTree, TreeCircuit, chow_liu, mutual_information

SPACE = Integers((6,), 0, 2)
EDGES = {(0, 1), (1, 2), (1, 3), (3, 4), (4, 5)}


def from_a_tree(n: int = 2000) -> Tensor:
    """Each variable is its parent's value with probability 0.7, and else any."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(3, (n, 6), generator=generator)
    for parent, variable in sorted(EDGES):
        kept = torch.rand(n, generator=generator) < 0.7
        x[:, variable] = torch.where(kept, x[:, parent], x[:, variable])
    return x


def entropy(x: Tensor) -> float:
    p = x.unique(dim=0, return_counts=True)[1] / len(x)
    return -(p * p.log()).sum().item()


def learned(smoothing: float = 0.0) -> ChowLiuTree:
    model = ChowLiuTree(SPACE, smoothing).double()
    model.initialise(from_a_tree())
    model.em_step(from_a_tree())
    return model


def with_parents(model: TreeCircuit, parents: list[int]) -> TreeCircuit:
    model.parents.copy_(torch.tensor(parents))
    return model


def test_mutual_information_is_that_of_the_counts() -> None:
    x = from_a_tree(50_000)
    found = mutual_information(x, SPACE)
    for first, second in itertools.combinations(range(6), 2):
        expected = mutual_info_score(x[:, first].numpy(), x[:, second].numpy())
        assert found[first, second].item() == pytest.approx(expected, abs=2e-4)
        assert found[second, first].item() == pytest.approx(expected, abs=2e-4)


def test_neighbouring_values_are_taken_together_where_there_are_many() -> None:
    many = Integers((6,), 0, 99_999)
    x = from_a_tree(300)
    found = mutual_information(x * 40_000, many)
    torch.testing.assert_close(found, mutual_information(x, SPACE), atol=0.05, rtol=0)


def test_the_tree_of_the_data_is_found_with_its_root_in_the_middle() -> None:
    parents = chow_liu(from_a_tree(), SPACE).tolist()
    root = next(variable for variable, parent in enumerate(parents) if variable == parent)
    assert {tuple(sorted(edge)) for edge in enumerate(parents) if edge[0] != edge[1]} == EDGES
    assert root == 3  # the longest path is 0 1 3 4 5, or 2 1 3 4 5
    assert len(with_parents(ChowLiuTree(SPACE), parents)._levels()) == 3


@torch.no_grad()
def test_the_likelihood_is_that_of_chow_and_liu() -> None:
    """Without smoothing its mean on the data is the sum of informations of the edges less that of entropies."""
    x, model = from_a_tree(), learned()
    informations = sum(mutual_info_score(x[:, first].numpy(), x[:, second].numpy()) for first, second in EDGES)
    entropies = sum(entropy(x[:, variable]) for variable in range(6))
    best = model.log_prob(x).mean().item()
    assert best == pytest.approx(informations - entropies, abs=1e-6)
    for parents in ([0, 0, 0, 0, 0, 0], [0, 0, 1, 2, 3, 4], [3, 2, 3, 3, 3, 1]):
        other = with_parents(ChowLiuTree(SPACE, 0.0).double(), parents)
        other.em_step(x)
        assert other.log_prob(x).mean().item() < best


@torch.no_grad()
def test_it_is_a_product_of_conditionals() -> None:
    model, x = learned(smoothing=2.0), from_a_tree(5)
    log_weights = model.transitions()
    parents = model.parents.tolist()
    for row, log_prob in zip(x.tolist(), model.log_prob(x).tolist(), strict=True):
        expected = 0.0
        for variable, parent in enumerate(parents):
            state = 0 if variable == parent else row[parent]
            expected += log_weights[variable, state, row[variable]].item()
        assert log_prob == pytest.approx(expected)


@torch.no_grad()
def test_impossible_data_have_a_likelihood_of_zero_and_not_nan() -> None:
    model = ChowLiuTree(Integers((3,), 0, 2), 0.0).double()
    model.em_step(torch.tensor([[0, 1, 2], [1, 1, 2]]))
    assert model.log_prob(torch.tensor([[2, 0, 0]])).item() < -100
    assert model.log_prob(torch.tensor([[0, 1, 2]])).exp().item() == pytest.approx(0.5)


@torch.no_grad()
def test_hidden_states_are_summed_out() -> None:
    torch.manual_seed(0)
    space = Integers((4,), 0, 2)
    model = TreeCircuit(CategoricalLeaves(space, 2), 1.0).double()
    with_parents(model, [2, 2, 2, 1])
    log_weights, tables = model.transitions(), model.leaves.log_table()
    x = torch.randint(3, (5, 4))
    total = torch.zeros(5).double()
    for z in itertools.product(range(2), repeat=4):
        p = (
            log_weights[2, 0, z[2]]
            + log_weights[0, z[2], z[0]]
            + log_weights[1, z[2], z[1]]
            + log_weights[3, z[1], z[3]]
        )
        total += (p + sum(tables[d, z[d], x[:, d]] for d in range(4))).exp()
    torch.testing.assert_close(model.log_prob(x).exp(), total)


@pytest.mark.parametrize("kind", ["categorical", "normal"])
@torch.no_grad()
def test_no_step_of_em_makes_the_likelihood_less(kind: str) -> None:
    torch.manual_seed(0)
    leaves = CategoricalLeaves(SPACE, 3) if kind == "categorical" else DiscretizedNormalLeaves(SPACE, 3)
    model, x = TreeCircuit(leaves, smoothing=0.0).double(), from_a_tree(300)
    model.initialise(x)
    likelihoods = [model.em_step(x).item() for _ in range(40)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(likelihoods))
    assert likelihoods[-1] > likelihoods[0] + 0.1


@torch.no_grad()
def test_hidden_states_learn_what_a_tree_of_values_cannot() -> None:
    """Six variables that are equal but for noise have one hidden cause."""
    space = Integers((6,), 0, 1)
    generator = torch.Generator().manual_seed(0)
    cause = torch.randint(2, (1500, 1), generator=generator)
    noise = torch.rand((1500, 6), generator=generator) < 0.2
    x = cause ^ noise
    torch.manual_seed(0)
    tree, hidden = ChowLiuTree(space, 1.0), TreeCircuit(CategoricalLeaves(space, 2, 1.0), 1.0)
    for model, steps in ((tree, 1), (hidden, 150)):
        model.initialise(x[:1000])
        for _ in range(steps):
            model.em_step(x[:1000])
    assert hidden.log_prob(x[1000:]).mean() > tree.log_prob(x[1000:]).mean() + 0.1


def test_parents_that_are_no_tree_are_refused(tmp_path: Path) -> None:
    build("chow-liu", Integers((3,), 0, 1)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    for parents in ([1, 0, 2], [0, 1, 1], [0, 0, 7], [0, 2, 1]):
        save_file({**load_file(file), "parents": torch.tensor(parents)}, file)
        with pytest.raises(NotACircuit, match="no tree"):
            load_model(tmp_path)


def test_a_root_at_the_end_makes_no_other_distribution() -> None:
    model, x = learned(smoothing=0.0), from_a_tree()
    chain = with_parents(ChowLiuTree(SPACE, 0.0).double(), [0, 0, 1, 1, 3, 4])
    chain.em_step(x)
    with torch.no_grad():
        torch.testing.assert_close(chain.log_prob(x[:20]), model.log_prob(x[:20]))
    assert math.isfinite(np.mean(chain.log_prob(x).tolist()))
