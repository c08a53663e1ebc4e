"""Hierarchies of codes: levels, their divergences, and bounds of a likelihood that is known."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from genaisys.models import Integers, Reals, build
from genaisys.models.conditionals import Conditional, Gaussians
from genaisys.models.latent.bottom_up import BottomUpVAE
from genaisys.models.latent.hierarchy import HierarchicalVAE, moved
from genaisys.models.latent.top_down import TopDownVAE

SPACE = Integers((1, 2, 2), 0, 3)
NAMES = ["bottom-up-vae", "top-down-vae", "residual-vae"]


def hierarchy(name: str, **sizes: float) -> HierarchicalVAE:
    torch.manual_seed(0)
    model = build(name, SPACE, width=16, **sizes).eval()
    assert isinstance(model, HierarchicalVAE)
    return model


def some(n: int) -> Tensor:
    return torch.randint(0, 4, (n, 1, 2, 2), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_divergence_of_what_was_moved_is_that_of_the_residual() -> None:
    """``1/2 (d_mu^2 / s^2 + d_s^2 - log d_s^2 - 1)`` (book section 5.5.2.2)."""
    torch.manual_seed(0)
    mean, log_std, d_mean, d_log_std = torch.randn(4, 6, 3).double()
    p = Independent(Normal(mean, log_std.exp()), 1)
    q = moved(p, torch.cat([d_mean, d_log_std], 1))
    d_std = q.stddev / p.stddev  # softly clamped
    expected = (d_mean**2 / (2 * log_std).exp() + d_std**2 - (d_std**2).log() - 1) / 2
    torch.testing.assert_close(kl_divergence(q, p), expected.sum(1))
    extreme = moved(p, torch.cat([d_mean, 1e4 * d_log_std], 1))  # trap H1
    assert torch.isfinite(kl_divergence(extreme, p)).all()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_closed_forms_and_drawn_ratios_have_the_same_mean(name: str) -> None:
    model = hierarchy(name)
    passed = model.passed(some(2).repeat(20_000, 1, 1, 1))
    difference = (passed.kl - passed.log_ratio).view(-1, 2, passed.kl.shape[1])  # [S, 2, T]
    assert (difference.mean(0).abs() <= 5 * difference.std(0) / 20_000**0.5).all()
    assert (passed.kl.mean(0) > 0).all()
    difference = model.loss(some(2).repeat(20_000, 1, 1, 1)).view(-1, 2) + model.log_weights(some(2), 20_000)
    assert (difference.mean(0).abs() <= 5 * difference.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("name", NAMES)
def test_free_nats_are_of_each_level(name: str) -> None:
    model = hierarchy(name, free_nats=100.0)
    x = some(8)
    torch.manual_seed(0)
    loss = model.loss(x)
    torch.manual_seed(0)
    passed = model.passed(x)
    torch.testing.assert_close(loss, 100.0 * passed.kl.shape[1] - passed.log_likelihood)


@pytest.mark.parametrize("name", NAMES)
def test_samples_come_down_without_the_path_up(name: str) -> None:
    model = hierarchy(name)
    before = model.sample(20, generator=torch.Generator().manual_seed(0))
    upward = ("lower_posterior", "upper_posterior", "lower_path", "upper_path", "lower_delta", "upper_delta", "path")
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if part.startswith(upward) or ".up." in part or ".delta." in part:
                parameter.add_(torch.randn_like(parameter))
    assert torch.equal(before, model.sample(20, generator=torch.Generator().manual_seed(0)))


@torch.no_grad()
def test_the_posterior_that_is_not_moved_costs_nothing() -> None:
    model = hierarchy("top-down-vae")
    assert isinstance(model, TopDownVAE)
    for linear in (model.lower_delta, model.upper_delta):
        assert isinstance(linear, nn.Linear)
        linear.weight.zero_()
        linear.bias.zero_()
        linear.bias[len(linear.bias) // 2 :] = 4 * math.atanh(1 / 4) - 1  # where the soft clamp is 0
    kl = model.passed(some(4)).kl
    torch.testing.assert_close(kl, torch.zeros_like(kl), atol=1e-3, rtol=0)


@torch.no_grad()
def test_all_levels_of_a_residual_vae_reach_the_data_and_the_lowest_alone_of_a_ladder() -> None:
    residual = hierarchy("residual-vae", latent=2, levels=3)
    x = some(3)
    codes = residual.encode(x)
    assert codes.shape == (3, 6)
    for first in (0, 2, 4):
        changed = codes.clone()
        changed[:, first : first + 2] += 50.0
        assert not torch.equal(residual.decode(changed), residual.decode(codes))
    assert hierarchy("top-down-vae", lower=5, upper=2).encode(x).shape == (3, 5)


class _Linear(Conditional):
    def __init__(self, weight: Tensor, std: float) -> None:
        super().__init__(nn.Identity(), Reals((len(weight),)))
        self.weight, self.std = nn.Parameter(weight), std

    def forward(self, context: Tensor) -> Distribution:
        mean = context @ self.weight.T
        return Independent(Normal(mean, torch.full_like(mean, self.std)), 1)


@pytest.mark.parametrize("kind", [BottomUpVAE, TopDownVAE])
def test_bounds_of_a_linear_hierarchy_reach_its_likelihood(kind: type[HierarchicalVAE]) -> None:
    """x = A z1 + e, z1 = B z2 + e': then x is Gaussian, and any posterior gives a bound."""
    torch.manual_seed(0)
    a, b = torch.randn(3, 2).double(), 0.5 * torch.randn(2, 1).double()
    prior, decoder = _Linear(b, 0.7), _Linear(a, 0.8)
    if kind is BottomUpVAE:
        last = [nn.Linear(3, 4), nn.Linear(2, 2)]
        lower, upper = (Gaussians(net, Reals((len(net.bias) // 2,))) for net in last)
        model: HierarchicalVAE = BottomUpVAE(Reals((3,)), lower, upper, prior, decoder)
    else:
        last = [nn.Linear(3, 4), nn.Linear(3, 2)]
        model = TopDownVAE(Reals((3,)), nn.Identity(), nn.Linear(3, 3), *last, prior, decoder, latent=1)
    model.double()
    generating = {*prior.parameters(), *decoder.parameters()}
    posterior = [each for each in model.parameters() if each not in generating]
    optimizer = torch.optim.Adam(posterior, 0.02)
    covariance = a @ (b @ b.T + 0.49 * torch.eye(2)) @ a.T + 0.64 * torch.eye(3)
    exact = MultivariateNormal(torch.zeros(3).double(), covariance)
    for each in posterior:
        each.data.mul_(0.1)
    for _ in range(300):  # of the posterior alone: with a bad one no number of samples would do
        optimizer.zero_grad()
        model.loss(exact.sample((100,))).mean().backward()
        optimizer.step()
    for net in last:
        net.bias.data[len(net.bias) // 2 :] += 0.4  # wider: then no weight is far larger than the others
    x = exact.sample((8,))
    expected = exact.log_prob(x)
    with torch.no_grad():
        assert model.log_weights(x, 20_000).mean(0).sub(expected).max() < 0
        torch.testing.assert_close(model.log_prob(x, samples=100_000), expected, atol=0.03, rtol=0)
    samples = model.sample(40_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.T.cov(), covariance, atol=0.15, rtol=0.05)
