"""Mixtures: their formulas, EM, and what the book's listing 2.1 gets wrong."""

import itertools
import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from genaisys.models import Integers, Reals, build
from genaisys.models.circuits.leaves import CategoricalLeaves, NormalLeaves
from genaisys.models.factorised import FactorisedCategorical
from genaisys.models.mixtures import DiscreteMixture, Factorised, GaussianComponents, Mixture, gaussian_mixture


def mixture(name: str, space: Integers | Reals, **sizes: object) -> Mixture:
    torch.manual_seed(0)
    model = build(name, space, **sizes)
    assert isinstance(model, Mixture)
    return model.double()


def half_moons(n: int = 300) -> Tensor:
    angle = torch.rand(n, generator=torch.Generator().manual_seed(0)) * math.pi
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    noise = 0.1 * torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    return (torch.where(torch.arange(n)[:, None] % 2 == 0, upper, lower) + noise).double()


def pixels(n: int = 200) -> Tensor:
    """Two kinds of rows of five numbers from 0 to 4, the last of which is always 0."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(2, (n, 1), generator=generator)
    x = torch.where(kind == 0, 3, 1) + torch.randint(-1, 2, (n, 5), generator=generator)
    x[:, 4] = 0
    return x


ROW = Integers((5,), 0, 4)
PLANE = Reals((2,))
KINDS: dict[str, tuple[Callable[[], Mixture], Callable[[], Tensor]]] = {
    "categorical": (lambda: mixture("mixture", ROW, components=3, smoothing=0.0), pixels),
    "diagonal": (lambda: mixture("mixture-gaussian", PLANE, components=4, least_std=0.02), half_moons),
    "full": (
        lambda: mixture("mixture-gaussian", PLANE, components=4, covariance="full", least_std=0.02),
        half_moons,
    ),
    "rounded": (lambda: mixture("mixture-gaussian", ROW, components=3), pixels),
    "uniform weights": (lambda: mixture("mixture", ROW, components=3, smoothing=0.0, weights="uniform"), pixels),
}


# -- section 2.1: single distributions, and what their likelihood is


def test_one_component_of_full_covariance_is_the_gaussian_distribution() -> None:
    model = mixture("mixture-gaussian", Reals((3,)), components=1, covariance="full", least_std=0.2)
    components = model.components
    assert isinstance(components, GaussianComponents)
    with torch.no_grad():
        components.factor.normal_()
        covariance = components.factor[0] @ components.factor[0].T + 0.2**2 * torch.eye(3)
    x = torch.randn(10, 3, dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(x), MultivariateNormal(components.mean[0], covariance).log_prob(x))


def test_two_levels_make_bernoulli_distributions() -> None:
    space = Integers((4,), 0, 1)
    single = FactorisedCategorical(space)
    torch.nn.init.normal_(single.logits)
    p = single.logits.softmax(-1)[..., 1]
    x = torch.randint(2, (6, 4))
    torch.testing.assert_close(single.log_prob(x), Bernoulli(p).log_prob(x.float()).sum(1))

    model = mixture("mixture", space, components=3)
    table = model.components.leaves.log_table().exp()[..., 1].T  # [K, D]
    weights = model.logits.softmax(0)
    expected = (weights * Bernoulli(table).log_prob(x.double()[:, None]).sum(-1).exp()).sum(1)
    torch.testing.assert_close(model.log_prob(x).exp(), expected)


@torch.no_grad()
def test_maximum_likelihood_is_the_least_divergence_from_the_data() -> None:
    x = pixels(50)
    values, counts = x.unique(dim=0, return_counts=True)
    p_data = counts / counts.sum()
    model = FactorisedCategorical(ROW).double()
    model.fit_counts(x, smoothing=0.0)

    def divergence() -> float:
        return (p_data * (p_data.log() - model.log_prob(values))).sum().item()

    entropy = -(p_data * p_data.log()).sum().item()
    least = divergence()
    assert least >= 0
    assert model.loss(x).mean().item() == pytest.approx(least + entropy)  # they differ by a constant
    model.logits.add_(0.1 * torch.randn(model.logits.shape))
    assert divergence() > least


# -- section 2.3: mixtures


def test_the_weights_of_cats() -> None:
    """Figure 2.4: two normal distributions of one number, and the density that is left when sex is summed out."""
    model = mixture("mixture-gaussian", Reals((1,)), components=2, least_std=0.01)
    components = model.components
    assert isinstance(components, Factorised)
    leaves = components.leaves
    assert isinstance(leaves, NormalLeaves)
    means, stds, w = torch.tensor([3.5, 5.0]).double(), torch.tensor([0.4, 0.6]).double(), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        leaves.mean.copy_(means)
        leaves.log_variance.copy_((stds**2 - 0.01**2).log())
        model.logits.copy_(w.log())
    x = torch.linspace(0, 10, 2001, dtype=torch.float64)
    density = model.log_prob(x[:, None]).exp()
    torch.testing.assert_close(density, (w * Normal(means, stds).log_prob(x[:, None]).exp()).sum(1))
    assert torch.trapezoid(density, x).item() == pytest.approx(1.0, abs=1e-6)
    responsibilities = model.responsibilities(torch.tensor([[3.0]]).double())[0]
    assert responsibilities.sum().item() == pytest.approx(1)
    by_bayes = w * Normal(means, stds).log_prob(torch.tensor(3.0)).exp()
    torch.testing.assert_close(responsibilities, by_bayes / by_bayes.sum())


def test_likelihoods_far_below_what_exp_can_hold_are_finite() -> None:
    """Section 2.3.2: the sum of exponentials is zero there, and its logarithm minus infinity."""
    model = gaussian_mixture(Reals((50,)), components=3)
    x = torch.full((1, 50), 30.0)
    inside = torch.stack([Normal(0.0, 1.0).log_prob(x).sum()] * 3)
    assert inside.exp().sum().log().item() == -math.inf
    log_prob = model.log_prob(x)
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_a_dead_component_leaves_the_gradient_finite() -> None:
    """Trap P1: listing 2.1 takes the logarithm of a softmax, which is minus infinity for a weight of zero."""
    model = gaussian_mixture(PLANE, components=2)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.0, -200.0]))
    x = torch.randn(5, 2)
    model.loss(x).mean().backward()
    assert model.logits.grad is not None
    assert torch.isfinite(model.logits.grad).all()

    logits = model.logits.detach().clone().requires_grad_()
    log_weights = torch.log(torch.softmax(logits, 0))
    assert log_weights[1].item() == -math.inf
    log_weights.sum().backward()
    assert logits.grad is not None
    assert torch.isnan(logits.grad).any()


@torch.no_grad()
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_no_component_collapses_onto_a_point(covariance: str) -> None:
    """Trap P2: a pixel that never changes makes the likelihood of listing 2.1 grow without bound."""
    x = torch.cat([half_moons(60), torch.zeros(60, 1)], 1)
    model = mixture("mixture-gaussian", Reals((3,)), components=3, covariance=covariance, least_std=0.05)
    model.initialise(x)
    for _ in range(50):
        model.em_step(x)
    most = -3 / 2 * math.log(2 * math.pi * 0.05**2)
    assert model.log_prob(x).max() <= most
    assert model.log_prob(x).mean() > -2

    def listing(log_var: float) -> Tensor:
        """log_diag_normal of a component at the pixel's value."""
        return -0.5 * (math.log(2 * math.pi) + log_var + math.exp(-log_var) * x[:, 2] ** 2)

    assert listing(-500.0).mean() > most + 200


@torch.no_grad()
@pytest.mark.parametrize(("std", "least_std"), [(1000.0, 0.1), (10.0, 1e-3)])
def test_single_precision_does_not_lose_the_least_variance(std: float, least_std: float) -> None:
    """Trap P2 again: data all but on a line, so far apart that the guard is below the rounding of their covariance."""
    torch.manual_seed(0)
    along = std * torch.randn(200, 1)
    x = along * torch.tensor([[1.0, 1.0, -1.0]]) + 0.3 * least_std * torch.randn(200, 3)
    model = build("mixture-gaussian", Reals((3,)), components=2, covariance="full", least_std=least_std)
    assert isinstance(model, Mixture)
    model.initialise(x)
    likelihoods = [model.em_step(x).item() for _ in range(5)]
    assert all(after >= before - 1e-3 for before, after in itertools.pairwise(likelihoods))
    # Across the line are two directions of the least variance, along it is one of the data's.
    across = -math.log(2 * math.pi * least_std**2)
    assert likelihoods[-1] == pytest.approx(across - math.log(std * math.sqrt(3)) - 2, abs=1)
    exact = deepcopy(model).double()
    torch.testing.assert_close(model.log_prob(x).double(), exact.log_prob(x.double()), atol=0.05, rtol=0)
    completed = model.complete(x, torch.tensor([True, True, False]), generator=torch.Generator().manual_seed(0))
    assert (completed[:, 2] + x[:, :2].mean(1)).std().item() == pytest.approx(1.25 * least_std, rel=0.2)


def test_one_sample_and_none() -> None:
    """Trap P3: listing 2.1 squeezes the numbers of the components, and of one sample no axis is left to go over."""
    for make, _ in KINDS.values():
        model = make()
        assert model.sample(1).shape == (1, *model.space.shape)
        assert model.sample(0).shape == (0, *model.space.shape)
    numbers = torch.multinomial(torch.ones(3), 1, replacement=True).squeeze()
    with pytest.raises(TypeError):
        list(numbers)


@torch.no_grad()
def test_a_beginning_from_the_data_knows_their_units() -> None:
    """Trap P5: listing 2.1 begins with means near 0.5 and log-variances of -3, whatever the data are."""
    x = half_moons()
    losses = []
    for scale, shift in [(1.0, 0.0), (100.0, 5000.0)]:
        model = mixture("mixture-gaussian", PLANE, components=5, least_std=0.01 * scale)
        torch.manual_seed(1)
        model.initialise(scale * x + shift)
        losses.append(model.loss(scale * x + shift).mean().item() - 2 * math.log(scale))
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    listing = Normal(0.5, math.exp(-3 / 2)).log_prob(100 * x + 5000).sum(1)
    assert -listing.mean() > 1e6


def test_uniform_weights_are_the_same_and_stay_so() -> None:
    model = mixture("mixture", ROW, components=3, weights="uniform")
    assert not isinstance(model.logits, torch.nn.Parameter)
    assert "logits" in model.state_dict()  # so that it goes where the model goes (trap G5)
    model.initialise(pixels())
    model.em_step(pixels())
    torch.testing.assert_close(model.logits.softmax(0), torch.full((3,), 1 / 3).double())


def test_full_covariances_are_of_real_numbers_only() -> None:
    with pytest.raises(ValueError, match="diagonal"):
        build("mixture-gaussian", ROW, covariance="full")
    with pytest.raises(ValueError, match="diagonal"):
        build("mixture-gaussian", PLANE, covariance="spherical")


# -- EM (sections 2.3.3 and 2.3.4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_no_step_of_em_makes_the_likelihood_less(kind: str) -> None:
    make, data = KINDS[kind]
    model, x = make(), data()
    model.initialise(x)
    likelihoods = [model.em_step(x).item() for _ in range(40)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(likelihoods))
    assert likelihoods[-1] > likelihoods[0] + 0.01
    assert model.em_step(x).item() == pytest.approx(model.log_prob(x).mean().item(), abs=0.01)


@torch.no_grad()
def test_no_step_of_em_makes_likelihood_and_prior_together_less() -> None:
    x, smoothing = pixels(), 5.0
    model = mixture("mixture", ROW, components=4, smoothing=smoothing)
    counts = torch.stack([(x == value).sum(0) for value in range(5)], 1) + 1.0  # [D, V]
    prior = smoothing * counts / counts.sum(1, keepdim=True)
    model.initialise(x)

    def posterior() -> float:
        table = model.components.leaves.log_table()  # [D, K, V]
        return (model.log_prob(x).sum() + (prior[:, None] * table).sum()).item()

    before = posterior()
    for _ in range(30):
        model.em_step(x)
        after = posterior()
        assert after >= before - 1e-8
        before = after


@pytest.mark.parametrize("kind", ["diagonal", "full", "rounded"])
def test_where_em_ends_the_gradient_is_zero(kind: str) -> None:
    make, data = KINDS[kind]
    model, x = make(), data().clone()
    if kind == "rounded":
        x[:, 4] = torch.arange(len(x)) % 5  # a pixel without variance drives its mean away for ever
    model.initialise(x)
    for _ in range(1000):
        model.em_step(x)
    model.loss(x).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-4, name


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@torch.no_grad()
def test_a_step_is_that_of_scikit_learn(covariance: str) -> None:
    x = half_moons()
    means = x[:3]
    model = mixture("mixture-gaussian", PLANE, components=3, covariance=covariance, least_std=1e-4)
    components = model.components
    if isinstance(components, GaussianComponents):
        components.mean.copy_(means)
        components.factor.copy_(torch.eye(2) * 0.5)
        precisions = np.stack([np.eye(2) / (0.25 + 1e-8)] * 3)
    else:
        assert isinstance(components, Factorised)
        assert isinstance(components.leaves, NormalLeaves)
        components.leaves.mean.copy_(means.T)
        components.leaves.log_variance.fill_(math.log(0.25))
        precisions = np.full((3, 2), 1 / (0.25 + 1e-8))
    peer = GaussianMixture(
        3,
        covariance_type="full" if covariance == "full" else "diag",
        reg_covar=0,
        max_iter=1,
        means_init=means.numpy(),
        precisions_init=precisions,
        weights_init=np.full(3, 1 / 3),
    )
    with pytest.warns(ConvergenceWarning):
        peer.fit(x.numpy())
    model.em_step(x)
    torch.testing.assert_close(model.logits.softmax(0), torch.from_numpy(peer.weights_))
    torch.testing.assert_close(model.log_prob(x), torch.from_numpy(peer.score_samples(x.numpy())), atol=1e-5, rtol=1e-5)


def test_by_gradient_it_learns_the_half_moons() -> None:
    """Section 2.3.3: the loss of every example, differentiable, which listing 2.1 has not (trap P4)."""
    x = half_moons()
    model = mixture("mixture-gaussian", PLANE, components=12, least_std=0.05)
    single = -MultivariateNormal(x.mean(0), x.T.cov()).log_prob(x).mean().item()
    model.initialise(x)
    with torch.no_grad():
        before = model.loss(x).mean().item()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = model.loss(x).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < before - 0.05
    assert loss.item() < single - 0.4


# -- queries on real numbers


@torch.no_grad()
def test_parts_of_a_gaussian_are_gaussian() -> None:
    model = mixture("mixture-gaussian", Reals((3,)), components=1, covariance="full", least_std=0.3)
    components = model.components
    assert isinstance(components, GaussianComponents)
    components.factor.normal_()
    mean = components.mean[0]
    covariance = components.factor[0] @ components.factor[0].T + 0.3**2 * torch.eye(3)
    x = torch.randn(4, 3, dtype=torch.float64)
    observed = torch.tensor([True, False, True])
    o, m = [0, 2], [1]
    part = MultivariateNormal(mean[o], covariance[o][:, o])
    torch.testing.assert_close(model.log_marginal(x, observed), part.log_prob(x[:, o]))
    masks = torch.tensor([[True, False, True], [True, True, True], [False] * 3, [False, True, False]])
    expected = [part.log_prob(x[0, o]), MultivariateNormal(mean, covariance).log_prob(x[1]), torch.zeros(()).double()]
    torch.testing.assert_close(model.log_marginal(x, masks)[:3], torch.stack(expected))

    n = 20_000
    completed = model.complete(x[:1].expand(n, -1), observed, generator=torch.Generator().manual_seed(0))
    assert torch.equal(completed[:, o], x[:1, o].expand(n, -1))
    gain = covariance[m][:, o] @ covariance[o][:, o].inverse()
    std = (covariance[m][:, m] - gain @ covariance[o][:, m]).sqrt().item()
    assert completed[:, 1].mean().item() == pytest.approx(
        (mean[1] + gain @ (x[0, o] - mean[o])).item(), abs=4 * std / 141
    )
    assert completed[:, 1].std().item() == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@torch.no_grad()
def test_completions_on_the_plane_follow_the_conditional(covariance: str) -> None:
    model = mixture("mixture-gaussian", PLANE, components=3, covariance=covariance)
    model.initialise(half_moons())
    given = torch.tensor([0.3, 0.0]).double()
    observed = torch.tensor([True, False])
    axis = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    line = torch.stack([torch.full_like(axis, 0.3), axis], 1)
    joint = model.log_prob(line).exp()
    assert torch.trapezoid(joint, axis).log().item() == pytest.approx(model.log_marginal(given[None], observed).item())
    n = 20_000
    completed = model.complete(given.expand(n, 2), observed, generator=torch.Generator().manual_seed(0))[:, 1]
    cdf = torch.cumulative_trapezoid(joint, axis) / torch.trapezoid(joint, axis)
    empirical = (completed[:, None] < torch.linspace(-1, 1.5, 20).double()).double().mean(0)
    exact = torch.from_numpy(np.interp(np.linspace(-1, 1.5, 20), axis[1:].numpy(), cdf.numpy()))
    assert (empirical - exact).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov at 0.1 %


@torch.no_grad()
def test_conditionals_multiply_to_the_joint() -> None:
    model = mixture("mixture", ROW, components=3)
    assert isinstance(model, DiscreteMixture)
    x = pixels(7)
    steps = model.conditionals(7)
    log_probs, total = next(steps), torch.zeros(7).double()
    for variable in range(5):
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(7).double())
        total += log_probs.gather(1, x[:, variable, None])[:, 0]
        if variable < 4:
            log_probs = steps.send(x[:, variable])
    torch.testing.assert_close(total, model.log_prob(x))


@torch.no_grad()
def test_there_may_be_more_components_than_data() -> None:
    model, x = mixture("mixture", ROW, components=9), pixels(5)
    model.initialise(x)
    for _ in range(5):
        model.em_step(x)
    assert torch.isfinite(model.log_prob(x)).all()


def test_leaves_of_smoothing_have_seen_everything() -> None:
    leaves = CategoricalLeaves(ROW, 2, smoothing=1.0).double()
    x = torch.zeros(10, 5, dtype=torch.int64)
    leaves.maximise(leaves.statistics(x, torch.ones(10, 5, 2).double()))
    p = leaves.log_table().exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(5, 2).double())
    torch.testing.assert_close(p[0, 0, 1].item(), (1 / 25) / 11)  # of 11 counts, a 25th of one: all saw 20, and 1 each


def test_weights_that_are_neither_learned_nor_uniform_are_refused() -> None:
    with pytest.raises(ValueError, match="weights are 'learned' or 'uniform', not 'foo'"):
        build("mixture", Integers((2,), 0, 1), weights="foo")
