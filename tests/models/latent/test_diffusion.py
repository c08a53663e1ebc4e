"""Diffusion: the forward process, bounds against a model that is known exactly, and what training and sampling do."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from genaisys.models import Integers, Reals, build, load_model
from genaisys.models.conditionals import Categoricals
from genaisys.models.densities import DiscretizedNormal
from genaisys.models.latent.denoisers import (
    DataDenoiser,
    Denoiser,
    Estimate,
    NoiseDenoiser,
    PerStep,
    TimeConditioned,
)
from genaisys.models.latent.diffusion import DiffusionModel
from genaisys.models.latent.presets import NoSuchPart
from genaisys.models.latent.schedules import (
    NoiseNotReached,
    Schedule,
    StepsWrong,
    at,
    cosine_schedule,
    linear_schedule,
    log_snr_schedule,
)

LINE = Integers((4,), 0, 4)
SCHEDULES = [linear_schedule, cosine_schedule, log_snr_schedule]


def constant(beta: float, steps: int) -> Tensor:
    return torch.cat([torch.ones(1), torch.full((steps,), 1 - beta).cumprod(0)]).double()


def times(*t: int) -> Tensor:
    return torch.tensor(t)


# -- the forward process


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("steps", [2, 5, 100, 1000])
def test_schedules_end_at_noise_whatever_their_length(make: type, steps: int) -> None:
    schedule = make(steps)
    x = torch.ones(1, 3)
    q = schedule.diffused(x, times(steps))
    assert kl_divergence(q, Normal(torch.zeros(1, 3), 1.0)).sum() < 2e-3
    signal = schedule.signal
    assert (signal.diff() < 0).all()
    assert signal[0] == 1
    torch.testing.assert_close(signal**2 + schedule.noise**2, torch.ones(steps + 1))


def test_schedules_that_do_not_end_at_noise_are_refused() -> None:
    """Trap D8: the numbers of the book's example and of the original, at fewer steps than theirs."""
    with pytest.raises(NoiseNotReached, match=r"0\.9 of"):
        Schedule(constant(0.02, 5))
    Schedule(constant(0.9, 5))
    ddpm = 1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.double)
    Schedule(torch.cat([torch.ones(1).double(), ddpm.cumprod(0)]))
    with pytest.raises(NoiseNotReached):
        Schedule(torch.cat([torch.ones(1).double(), ddpm[::10].cumprod(0)]))
    with pytest.raises(StepsWrong):
        linear_schedule(1)


def test_schedules_are_those_of_the_papers() -> None:
    schedule = linear_schedule(1000)
    torch.testing.assert_close(schedule.beta[1:], torch.linspace(1e-4, 0.02, 1000), atol=1e-4, rtol=0.02)
    assert schedule.signal[-1] ** 2 == pytest.approx(4e-5, rel=0.1)
    s = torch.arange(1, 900) / 1000
    f = torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(cosine_schedule(1000).signal[1:900] ** 2, f)
    assert cosine_schedule(1000).beta.max() <= 0.999
    schedule = log_snr_schedule(50)
    log_snr = 2 * (schedule.signal[1:].log() - schedule.noise[1:].log())
    torch.testing.assert_close(log_snr.diff(), torch.full((49,), -14 / 49), atol=1e-3, rtol=0)


def test_many_small_steps_are_one_large_one() -> None:
    """q(z_t | x) of eq. 5.98 against t steps of eq. 5.88."""
    torch.manual_seed(0)
    schedule = cosine_schedule(10)
    z = torch.full((100_000, 1), 0.7)
    for t in range(1, 5):
        z = (1 - schedule.beta[t]).sqrt() * z + schedule.beta[t].sqrt() * torch.randn_like(z)
    q = schedule.diffused(torch.full((1, 1), 0.7), times(4))
    torch.testing.assert_close(z.mean(), q.mean[0, 0], atol=0.01, rtol=0)
    torch.testing.assert_close(z.std(), q.stddev[0, 0], atol=0.01, rtol=0)


def test_the_step_back_is_that_of_bayes() -> None:
    """q(z_(t-1) | z_t, x) of eq. 5.99-5.101 against q(z_t | z_(t-1)) q(z_(t-1) | x), on a grid."""
    schedule = linear_schedule(6).double()
    x, z = torch.full((1, 1), 0.4).double(), torch.full((1, 1), -0.9).double()
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.double)
    for t in range(2, 7):
        beta = schedule.beta[t]
        joint = Normal((1 - beta).sqrt() * grid, beta.sqrt()).log_prob(z[0])
        joint = joint + schedule.diffused(x, times(t - 1)).log_prob(grid[:, None])[:, 0]
        p = joint.softmax(0)
        mean = (p * grid).sum()
        found = schedule.before(x, z, times(t))
        torch.testing.assert_close(found.mean[0, 0], mean, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.variance[0, 0], (p * (grid - mean) ** 2).sum(), atol=1e-5, rtol=0)


# -- the bound, where all is Gaussian: x ~ N(0, s^2)


class GaussianDenoiser(Denoiser):
    """The best one for x ~ N(0, s^2) with ``error`` 0: then the model's likelihood is that of the data."""

    def __init__(self, schedule: Schedule, s: float, error: float = 0.0) -> None:
        super().__init__(nn.Identity(), Reals((1,)), schedule)
        self.s, self.error = s, nn.Parameter(torch.tensor(error))

    def forward(self, z: Tensor, t: Tensor) -> Estimate:
        a, n = at(self.schedule.signal, t, z), at(self.schedule.noise, t, z)
        x = self.s**2 * a / (self.s**2 * a**2 + n**2) * z * (1 + self.error)
        spread = self.s**2 * n**2 / (self.s**2 * a**2 + n**2)
        return Estimate(x, (at(self.schedule.step_variance, t, z) + at(self.schedule.of_x, t, z) ** 2 * spread).log())

    def decoder(self, z: Tensor) -> Distribution:
        x, log_variance = self(z, torch.ones(len(z), dtype=torch.long))
        return Independent(Normal(x, (log_variance / 2).exp()), 1)


def gaussian(steps: int, error: float = 0.0) -> DiffusionModel:
    schedule = linear_schedule(steps)
    return DiffusionModel(Reals((1,)), schedule, GaussianDenoiser(schedule, 0.6, error)).double()


def likelihood(model: DiffusionModel, x: Tensor) -> Tensor:
    """Of the reverse process, whose means are linear in z: so the variance of x follows by recursion."""
    schedule, denoiser = model.schedule, model.denoiser
    variance = torch.ones(1, 1).double()
    one = torch.ones(1, 1).double()
    for t in range(schedule.steps, 1, -1):
        step = denoiser.before(one, times(t))
        variance = step.mean**2 * variance + step.variance
    last = denoiser.decoder(one)
    return Normal(0.0, (last.mean**2 * variance + last.variance).sqrt()).log_prob(x)[:, 0]


@torch.no_grad()
def test_with_the_best_reverse_process_every_trajectory_gives_the_likelihood() -> None:
    """Traps D2 and D3: with levels or states mixed up, the weights would differ from trajectory to trajectory."""
    torch.manual_seed(0)
    model = gaussian(8)
    x = torch.tensor([[0.0], [0.5], [-1.5]]).double()
    weights = model.log_weights(x, 200)
    expected = Normal(0.0, 0.6).log_prob(x)[:, 0].double()
    torch.testing.assert_close(weights.mean(0), expected, atol=2e-3, rtol=0)
    assert (weights.std(0) < 0.02).all()


@torch.no_grad()
def test_both_forms_of_the_bound_have_one_mean_and_the_printed_one_has_another() -> None:
    """Trap D5: eq. 5.92 takes KL(q(z_t | z_(t-1)), p(z_t | z_(t+1))) as if z_(t+1) did not depend on z_t."""
    torch.manual_seed(0)
    model = gaussian(5, error=0.5)
    schedule, n = model.schedule, 100_000
    x = torch.full((n, 1), 0.8).double()
    trajectory = model.log_prob(x).mean()  # eq. 5.91
    terms = -model.bound_terms(x).sum(1).mean()  # eq. 5.102
    torch.testing.assert_close(trajectory, terms, atol=0.02, rtol=0)
    exact = likelihood(model, x[:1])[0]
    assert terms < exact - 0.02
    torch.testing.assert_close(model.log_prob(x[:4], samples=50_000), exact.expand(4), atol=0.02, rtol=0)

    states = [x]
    for t in range(1, 6):
        states.append((1 - schedule.beta[t]).sqrt() * states[-1] + schedule.beta[t].sqrt() * torch.randn_like(x))
    printed = model.denoiser.decoder(states[1]).log_prob(x)
    for t in range(1, 6):
        q = Normal((1 - schedule.beta[t]).sqrt() * states[t - 1], schedule.beta[t].sqrt())
        standard = Normal(torch.zeros(1).double(), 1.0)
        p = standard if t == 5 else model.denoiser.before(states[t + 1], torch.full((n,), t + 1))
        printed = printed - kl_divergence(q, p)[:, 0]
    assert abs(printed.mean() - terms) > 0.1


@torch.no_grad()
def test_the_loss_is_an_unbiased_estimate_of_the_bound() -> None:
    torch.manual_seed(0)
    model = gaussian(5, error=0.5)
    x = torch.full((100_000, 1), 0.8).double()
    torch.testing.assert_close(model.loss(x).mean(), model.bound_terms(x).sum(1).mean(), atol=0.03, rtol=0)


@torch.no_grad()
def test_samples_come_by_the_means_of_training() -> None:
    """Trap D4: a tanh of the means in the sampler alone would make them narrower."""
    model = gaussian(200)
    for steps, error in ((None, 0.02), (200, 0.03)):
        x = model.sample(40_000, generator=torch.Generator().manual_seed(0), steps=steps)
        assert x.std().item() == pytest.approx(0.6, abs=error)
        assert x.mean().item() == pytest.approx(0.0, abs=0.02)


@torch.no_grad()
def test_implicit_sampling_is_without_noise() -> None:
    """DDIM: what noise there is comes from z_T and the decoder, whose variance is small here."""
    schedule = log_snr_schedule(100, first=12.0)
    model = DiffusionModel(Reals((1,)), schedule, GaussianDenoiser(schedule, 0.6)).double()
    z = torch.linspace(-2, 2, 9, dtype=torch.double)[:, None]
    found = model._ddim(z, 100)
    torch.testing.assert_close(found, 0.6 * z, atol=0.03, rtol=0)  # the map that takes N(0, 1) to N(0, 0.6^2)
    assert torch.equal(found, model._ddim(z, 100))
    assert not torch.allclose(found, model._ancestral(z), atol=0.1)


# -- real numbers


@pytest.mark.parametrize(("dimensions", "centre", "scale"), [(1, 0.0, 0.01), (2, 1.0, 1.0), (2, 50.0, 100.0)])
def test_normal_data_of_any_scale_are_learned(dimensions: int, centre: float, scale: float) -> None:
    """The cosine schedule, and data as they are, gave samples 80 times too wide, or nats 20 times too many."""
    torch.manual_seed(0)
    x = centre + scale * torch.randn(2000, dimensions)
    model = build("diffusion", Reals((dimensions,)), width=64, blocks=2, dropout=0.0, objective="simple")
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    for _ in range(500):
        optimiser.zero_grad()
        model.loss(x[torch.randint(len(x), (256,))]).mean().backward()
        optimiser.step()
        rate.step()
    model.eval()
    for steps, error in ((None, 0.08), (20, 0.2)):
        samples = model.sample(4000, generator=torch.Generator().manual_seed(0), steps=steps)
        torch.testing.assert_close(samples.mean(0) / scale, x.mean(0) / scale, atol=error, rtol=0)
        torch.testing.assert_close(samples.std(0) / scale, torch.ones(dimensions), atol=error, rtol=0)
    entropy = dimensions * math.log(scale * math.sqrt(2 * math.pi * math.e))
    with torch.no_grad():
        nats = -model.log_prob(x[:500], samples=4).mean().item()
    assert entropy - 0.1 < nats < entropy + 0.3


def test_the_units_of_real_data_are_those_of_the_first_batch_and_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.stack([1000 + 0.01 * torch.randn(64), 100 * torch.randn(64), torch.full((64,), 3.0)], 1)
    model = build("diffusion", Reals((3,)), steps=4, width=8)
    y = torch.stack([x[:, 0], 5 * x[:, 1], x[:, 2] + torch.arange(64) / 32], 1)
    for batch in (x, y):
        model.loss(batch)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, DiffusionModel)
    units = again.standardisation
    assert units is not None
    torch.testing.assert_close(units.mean, x.double().mean(0).float())
    torch.testing.assert_close(units.std[:2], x.double().std(0).float()[:2])
    assert units.std[2] == 1  # of what never changes
    torch.testing.assert_close(units.largest, units(y).abs().amax(0))  # the range is of all that was seen
    assert units.largest[2] > 1.9
    torch.manual_seed(0)
    log_prob = model.eval().log_prob(x)
    torch.manual_seed(0)
    assert torch.equal(again.log_prob(x), log_prob)


def test_the_likelihood_of_real_data_is_in_their_own_units() -> None:
    """``log p(x) = log p((x - mean) / std) - sum log std``."""
    torch.manual_seed(0)
    model, x = build("diffusion", Reals((2,)), steps=4, width=8).eval(), torch.randn(5, 2)
    assert isinstance(model, DiffusionModel)
    assert model.standardisation is not None
    torch.manual_seed(1)
    with torch.no_grad():
        expected = model.log_prob(x) - math.log(3 * 0.1)
    model.standardisation.mean.copy_(torch.tensor([7.0, -1.0]))
    model.standardisation.std.copy_(torch.tensor([3.0, 0.1]))
    torch.manual_seed(1)
    with torch.no_grad():
        found = model.log_prob(x * torch.tensor([3.0, 0.1]) + torch.tensor([7.0, -1.0]))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("steps", [0, -1])
def test_there_is_at_least_one_step_of_sampling(steps: int) -> None:
    with pytest.raises(StepsWrong, match=f"got {steps}"):
        build("diffusion", LINE, steps=4, width=8).sample(2, steps=steps)


def test_objectives_and_predictions_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="objective is 'bound', 'simple' or 'hybrid', not 'foo'"):
        build("diffusion", LINE, steps=4, width=8, objective="foo")
    with pytest.raises(NoSuchPart, match="no prediction of 'foo': choose from data, noise"):
        build("diffusion", LINE, steps=4, width=8, predicts="foo")


# -- the reverse process


class Fixed(nn.Module):
    """A network that gives the same numbers for all."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers = nn.Parameter(numbers)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.numbers.expand(len(z), -1)


@torch.no_grad()
def test_predicted_noise_gives_the_mean_of_the_paper() -> None:
    """Row 5.50: ``(z_t - beta_t / sqrt(1 - abar_t) eps) / sqrt(1 - beta_t)``."""
    torch.manual_seed(0)
    schedule, noise, z = cosine_schedule(9), torch.randn(1, 4), torch.randn(8, 4)
    t = torch.arange(2, 10)
    found = NoiseDenoiser(Fixed(noise), LINE, schedule).before(z, t)
    beta, of_noise = schedule.beta[t][:, None], schedule.noise[t][:, None]
    torch.testing.assert_close(found.mean, (z - beta / of_noise * noise) / (1 - beta).sqrt(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.variance, schedule.step_variance[t][:, None].expand(8, 4))


@torch.no_grad()
def test_data_are_sought_within_their_range_but_for_training() -> None:
    """At T of the cosine schedule an error of the noise counts hundreds of times: samples would run away."""
    schedule = cosine_schedule(50)
    denoiser = NoiseDenoiser(Fixed(torch.zeros(1, 4)), LINE, schedule)
    z, t = torch.tensor([[-1.0, 0.0, 0.0005, 2.0]]), times(50)
    x = denoiser(z, t).x
    assert x.abs().max() > 30
    torch.testing.assert_close(denoiser.eval()(z, t).x, x.clamp(-1, 1))
    mean = denoiser.before(z, t).mean
    torch.testing.assert_close(mean, schedule.mean_before(x.clamp(-1, 1), z, t))
    assert 0 < x[0, 2] < 1


def test_learned_variances_lie_between_the_extremes() -> None:
    schedule = cosine_schedule(9)
    t = torch.arange(2, 10)
    z = torch.zeros(8, 4)
    for place, expected in ((-40.0, schedule.step_variance[t]), (40.0, schedule.beta[t])):
        net = Fixed(torch.cat([torch.zeros(1, 4), torch.full((1, 4), place)], 1))
        found = NoiseDenoiser(net, LINE, schedule, learned_variance=True).before(z, t)
        torch.testing.assert_close(found.variance, expected[:, None].expand(8, 4))


@torch.no_grad()
def test_predicted_data_are_weighed_by_what_is_seen_of_them() -> None:
    """Bayes' rule over the levels, and a Gaussian with the first two moments of the mixture of steps back."""
    torch.manual_seed(0)
    schedule, logits = linear_schedule(5), torch.randn(1, 20)
    denoiser = DataDenoiser(Fixed(logits), Categoricals(nn.Identity(), LINE), schedule)
    z, levels = torch.randn(1, 4), LINE.scaled(torch.arange(5))
    for t in (times(1), times(3)):
        seen = torch.stack([schedule.diffused(level.expand(1, 4), t).log_prob(z)[0] for level in levels], 1)  # [D, V]
        p = (logits.view(4, 5).log_softmax(-1) + seen).softmax(-1)
        if t == 1:
            x = torch.tensor([[0, 1, 2, 4]])
            torch.testing.assert_close(denoiser.decoder(z).log_prob(x), p.log()[range(4), x[0]].sum()[None])
        else:
            parts = [schedule.before(level.expand(1, 4), z, t) for level in levels]
            means = torch.stack([part.mean[0] for part in parts], 1)  # [D, V]
            mean = (p * means).sum(1)
            variance = (p * (means - mean[:, None]) ** 2).sum(1) + parts[0].variance[0]
            found = denoiser.before(z, t)
            torch.testing.assert_close(found.mean[0], mean)
            torch.testing.assert_close(found.variance[0], variance)


@torch.no_grad()
def test_with_the_right_prior_of_independent_data_the_bound_is_all_but_tight() -> None:
    torch.manual_seed(0)
    schedule, logits = log_snr_schedule(100), torch.randn(1, 20)
    denoiser = DataDenoiser(Fixed(logits), Categoricals(nn.Identity(), LINE), schedule)
    model = DiffusionModel(LINE, schedule, denoiser)
    x = torch.randint(0, 5, (1, 4)).expand(2000, 4)
    exact = logits.view(4, 5).log_softmax(-1)[range(4), x[0]].sum()
    bound = -model.bound_terms(x).sum(1).mean()
    assert exact - 0.2 < bound < exact


def test_the_simple_loss_is_the_squared_error_of_the_noise() -> None:
    torch.manual_seed(0)
    schedule = linear_schedule(5)
    model = DiffusionModel(LINE, schedule, NoiseDenoiser(Fixed(torch.zeros(1, 4)), LINE, schedule), "simple")
    losses = model.loss(torch.randint(0, 5, (50_000, 4)))
    assert losses.mean().item() == pytest.approx(4.0, abs=0.05)  # of four standard normals
    model.denoiser.net.numbers.data.fill_(2.0)
    assert model.loss(torch.randint(0, 5, (50_000, 4))).mean().item() == pytest.approx(4.0 + 4 * 4.0, abs=0.2)


def test_all_networks_are_trained_and_stored() -> None:
    """Trap D1: in a plain list, as in listing 5.13, none of them would be."""
    torch.manual_seed(0)
    model = build("diffusion", LINE, steps=5, width=8, blocks=1, net_per_step=True, schedule="linear")
    model.loss(torch.randint(0, 5, (64, 4))).sum().backward()
    assert isinstance(model.denoiser.net, PerStep)
    for number, net in enumerate(model.denoiser.net.nets):
        for name, parameter in net.named_parameters():
            assert parameter.grad.abs().sum() > 0, (number, name)
            assert f"denoiser.net.nets.{number}.{name}" in model.state_dict()


def test_there_must_be_a_network_for_each_step() -> None:
    """Trap D9."""
    with pytest.raises(StepsWrong, match="4 networks for 5 steps"):
        NoiseDenoiser(PerStep(nn.Identity() for _ in range(4)), LINE, linear_schedule(5))


@torch.no_grad()
def test_each_row_goes_to_the_network_of_its_time() -> None:
    nets = [nn.Linear(1, 1) for _ in range(3)]
    for number, net in enumerate(nets):
        net.weight.fill_(0.0)
        net.bias.fill_(float(number + 1))
    t = times(3, 1, 2, 2, 1, 3, 3)
    assert torch.equal(PerStep(nets)(torch.zeros(7, 1), t)[:, 0], t.float())
    assert PerStep(nets)(torch.zeros(0, 1), t[:0]).shape == (0, 1)


def test_one_network_for_all_steps_tells_times_apart() -> None:
    net = TimeConditioned(nn.Identity(), 1000)
    out = net(torch.zeros(1000, *LINE.shape), torch.arange(1, 1001))
    assert out.shape == (1000, TimeConditioned.inputs(LINE))
    assert torch.cdist(out, out).add(torch.eye(1000)).min() > 1e-3


def test_times_are_spread_evenly() -> None:
    torch.manual_seed(0)
    model = build("diffusion", LINE, steps=10, width=8)
    for _ in range(5):
        counts = model._some_times(100, torch.device("cpu")).bincount(minlength=11)
        assert counts[0] == 0
        assert ((counts[1:] - 10).abs() <= 1).all()
    few = torch.cat([model._some_times(3, torch.device("cpu")) for _ in range(4000)])
    assert ((few.bincount(minlength=11)[1:] / 12_000 - 0.1).abs() < 0.01).all()


def test_what_is_diffused_to_the_end_looks_like_white_noise() -> None:
    model = build("diffusion", LINE, steps=50, width=8)
    x = torch.randint(0, 5, (1, 4)).expand(20_000, 4)
    z = model.diffuse(x, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), torch.zeros(4), atol=0.04, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(4), atol=0.04, rtol=0)
    begun = model.diffuse(x, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(begun.mean(0), LINE.scaled(x[0]), atol=0.05, rtol=0)


def test_a_rounded_gaussian_has_all_its_mass_on_the_space() -> None:
    for loc, scale in ((2.3, 0.4), (-30.0, 2.0), (1.0, 1e-3), (2.0, 1e3)):
        p = DiscretizedNormal(torch.tensor(loc).double(), torch.tensor(scale).double(), 0, 4)
        k = torch.arange(5).double()
        log_p = p.log_prob(k)
        assert torch.isfinite(log_p).all()
        assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
        samples = p.sample((20_000,))
        shares = (samples[:, None] == k).double().mean(0)
        torch.testing.assert_close(shares, log_p.exp(), atol=0.015, rtol=0)
    far = DiscretizedNormal(torch.tensor(2.0), torch.tensor(0.05), 0, 4)
    assert far.log_prob(torch.tensor(3.0)).item() == pytest.approx(
        torch.special.log_ndtr(torch.tensor(-10.0).double()).item(), rel=1e-3
    )
