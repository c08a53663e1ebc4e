"""Discretized logistics whose numbers are extreme: still probabilities, and still learned from."""

from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from genaisys.models import Integers
from genaisys.models.conditionals import DiscretizedLogistics, slowed
from genaisys.models.densities import DiscretizedLogistic
from genaisys.models.layers.constant import Constant

SPACE = Integers((1,), 0, 16)
LEVELS = torch.arange(17.0, dtype=torch.double)[:, None]


def conditional(place: float, log_scale: float, components: int = 1) -> tuple[DiscretizedLogistics, Constant]:
    """Of numbers that a network might say; of several components, at several places."""
    places = place + 0.1 * torch.arange(components)
    numbers = torch.stack([torch.zeros(components), places, torch.full((components,), log_scale)], 1)  # [K, 3]
    net = Constant(numbers.flatten().double())
    return DiscretizedLogistics(net, SPACE, components), net


def gradient(net: Constant) -> Tensor:
    (parameter,) = net.parameters()
    assert parameter.grad is not None
    return parameter.grad.view(-1, 3)  # of logit, place and log-scale


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("place", [-50.0, -1.0, 0.03, 2.0])
@pytest.mark.parametrize("log_scale", [-1000.0, -20.0, -7.0, 0.0, 7.0, 20.0, 1000.0])
def test_levels_add_up_to_one(log_scale: float, place: float, components: int) -> None:
    p = conditional(place, log_scale, components)[0](torch.zeros(17, 0))
    assert p.log_prob(LEVELS).exp().sum().item() == pytest.approx(1, abs=1e-12)


def exactly(value: int, loc: float, log_scale: float) -> float:
    """The logarithm of a bin, with four hundred digits."""
    with localcontext(prec=400):
        scale = Decimal(log_scale).exp()
        below, above = (1 / (1 + (-(value + Decimal(end) - Decimal(loc)) / scale).exp()) for end in ("-0.5", "0.5"))
        return float((above - below).ln())


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize(
    ("loc", "log_scale"), [(0.25, 0.0), (3.0, -3.0), (-40.0, 1.5), (3.5, 12.0), (1e4, 12.0), (-1e6, 11.0)]
)
def test_bins_are_exact_near_and_far(loc: float, log_scale: float, dtype: torch.dtype) -> None:
    values = torch.tensor([-3.0, 0.0, 3.0, 20.0], dtype=dtype)
    p = DiscretizedLogistic(torch.full_like(values, loc), torch.full_like(values, log_scale))
    found = p.log_prob(values)
    expected = torch.tensor([exactly(int(value), loc, log_scale) for value in values], dtype=dtype)
    torch.testing.assert_close(found, expected, rtol=1e-6 if dtype is torch.float else 1e-12, atol=1e-6)


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize(("place", "log_scale"), [(0.03, 15.0), (0.03, 1000.0), (-0.5, -15.0), (30.0, -1000.0)])
def test_from_anywhere_descent_comes_back(place: float, log_scale: float, components: int) -> None:
    """Too wide a scale is pulled in, and too narrow a one, away from what was seen, is widened."""
    p, net = conditional(place, log_scale, components)
    (-p(torch.zeros(1, 0)).log_prob(torch.tensor([[8.0]]))).sum().backward()
    assert torch.isfinite(gradient(net)).all()
    slope = gradient(net)[:, 2].sum().item()
    assert slope > 0 if log_scale > 0 else slope < 0


def test_log_scales_are_changed_beyond_the_bound_only() -> None:
    x = torch.linspace(-7, 7, 1001)
    assert torch.equal(slowed(x, 7.0), x)
    x = torch.linspace(-30, 30, 601, dtype=torch.double, requires_grad=True)
    y = slowed(x, 7.0)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, 1 / (1 + (x.detach().abs() - 7).clamp(min=0)))
    assert (y.diff() > 0).all()
    assert (slowed(torch.tensor([-1e30, 1e30]), 7.0).exp().log() - torch.tensor([-76.1, 76.1])).abs().max() < 0.1
