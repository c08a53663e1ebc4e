"""The agent writes what scores high, the prior stays, and a failing score costs nothing but its molecule."""

import math

import pytest
import torch
from rdkit import Chem

from genaisys.models.transformer import TransformerLM, gpt
from genaisys.molecules.generators import load_generator
from genaisys.molecules.optimisation import CannotOptimise, Found, Optimisation, optimise, stream_optimisation
from genaisys.molecules.rewards import Rewards, Score
from genaisys.tokenizers import smiles_tokenizer


@pytest.fixture
def prior() -> TransformerLM:
    """Writes chains of C and O at random: water, methanol, ether ..."""
    torch.manual_seed(0)
    tokenizer = smiles_tokenizer(["CO"])
    letters = {*tokenizer.encode("CO"), tokenizer.eos}
    impossible = tuple(id for id in range(tokenizer.vocabulary_size) if id not in letters)
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,), "impossible": impossible}
    return TransformerLM(gpt(tokenizer.vocabulary_size, 7, layers=1, width=32, heads=2, **special), tokenizer)


def share_of_oxygen(mols: list[Chem.Mol]) -> list[float]:
    return [sum(atom.GetSymbol() == "O" for atom in mol.GetAtoms()) / mol.GetNumAtoms() for mol in mols]


def test_the_mean_score_rises_and_the_prior_stays(prior: TransformerLM) -> None:
    before = [weight.clone() for weight in prior.parameters()]
    means: list[float] = []
    settings = Optimisation(steps=60, batch_size=64, learning_rate=3e-3, sigma=10, scaffold_limit=None)
    found = optimise(prior, share_of_oxygen, settings, lambda step, mean: means.append(mean))
    assert means[0] < 0.6
    assert sum(means[-5:]) / 5 > 0.85
    assert found.best(1)[0][1] == 1
    assert found.drawn == 60 * 64
    assert all(torch.equal(*pair) for pair in zip(before, prior.parameters(), strict=True))


def test_ring_systems_that_are_seen_too_often_are_worth_nothing() -> None:
    rewards = Rewards(lambda mols: [0.5] * len(mols), scaffold_limit=2)
    phenyls, chains = ["C" * n + "c1ccccc1" for n in range(1, 5)], ["C" * n for n in range(1, 5)]
    assert rewards.of(phenyls[:3])[0].tolist() == [0.5, 0.5, 0]
    assert rewards.of(["C1CCCC1C", *chains])[0].tolist() == [0.5] * 5  # another ring, and none: each is of its own kind
    assert rewards.of([phenyls[3], "CC", "CC", "C(C"])[0].tolist() == [0, 0.5, 0, 0]
    assert len(rewards.scores) == 9  # the score itself stays
    assert Rewards(lambda mols: [0.5] * len(mols), None).of(phenyls)[0].tolist() == [0.5] * 4


def test_each_molecule_is_asked_for_once_and_all_new_ones_together() -> None:
    asked: list[list[str]] = []

    def score(mols: list[Chem.Mol]) -> list[float]:
        asked.append([Chem.MolToSmiles(mol) for mol in mols])
        return [0.5] * len(mols)

    rewards = Rewards(score, None)
    rewards.of(["CO", "OC", "CC", "C("])
    rewards.of(["CC", "CCO"])
    rewards.of(["CC"])
    assert asked == [["CO", "CC"], ["CCO"]]


def test_what_is_too_often_seen_is_left(prior: TransformerLM) -> None:
    """Few of the chains are oxygen alone: one reward for each is not worth to stay there."""
    means: list[float] = []
    settings = Optimisation(steps=40, batch_size=64, learning_rate=3e-3, sigma=10, scaffold_limit=1)
    optimise(prior, share_of_oxygen, settings, lambda step, mean: means.append(mean))
    assert sum(means[-5:]) / 5 < 0.7


def test_a_score_that_fails_drops_its_molecule_only(prior: TransformerLM) -> None:
    def fragile(mols: list[Chem.Mol]) -> list[float]:
        atoms = mols[0].GetNumAtoms()
        if atoms == 1:
            raise ValueError("too small")
        return [math.nan if atoms == 2 else 0.5]

    found = optimise(prior, fragile, Optimisation(steps=3))
    assert found.unscored > 0
    assert found.scores
    assert all(Chem.MolFromSmiles(smiles).GetNumAtoms() > 2 for smiles in found.scores)
    assert found.problem


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        (lambda mols: [6.5] * len(mols), "6.5 is not from 0 to 1"),
        (lambda mols: [math.nan] * len(mols), "nan is not from 0 to 1"),
        (lambda mols: [mols[0].nonsense], "AttributeError: .*nonsense"),
        (lambda mols: [], "0 scores for 1 molecules"),
    ],
)
def test_a_score_that_gives_nothing_is_refused_with_its_reason(
    prior: TransformerLM, score: Score, problem: str
) -> None:
    with pytest.raises(CannotOptimise, match=problem):
        optimise(prior, score, Optimisation(steps=5))


def test_a_model_that_is_told_conditions_does_not_search() -> None:
    with pytest.raises(CannotOptimise, match="take the one that it began with"):
        optimise(load_generator("smiles-gpt-conditional"), share_of_oxygen, Optimisation(steps=1))


def test_the_same_seed_finds_the_same(prior: TransformerLM) -> None:
    first, again = (optimise(prior, share_of_oxygen, Optimisation(steps=3, seed=5)).scores for _ in range(2))
    assert first == again


def test_who_looks_on_may_stop_at_any_step(prior: TransformerLM) -> None:
    seen = []
    for found in stream_optimisation(prior, share_of_oxygen, Optimisation(steps=100)):
        seen.append((found.step, found.drawn))
        if found.step == 2:
            break
    assert seen == [(1, 64), (2, 128)]
    assert found.scores
    assert 0 < found.mean < 1


def test_it_stops_when_the_best_get_no_better(prior: TransformerLM) -> None:
    """Every molecule has the same score: once all that can be written are found, nothing gets better."""
    settings = Optimisation(steps=90, patience=30)
    found = optimise(prior, lambda mols: [0.5] * len(mols), settings)
    assert 31 <= found.step < 90
    assert optimise(prior, lambda mols: [0.5] * len(mols), Optimisation(steps=6)).step == 6


def test_a_lucky_first_molecule_does_not_end_a_search() -> None:
    found = Found({"C": 1.0})
    first = found.mean_of_best()
    found.scores["O"] = 0.2
    assert found.mean_of_best() > first


def test_settings_without_meaning(prior: TransformerLM) -> None:
    wrong = {"steps": 0, "sigma": -1.0, "learning_rate": math.nan, "scaffold_limit": 0, "patience": 0}
    for name, value in wrong.items():
        with pytest.raises(CannotOptimise):
            Optimisation(**{name: value})
    prior.tokenizer = None
    with pytest.raises(CannotOptimise, match="tokenizer"):
        optimise(prior, share_of_oxygen, Optimisation(steps=1))
