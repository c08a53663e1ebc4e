"""Diagnostics on models whose faults are known, and pictures that are drawn."""

import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from genaisys.models import Integers, Reals, build
from genaisys.models.base import Density, Likelihood, inference
from genaisys.models.conditionals import Gaussians
from genaisys.models.latent.diagnostics import (
    kl_per_dimension,
    log_aggregated_posterior,
    share_in_holes,
    share_told_apart,
    surgery,
    variances_of_means,
)
from genaisys.models.latent.hierarchy import HierarchicalVAE
from genaisys.models.latent.plots import plot_codes, plot_levels, plot_variances
from genaisys.models.latent.priors import MixtureOfGaussians, Prior, StandardNormalPrior
from genaisys.models.latent.vae import VAE

PLANE = Reals((2,))


class Codes(nn.Module):
    """Means ``scale * x`` and standard deviations, as a network of ``Gaussians``."""

    def __init__(self, scale: Tensor, std: float) -> None:
        super().__init__()
        self.scale, self.log_std = nn.Parameter(scale), math.log(std)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.scale * x
        return torch.cat([mean, torch.full_like(mean, self.log_std)], 1)


def vae(scale: tuple[float, float], std: float, prior: Prior) -> VAE:
    return VAE(
        PLANE, Gaussians(Codes(torch.tensor(scale), std), PLANE), Gaussians(nn.Linear(2, 4), PLANE), prior
    ).eval()


def data(n: int = 2000) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


def test_a_collapsed_dimension_shows() -> None:
    """The first dimension is the data, the second is noise whatever the data are."""
    model = vae((1.0, 0.0), 1.0, StandardNormalPrior(2))
    active = variances_of_means(model, data())
    torch.testing.assert_close(active, torch.tensor([1.0, 0.0]), atol=0.06, rtol=0)
    kl = kl_per_dimension(model, data())
    torch.testing.assert_close(kl, torch.tensor([0.5, 0.0]), atol=0.05, rtol=0)  # of E[mean^2] / 2


def test_surgery_takes_the_divergence_apart() -> None:
    """Codes of one pair of standard normals with noise: the information is known, and the misfit of each prior."""
    std = 0.6
    model = vae((1.0, 1.0), std, StandardNormalPrior(2))
    torch.manual_seed(1)
    found = surgery(model, data())
    assert found.information == pytest.approx(math.log(1 + 1 / std**2), abs=0.1)  # two channels of 1/2 log(1 + snr)
    variance = 1 + std**2
    assert found.misfit == pytest.approx(variance - 1 - math.log(variance), abs=0.1)
    assert found.kl == pytest.approx(kl_per_dimension(model, data()).sum().item(), abs=0.1)
    prior = MixtureOfGaussians(2, 1)
    with torch.no_grad():
        prior.means.zero_()
        prior.log_stds.fill_(math.log(variance) / 2)
    model = vae((1.0, 1.0), std, prior)
    torch.manual_seed(1)
    best = surgery(model, data())
    assert best.information == pytest.approx(found.information)
    assert abs(best.misfit) < 0.05


def test_information_is_at_most_the_logarithm_of_the_number_of_data() -> None:
    model = vae((100.0, 100.0), 0.01, StandardNormalPrior(2))
    assert surgery(model, data(50)).information == pytest.approx(math.log(50), abs=1e-3)


def test_the_aggregated_posterior_is_the_mean_of_all() -> None:
    model, x, z = vae((1.0, 0.5), 0.5, StandardNormalPrior(2)), data(300), data(700)
    with torch.no_grad():
        expected = torch.stack([model.posterior_of(row[None]).log_prob(z) for row in x]).exp().mean(0).log()
    torch.testing.assert_close(log_aggregated_posterior(model, x, z), expected, atol=1e-4, rtol=1e-4)


def test_holes_are_counted() -> None:
    torch.manual_seed(1)
    assert share_in_holes(vae((0.8, 0.8), 0.6, StandardNormalPrior(2)), data()) == pytest.approx(0.01, abs=0.01)
    clusters = 6 * data().sign()  # four codes far apart, and the prior between them
    assert share_in_holes(vae((1.0, 1.0), 0.6, StandardNormalPrior(2)), clusters) > 0.95


class _Peaked(Density):
    likelihood: Likelihood = "exact"

    def log_prob(self, x: Tensor, *, condition: object = None) -> Tensor:
        return -x


def test_strangers_are_told_apart_by_their_likelihood() -> None:
    inside, outside = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([3.0, 4.0])
    assert share_told_apart(_Peaked(), inside, outside) == pytest.approx(4 / 6)


@pytest.mark.parametrize(("latent", "prior"), [(2, "mixture"), (3, "standard")])
def test_codes_and_their_dimensions_are_drawn(latent: int, prior: str) -> None:
    torch.manual_seed(1)
    space = Integers((1, 2, 2), 0, 3)
    model = build("vae", space, latent=latent, width=8, prior=prior)
    assert isinstance(model, VAE)
    x = torch.randint(0, 4, (40, 1, 2, 2))
    codes, coloured, variances = Figure().subplots(1, 3)
    plot_codes(codes, model, x)
    plot_codes(coloured, model, x, torch.arange(40) % 3)
    plot_variances(variances, model, x)
    for axes in (codes, coloured):
        drawn = [len(collection.get_offsets()) for collection in axes.collections if collection.get_offsets().size > 2]
        assert drawn == ([40] if latent == 2 else [40, 40])  # the codes, and samples where the prior is no area
    heights = [bar.get_height() for bar in variances.patches]
    assert heights == pytest.approx(variances_of_means(model, x).clamp_min(1e-6).tolist())


def test_levels_are_drawn() -> None:
    model = build("residual-vae", Integers((1, 2, 2), 0, 3), width=8)
    assert isinstance(model, HierarchicalVAE)
    axes, x = Figure().subplots(), torch.randint(0, 4, (10, 1, 2, 2))
    torch.manual_seed(0)
    plot_levels(axes, model, x)
    torch.manual_seed(0)
    with inference(model):
        kl = model.passed(x).kl.mean(0)
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(kl.tolist())
