"""How data become noise: the forward process of diffusion (Ho et al. 2020, arXiv:2006.11239; book section 5.5.3).

    q(z_t | z_(t-1)) = N(sqrt(1 - beta_t) z_(t-1), beta_t I)                z_0 = x, t = 1 ... T
    q(z_t | x)       = N(sqrt(abar_t) x, (1 - abar_t) I)                    abar_t = prod_s (1 - beta_s)

A schedule is the numbers abar_t, which must end near 0: only then is z_T the noise that sampling begins with. A
constant beta of 0.02 leaves 0.9 after the 5 steps of listing 5.13 (trap D8), and is refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from genaisys.errors import GenaisysError

_LARGEST_LEFT = 1e-3  # of abar_T
_LARGEST_BETA = 0.999


class NoiseNotReached(GenaisysError):
    """A schedule ends before the data are gone."""


class StepsWrong(GenaisysError):
    """There are too few steps, or networks for another number of them."""


class Schedule(nn.Module):
    """The forward process. Times are integers, [B], from 0, which is the data, to T.

    Args:
        alpha_bar: abar_0 = 1, abar_1 ... abar_T, falling. [T + 1], in double precision

    Raises:
        StepsWrong: T is below 2.
        NoiseNotReached: abar_T is above 0.001.
    """

    def __init__(self, alpha_bar: Tensor) -> None:
        super().__init__()
        if len(alpha_bar) < 3:
            raise StepsWrong(f"expected 2 steps or more, got {len(alpha_bar) - 1}")
        if alpha_bar[-1] > _LARGEST_LEFT:
            raise NoiseNotReached(
                f"after {len(alpha_bar) - 1} steps {alpha_bar[-1]:.2g} of the data's variance is left: expected at "
                f"most {_LARGEST_LEFT:g}; take larger steps, or more"
            )
        before, after = alpha_bar[:-1], alpha_bar[1:]
        beta = 1 - after / before  # beta_1 ... beta_T
        step_variance = (1 - before) / (1 - after) * beta
        self.steps = len(beta)
        values = {
            "signal": alpha_bar.sqrt(),
            "noise": (1 - alpha_bar).sqrt(),
            "beta": _from_one(beta),
            "step_variance": _from_one(step_variance),
            "of_x": _from_one(before.sqrt() * beta / (1 - after)),
            "of_z": _from_one((1 - beta).sqrt() * (1 - before) / (1 - after)),
        }
        for name, value in values.items():
            self.register_buffer(name, value.to(torch.get_default_dtype()))  # [T + 1], by t
        self.signal: Tensor
        self.noise: Tensor
        self.beta: Tensor
        self.step_variance: Tensor
        self.of_x: Tensor
        self.of_z: Tensor

    def diffused(self, x: Tensor, t: Tensor) -> Normal:
        """``q(z_t | x)`` (book eq. 5.98). [B, *shape], [B]"""
        return Normal(at(self.signal, t, x) * x, at(self.noise, t, x).expand_as(x), validate_args=False)

    def mean_before(self, x: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The mean of ``q(z_(t-1) | z_t, x)``, linear in z_t and x (book eq. 5.100). -> [B, *shape]"""
        return at(self.of_x, t, x) * x + at(self.of_z, t, z) * z

    def before(self, x: Tensor, z: Tensor, t: Tensor) -> Normal:
        """``q(z_(t-1) | z_t, x)``, for t from 2 on (book eq. 5.99-5.101). [B, *shape], [B, *shape], [B]"""
        mean = self.mean_before(x, z, t)
        return Normal(mean, at(self.step_variance, t, x).sqrt().expand_as(mean), validate_args=False)


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """The values of some times, to be multiplied with what is ``like`` [B, *shape]. [T + 1], [B] -> [B, 1, ...]"""
    return values[t].view(-1, *[1] * (like.dim() - 1))


def _from_one(values: Tensor) -> Tensor:
    """[T] -> [T + 1]: there is no step to t = 0"""
    return torch.cat([values.new_zeros(1), values])


def linear_schedule(steps: int) -> Schedule:
    """Betas that grow linearly, from 1e-4 to 0.02 for a thousand steps as in DDPM, and for fewer steps more each.

    ``abar(s) = exp(-0.1 s - 9.95 s^2)`` at s = t / T, the limit of many steps: so it ends at 4e-5 for any number.
    """
    s = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return Schedule((-0.1 * s - 9.95 * s**2).exp())


def cosine_schedule(steps: int) -> Schedule:
    """``abar_t = f(t) / f(0)`` with ``f(t) = cos^2((t / T + 0.008) / 1.008 pi / 2)``.

    (Nichol & Dhariwal 2021, arXiv:2102.09672.) No beta is above 0.999, so that the last step can be undone.
    """
    s = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    f = torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2
    beta = (1 - f[1:] / f[:-1]).clamp_max(_LARGEST_BETA)
    return Schedule(torch.cat([f.new_ones(1), (1 - beta).cumprod(0)]))


def log_snr_schedule(steps: int, first: float = 6.0, last: float = -8.0) -> Schedule:
    """``log(abar / (1 - abar))`` falls linearly in t from ``first`` to ``last`` (Kingma et al. 2021, arXiv:2107.00630).

    Then the bound weighs the errors of the noise that is predicted equally at all t, as L_simple does.
    """
    alpha_bar = torch.linspace(first, last, steps, dtype=torch.float64).sigmoid()
    return Schedule(torch.cat([alpha_bar.new_ones(1), alpha_bar]))
