"""Circuits put together by hand: the book's examples, what is refused, queries, and why max-product needs more."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from genaisys.models import Integers, Reals
from genaisys.models.circuits.circuit import NotACircuit, max_product
from genaisys.models.circuits.leaves import CategoricalLeaves, IndicatorLeaves, NormalLeaves
from genaisys.models.circuits.sums import expectation, largest, sampled
from genaisys.models.circuits.units import DeterministicCircuit, Leaf, Product, Sum, UnitCircuit
from genaisys.models.mixtures import DiscreteMixture, Factorised, Mixture

FOUR = Integers((4,), 0, 1)


def states(space: Integers) -> Tensor:
    return torch.tensor(list(itertools.product(range(space.low, space.high + 1), repeat=space.dimensions)))


def hierarchical_mixture() -> UnitCircuit:
    """As in figure 2.9: a mixture of products of mixtures, which share units below."""
    torch.manual_seed(0)
    leaves = CategoricalLeaves(FOUR, 2)
    leaf = [[Leaf(leaves, variable, which) for which in range(2)] for variable in range(4)]
    left = [Sum([Product([leaf[0][i], leaf[1][j]]) for i in range(2) for j in range(2)]) for _ in range(2)]
    right = [Sum([Product([leaf[2][0], leaf[3][1]]), Product([leaf[2][1], leaf[3][0]])]) for _ in range(2)]
    root = Sum([Product([left[0], right[0]]), Product([left[0], right[1]]), Product([left[1], right[1]])])
    return UnitCircuit(root).double()


def mixture_of_products(weights: list[float], p: list[list[float]]) -> UnitCircuit:
    """Of one variable."""
    space = Integers((1,), 0, len(p[0]) - 1)
    leaves = CategoricalLeaves(space, len(p))
    root = Sum([Leaf(leaves, 0, which) for which in range(len(p))])
    with torch.no_grad():
        leaves.logits.copy_(torch.tensor([p]).log())
        root.weights.logits.copy_(torch.tensor([weights]).log())
    return UnitCircuit(root).double()


# -- what a circuit is


def test_a_product_of_units_that_share_a_variable_is_refused() -> None:
    leaves = CategoricalLeaves(FOUR, 2)
    with pytest.raises(NotACircuit, match=r"share no variable: these have \[0\], \[0\]"):
        Product([Leaf(leaves, 0, 0), Leaf(leaves, 0, 1)])
    # What would be wrong: with leaves of one for what is missing its root is one, and its values add up to less.
    p = leaves.log_table()[0].exp()
    assert (p[0] * p[1]).sum().item() < 0.99


def test_a_sum_of_units_of_different_variables_is_refused() -> None:
    leaves = CategoricalLeaves(FOUR, 2)
    both = Product([Leaf(leaves, 0, 0), Leaf(leaves, 1, 0)])
    with pytest.raises(NotACircuit, match=r"the same variables: these have \[0, 1\], \[0\]"):
        Sum([both, Leaf(leaves, 0, 1)])
    # What would be wrong: x1 is summed out of one input and not of the other, so that the states add up to more.
    p = leaves.log_table().exp()
    values = 0.5 * p[0, 0][:, None] * p[1, 0] + 0.5 * p[0, 1][:, None]
    assert values.sum().item() == pytest.approx(1.5)


def test_a_circuit_has_all_variables_and_one_layer_of_leaves() -> None:
    leaves, others = CategoricalLeaves(FOUR, 1), CategoricalLeaves(FOUR, 1)
    with pytest.raises(NotACircuit, match=r"all 4 variables"):
        UnitCircuit(Product([Leaf(leaves, 0, 0), Leaf(leaves, 1, 0)]))
    with pytest.raises(NotACircuit, match="one layer"):
        UnitCircuit(Product([Leaf(leaves, 0, 0), *(Leaf(others, variable, 0) for variable in (1, 2, 3))]))


def test_every_unit_has_its_parameters_learned() -> None:
    circuit = hierarchical_mixture()
    assert len(list(circuit.parameters())) == 6  # five sums, and the leaves: shared units count once
    circuit.loss(states(FOUR)).mean().backward()
    for name, parameter in circuit.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, name


# -- queries (sections 2.1.5, 2.4.1 and 2.4.2.2)


@torch.no_grad()
def test_the_states_add_up_to_one() -> None:
    assert hierarchical_mixture().log_prob(states(FOUR)).exp().sum().item() == pytest.approx(1.0)


@torch.no_grad()
def test_the_value_is_that_of_its_formula() -> None:
    torch.manual_seed(0)
    leaves = CategoricalLeaves(Integers((2,), 0, 2), 2)
    root = Sum([Product([Leaf(leaves, 0, 0), Leaf(leaves, 1, 1)]), Product([Leaf(leaves, 0, 1), Leaf(leaves, 1, 0)])])
    circuit = UnitCircuit(root)
    w, p = root.weights().exp()[0], leaves.log_table().exp()
    expected = w[0] * p[0, 0, 2] * p[1, 1, 1] + w[1] * p[0, 1, 2] * p[1, 0, 1]
    torch.testing.assert_close(circuit.log_prob(torch.tensor([[2, 1]]))[0].exp(), expected)


@torch.no_grad()
def test_marginals_take_one_pass() -> None:
    """Figure 2.10: p(x2, x4), the leaves of x1 and x3 being one."""
    circuit = hierarchical_mixture()
    observed = torch.tensor([False, True, False, True])
    x = states(FOUR)
    p = circuit.log_prob(x).exp()
    for row in x:
        same = ((x == row) | ~observed).all(1)
        assert circuit.log_marginal(row[None], observed).exp().item() == pytest.approx(p[same].sum().item())


@torch.no_grad()
def test_a_bayesian_network_with_a_hidden_cause() -> None:
    """Figure 2.2: p(A, C) = sum_B p(C | A, B) p(A) p(B), as a circuit with indicators (book eq. 2.16-2.18)."""
    space = Integers((3,), 0, 1)  # A, B, C
    leaves = IndicatorLeaves(space)
    p_a, p_b, p_c = [0.3, 0.7], [0.6, 0.4], {(0, 0): 0.1, (0, 1): 0.5, (1, 0): 0.8, (1, 1): 0.9}

    def weighted(inputs: list[Product | Leaf], weights: list[float]) -> Sum:
        unit = Sum(inputs)
        unit.weights.logits.copy_(torch.tensor([weights]).log())
        return unit

    def of_c(a: int, b: int) -> Sum:
        return weighted([Leaf(leaves, 2, 0), Leaf(leaves, 2, 1)], [1 - p_c[a, b], p_c[a, b]])

    def of_b(a: int) -> Sum:
        return weighted([Product([Leaf(leaves, 1, b), of_c(a, b)]) for b in range(2)], p_b)

    circuit = DeterministicCircuit(weighted([Product([Leaf(leaves, 0, a), of_b(a)]) for a in range(2)], p_a))
    given = torch.tensor([[1, 0, 1]])
    marginal = circuit.log_marginal(given, torch.tensor([True, False, True])).exp().item()
    assert marginal == pytest.approx(0.7 * (0.6 * 0.8 + 0.4 * 0.9))
    best = circuit.most_probable(given, torch.tensor([False, False, True]))
    assert best.tolist() == [[1, 0, 1]]  # 0.7 * 0.6 * 0.8 is the largest of the four


def test_samples_and_completions_follow_the_circuit() -> None:
    circuit = hierarchical_mixture()
    x = states(FOUR)
    n = 8000
    with torch.no_grad():
        p = circuit.log_prob(x).exp()
    places = torch.tensor([8, 4, 2, 1])
    samples = circuit.sample(n, generator=torch.Generator().manual_seed(0))
    counts = (samples * places).sum(1).bincount(minlength=16)
    assert ((counts - n * p) ** 2 / (n * p)).sum() < 37.7  # chi-square of 15 degrees at 0.1 %

    observed = torch.tensor([False, True, True, False])
    given = torch.tensor([1, 1, 0, 1])
    same = ((x == given) | ~observed).all(1)
    completed = circuit.complete(given.expand(n, 4), observed, generator=torch.Generator().manual_seed(1))
    assert torch.equal(completed[:, 1:3], given.expand(n, 4)[:, 1:3])
    found = (completed * places).sum(1).bincount(minlength=16)[same]
    expected = n * p[same] / p[same].sum()
    assert ((found - expected) ** 2 / expected).sum() < 16.3  # of 3 degrees


@torch.no_grad()
def test_on_real_numbers_it_is_a_density() -> None:
    """A leaf is any distribution of one number: the same sum of products is the mixture of Gaussians."""
    torch.manual_seed(0)
    leaves = NormalLeaves(Reals((2,)), 3, least_std=0.2)
    circuit = UnitCircuit(Sum([Product([Leaf(leaves, 0, k), Leaf(leaves, 1, k)]) for k in range(3)])).double()
    mixture = Mixture(Factorised(leaves)).double()
    mixture.logits.copy_(circuit.weights[0].logits[0])
    x = torch.randn(5, 2, dtype=torch.float64)
    observed = torch.tensor([True, False])
    torch.testing.assert_close(circuit.log_prob(x), mixture.log_prob(x))
    torch.testing.assert_close(circuit.log_marginal(x, observed), mixture.log_marginal(x, observed))
    given = torch.full((20_000, 2), 0.4, dtype=torch.float64)
    samples = circuit.complete(given, observed, generator=torch.Generator().manual_seed(0))
    weights = circuit.weights[0]()[0] + Normal(leaves.mean[0], leaves._variance()[0].sqrt()).log_prob(given[0, 0])
    mean = (weights.softmax(0) * leaves.mean[1]).sum().item()
    assert samples[:, 1].mean().item() == pytest.approx(mean, abs=4 * samples[:, 1].std().item() / math.sqrt(20_000))
    assert (samples[:, 0] == 0.4).all()


# -- three ways to add up


def test_a_backward_pass_tells_the_posterior_of_the_leaves() -> None:
    circuit = hierarchical_mixture()
    x = states(FOUR)
    leaves = circuit.leaves.log_prob(x).detach()
    posterior = circuit.posterior(leaves, expectation)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(16, 4).double())
    for mix in (sampled, largest):
        chosen = circuit.posterior(leaves, mix)
        assert ((chosen == 0) | (chosen == 1)).all()
        torch.testing.assert_close(chosen.sum(-1), torch.ones(16, 4).double())
    torch.manual_seed(0)
    draws = circuit.posterior(leaves[:1].expand(4000, -1, -1), sampled)
    torch.testing.assert_close(draws.mean(0), posterior[0], atol=0.03, rtol=0)


def test_sums_of_impossible_inputs_have_finite_gradients() -> None:
    log_weights = torch.zeros(2, 3, requires_grad=True)
    values = torch.tensor([[0.0, -math.inf, -math.inf], [-math.inf] * 3], requires_grad=True)
    result = expectation(log_weights, values)
    assert result[0].tolist() == [0, 0]
    assert result[1].tolist() == [-math.inf] * 2
    result[0].sum().backward()
    assert log_weights.grad is not None
    assert values.grad is not None
    assert torch.isfinite(log_weights.grad).all()
    assert torch.isfinite(values.grad).all()


# -- the most probable (trap P7)


@torch.no_grad()
def test_max_product_is_not_the_most_probable_of_a_mixture() -> None:
    """Book eq. 2.39-2.40: the maximum of a sum is not the sum of the maxima; nor is it in a smooth circuit."""
    circuit = mixture_of_products([0.4, 0.3, 0.3], [[1, 0, 0], [0, 0.9, 0.1], [0, 0.9, 0.1]])
    p = circuit.log_prob(torch.arange(3)[:, None]).exp()
    torch.testing.assert_close(p, torch.tensor([0.4, 0.54, 0.06]).double())
    found = max_product(circuit, torch.zeros(1, 1), torch.tensor([False]))
    assert found.item() == 0
    assert p.argmax().item() == 1
    assert not hasattr(circuit, "most_probable")


def test_what_is_not_deterministic_is_refused() -> None:
    leaves = CategoricalLeaves(Integers((1,), 0, 2), 2)
    with pytest.raises(NotACircuit, match="deterministic"):
        DeterministicCircuit(Sum([Leaf(leaves, 0, 0), Leaf(leaves, 0, 1)]))
    real = NormalLeaves(Reals((1,)), 1)
    with pytest.raises(NotACircuit, match="integers"):
        DeterministicCircuit(Leaf(real, 0, 0))


@torch.no_grad()
def test_max_product_is_exact_where_sums_are_told_apart() -> None:
    torch.manual_seed(0)
    space = Integers((3,), 0, 2)
    leaves = IndicatorLeaves(space)

    def any_value(variable: int) -> Sum:
        return Sum([Leaf(leaves, variable, value) for value in range(3)])

    inputs = [Product([Leaf(leaves, 0, value), any_value(1), any_value(2)]) for value in range(3)]
    circuit = DeterministicCircuit(Sum(inputs)).double()
    x = states(space)
    p = circuit.log_prob(x)
    for observed in itertools.product([True, False], repeat=3):
        mask = torch.tensor(observed)
        for row in x[::5]:
            best = circuit.most_probable(row[None], mask)
            same = ((x == row) | ~mask).all(1)
            assert circuit.log_prob(best).item() == pytest.approx(p[same].max().item())


# -- learning (section 2.4.2.3)


@torch.no_grad()
def test_em_of_a_circuit_is_em_of_the_mixture_that_it_is() -> None:
    space = Integers((2,), 0, 3)
    x = torch.randint(4, (50, 2), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    mixture = DiscreteMixture(CategoricalLeaves(space, 3, smoothing=2.0)).double()
    leaves = CategoricalLeaves(space, 3, smoothing=2.0).double()
    leaves.load_state_dict(mixture.components.leaves.state_dict())
    circuit = UnitCircuit(Sum([Product([Leaf(leaves, 0, k), Leaf(leaves, 1, k)]) for k in range(3)])).double()
    circuit.weights[0].logits.zero_()
    for _ in range(5):
        torch.testing.assert_close(circuit.em_step(x), mixture.em_step(x))
    torch.testing.assert_close(circuit.log_prob(x), mixture.log_prob(x))


@torch.no_grad()
def test_no_step_of_em_makes_the_likelihood_less() -> None:
    circuit = hierarchical_mixture()
    x = states(FOUR)[torch.tensor([0, 3, 5, 5, 6, 6, 6, 9, 12, 15])]
    likelihoods = [circuit.em_step(x).item() for _ in range(50)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(likelihoods))
    assert likelihoods[-1] > likelihoods[0] + 0.3


def test_em_goes_where_the_gradient_points() -> None:
    """Of n examples the gradient by the root's logits is n times what a step of EM changes its weights by."""
    circuit = hierarchical_mixture()
    x = states(FOUR)[torch.tensor([0, 3, 5, 5, 6, 6, 6, 9, 12, 15])]
    root = circuit.weights[-1]
    (gradient,) = torch.autograd.grad(circuit.log_prob(x).sum(), root.logits)
    before = root().exp()
    circuit.em_step(x)
    torch.testing.assert_close(gradient, len(x) * (root().exp() - before))


@pytest.mark.parametrize("of", [Sum, Product])
def test_units_above_others_have_inputs(of: type[Sum] | type[Product]) -> None:
    with pytest.raises(NotACircuit, match="has one input or more: this one has none"):
        of([])
