"""Residual flows: Lipschitz constants, the fixed-point inverse, and estimators of the log-det."""

import pytest
import torch
from small_models import PLANE, softened
from torch import Tensor, nn

from genaisys.models import Reals, build
from genaisys.models.flows import residual
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.log_determinants import exact, power_series, russian_roulette
from genaisys.models.flows.residual import InvertibleResidual, NotInverted
from genaisys.models.layers.lipschitz import CLipSwish, LipschitzDense, LipSwish, lipschitz_conv2d, lipschitz_linear


def operator_norm(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """Of the linear part of a layer, by its whole matrix."""
    basis = torch.eye(torch.Size(shape).numel()).view(-1, *shape)
    with torch.no_grad():
        matrix = (layer(basis) - layer(torch.zeros(1, *shape))).flatten(1)
    return torch.linalg.matrix_norm(matrix, 2).item()


@pytest.mark.parametrize("scale", [0.01, 0.3, 10.0])
def test_linear_layers_shrink_to_the_coefficient_and_never_grow(scale: float) -> None:
    torch.manual_seed(0)
    layer = lipschitz_linear(20, 30, 0.9).eval()
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_(std=scale)  # type: ignore[union-attr]
    raw = torch.linalg.matrix_norm(layer.parametrizations.weight.original, 2).item()  # type: ignore[union-attr]
    assert operator_norm(layer, (20,)) == pytest.approx(min(raw, 0.9), rel=1e-4)


@pytest.mark.parametrize("kernel", [1, 3])
def test_of_a_convolution_the_operator_is_normalised_and_not_the_weight(kernel: int) -> None:
    """Trap F8: PyTorch's spectral_norm takes the weight as a matrix, and then this convolution stretches."""
    torch.manual_seed(0)
    layer = lipschitz_conv2d(3, 4, kernel, (6, 5), 0.9).eval()
    with torch.no_grad():
        layer.parametrizations.weight.original.fill_(1.0)  # type: ignore[union-attr]
    assert operator_norm(layer, (3, 6, 5)) == pytest.approx(0.9, rel=1e-4)
    if kernel == 3:
        plain = nn.Conv2d(3, 4, 3, padding=1)
        nn.init.ones_(plain.weight)
        usual = nn.utils.parametrizations.spectral_norm(plain, n_power_iterations=50)
        assert operator_norm(usual, (3, 6, 5)) > 2


def test_in_training_the_norm_is_followed() -> None:
    torch.manual_seed(0)
    layer = lipschitz_linear(20, 20, 0.9).train()
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(50):
        optimizer.zero_grad()
        (-layer(torch.randn(10, 20)).square().sum()).backward()
        optimizer.step()
        assert operator_norm(layer, (20,)) < 0.95
    assert torch.linalg.matrix_norm(layer.parametrizations.weight.original, 2) > 1  # type: ignore[union-attr]


def slopes(activation: nn.Module) -> Tensor:
    """The Jacobian of an activation at many points. [N, outputs]"""
    x = torch.linspace(-20, 20, 4001)
    return torch.autograd.functional.jacobian(lambda each: activation(each[:, None]).sum(0), x).T


@pytest.mark.parametrize("beta", [-2.0, 0.5, 3.0])
def test_activations_have_slopes_of_at_most_one(beta: float) -> None:
    swish, both = LipSwish(), CLipSwish()
    for parameter in (*swish.parameters(), *both.parameters()):
        nn.init.constant_(parameter, beta)
    assert 0.99 < slopes(swish).abs().max() <= 1
    norms = slopes(both).norm(dim=1)
    assert 0.999 < norms.max() <= 1.0001  # the paper's 1.004 is rounded
    assert norms.min() > 0.6  # it is nowhere flat, as LipSwish is


@pytest.mark.parametrize("angle", [0.3, torch.pi / 4])
def test_dense_layers_do_not_stretch(angle: float) -> None:
    torch.manual_seed(0)
    layer = LipschitzDense(lipschitz_linear(4, 6, 1.0)).eval()
    with torch.no_grad():
        layer.angle.fill_(angle)
        layer.layer.parametrizations.weight.original.mul_(100)  # type: ignore[union-attr]
    x = 3 * torch.randn(200, 4)
    norms = [torch.linalg.matrix_norm(torch.func.jacrev(lambda one: layer(one[None])[0])(row), 2) for row in x]
    assert 0.9 < max(norms) <= 1.0001


@pytest.mark.parametrize("name", ["residual-flow", "dense-flow"])
def test_the_product_of_all_constants_is_below_one(name: str) -> None:
    """Also with the closing layer (trap F9), and so whatever the weights are."""
    flow = softened(build(name, Reals((6,)), blocks=2), scale=5.0)
    assert isinstance(flow, Flow)
    maps = [step.g for step in flow.bijection.modules() if isinstance(step, InvertibleResidual)]
    assert len(maps) == 2
    for g in maps:
        linear = [layer for layer in g.modules() if isinstance(layer, nn.Linear)]
        product = 1.0
        for layer in linear:
            product *= operator_norm(layer, (layer.in_features,))
        assert product < 1
        x = torch.randn(50, 6)
        for row in x:
            jacobian = torch.func.jacrev(lambda one, g=g: g(one[None])[0])(row)
            assert torch.linalg.matrix_norm(jacobian, 2) < 1


def small_map() -> nn.Sequential:
    torch.manual_seed(0)
    layer = lipschitz_linear(3, 3, 0.65)
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(2 * torch.eye(3) + 0.5 * torch.randn(3, 3))  # type: ignore[union-attr]
    return nn.Sequential(layer, nn.ELU()).double().eval()


def estimates(estimator: object, repeats: int = 300) -> tuple[Tensor, Tensor]:
    """Mean and its standard error, of many calls with many copies of one example."""
    g, x = small_map(), torch.tensor([[0.3, -0.5, 1.0]]).double().expand(200, 3)
    torch.manual_seed(1)
    with torch.no_grad():
        calls = torch.stack([estimator(g, x)[1].mean() for _ in range(repeats)])  # type: ignore[operator]
    return calls.mean(), calls.std() / repeats**0.5


def test_russian_roulette_is_unbiased_and_a_short_series_is_not() -> None:
    g, x = small_map(), torch.tensor([[0.3, -0.5, 1.0]]).double()
    expected = exact(g, x)[1][0]
    for always in (1, 2):
        mean, error = estimates(russian_roulette(always))
        assert error < 0.03
        assert abs(mean - expected) < 4 * error
    mean, error = estimates(power_series(2))
    assert abs(mean - expected) > 10 * error
    mean, error = estimates(power_series(40))
    assert abs(mean - expected) < 4 * error + 1e-4


def test_the_gradient_of_the_estimate_is_unbiased_too() -> None:
    g = small_map()
    parameters = [parameter for parameter in g.parameters() if parameter.dim() == 2]
    x = torch.tensor([[0.3, -0.5, 1.0]]).double().expand(200, 3)
    expected = torch.autograd.grad(exact(g, x)[1].mean(), parameters)
    torch.manual_seed(1)
    calls = [torch.autograd.grad(russian_roulette()(g, x)[1].mean(), parameters) for _ in range(200)]
    for number, each in enumerate(expected):
        found = torch.stack([call[number] for call in calls])
        error = found.std(0) / len(calls) ** 0.5
        assert (error < 0.02).all()
        assert ((found.mean(0) - each).abs() < 5 * error + 1e-6).all()


def test_the_estimate_has_a_gradient_for_the_layers_before() -> None:
    g = small_map()
    x = torch.tensor([[0.3, -0.5, 1.0]]).double().expand(20_000, 3).requires_grad_()
    torch.manual_seed(0)
    found = torch.autograd.grad(power_series(30)(g, x)[1].sum(), x)[0]
    expected = torch.autograd.grad(exact(g, x)[1].sum(), x)[0][0]
    error = found.std(0) / len(x) ** 0.5
    assert expected.abs().max() > 10 * error.max()
    assert ((found.mean(0) - expected).abs() < 5 * error + 1e-6).all()


def test_without_gradients_the_log_determinant_is_the_same() -> None:
    flow = softened(build("residual-flow", PLANE, blocks=2, width=8))
    x = torch.randn(5, 2)
    with torch.no_grad():
        without = flow.log_prob(x)
    assert not without.requires_grad
    torch.testing.assert_close(flow.log_prob(x).detach(), without)


def test_a_map_that_stretches_is_not_inverted_but_reported() -> None:
    layer = InvertibleResidual(nn.Linear(2, 2).requires_grad_(False))
    nn.init.eye_(layer.g.weight)  # type: ignore[arg-type]
    layer.g.weight.mul_(-3)  # type: ignore[operator, union-attr]
    with pytest.raises(NotInverted) as error:
        layer.inverse(torch.ones(1, 2))
    assert "\n" not in str(error.value)


def test_codes_do_not_wait_for_a_log_determinant(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is exact in eval mode, and a backward pass for each dimension: minutes, for images of 28x28 pixels."""
    flow = softened(build("residual-flow", PLANE, blocks=2, width=8))
    assert isinstance(flow, Flow)
    x = torch.randn(4, 2)
    expected = flow.bijection.forward_and_log_det(x)[0]

    def fails(*arguments: object) -> None:
        raise AssertionError("a log-determinant was computed")

    monkeypatch.setattr(residual, "exact", fails)
    torch.testing.assert_close(flow.encode(x), expected.detach())
