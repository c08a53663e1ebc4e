"""Diffusion in one dimension, where integrals over its few codes can be done: its density, and parts of its bound."""

import math

import pytest
import torch
from test_diffusion import gaussian
from torch import Tensor

from genaisys.models import Reals, build
from genaisys.models.latent.diagnostics import surgery_of_diffusion
from genaisys.models.latent.diffusion import DiffusionModel


def density(model: DiffusionModel, axis: Tensor) -> Tensor:
    """``p(x)`` on the points of an axis, by sums over them in place of each code. [G] -> [G]"""
    width, z = axis[1] - axis[0], axis[:, None]  # [G, 1]
    p = torch.distributions.Normal(0.0, 1.0).log_prob(axis).exp()  # of z_T
    for t in range(model.schedule.steps, 1, -1):
        step = model.denoiser.before(z, torch.full((len(z),), t))  # of z_(t-1), from each z_t
        p = step.log_prob(axis).exp().T @ p * width
    return model._decoder(z).log_prob(z[:, None]).exp() @ p * width


def test_bound_and_samples_are_those_of_the_integral() -> None:
    torch.manual_seed(0)
    model = build("diffusion", Reals((1,)), steps=3, width=16, blocks=1, dropout=0.0, schedule="linear").double()
    assert isinstance(model, DiffusionModel)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):  # to two peaks, at -1 and 1
        x = (torch.arange(64) % 2 * 2 - 1 + 0.3 * torch.randn(64)).double()[:, None]
        optimizer.zero_grad()
        model.loss(x).mean().backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        axis = torch.linspace(-40, 40, 1601).double()
        p = density(model, axis)
        assert p.sum().item() * 0.05 == pytest.approx(1, abs=1e-3)
        near = slice(760, 841, 8)  # from -2 to 2
        bound = model.log_prob(axis[near, None], samples=5000).exp()
        torch.testing.assert_close(bound, p[near], atol=0.01, rtol=0.05)
        below = (model.sample(10_000) < axis[::4] + 0.025).double().mean(0)
        torch.testing.assert_close(below, p.cumsum(0)[::4] * 0.05, atol=0.02, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("error", [0.0, 3.0])
def test_the_bound_is_reconstruction_less_misfit_and_information(error: float) -> None:
    """Trap D11. Data are N(0, 0.6^2): all that is known of them is in z_1, whose information is in closed form."""
    torch.manual_seed(0)
    model = gaussian(5, error)
    x = 0.6 * torch.randn(3000, 1).double()
    found = surgery_of_diffusion(model, x)
    schedule, one = model.schedule, torch.ones(1, 1).double()
    signal, noise = schedule.signal[1], schedule.noise[1]
    assert found.information == pytest.approx(math.log(1 + (0.6 * signal / noise) ** 2) / 2, abs=0.05)
    misfit = 0.0
    for t in range(2, 6):  # the means are off by a share of the best estimate of x, which is linear in z_t
        step = model.denoiser.before(one, torch.tensor([t]))
        best = model.denoiser(one, torch.tensor([t])).x / (1 + error)
        of_z = (0.6 * schedule.signal[t]) ** 2 + schedule.noise[t] ** 2
        misfit += (of_z * (schedule.of_x[t] * best * error) ** 2 / step.variance / 2).item()
    assert found.misfit == pytest.approx(misfit, abs=0.03)
    rows = x.repeat(20, 1)
    reconstruction = model.denoiser.decoder(signal * rows + noise * torch.randn_like(rows)).log_prob(rows).mean()
    elbo = model.log_prob(rows).mean().item()
    assert reconstruction - found.misfit - found.information == pytest.approx(elbo, abs=0.05)
