"""Priors: densities that integrate to one, and samplers that agree with them."""

import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Normal

from genaisys.models import Integers, Reals, build
from genaisys.models.conditionals import Gaussians
from genaisys.models.latent.autoregressive_prior import AutoregressivePrior
from genaisys.models.latent.flow_prior import FlowPrior, ReversingCoupling, coupling_flow
from genaisys.models.latent.presets import PRIORS, NoSuchPart
from genaisys.models.latent.priors import GenerativeTopographicMapping, MixtureOfGaussians
from genaisys.models.latent.vampprior import GTMVampPrior, VampPrior

SPACE = Integers((1, 2, 2), 0, 4)


def posterior() -> Gaussians:
    torch.manual_seed(1)
    return Gaussians(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), Reals((2,)))


def distribution(name: str) -> Distribution:
    torch.manual_seed(0)
    prior = PRIORS[name](SPACE, 2, 4)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return prior(posterior())


@pytest.mark.parametrize("name", PRIORS)
@torch.no_grad()
def test_it_integrates_to_one_and_its_sampler_agrees(name: str) -> None:
    p = distribution(name)
    axis = torch.linspace(-10, 10, 401)
    points = torch.cartesian_prod(axis, axis)
    area = ((axis[1] - axis[0]) ** 2).item()
    weights = p.log_prob(points).exp() * area
    assert weights.sum().item() == pytest.approx(1.0, abs=2e-3)
    z = p.sample((40_000,))
    assert z.shape == (40_000, 2)
    assert p.sample((0,)).shape == (0, 2)
    for function in (lambda z: z[:, 0], lambda z: z[:, 1], lambda z: z.prod(1), lambda z: z.sin().sum(1)):
        values = function(z)
        error = (values.mean() - (weights * function(points)).sum()).abs()
        assert error < 4 * values.std() / len(z) ** 0.5 + 0.005
    # The share of samples that fall where the density is high.
    high = weights / area > 0.03
    column = ((z + 10) / 20 * 400).round().long().clamp(0, 400)
    share = high.view(401, 401)[column[:, 0], column[:, 1]].float().mean().item()
    assert share == pytest.approx(weights[high].sum().item(), abs=0.02)


@torch.no_grad()
def test_a_mixture_is_not_a_product_of_mixtures() -> None:
    """Trap V5: listings 5.7-5.10 sum over components in each dimension, which makes ghosts at the other corners."""
    prior = MixtureOfGaussians(2, 2)
    prior.means.copy_(torch.tensor([[-2.0, -2.0], [2.0, 2.0]]))
    prior.log_stds.fill_(-0.7)
    p = prior(nn.Identity())
    ghost, mode = torch.tensor([-2.0, 2.0]), torch.tensor([2.0, 2.0])
    per_dimension = torch.stack(
        [Normal(m, s.exp()).log_prob(ghost) for m, s in zip(prior.means, prior.log_stds, strict=True)]
    )
    listing = (per_dimension + torch.tensor(0.5).log()).logsumexp(0).sum()
    assert p.log_prob(ghost) < p.log_prob(mode) - 15
    assert listing > p.log_prob(ghost) + 15
    assert (p.sample((1000,)).prod(1) > 0).float().mean() > 0.99


@torch.no_grad()
def test_samples_have_the_standard_deviation_and_not_the_variance() -> None:
    """Trap V4."""
    prior = MixtureOfGaussians(3, 1)
    prior.log_stds.fill_(-1.0)
    torch.manual_seed(0)
    std = prior(nn.Identity()).sample((20_000,)).std(0)
    torch.testing.assert_close(std, torch.full((3,), -1.0).exp(), atol=0, rtol=0.07)


@torch.no_grad()
def test_a_vampprior_is_the_mean_of_posteriors_of_its_inputs() -> None:
    torch.manual_seed(0)
    q, prior = posterior(), VampPrior(SPACE, 5, weighted=False)
    z = torch.randn(7, 2)
    expected = torch.stack([q(u[None]).log_prob(z) for u in prior.pseudo_inputs()]).exp().mean(0)
    torch.testing.assert_close(prior(q).log_prob(z).exp(), expected)
    assert [name for name, _ in prior.named_parameters()] == ["inputs"]


@torch.no_grad()
def test_weights_of_a_vampprior_are_learned_if_wanted() -> None:
    torch.manual_seed(0)
    q, prior = posterior(), VampPrior(SPACE, 2)
    prior.logits.copy_(torch.tensor([0.8, 0.2]).log())
    z = torch.randn(7, 2)
    first, second = (q(u[None]).log_prob(z).exp() for u in prior.pseudo_inputs())
    torch.testing.assert_close(prior(q).log_prob(z).exp(), 0.8 * first + 0.2 * second)


@torch.no_grad()
def test_pseudo_inputs_stay_in_the_range_of_the_data() -> None:
    """Trap V9."""
    prior = VampPrior(SPACE, 3)
    prior.inputs.mul_(100)
    assert prior.pseudo_inputs().abs().max() <= 1
    x = torch.randint(0, 5, (8, 1, 2, 2))
    prior.begin_with(x)
    torch.testing.assert_close(prior.pseudo_inputs(), 0.95 * SPACE.scaled(x[:3]))
    gtm = GTMVampPrior(SPACE, nn.Linear(2, 4), 3)
    gtm.net.weight.mul_(100)
    assert gtm.pseudo_inputs().shape == (9, 1, 2, 2)
    assert gtm.pseudo_inputs().abs().max() <= 1
    reals = VampPrior(Reals((2,)), 3)
    reals.begin_with(5 * torch.ones(3, 2))
    assert torch.equal(reals.pseudo_inputs(), 5 * torch.ones(3, 2))


@pytest.mark.parametrize("prior", ["vamp", "gtm-vamp"])
def test_the_encoder_is_trained_and_stored_once(prior: str) -> None:
    """Trap V6."""
    plain, model = (build("vae", SPACE, latent=2, width=8, prior=name, components=4) for name in ("standard", prior))
    new = model.state_dict().keys() - plain.state_dict().keys()
    assert new
    assert all(name.startswith("prior.") for name in new)
    assert not any("posterior" in name for name in new)


@torch.no_grad()
def test_the_grid_has_its_corners_and_the_square_of_points() -> None:
    """Trap V10."""
    grid = GenerativeTopographicMapping(nn.Linear(2, 4), 4).grid
    assert len(grid) == len(grid.unique(dim=0)) == 16
    corners = {tuple(row) for row in grid.tolist()} & {(a, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)}
    assert len(corners) == 4


@torch.no_grad()
@pytest.mark.parametrize("latent", [2, 5])
def test_couplings_are_inverted_and_their_log_determinants_are_those_of_autograd(latent: int) -> None:
    torch.manual_seed(0)
    flow = coupling_flow(latent, 3, 8).double()
    for parameter in flow.parameters():
        parameter.add_(0.5 * torch.randn_like(parameter))
    x = torch.randn(4, latent).double()
    z, log_det = flow.forward_and_log_det(x)
    back, inverse_log_det = flow.inverse_and_log_det(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)
    for row, expected in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: flow.forward_and_log_det(r[None])[0][0], row)
        torch.testing.assert_close(jacobian.det().abs().log(), expected)


@torch.no_grad()
def test_the_log_determinant_counts_once() -> None:
    """Trap V7: listing 5.11 adds it to every dimension."""
    coupling = ReversingCoupling(4, 8).double()
    coupling.net.last.bias.copy_(torch.tensor([0.3, 0.4, 0.0, 0.0]))  # of two scales and two shifts
    p = FlowPrior(4, coupling).double()(nn.Identity())
    z = torch.zeros(1, 4).double()
    log_det = 2 * torch.tensor([0.3, 0.4]).double().tanh().sum()
    torch.testing.assert_close(p.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(1).double() + log_det, atol=1e-6, rtol=0)


def test_an_autoregressive_prior_looks_back_only() -> None:
    torch.manual_seed(0)
    prior = AutoregressivePrior(4, 3, 32)
    jacobian = torch.autograd.functional.jacobian(prior.net, torch.randn(4))  # [4, 9, 4]
    reach = jacobian.abs().sum(1) > 0
    assert torch.equal(reach, torch.ones(4, 4).tril(-1).bool())


def test_what_does_not_go_together_is_refused_in_one_line() -> None:
    for sizes in ({"prior": "vamp", "posterior": "householder"}, {"prior": "none"}, {"posterior": "none"}):
        with pytest.raises(NoSuchPart) as error:
            build("vae", SPACE, **sizes)
        assert "\n" not in str(error.value)
        assert "choose" in str(error.value)
