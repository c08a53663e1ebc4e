"""Tensorised circuits of random regions."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from genaisys.models import Integers, SpaceUnfit, build, load_model
from genaisys.models.circuits.circuit import NotACircuit
from genaisys.models.circuits.einet import Einet
from genaisys.models.circuits.leaves import CategoricalLeaves
from genaisys.models.circuits.units import Leaf, Product, Sum, Unit, UnitCircuit

SPACE = Integers((5,), 0, 1)


def einet(space: Integers = SPACE, sums: int = 2, depth: int = 2, repetitions: int = 2, **smoothing: float) -> Einet:
    torch.manual_seed(0)
    return Einet(CategoricalLeaves(space, repetitions * sums), depth, repetitions, **smoothing).double()


def by_hand(model: Einet) -> UnitCircuit:
    """The same circuit unit by unit, so that what it may be is checked."""

    def copied(inputs: list[Unit], log_weights: Tensor) -> Sum:
        unit = Sum(inputs)
        unit.weights.logits.copy_(log_weights[None])
        return unit

    products: list[Unit] = []
    for repetition, regions in enumerate(model.regions.tolist()):
        level: list[list[Unit]] = []
        for region in range(model.smallest):
            scope = [variable for variable, of in enumerate(regions) if of == region]
            numbers = [repetition * model.sums + k for k in range(model.sums)]
            level.append([Product([Leaf(model.leaves, variable, number) for variable in scope]) for number in numbers])
        for layer in model.layers:
            pairs = list(zip(level[0::2], level[1::2], strict=True))
            log_weights = layer()[repetition]  # [regions, K, K * K]
            level = [
                [
                    copied([Product(two) for two in itertools.product(left, right)], log_weights[place, k])
                    for k in range(2)
                ]
                for place, (left, right) in enumerate(pairs)
            ]
        products += [Product(two) for two in itertools.product(*level)]
    return UnitCircuit(copied(products, model.top()[0])).double()


@torch.no_grad()
def test_it_is_the_circuit_of_its_units() -> None:
    model = einet()
    units = by_hand(model)
    x = torch.tensor(list(itertools.product(range(2), repeat=5)))
    torch.testing.assert_close(model.log_prob(x), units.log_prob(x))
    observed = torch.tensor([True, False, False, True, True])
    torch.testing.assert_close(model.log_marginal(x, observed), units.log_marginal(x, observed))


@pytest.mark.parametrize(("dimensions", "depth"), [(5, 2), (5, 1), (4, 2), (7, 2), (3, 0)])
@torch.no_grad()
def test_any_number_of_variables_is_divided(dimensions: int, depth: int) -> None:
    space = Integers((dimensions,), 0, 1)
    model = einet(space, depth=depth)
    for regions in model.regions:
        sizes = regions.bincount(minlength=2**depth)
        assert sizes.sum() == dimensions
        assert sizes.max() - sizes.min() <= 1
    x = torch.tensor(list(itertools.product(range(2), repeat=dimensions)))
    assert model.log_prob(x).exp().sum().item() == pytest.approx(1)


def test_more_regions_than_variables_are_refused() -> None:
    with pytest.raises(SpaceUnfit, match="cannot be halved 3 times"):
        einet(depth=3)


@torch.no_grad()
def test_related_variables_come_into_one_region() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(3, (500, 2), generator=generator)
    x = half[:, [0, 1, 0, 1]]  # the first is the third, and the second the fourth
    x[:50] = torch.randint(3, (50, 4), generator=generator)
    model = einet(Integers((4,), 0, 2), depth=1, repetitions=10)
    model.initialise(x)
    together = (model.regions[:, 0] == model.regions[:, 2]).double().mean()
    assert together > 0.5
    assert not all(torch.equal(regions, model.regions[0]) for regions in model.regions)


@torch.no_grad()
def test_no_step_of_em_makes_the_likelihood_less() -> None:
    model = einet(smoothing=0.0)
    x = torch.randint(2, (200, 5), generator=torch.Generator().manual_seed(0))
    x[:, 3] = x[:, 0] ^ x[:, 1]
    model.initialise(x)
    likelihoods = [model.em_step(x).item() for _ in range(60)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(likelihoods))
    assert likelihoods[-1] > likelihoods[0] + 0.3


@torch.no_grad()
def test_em_does_not_depend_on_how_the_data_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randint(2, (50, 5), generator=torch.Generator().manual_seed(0))
    whole, cut = einet(smoothing=1.0), einet(smoothing=1.0)
    whole.em_step(x)
    monkeypatch.setattr("genaisys.models.circuits.circuit._AT_ONCE", 7)
    cut.em_step(x)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[name], tensor)


def test_regions_that_are_none_are_refused(tmp_path: Path) -> None:
    build("einet", Integers((4,), 0, 1), sums=2, depth=1, repetitions=2).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["regions"][0, 0] = 2
    save_file(tensors, file)
    with pytest.raises(NotACircuit, match="regions"):
        load_model(tmp_path)
