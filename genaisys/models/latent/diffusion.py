"""Diffusion as a deep latent-variable model, with a bound of the likelihood of integers (book section 5.5.3).

Sohl-Dickstein et al. 2015, arXiv:1503.03585; Ho et al. 2020, arXiv:2006.11239.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

from genaisys.models.base import inference
from genaisys.models.latent.bound import LatentVariableModel, repeated
from genaisys.models.latent.denoisers import Denoiser
from genaisys.models.latent.schedules import Schedule, StepsWrong, at
from genaisys.models.latent.standardisation import Standardisation
from genaisys.models.spaces import Integers, Reals

Objective = Literal["bound", "simple", "hybrid"]
_SHARE_OF_BOUND = 1e-3  # in L_hybrid


class DiffusionModel(LatentVariableModel):
    """T codes as large as the data, from a posterior that is fixed: the forward process (DDGM; book listing 5.13).

        log p(x) >= E_q[log p(z_T) / q(z_T | x) + sum_(t=2..T) log p(z_(t-1) | z_t) / q(z_(t-1) | z_t, x)
                        + log p(x | z_1)]

    ``log_prob`` draws the codes of all steps (book eq. 5.91); ``bound_terms`` has KLs in closed form for the logarithms
    (eq. 5.102), of which the loss takes one t for each example. KL(q(z_t | z_(t-1)), p(z_t | z_(t+1))), as in eq. 5.92,
    would be something else: z_(t+1) depends on z_t (trap D5). What is diffused are integers scaled to -1 and 1, or real
    numbers standardised by the first batch of training.

    Args:
        objective: ``bound``: the loss is an unbiased estimate of the negative ELBO. ``simple``: the squared error of
            the noise (L_simple), which teaches no variance. ``hybrid``: that, and a thousandth of the bound
            (Nichol & Dhariwal 2021, arXiv:2102.09672, where the bound moves the variances alone).

    Raises:
        ValueError: ``objective`` is none of these.
    """

    def __init__(
        self,
        space: Integers | Reals,
        schedule: Schedule,
        denoiser: Denoiser,
        objective: Objective = "bound",
    ) -> None:
        super().__init__()
        if objective not in get_args(Objective):
            raise ValueError(f"objective is 'bound', 'simple' or 'hybrid', not {objective!r}")
        self.space = space
        self.standardisation = Standardisation(space.shape) if isinstance(space, Reals) else None
        self.schedule, self.denoiser, self.objective = schedule, denoiser, objective

    # -- training

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        x = self.validated(x, condition)
        if self.standardisation is not None and self.training:
            self.standardisation.learn_from(x)
        t = self._some_times(len(x), x.device)
        scaled = self._for_networks(x)
        z = self.schedule.diffused(scaled, t).sample()
        if self.objective == "simple":
            return self._error_of_noise(scaled, z, t)
        bound = self.schedule.steps * self._term(x, z, t) + self._last_kl(scaled)
        return bound if self.objective == "bound" else self._error_of_noise(scaled, z, t) + _SHARE_OF_BOUND * bound

    def _some_times(self, n: int, device: torch.device) -> Tensor:
        """Times from 1 to T, each of them uniform, and all together spread evenly (as in arXiv:2107.00630). -> [n]"""
        places = (torch.randperm(n, device=device) + torch.rand((), device=device)) / max(1, n)
        return 1 + (places * self.schedule.steps).long().clamp_max(self.schedule.steps - 1)

    def _term(self, x: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """What the step from z_t to t - 1 adds to the negative ELBO. [B, *shape] of the space, z [B, *shape] -> [B]"""
        scaled, terms = self._for_networks(x), z.new_zeros(len(x))
        first = t == 1
        if first.any():
            terms[first] = -self._decoder(z[first]).log_prob(x[first])
        scaled, z, t = scaled[~first], z[~first], t[~first]
        terms[~first] = _sum(kl_divergence(self.schedule.before(scaled, z, t), self.denoiser.before(z, t)))
        return terms

    def _last_kl(self, scaled: Tensor) -> Tensor:
        """``KL(q(z_T | x), N(0, I))``, about 0 by the schedule. -> [B]"""
        q = self.schedule.diffused(scaled, _all(len(scaled), self.schedule.steps, scaled.device))
        return _sum(kl_divergence(q, _noise(q.mean)))

    def _error_of_noise(self, scaled: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Of the noise that the estimate of x implies, squared. -> [B]"""
        to_noise = at(self.schedule.signal, t, z) / at(self.schedule.noise, t, z)
        return _sum((to_noise * (scaled - self.denoiser(z, t).x)) ** 2)

    # -- the bound

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        rows = repeated(x, samples)
        scaled = self._for_networks(rows)
        q = self.schedule.diffused(scaled, _all(len(rows), self.schedule.steps, x.device))
        z = q.sample()
        total = _sum(_noise(z).log_prob(z) - q.log_prob(z))
        for step in range(self.schedule.steps, 1, -1):
            t = _all(len(rows), step, x.device)
            q, p = self.schedule.before(scaled, z, t), self.denoiser.before(z, t)
            z = q.sample()
            total = total + _sum(p.log_prob(z) - q.log_prob(z))
        return (total + self._decoder(z).log_prob(rows)).view(samples, len(x))

    def bound_terms(self, x: Tensor) -> Tensor:
        """What the negative ELBO is the sum of, in nats: the KL at T, then what each t from 1 to T adds. -> [B, T + 1]

        Each is drawn by itself; their sum varies less than ``log_prob`` does.
        """
        x = self.space.validated(x)
        scaled = self._for_networks(x)
        terms = [self._last_kl(scaled)]
        for step in range(1, self.schedule.steps + 1):
            t = _all(len(x), step, x.device)
            terms.append(self._term(x, self.schedule.diffused(scaled, t).sample(), t))
        return torch.stack(terms, 1)

    # -- sampling

    def diffuse(self, x: Tensor, t: int, *, generator: torch.Generator | None = None) -> Tensor:
        """z_t of data: at T it must look like white noise (book listing 5.13, ``sample_diffusion``). -> [B, *shape]"""
        with inference(self, generator):
            scaled = self._for_networks(self.space.validated(x))
            return self.schedule.diffused(scaled, _all(len(x), t, x.device)).sample()

    def _sample(self, n: int, *, condition: Any, steps: int | None = None) -> Tensor:
        """
        Args:
            steps: None: ancestral sampling, one step for each t. A number: so many steps of DDIM.

        Raises:
            StepsWrong: ``steps`` is below 1.
        """
        if steps is not None and steps < 1:
            raise StepsWrong(f"expected 1 step of sampling or more, got {steps}")
        like = next(self.parameters())
        z = torch.randn(n, *self.space.shape, dtype=like.dtype, device=like.device)
        z = self._ancestral(z) if steps is None else self._ddim(z, steps)
        return self.space.validated(self._decoder(z).sample())

    def _ancestral(self, z: Tensor) -> Tensor:
        """z_1 from z_T, with the means that training has, and no tanh of them (trap D4)."""
        for step in range(self.schedule.steps, 1, -1):
            z = self.denoiser.before(z, _all(len(z), step, z.device)).sample()
        return z

    def _ddim(self, z: Tensor, steps: int) -> Tensor:
        """z_1 from z_T without noise, in few steps (Song et al. 2021, arXiv:2010.02502, eq. 12 with sigma = 0).

        Errors near T, where an estimate of x is hardly more than that, would stay to the end, so it is limited.
        """
        signal, noise = self.schedule.signal, self.schedule.noise
        times = torch.linspace(self.schedule.steps, 1, steps + 1).round().long().unique().flip(0).tolist()
        for now, then in pairwise(times):
            x = self.denoiser(z, _all(len(z), now, z.device)).x
            x = x if self.standardisation is None else self.standardisation.limited(x)
            z = signal[then] * x + noise[then] * (z - signal[now] * x) / noise[now]
        return z

    # -- the units of networks

    def _for_networks(self, x: Tensor) -> Tensor:
        scaled = super()._for_networks(x)
        return scaled if self.standardisation is None else self.standardisation(scaled)

    def _decoder(self, z: Tensor) -> Distribution:
        """``p(x | z_1)`` in the units of the data. [B, *shape]"""
        p = self.denoiser.decoder(z)
        return p if self.standardisation is None else self.standardisation.undone(p)


def _all(n: int, t: int, device: torch.device) -> Tensor:
    return torch.full((n,), t, dtype=torch.long, device=device)


def _noise(like: Tensor) -> Normal:
    return Normal(torch.zeros_like(like), torch.ones_like(like), validate_args=False)


def _sum(x: Tensor) -> Tensor:
    """[B, *] -> [B]"""
    return x.flatten(1).sum(1)
