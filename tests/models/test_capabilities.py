"""What holds for every model: each is asked for all that it says it can do, on spaces small enough to check it."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_models import SMALL_MODELS
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.models import Integers, OutOfSpace, load_model
from genaisys.models.autoregressive.order import out_of_order
from genaisys.models.base import (
    Completes,
    ConditionWrong,
    Density,
    GenerativeModel,
    Lossless,
    MostProbable,
    Queries,
    Representation,
    TooFewSamples,
)

NAMES = list(SMALL_MODELS)


def having(capability: type, likelihood: str | None = None) -> list[str]:
    found = []
    for name, make in SMALL_MODELS.items():
        model = make()
        if isinstance(model, capability) and (likelihood is None or getattr(model, "likelihood", None) == likelihood):
            found.append(name)
    return found


def of_integers(names: list[str]) -> list[str]:
    return [name for name in names if isinstance(SMALL_MODELS[name]().space, Integers)]


def states(space: Integers) -> Tensor:
    """All examples that there are. [levels ** dimensions, *shape]"""
    values = range(space.low, space.high + 1)
    return torch.tensor(list(itertools.product(values, repeat=space.dimensions))).view(-1, *space.shape)


def grid(width: float = 8.0, steps: int = 321) -> tuple[Tensor, float]:
    """Points of the plane, and the area around each."""
    axis = torch.linspace(-width, width, steps)
    return torch.cartesian_prod(axis, axis), (2 * width / (steps - 1)) ** 2


def some(model: GenerativeModel, n: int = 6) -> Tensor:
    return model.sample(n, generator=torch.Generator().manual_seed(1))


def fits(observed: Tensor, expected: Tensor) -> bool:
    """Whether counts follow expected counts: chi-square within four standard deviations; the rare ones are one."""
    rare = expected < 5
    pairs = [(o, e) for o, e in zip(observed[~rare].tolist(), expected[~rare].tolist(), strict=True)]
    if rare.any() and expected[rare].sum() >= 5:
        pairs.append((observed[rare].sum().item(), expected[rare].sum().item()))
    degrees = len(pairs) - 1
    value = sum((o - e) ** 2 / e for o, e in pairs)
    return value < degrees + 4 * math.sqrt(2 * max(1, degrees))


def counts_of(samples: Tensor, x: Tensor) -> Tensor:
    """How often each state occurs among samples. -> [len(x)]"""
    number = {tuple(row): n for n, row in enumerate(x.flatten(1).tolist())}
    counts = torch.zeros(len(x))
    for row in samples.flatten(1).tolist():
        counts[number[tuple(row)]] += 1
    return counts


@pytest.mark.parametrize("name", having(Density, "exact"))
@torch.no_grad()
def test_probabilities_add_up_to_one(name: str) -> None:
    model = SMALL_MODELS[name]().double()
    if isinstance(model.space, Integers):
        total = model.log_prob(states(model.space)).exp().sum()
        torch.testing.assert_close(total.item(), 1.0, atol=1e-6, rtol=0)
    else:
        points, area = grid()
        total = model.log_prob(points.double()).exp().sum() * area
        torch.testing.assert_close(total.item(), 1.0, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", of_integers(having(Density, "lower bound")))
@torch.no_grad()
def test_bounds_of_many_samples_add_up_to_one_and_samples_follow_them(name: str) -> None:
    """The importance-weighted bound is tight in the limit, so the sum must come near one; fewer samples give less."""
    model = SMALL_MODELS[name]().double()
    torch.manual_seed(0)
    x, n = states(model.space), 10_000
    loose = torch.stack([model.log_prob(x, samples=1) for _ in range(30)])
    tight = model.log_prob(x, samples=3000)
    assert tight.exp().sum().item() == pytest.approx(1.0, abs=0.05)
    assert loose.mean() < tight.mean() + 0.01
    shares = counts_of(model.sample(n), x) / n
    # How far shares are off, all in all, if they are right.
    by_chance = (tight.exp() * 2 / math.pi / n).sqrt().sum() / 2
    assert (shares - tight.exp()).abs().sum() / 2 < by_chance + 0.05  # the bound itself may be that far off, as above


@pytest.mark.parametrize("name", [name for name in having(Density, "lower bound") if name not in of_integers(NAMES)])
@torch.no_grad()
def test_bounds_of_densities_add_up_to_one_and_samples_follow_them(name: str) -> None:
    model = SMALL_MODELS[name]().double()
    torch.manual_seed(0)
    points, area = grid(width=8.0, steps=65)
    points, n = points.double() + area**0.5 / 2, 10_000  # the middles of 16 cells in each square of side 1
    p = model.log_prob(points, samples=300).exp() * area
    assert p.sum().item() == pytest.approx(1.0, abs=0.03)

    def in_squares(x: Tensor, weight: Tensor) -> Tensor:
        return torch.histogramdd(x, [16, 16], range=[-8.0, 8.0, -8.0, 8.0], weight=weight).hist

    expected, found = in_squares(points, p), in_squares(model.sample(n), torch.full((n,), 1 / n).double())
    by_chance = (expected * 2 / math.pi / n).sqrt().sum() / 2
    assert (found - expected).abs().sum() / 2 < by_chance + 0.03


@pytest.mark.parametrize("name", having(Density, "exact"))
def test_samples_follow_the_density(name: str) -> None:
    model = SMALL_MODELS[name]()
    if isinstance(model.space, Integers):
        x, n = states(model.space), 4000
        samples = model.sample(n, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert fits(counts_of(samples, x), n * model.log_prob(x).exp())
    else:
        points, area = grid()
        samples = model.sample(20_000, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            p = model.log_prob(points).exp() * area
        mean = (p[:, None] * points).sum(0)
        torch.testing.assert_close(samples.mean(0), mean, atol=0.05, rtol=0.05)
        covariance = (p[:, None] * (points - mean)).T @ (points - mean)
        torch.testing.assert_close(samples.T.cov(), covariance, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_of_the_space_and_repeatable(name: str) -> None:
    model = SMALL_MODELS[name]().train()
    first = model.sample(5, generator=torch.Generator().manual_seed(3))
    assert first.shape == (5, *model.space.shape)
    model.space.validated(first)
    assert not first.requires_grad
    assert all(module.training for module in model.modules())
    before = torch.get_rng_state()
    assert torch.equal(first, model.sample(5, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(
        model.sample(50, generator=torch.Generator().manual_seed(4)),
        model.sample(50, generator=torch.Generator().manual_seed(5)),
    )
    assert model.sample(0).shape == (0, *model.space.shape)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_of_each_example_and_moves_every_parameter(name: str) -> None:
    model = SMALL_MODELS[name]().train()
    torch.manual_seed(0)
    loss = model.loss(some(model, 32))
    assert loss.shape == (32,)
    loss.mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    model = SMALL_MODELS[name]()
    model.save_pretrained(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is type(model)
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    generator = torch.Generator().manual_seed(0)
    samples = model.sample(4, generator=generator)
    assert torch.equal(loaded.sample(4, generator=torch.Generator().manual_seed(0)), samples)
    if isinstance(model, Density):
        torch.manual_seed(0)
        expected = model.log_prob(samples)
        torch.manual_seed(0)
        assert torch.equal(loaded.log_prob(samples), expected)


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_in_double_precision_too(name: str) -> None:
    model = SMALL_MODELS[name]()
    x = some(model)
    double = SMALL_MODELS[name]().double()
    for tensor in itertools.chain(double.parameters(), double.buffers()):
        assert tensor.dtype is not torch.float32
    double.sample(2)
    if isinstance(model, Density) and model.likelihood == "exact":
        with torch.no_grad():
            given = x if isinstance(model.space, Integers) else x.double()
            assert double.log_prob(given).dtype is torch.float64
            torch.testing.assert_close(model.log_prob(x).double(), double.log_prob(given), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_of_the_space_is_refused_in_one_line(name: str) -> None:
    model = SMALL_MODELS[name]()
    x = some(model, 3)
    wrong = [x[:, None], x.flatten(1)[:, :-1], x.flatten(1)[0, 0]]
    not_a_number = x.float().clone()
    not_a_number[(0,) * x.dim()] = math.nan
    wrong.append(not_a_number)
    if isinstance(model.space, Integers):
        wrong += [x + model.space.levels, x - model.space.levels, x + 0.5]
    for each in wrong:
        for call in calls_with_data(model):
            with pytest.raises(OutOfSpace) as error:
                call(each)
            assert isinstance(error.value, GenaisysError)
            assert "\n" not in str(error.value)
            assert str(error.value).startswith("expected ")


def calls_with_data(model: GenerativeModel) -> list[Callable[..., Tensor]]:
    return [model.loss, *([model.log_prob] if isinstance(model, Density) else [])]


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_is_not_passed_over(name: str) -> None:
    model = SMALL_MODELS[name]()
    x, condition = some(model, 3), torch.zeros(3, dtype=torch.int64)
    for call in calls_with_data(model):
        with pytest.raises(ConditionWrong, match="this model is not conditional"):
            call(x, condition=condition)
    with pytest.raises(ConditionWrong, match="this model is not conditional"):
        model.sample(3, condition=condition)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_no_fewer_samples_than_none(name: str) -> None:
    model = SMALL_MODELS[name]()
    with pytest.raises(TooFewSamples, match="from 0 up, got -1"):
        model.sample(-1)
    if isinstance(model, Density) and model.likelihood == "lower bound":
        with pytest.raises(TooFewSamples, match="from 1 up, got 0"):
            model.log_prob(some(model), samples=0)


def pieces_of_work(model: GenerativeModel) -> list[Callable[[], object]]:
    """Whatever a model can be asked for."""
    x = some(model)
    observed = torch.zeros(model.space.shape, dtype=torch.bool)
    observed.view(-1)[0] = True
    work: list[Callable[[], object]] = [lambda: model.loss(x).mean().backward(), lambda: model.sample(4)]
    if isinstance(model, Density):
        work.append(lambda: model.log_prob(x))
    if isinstance(model, Representation):
        code = model.encode(x)
        work += [lambda: model.encode(x), lambda: model.decode(code)]
    if isinstance(model, Completes):
        work.append(lambda: model.complete(x, observed))
    if isinstance(model, Queries):
        work.append(lambda: model.log_marginal(x, observed))
    if isinstance(model, MostProbable):
        work.append(lambda: model.most_probable(x, observed))
    return work


@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_is_made_on_another_device_than_the_models(name: str) -> None:
    """Trap G4, without a second device: what is made with no word about devices lands on one that cannot compute."""
    for do in pieces_of_work(SMALL_MODELS[name]()):
        with torch.device("meta"):
            do()


def masks(model: GenerativeModel) -> list[Tensor]:
    """Which variables may be given, and the others be completed. [*shape] each"""
    shape, dimensions = model.space.shape, math.prod(model.space.shape)
    beginnings = [[True] * k + [False] * (dimensions - k) for k in range(1, dimensions)]
    parts = beginnings if model.completes == "an end" else [*beginnings, [False, True] * (dimensions // 2)]
    return [out_of_order(torch.tensor([each]), shape)[0] for each in parts]


@pytest.mark.parametrize("name", of_integers(having(Completes)))
def test_completions_follow_the_conditional_distribution(name: str) -> None:
    model = SMALL_MODELS[name]()
    x, given = states(model.space), some(model, 1)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    for observed in masks(model)[1::2]:
        fitting = ((x == given) | ~observed).flatten(1).all(1)
        n = 2000
        found = model.complete(
            given.expand(n, *model.space.shape), observed, generator=torch.Generator().manual_seed(0)
        )
        assert torch.equal(found[:, observed], given.expand(n, *model.space.shape)[:, observed])
        expected = n * p[fitting] / p[fitting].sum()
        assert fits(counts_of(found, x[fitting]), expected)


@pytest.mark.parametrize("name", having(Completes))
def test_a_mask_is_of_true_and_false_and_of_the_datas_shape(name: str) -> None:
    model = SMALL_MODELS[name]()
    x = some(model, 3)
    observed = torch.ones(model.space.shape, dtype=torch.bool)
    calls = [model.complete]
    calls += [model.log_marginal] if isinstance(model, Queries) else []
    calls += [model.most_probable] if isinstance(model, MostProbable) else []
    for call in calls:
        for mask in [observed, observed.expand(x.shape)]:
            call(x, mask)
        for mask in [observed.int(), observed.float(), observed.flatten()[:-1], observed.expand(2, *observed.shape)]:
            with pytest.raises(OutOfSpace, match=r"expected a mask of torch.bool, of shape .*; got torch\."):
                call(x, mask)


@pytest.mark.parametrize("name", [name for name in having(Completes) if SMALL_MODELS[name]().completes == "an end"])
def test_only_an_end_is_completed(name: str) -> None:
    model = SMALL_MODELS[name]()
    x = some(model, 1)
    observed = torch.ones(model.space.shape, dtype=torch.bool)
    observed.view(-1)[0] = False
    with pytest.raises(OutOfSpace):
        model.complete(x, observed)


@pytest.mark.parametrize("name", of_integers(having(Queries)))
@torch.no_grad()
def test_marginals_are_sums(name: str) -> None:
    model = SMALL_MODELS[name]().double()
    x, given = states(model.space), some(model, 2)
    p = model.log_prob(x).exp()
    torch.testing.assert_close(model.log_marginal(given, torch.ones(model.space.shape).bool()), model.log_prob(given))
    torch.testing.assert_close(
        model.log_marginal(given, torch.zeros(model.space.shape).bool()), torch.zeros(2).double(), atol=1e-9, rtol=0
    )
    for observed in masks(model):
        for row in given:
            fitting = ((x == row) | ~observed).flatten(1).all(1)
            found = model.log_marginal(row[None], observed).exp().item()
            assert found == pytest.approx(p[fitting].sum().item(), rel=1e-6)


@pytest.mark.parametrize("name", having(MostProbable))
@torch.no_grad()
def test_the_most_probable_is_the_best_of_all(name: str) -> None:
    model = SMALL_MODELS[name]().double()
    x, given = states(model.space), some(model, 3)
    p = model.log_prob(x)
    for observed in [*masks(model), torch.zeros(model.space.shape).bool()]:
        found = model.most_probable(given, observed)
        for row, best in zip(given, found, strict=True):
            fitting = ((x == row) | ~observed).flatten(1).all(1)
            torch.testing.assert_close(model.log_prob(best[None])[0], p[fitting].max())
            assert torch.equal(best[observed], row[observed])


@pytest.mark.parametrize("name", having(Lossless))
def test_bytes_become_the_same_data_at_the_cost_of_their_likelihood(name: str) -> None:
    model = SMALL_MODELS[name]()
    x = some(model, 200)
    data = model.compress(x)
    assert torch.equal(model.decompress(data), x)
    with torch.no_grad():
        bits = -model.log_prob(x).sum().item() / math.log(2)
    assert len(data) <= 1.001 * bits / 8 + 8.25  # the number of examples takes 2 bytes
    for n in (1, 2, 5):
        with torch.no_grad():
            bits = -model.double().log_prob(x[:n]).sum().item() / math.log(2)
        assert len(model.compress(x[:n])) <= 1.001 * bits / 8 + 7.25
    assert model.decompress(model.compress(x[:0])).shape == (0, *model.space.shape)


@pytest.mark.parametrize("name", having(Representation))
@torch.no_grad()
def test_codes_are_decoded_into_the_space(name: str) -> None:
    model = SMALL_MODELS[name]()
    x = some(model)
    code = model.encode(x)
    decoded = model.decode(code)
    assert decoded.shape == x.shape
    model.space.validated(decoded)
    for wrong in [code[:, None], code.flatten(1)[:, :-1], code.flatten()[0]]:
        with pytest.raises(OutOfSpace, match=r"expected data of shape \[B"):
            model.decode(wrong)
