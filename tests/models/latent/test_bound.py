"""Bounds against what is known exactly: a linear VAE is probabilistic PCA."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from genaisys.models import Reals
from genaisys.models.conditionals import Conditional
from genaisys.models.latent import bound
from genaisys.models.latent.bound import LatentVariableModel, WarmUp, at_least
from genaisys.models.latent.diagnostics import prior_log_prob
from genaisys.models.latent.ppca import ProbabilisticPCA
from genaisys.models.latent.priors import StandardNormalPrior
from genaisys.models.latent.vae import VAE


class Linear(Conditional):
    """``N(W c + b, s^2)``"""

    def __init__(self, weight: Tensor, bias: Tensor, std: Tensor) -> None:
        super().__init__(nn.Identity(), Reals(tuple(bias.shape)))
        self.weight, self.bias, self.std = nn.Parameter(weight), nn.Parameter(bias), nn.Parameter(std)

    def forward(self, context: Tensor) -> Distribution:
        mean = context @ self.weight.T + self.bias
        return Independent(Normal(mean, self.std.expand_as(mean)), 1)


@pytest.fixture
def exact() -> ProbabilisticPCA:
    torch.manual_seed(0)
    model = ProbabilisticPCA(Reals((3,)), 2).double()
    with torch.no_grad():
        # Orthogonal columns: then the true posterior is a Gaussian with independent dimensions.
        model.loadings.copy_(torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.0, 1.0]]))
        model.mean.copy_(torch.tensor([0.5, 0.0, -0.5]))
        model.log_std.fill_(-0.4)
    return model


def linear_vae(exact: ProbabilisticPCA, error: float) -> VAE:
    """The same model, with a posterior that is wrong by ``error``."""
    w, b, s = exact.loadings.detach(), exact.mean.detach(), exact.log_std.detach().exp()
    covariance = s**2 * (w.T @ w + s**2 * torch.eye(2)).inverse()
    to_mean = covariance @ w.T / s**2
    posterior = Linear(to_mean * (1 + error), -to_mean @ b, (covariance.diagonal() * (1 + error)).sqrt())
    return VAE(Reals((3,)), posterior, Linear(w, b, s), StandardNormalPrior(2).double())


@torch.no_grad()
def test_with_the_true_posterior_one_sample_is_exact(exact: ProbabilisticPCA) -> None:
    x = exact.sample(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(linear_vae(exact, 0.0).log_prob(x), exact.log_prob(x))


@torch.no_grad()
def test_the_elbo_is_below_the_importance_weighted_bounds_and_these_below_the_likelihood(
    exact: ProbabilisticPCA,
) -> None:
    torch.manual_seed(0)
    x = exact.sample(20, generator=torch.Generator().manual_seed(0))
    vae = linear_vae(exact, 0.4)
    log_w = vae.log_weights(x, 102_400)
    values = [(log_w.view(-1, k, 20).logsumexp(1) - math.log(k)).mean().item() for k in (1, 4, 16, 256)]
    values.append(exact.log_prob(x).mean().item())
    assert values == sorted(values)
    assert values[1] - values[0] > 0.1
    assert values[4] - values[3] < 0.01


@torch.no_grad()
def test_the_gap_is_the_divergence_from_the_true_posterior(exact: ProbabilisticPCA) -> None:
    """Book eq. 5.25, in closed form on both sides."""
    x = exact.sample(6, generator=torch.Generator().manual_seed(0))
    vae = linear_vae(exact, 0.3)
    q = vae.posterior_of(x)
    w, b, s = exact.loadings, exact.mean, exact.log_std.exp()
    errors = ((x - q.mean @ w.T - b) ** 2).sum(1) + (q.variance @ (w**2).T).sum(1)
    reconstruction = -errors / (2 * s**2) - 3 * (s.log() + math.log(2 * math.pi) / 2)
    elbo = reconstruction - kl_divergence(q, vae.prior(vae.posterior))
    p = exact.posterior_of(x)
    true = Independent(Normal(p.mean, p.variance.sqrt()), 1)  # its covariance is diagonal here
    torch.testing.assert_close(exact.log_prob(x) - elbo, kl_divergence(q, true))
    torch.manual_seed(0)
    torch.testing.assert_close(vae.log_weights(x, 100_000).mean(0), elbo, atol=0.02, rtol=0)


@torch.no_grad()
def test_the_loss_has_the_mean_of_the_negative_bound(exact: ProbabilisticPCA) -> None:
    """Trap V1: with the sign of eq. 5.31 it would have another."""
    torch.manual_seed(0)
    x = exact.sample(6, generator=torch.Generator().manual_seed(0))
    vae = linear_vae(exact, 0.3)
    losses = vae.loss(x.repeat(20_000, 1)).view(-1, 6)
    torch.testing.assert_close(losses.mean(0), -vae.log_weights(x, 20_000).mean(0), atol=0.04, rtol=0)


@torch.no_grad()
def test_codes_of_the_prior_give_the_likelihood_too(exact: ProbabilisticPCA) -> None:
    torch.manual_seed(0)
    x = exact.sample(6, generator=torch.Generator().manual_seed(0))
    found = prior_log_prob(linear_vae(exact, 0.5), x, samples=100_000)
    torch.testing.assert_close(found, exact.log_prob(x), atol=0.05, rtol=0)


@torch.no_grad()
def test_beta_weighs_the_divergence_alone(exact: ProbabilisticPCA) -> None:
    x = exact.sample(6, generator=torch.Generator().manual_seed(0))
    vae = linear_vae(exact, 0.3)
    losses = []
    for beta in (0.0, 1.0, 4.0):
        vae.beta = beta
        torch.manual_seed(0)
        losses.append(vae.loss(x))
    kl = kl_divergence(vae.posterior_of(x), vae.prior(vae.posterior))
    torch.testing.assert_close(losses[1] - losses[0], kl)
    torch.testing.assert_close(losses[2] - losses[0], 4 * kl)


def test_free_nats_take_the_gradient_of_a_small_divergence_away() -> None:
    for free, gradient in ((2.0, 0.0), (1.0, 0.25)):
        kl = torch.tensor([0.5, 1.0, 1.5, 3.0], requires_grad=True)  # their mean is 1.5
        loss = at_least(kl, free).mean()
        assert loss.item() == max(free, 1.5)
        if gradient:
            loss.backward()
            assert torch.equal(kl.grad, torch.full((4,), gradient))
        else:
            assert loss.item() == 2.0
            assert torch.autograd.grad(loss, kl, allow_unused=True)[0].abs().sum() == 0


def test_the_weight_of_divergences_grows_in_training_alone() -> None:
    warmup = WarmUp(4)
    assert [warmup() for _ in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    warmup = WarmUp(4).eval()
    assert [warmup(), warmup()] == [1.0, 1.0]
    assert WarmUp(0)() == 1.0


class _Counted(LatentVariableModel):
    """Its weights are known: 1, 2, 3 …, in chunks of whatever size."""

    def __init__(self) -> None:
        super().__init__()
        self.space, self.drawn, self.calls = Reals((1,)), 0, 0

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        first, self.drawn, self.calls = self.drawn, self.drawn + samples, self.calls + 1
        return torch.arange(first + 1, first + samples + 1).double().log()[:, None].expand(-1, len(x))

    def loss(self, x: Tensor, *, condition: object = None) -> Tensor:
        raise NotImplementedError

    _sample = loss


@pytest.mark.parametrize("samples", [1, 5, 12])
def test_the_mean_of_weights_is_over_all_chunks(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "_AT_ONCE", 6)
    model = _Counted()
    found = model.log_prob(torch.zeros(2, 1), samples=samples)
    assert model.calls == math.ceil(samples / 3)
    torch.testing.assert_close(found.exp(), torch.full((2,), (samples + 1) / 2).double())
