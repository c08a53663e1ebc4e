"""The von Mises-Fisher distribution against Bessel functions and numerical integration."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import ive
from torch import Tensor
from torch.distributions import kl_divergence

from genaisys.models import Integers, Reals, build
from genaisys.models.latent.bound import CodeSizeWrong
from genaisys.models.latent.hyperspherical import (
    HypersphericalVAE,
    UniformOnSphere,
    VonMisesFisher,
    VonMisesFishers,
    log_area,
)

CASES = [(2, 0.5), (2, 40.0), (3, 3.0), (10, 10.0), (16, 1.0), (16, 200.0), (64, 900.0)]


def vmf(m: int, kappa: float, n: int = 1) -> VonMisesFisher:
    loc = torch.zeros(n, m, dtype=torch.double)
    loc[:, -1] = 1
    return VonMisesFisher(loc, torch.full((n,), kappa, dtype=torch.double))


def cosine_density(m: int, kappa: float, w: float) -> float:
    """Of the cosine between a code and the mean direction, not normalised, and at most about one."""
    return math.exp(kappa * (w - 1)) * (1 - w * w) ** ((m - 3) / 2)


def moment(m: int, kappa: float, power: int) -> float:
    options = {"limit": 500, "points": [1 - min(1.9, 4 * m / max(kappa, 1e-9))] if kappa > m else None}
    total = quad(lambda w: cosine_density(m, kappa, w), -1, 1, **options)[0]
    return quad(lambda w: w**power * cosine_density(m, kappa, w), -1, 1, **options)[0] / total


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_normalizer_is_that_of_bessel_functions(m: int, kappa: float) -> None:
    bessel = math.log(ive(m / 2 - 1, kappa)) + kappa
    expected = (m / 2 - 1) * math.log(kappa) - m / 2 * math.log(2 * math.pi) - bessel
    assert vmf(m, kappa).log_normalizer.item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_divergence_has_the_ratio_of_bessel_functions(m: int, kappa: float) -> None:
    """Trap V3: without the ratio, as in book eq. 5.68, it is 6.15 and not 2.48 at m = 10, kappa = 10."""
    q = vmf(m, kappa)
    ratio = ive(m / 2, kappa) / ive(m / 2 - 1, kappa)
    assert q.mean_cosine.item() == pytest.approx(ratio, rel=1e-9)
    found = kl_divergence(q, UniformOnSphere(q.loc[0])).item()
    assert found == pytest.approx(kappa * ratio + q.log_normalizer.item() + log_area(m), rel=1e-9)
    if (m, kappa) == (10, 10.0):
        assert found == pytest.approx(2.48, abs=0.005)
        assert kappa + q.log_normalizer.item() + log_area(m) == pytest.approx(6.15, abs=0.005)


@pytest.mark.parametrize("m", [2, 3, 10])
def test_without_concentration_it_is_uniform(m: int) -> None:
    q = vmf(m, 0.0)
    q.concentration.requires_grad_()
    kl = kl_divergence(q, UniformOnSphere(q.loc[0]))
    kl.backward()
    assert kl.item() == pytest.approx(0.0, abs=1e-12)
    assert q.concentration.grad.item() == pytest.approx(0.0, abs=1e-12)
    assert q.mean_cosine.item() == pytest.approx(0.0, abs=1e-12)
    assert q.log_normalizer.item() == pytest.approx(-log_area(m), rel=1e-12)


@pytest.mark.parametrize(("m", "kappa"), [(2, 0.5), (3, 3.0), (10, 10.0), (16, 200.0)])
@torch.no_grad()
def test_samples_have_the_moments_of_the_density(m: int, kappa: float) -> None:
    torch.manual_seed(0)
    z = vmf(m, kappa).rsample((40_000,))[:, 0]  # [S, m]
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z)).double())
    for power in (1, 2, 3):
        values = z[:, -1] ** power
        assert (values.mean() - moment(m, kappa, power)).abs() < 5 * values.std() / len(z) ** 0.5
    others = z[:, :-1]
    assert (others.mean(0).abs() < 5 * others.std(0) / len(z) ** 0.5).all()
    expected = (1 - moment(m, kappa, 2)) / (m - 1)  # the rest of the norm is shared equally
    torch.testing.assert_close(others.var(0), torch.full((m - 1,), expected).double(), atol=0, rtol=0.06)


@torch.no_grad()
def test_the_density_integrates_to_one_over_the_sphere() -> None:
    torch.manual_seed(0)
    q = vmf(4, 3.0)
    z = UniformOnSphere(q.loc[0]).sample((200_000,)).double()
    assert (q.log_prob(z).exp().mean() * math.exp(log_area(4))).item() == pytest.approx(1.0, abs=0.02)
    assert log_area(2) == pytest.approx(math.log(2 * math.pi))
    assert log_area(3) == pytest.approx(math.log(4 * math.pi))
    torch.testing.assert_close(UniformOnSphere(q.loc[0]).log_prob(z[:2]), torch.full((2,), -log_area(4)).double())


@torch.no_grad()
def test_any_direction_may_be_the_mean() -> None:
    torch.manual_seed(0)
    loc = torch.nn.functional.normalize(torch.randn(6, 5).double(), dim=-1)
    loc[0] = torch.eye(5)[0]  # where the reflection of the first axis has nothing to do
    loc[1] = -torch.eye(5)[0]
    q = VonMisesFisher(loc, torch.full((6,), 20.0).double())
    torch.testing.assert_close(q.sample((20_000,)).mean(0), q.mean, atol=0.02, rtol=0)


@pytest.mark.parametrize(("m", "kappa"), [(3, 2.0), (8, 5.0)])
def test_the_gradient_needs_the_term_of_rejection(m: int, kappa: float) -> None:
    """The derivative of E[f(w)] by kappa, for f(w) = 10 + w^3, is Cov(f, w)."""
    expected = moment(m, kappa, 4) - moment(m, kappa, 3) * moment(m, kappa, 1)
    torch.manual_seed(0)
    q = vmf(m, kappa)
    q.concentration.requires_grad_()
    z, log_ratio = q.rsample_and_log_ratio((400_000,))

    def f(z: Tensor) -> Tensor:
        return 10 + z[..., -1] ** 3

    cost = f(z)
    (through_samples,) = torch.autograd.grad(cost.mean(), q.concentration, retain_graph=True)
    advantage = (cost - cost.mean()).detach()
    (of_rejection,) = torch.autograd.grad((advantage * log_ratio).mean(), q.concentration)
    assert (through_samples + of_rejection).item() == pytest.approx(expected, rel=0.02)
    assert abs(of_rejection.item()) > 0.025 * expected


def test_the_gradient_of_the_divergence_is_that_of_finite_differences() -> None:
    kappa = torch.tensor([1e-3, 0.3, 5.0, 300.0], dtype=torch.double, requires_grad=True)
    loc = torch.eye(12, dtype=torch.double)[:4]

    def kl(kappa: Tensor) -> Tensor:
        return kl_divergence(VonMisesFisher(loc, kappa), UniformOnSphere(loc[0]))

    assert torch.autograd.gradcheck(kl, kappa)


def test_the_loss_of_the_vae_has_the_value_of_the_negative_bound() -> None:
    torch.manual_seed(0)
    model = build("hyperspherical-vae", Integers((1, 2, 2), 0, 3), latent=3, width=8).eval()
    assert isinstance(model, HypersphericalVAE)
    x = torch.randint(0, 4, (2, 1, 2, 2))
    with torch.no_grad():
        losses = model.loss(x.repeat(10_000, 1, 1, 1)).view(-1, 2)
        bounds = model.log_weights(x, 20_000)
    torch.testing.assert_close(losses.mean(0), -bounds.mean(0), atol=0.05, rtol=0)
    codes = model.encode(x)
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(2))


def test_a_sphere_has_two_dimensions_or_more() -> None:
    with pytest.raises(CodeSizeWrong):
        VonMisesFishers(torch.nn.Identity(), Reals((1,)))
