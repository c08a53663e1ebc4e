"""Flows as distributions: densities, dequantization, bases, conditions."""

import math

import pytest
import torch
from small_models import IMAGE, LINE, PLANE, softened
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from zuko.nn import MaskedMLP

from genaisys.models import Integers, Reals, build
from genaisys.models.base import ConditionWrong
from genaisys.models.conditionals import Categoricals, Gaussians
from genaisys.models.dequantization import Dequantization, LogitDequantization, UniformDequantization
from genaisys.models.flows.actnorm import ActNorm
from genaisys.models.flows.base_densities import AutoregressiveBase, GaussianMixture, StandardNormal
from genaisys.models.flows.bijection import Composition
from genaisys.models.flows.coupling import AffineCoupling
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.masks import coarse_to_fine, halves
from genaisys.models.flows.permutation import reversal
from genaisys.models.flows.variational_dequantization import VariationalDequantization
from genaisys.models.layers.mlp import MLP
from genaisys.training import TrainingSettings, fit


def test_the_books_example_is_a_normal_density() -> None:
    """x = 0.75 z + 1 (book eq. 4.1-4.6): standard deviation 0.75, and 1/2 in the exponent, which is missing there."""
    norm = ActNorm((1,))
    with torch.no_grad():
        norm.mean.fill_(1.0)
        norm.log_scale.fill_(-math.log(0.75))
    flow = Flow(Reals((1,)), norm, StandardNormal(1)).eval()
    x = torch.linspace(-4, 6, 2001)[:, None]
    log_prob = flow.log_prob(x)
    torch.testing.assert_close(log_prob, Normal(1.0, 0.75).log_prob(x)[:, 0])
    assert log_prob.exp().sum().item() * 0.005 == pytest.approx(1, abs=1e-3)
    printed = torch.exp(-((x - 1) ** 2) / 0.75**2) / (0.75 * math.sqrt(2 * math.pi))
    assert printed.sum().item() * 0.005 == pytest.approx(1 / math.sqrt(2), abs=1e-3)


def cells(flow: Flow, x: Tensor, points: int = 400) -> Tensor:
    """P(x) of one integer by the midpoint rule over its cell. [B, 1] -> [B]"""
    dequantization = flow.dequantization
    assert isinstance(dequantization, UniformDequantization)
    u = (torch.arange(points) + 0.5) / points - 0.5
    total = torch.zeros(len(x))
    for each in u:
        y, weight = dequantization.in_units(x + each)
        z, log_det = flow.bijection.forward_and_log_det(y)
        total += (flow.base(None).log_prob(z) + log_det + weight).exp() / points
    return total


@pytest.mark.parametrize("of", [UniformDequantization, LogitDequantization])
@torch.no_grad()
def test_the_bound_of_many_samples_is_the_probability_of_the_cell(of: type[UniformDequantization]) -> None:
    space = Integers((1,), 3, 5)
    flow = Flow(space, ActNorm((1,)), StandardNormal(1), of(space)).eval()
    softened(flow)
    x = torch.tensor([[3], [4], [5]])
    torch.manual_seed(0)
    expected = cells(flow, x)
    torch.testing.assert_close(flow.log_prob(x, samples=20_000), expected.log(), atol=0.02, rtol=0)
    assert (flow.log_prob(x.repeat(20_000, 1)).view(-1, 3).mean(0) < expected.log()).all()


def variational(space: Integers) -> VariationalDequantization:
    dimensions = space.dimensions
    couplings = [
        AffineCoupling(MLP(dimensions, 2 * dimensions, 8, context=4), given)
        for given in (torch.zeros(space.shape).bool(), halves(space.shape))
    ]
    return VariationalDequantization(
        UniformDequantization(space), Composition(couplings), MLP(space.dimensions, 4, 8, depth=1)
    )


def test_learned_noise_makes_the_bound_tighter() -> None:
    """One variable with one likely value: a normal density fits its cell badly, unless the noise is normal too."""
    space = Integers((2,), 0, 1)
    x = torch.zeros(256, 2).long()
    losses = []
    for dequantization in (UniformDequantization(space), variational(space)):
        torch.manual_seed(0)
        flow = Flow(space, ActNorm((2,)), StandardNormal(2), dequantization)
        optimizer = torch.optim.Adam(flow.parameters(), 0.02)
        for _ in range(300):
            optimizer.zero_grad()
            flow.loss(x).mean().backward()
            optimizer.step()
        losses.append(flow.loss(x).mean().item())
    assert losses[0] == pytest.approx(2 * 0.5 * math.log(2 * math.pi * math.e / 12), abs=0.05)
    assert losses[1] < losses[0] / 2


@torch.no_grad()
def test_the_density_of_learned_noise_is_right() -> None:
    """Then the bound of many samples does not depend on the noise."""
    space = Integers((2,), 0, 2)
    torch.manual_seed(0)
    x = torch.tensor([[0, 1], [2, 1]])
    bounds = []
    for dequantization in (UniformDequantization(space), variational(space)):
        torch.manual_seed(1)
        flow = Flow(space, ActNorm((2,)), StandardNormal(2), dequantization)
        bounds.append(flow.log_prob(x, samples=30_000))
    torch.testing.assert_close(bounds[0], bounds[1], atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "dequantization", [UniformDequantization(IMAGE), LogitDequantization(IMAGE), variational(IMAGE)]
)
@torch.no_grad()
def test_what_was_dequantized_is_quantized_to_the_same(dequantization: Dequantization) -> None:
    x = torch.randint(IMAGE.low, IMAGE.high + 1, (500, *IMAGE.shape))
    y, weight = dequantization.dequantize(x)
    assert weight.shape == (500,)
    assert torch.equal(dequantization.quantize(y), x)
    assert torch.equal(dequantization.quantize(dequantization.centres(x)), x)
    assert dequantization.quantize(y * 1e3).max() <= IMAGE.high


@pytest.mark.parametrize("name", ["realnvp", "spline-flow", "residual-flow", "idf"])
def test_codes_are_decoded_to_the_same_data(name: str) -> None:
    torch.manual_seed(0)
    model = softened(build(name, LINE), scale=0.05)
    x = torch.randint(0, 3, (20, 4))
    assert torch.equal(model.decode(model.encode(x)), x)


def test_a_flow_needs_no_even_number_of_variables() -> None:
    torch.manual_seed(0)
    for name in ("realnvp", "spline-flow", "residual-flow", "dense-flow", "idf"):
        model = softened(build(name, Integers((3,), 0, 2)), scale=0.1)
        x = model.sample(5)
        assert model.loss(x).shape == (5,)
        assert torch.equal(model.decode(model.encode(x)), x)


def test_one_draw_for_each_sample() -> None:
    """Listing 4.1 draws [B, D] of a D-variate normal, which is [B, D, D], and keeps a D-th of it (trap F3)."""
    assert StandardNormal(3)().sample((7,)).shape == (7, 3)
    assert StandardNormal(3)().log_prob(torch.zeros(7, 3)).shape == (7,)


class TestConditional:
    """Book section 4.1.6: the condition goes to every coupling."""

    @pytest.fixture
    def flow(self) -> Flow:
        torch.manual_seed(0)
        flow = softened(build("realnvp", PLANE, classes=3, width=8))
        assert isinstance(flow, Flow)
        return flow

    def test_each_class_has_a_density_of_its_own(self, flow: Flow) -> None:
        axis = torch.linspace(-10, 10, 201)
        points = torch.cartesian_prod(axis, axis)
        densities = []
        with torch.no_grad():
            for label in range(3):
                condition = torch.full((len(points),), label)
                densities.append(flow.log_prob(points, condition=condition).exp())
                assert densities[-1].sum().item() * 0.01 == pytest.approx(1, abs=0.01)
        assert (densities[0] - densities[1]).abs().max() > 0.01

    def test_samples_are_of_their_class(self, flow: Flow) -> None:
        for label in range(3):
            condition = torch.full((4000,), label)
            x = flow.sample(4000, condition=condition, generator=torch.Generator().manual_seed(0))
            z = flow.encode(x, condition=condition)
            torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=0.08, rtol=0)
            torch.testing.assert_close(z.std(0), torch.ones(2), atol=0.08, rtol=0)
            assert torch.allclose(flow.decode(z, condition=condition), x, atol=1e-4)

    def test_every_parameter_has_a_gradient(self, flow: Flow) -> None:
        flow.loss(torch.randn(30, 2), condition=torch.arange(30) % 3).mean().backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in flow.parameters())

    def test_the_condition_is_asked_for(self, flow: Flow) -> None:
        with pytest.raises(ConditionWrong, match="needs a condition"):
            flow.loss(torch.zeros(1, 2))
        with pytest.raises(ConditionWrong, match="not conditional"):
            build("realnvp", PLANE).loss(torch.zeros(1, 2), condition=torch.zeros(1).long())
        for call in [flow.loss, flow.log_prob, flow.encode, flow.decode]:
            with pytest.raises(ConditionWrong, match=r"expected 2 conditions, one for each example, got \[3\]"):
                call(torch.zeros(2, 2), condition=torch.zeros(3).long())
        with pytest.raises(ConditionWrong, match="expected 4 conditions"):
            flow.sample(4, condition=torch.zeros(3).long())
        for strange in (*map(torch.tensor, ([0, 3], [-1, 0], [0.0, 1.0], [True, False], [[0], [1]])),):
            with pytest.raises(ConditionWrong, match="integers from 0 to 2"):
                flow.loss(torch.zeros(2, 2), condition=strange)
        with pytest.raises(ConditionWrong, match="expected a tensor"):
            flow.loss(torch.zeros(2, 2), condition=[0, 1])

    def test_it_learns_what_its_classes_are(self) -> None:
        torch.manual_seed(0)
        classes = torch.arange(300) % 3
        x = torch.randn(300, 2) + 8 * classes[:, None]
        flow = build("realnvp", PLANE, classes=3, couplings=2, width=16)
        settings = TrainingSettings(steps=150, batch_size=64, learning_rate=0.01, evaluate_every=150)
        fit(flow, x[:200], x[200:], settings, conditions=(classes[:200], classes[200:]))
        for label in range(3):
            mean = flow.sample(500, condition=torch.full((500,), label)).mean(0)
            torch.testing.assert_close(mean, torch.full((2,), 8.0 * label), atol=1.5, rtol=0)

    def test_training_needs_the_conditions_of_all_examples(self, flow: Flow) -> None:
        x, classes, settings = torch.randn(6, 2), torch.zeros(6).long(), TrainingSettings(steps=1)
        for conditions in [None, (classes, None), (classes, classes[:1]), (classes[:5], classes[:2])]:
            with pytest.raises(ConditionWrong):
                fit(flow, x, x[:2], settings, conditions=conditions)
        with pytest.raises(ConditionWrong):
            fit(build("realnvp", PLANE), x, None, settings, conditions=(classes, None))


def masked(groups: Tensor, numbers: int) -> MaskedMLP:
    return MaskedMLP((groups[:, None] > groups).repeat_interleave(numbers, 0), hidden_features=[16])


class TestBases:
    """Learned bases (book section 4.1.6)."""

    def test_a_mixture_as_base(self) -> None:
        torch.manual_seed(0)
        base = GaussianMixture(2, 3)
        axis = torch.linspace(-8, 8, 161)
        with torch.no_grad():
            total = base().log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * 0.01
        assert total.item() == pytest.approx(1, abs=1e-3)
        flow = Flow(PLANE, reversal(2), base)
        flow.loss(flow.sample(10)).sum().backward()
        assert all(parameter.grad is not None for parameter in flow.parameters())

    def test_an_autoregressive_base_samples_what_it_gives_likelihoods_of(self) -> None:
        """Gaussian conditionals that are linear: samples have the covariance of the density."""
        torch.manual_seed(0)
        groups = torch.tensor([0, 1, 1])
        net = nn.Sequential(masked(groups, 2), nn.Unflatten(1, (3, 2)), _Transposed())
        base = AutoregressiveBase(Gaussians(net, Reals((3,))), groups)
        with torch.no_grad():
            torch.manual_seed(1)
            z = base().sample((20_000,))
            p = base.given(z)
            standardised = (z - p.base_dist.loc) / p.base_dist.scale
            torch.testing.assert_close(standardised.T.cov(), torch.eye(3), atol=0.05, rtol=0)
            torch.testing.assert_close(
                base().log_prob(z), Independent(Normal(p.base_dist.loc, p.base_dist.scale), 1).log_prob(z)
            )

    def test_an_autoregressive_base_over_integers_sums_to_one(self) -> None:
        torch.manual_seed(0)
        space = Integers((4,), 1, 2)
        groups = coarse_to_fine((4,), 2)
        base = AutoregressiveBase(Categoricals(masked(groups, 2), space), groups)
        softened(base)  # type: ignore[arg-type]
        x = torch.cartesian_prod(*[torch.arange(1, 3)] * 4).float()
        with torch.no_grad():
            assert base().log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-5)
            levels = base.log_probs(x)  # [16, 4, 2]
        torch.testing.assert_close(levels.logsumexp(-1), torch.zeros(16, 4), atol=1e-5, rtol=0)
        chosen = levels.gather(-1, (x.long() - 1)[..., None])[..., 0].sum(1)
        torch.testing.assert_close(chosen, base().log_prob(x).detach())


class _Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_a_continuous_flow_leaks_between_the_cells() -> None:
    """Two of four cells have all the mass (book section 4.2.1, figure 4.9); an integer flow finds them."""
    space = Integers((2,), 0, 1)
    x = torch.tensor([[0, 0], [0, 0], [1, 1]]).repeat(20, 1)
    empty = torch.tensor([[0, 1], [1, 0]])
    found = {}
    for name in ("realnvp", "idf"):
        torch.manual_seed(0)
        model = build(name, space, couplings=2, width=16, dropout=0.0)
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(250):
            optimizer.zero_grad()
            model.loss(x).mean().backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            bound = {"samples": 300} if name == "realnvp" else {}
            found[name] = model.log_prob(empty, **bound).exp().sum().item()
    assert found["realnvp"] > 0.02
    assert found["idf"] < 0.01
