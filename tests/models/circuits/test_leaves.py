"""Layers of univariate distributions, and normal variables that are rounded."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, truncnorm
from torch import Tensor

from genaisys.models import Integers, Reals
from genaisys.models.circuits.leaves import (
    CategoricalLeaves,
    DiscretizedNormalLeaves,
    IndicatorLeaves,
    Leaves,
    NormalLeaves,
)
from genaisys.models.densities import DiscretizedNormal

SPACE = Integers((3,), -2, 3)
LAYERS = {
    "categorical": lambda: CategoricalLeaves(SPACE, 4),
    "indicator": lambda: IndicatorLeaves(SPACE),
    "rounded normal": lambda: DiscretizedNormalLeaves(SPACE, 4),
    "normal": lambda: NormalLeaves(Reals((3,)), 4),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_samples_are_of_the_leaf_that_was_chosen(name: str) -> None:
    torch.manual_seed(0)
    leaves: Leaves = LAYERS[name]().double()
    n = 4000
    which = torch.tensor([0, 2, 3])
    samples = leaves.sample(which.expand(n, 3)).double()
    if isinstance(leaves, NormalLeaves):
        mean, std = leaves.mean[range(3), which], leaves._variance()[range(3), which].sqrt()
    else:
        p = leaves.log_table().exp()[range(3), which]  # [D, V]
        torch.testing.assert_close(p.sum(-1), torch.ones(3).double())
        values = torch.arange(-2, 4)
        torch.testing.assert_close(leaves.log_prob(values[:, None].expand(-1, 3))[:, range(3), which], p.log().T)
        mean = p @ values.double()
        std = ((p * (values - mean[:, None]) ** 2).sum(1)).sqrt()
    assert ((samples.mean(0) - mean).abs() <= 4 * std / math.sqrt(n) + 1e-9).all()
    torch.testing.assert_close(samples.std(0), std, rtol=0.1, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounded_normals_have_the_mass_of_their_cells(dtype: torch.dtype) -> None:
    loc = torch.tensor([[0.3], [-7.0], [3.0], [9.0]], dtype=dtype)
    scale = torch.tensor([[1.0], [3.0], [0.2], [0.5]], dtype=dtype)
    found = DiscretizedNormal(loc, scale, -2, 3).log_prob(torch.arange(-2, 4))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4, dtype=dtype))
    edges = np.array([-np.inf, *np.arange(-1.5, 3), np.inf])
    for row in range(4):
        at = {"loc": loc[row].item(), "scale": scale[row].item()}
        below, above = norm.logcdf(edges, **at), norm.logsf(edges, **at)
        left = below[1:] + np.log(-np.expm1(below[:-1] - below[1:]))
        right = above[:-1] + np.log(-np.expm1(above[1:] - above[:-1]))
        exact = np.where(edges[1:] <= at["loc"], left, right)  # from the tail in which the cell lies
        middle = (edges[:-1] < at["loc"]) & (edges[1:] > at["loc"])
        exact = np.where(middle, np.log(norm.cdf(edges[1:], **at) - norm.cdf(edges[:-1], **at)), exact)
        np.testing.assert_allclose(found[row].numpy(), exact, rtol=2e-4 if dtype is torch.float32 else 1e-9, atol=1e-6)


def test_far_from_the_mean_a_rounded_normal_has_a_gradient() -> None:
    """The plain difference of the two distribution functions is zero there, and its logarithm minus infinity."""
    loc = torch.tensor([100.0], requires_grad=True)
    log_prob = DiscretizedNormal(loc, torch.tensor([1.0]), 0, 16).log_prob(torch.tensor([3]))
    assert (norm.cdf(3.5, 100, 1) - norm.cdf(2.5, 100, 1)) == 0
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert loc.grad is not None
    assert loc.grad.item() == pytest.approx(-96.5, abs=0.1)


@pytest.mark.parametrize("distance", [100.0, 1e3, 1e4, 1e6])
def test_that_gradient_is_right_however_far(distance: float) -> None:
    """It is about as far as the next edge of the cell is off (Mills' ratio).

    PyTorch's own slope of ``log_ndtr`` is six times that at 1e4.
    """
    loc = torch.tensor([8 - distance, 8 + distance], requires_grad=True)
    DiscretizedNormal(loc, torch.tensor(1.0), 0, 16).log_prob(torch.tensor([8, 8])).sum().backward()
    assert loc.grad is not None
    edge = distance - 0.5
    expected = edge + 1 / edge
    assert loc.grad.tolist() == pytest.approx([expected, -expected], rel=1e-5)


@torch.no_grad()
def test_em_of_rounded_normals_takes_the_moments_before_rounding() -> None:
    leaves = DiscretizedNormalLeaves(Integers((1,), 0, 4), 1, least_std=1e-3).double()
    mean, std = 1.3, 0.9
    leaves.mean.fill_(mean)
    leaves.log_variance.fill_(math.log(std**2 - 1e-6))
    counts = torch.tensor([[[3.0, 5.0, 1.0, 0.0, 2.0]]]).double()
    leaves.maximise(counts)
    edges = np.array([-np.inf, 0.5, 1.5, 2.5, 3.5, np.inf])
    moments = [
        truncnorm.stats((low - mean) / std, (high - mean) / std, mean, std, moments="mv")
        for low, high in itertools.pairwise(edges)
    ]
    n = counts[0, 0].numpy()
    expected = sum(n * np.array([m for m, _ in moments])) / n.sum()
    variance = sum(n * np.array([v + (m - expected) ** 2 for m, v in moments])) / n.sum()
    assert leaves.mean.item() == pytest.approx(expected)
    assert leaves._variance().item() == pytest.approx(variance)


@torch.no_grad()
def test_statistics_add_up_over_batches() -> None:
    for name, make in LAYERS.items():
        torch.manual_seed(0)
        leaves = make().double()
        x = torch.randint(-2, 4, (40, 3))
        data: Tensor = x.double() if name == "normal" else x
        weights = torch.rand(40, 3, leaves.count, dtype=torch.float64)
        parts = leaves.statistics(data[:15], weights[:15]) + leaves.statistics(data[15:], weights[15:])
        torch.testing.assert_close(parts, leaves.statistics(data, weights))


@torch.no_grad()
def test_normal_leaves_take_the_moments_of_the_data() -> None:
    leaves = NormalLeaves(Reals((3,)), 2, least_std=0.1).double()
    x = torch.randn(50, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.0]) + 100
    leaves.maximise(leaves.statistics(x, torch.ones(50, 3, 2).double()))
    torch.testing.assert_close(leaves.mean[:, 1], x.mean(0))
    torch.testing.assert_close(leaves._variance()[:2, 0], x.var(0, correction=0)[:2])
    assert leaves._variance()[2, 0].item() == pytest.approx(0.01, rel=1e-5)
