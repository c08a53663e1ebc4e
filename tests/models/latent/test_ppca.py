"""Probabilistic PCA in closed form."""

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from genaisys.models import Reals
from genaisys.models.latent.bound import CodeSizeWrong
from genaisys.models.latent.ppca import ProbabilisticPCA


@pytest.fixture
def model() -> ProbabilisticPCA:
    torch.manual_seed(0)
    model = ProbabilisticPCA(Reals((3,)), 1).double()
    with torch.no_grad():
        model.loadings.copy_(torch.tensor([[1.0], [-0.5], [0.3]]))
        model.mean.copy_(torch.tensor([0.2, 0.0, -1.0]))
        model.log_std.fill_(-0.7)
    return model


@torch.no_grad()
def test_the_likelihood_is_the_integral_over_codes(model: ProbabilisticPCA) -> None:
    x = torch.randn(5, 3).double()
    z = torch.linspace(-8, 8, 4001, dtype=torch.double)
    p = Normal(z[:, None] @ model.loadings.T + model.mean, model.log_std.exp())  # [Z, 3]
    joint = p.log_prob(x[:, None]).sum(-1) + Normal(0.0, 1.0).log_prob(z)  # [B, Z]
    evidence = (joint.exp().sum(1) * (z[1] - z[0])).log()
    torch.testing.assert_close(model.log_prob(x), evidence)
    posterior = joint.softmax(1)
    mean = (posterior * z).sum(1)
    q = model.posterior_of(x)
    torch.testing.assert_close(q.mean[:, 0], mean)
    torch.testing.assert_close(q.variance[:, 0], (posterior * (z - mean[:, None]) ** 2).sum(1))


@torch.no_grad()
def test_the_covariance_of_the_posterior_is_not_the_one_printed_in_the_book(model: ProbabilisticPCA) -> None:
    """Trap V2: eq. 5.7 gives s^-2 M, the precision."""
    variance = (2 * model.log_std).exp()
    m = model.loadings.T @ model.loadings + variance * torch.eye(1)
    found = model.posterior_of(torch.zeros(1, 3)).covariance_matrix[0]
    torch.testing.assert_close(found, variance * m.inverse())
    assert not torch.allclose(found, m / variance)


def test_the_closed_form_is_the_maximum_of_the_likelihood() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 4).double() @ torch.randn(4, 4).double() + torch.randn(4)
    model = ProbabilisticPCA(Reals((4,)), 2).double()
    model.fit_closed_form(x)
    loss = model.loss(x).mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, torch.zeros_like(parameter), atol=1e-6, rtol=0, msg=name)
    for parameter in model.parameters():
        with torch.no_grad():
            before = parameter.clone()
            for _ in range(5):
                parameter.copy_(before + 0.05 * torch.randn_like(before))
                assert model.loss(x).mean() > loss
            parameter.copy_(before)


def test_it_finds_the_model_that_made_the_data(model: ProbabilisticPCA) -> None:
    x = model.sample(50_000, generator=torch.Generator().manual_seed(0))
    found = ProbabilisticPCA(Reals((3,)), 1).double()
    found.fit_closed_form(x)
    with torch.no_grad():
        torch.testing.assert_close(found.mean, model.mean, atol=0.03, rtol=0)
        torch.testing.assert_close(found.log_std, model.log_std, atol=0.01, rtol=0)
        torch.testing.assert_close(
            found.loadings @ found.loadings.T, model.loadings @ model.loadings.T, atol=0.03, rtol=0
        )


@torch.no_grad()
def test_with_one_code_fewer_than_dimensions_it_is_the_full_gaussian() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 2).double() @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]).double()
    model = ProbabilisticPCA(Reals((2,)), 1).double()
    model.fit_closed_form(x)
    full = MultivariateNormal(x.mean(0), x.T.cov(correction=0))
    torch.testing.assert_close(model.log_prob(x), full.log_prob(x))


@torch.no_grad()
def test_codes_shrink_towards_the_mean(model: ProbabilisticPCA) -> None:
    z = torch.tensor([[2.0]]).double()
    share = model.loadings.square().sum() / (model.loadings.square().sum() + (2 * model.log_std).exp())
    torch.testing.assert_close(model.encode(model.decode(z)), share * z)


def test_codes_must_be_smaller_than_data() -> None:
    for latent in (0, 3):
        with pytest.raises(CodeSizeWrong, match="1 to 2"):
            ProbabilisticPCA(Reals((3,)), latent)
