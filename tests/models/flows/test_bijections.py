"""Every bijection: its inverse inverts, and its log-det is that of autograd's Jacobian."""

from collections.abc import Callable, Mapping

import pytest
import torch
from small_models import softened
from torch import Tensor, nn
from zuko.flows import MaskedAutoregressiveTransform

from genaisys.models import Integers, Reals, SpaceUnfit, build
from genaisys.models.flows.actnorm import ActNorm
from genaisys.models.flows.bijection import Bijection, Composition
from genaisys.models.flows.convolution import InvertibleConvolution
from genaisys.models.flows.coupling import AffineCoupling, ReZeroCoupling
from genaisys.models.flows.factor_out import FactorOut
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.masks import all_but_one, channels, checkerboard, coarse_to_fine, halves, in_turn
from genaisys.models.flows.permutation import Permutation, reversal
from genaisys.models.flows.residual import InvertibleResidual
from genaisys.models.flows.splines import MaskedAutoregressive, ZukoTransform
from genaisys.models.flows.squeeze import Squeeze
from genaisys.models.layers.convnet import ConvNet
from genaisys.models.layers.lipschitz import CLipSwish, LipschitzDense, lipschitz_conv2d, lipschitz_linear
from genaisys.models.layers.mlp import MLP

FIVE, IMAGE = (5,), (2, 4, 4)
CONTEXT = 3


def mlp(dimensions: int, context: int = CONTEXT) -> MLP:
    return MLP(dimensions, 2 * dimensions, 8, context=context)


def of_preset(name: str, shape: tuple[int, ...], **sizes: int) -> Bijection:
    model = build(name, Reals(shape), **sizes)
    assert isinstance(model, Flow)
    return model.bijection


# Shape of the data, whether a context is taken, and how it is made.
BIJECTIONS: Mapping[str, tuple[tuple[int, ...], bool, Callable[[], Bijection]]] = {
    "affine, halves of an odd number": (FIVE, True, lambda: AffineCoupling(mlp(5), halves(FIVE))),
    "affine, nothing given": (FIVE, True, lambda: AffineCoupling(mlp(5), torch.zeros(5).bool())),
    "affine, convolutions": (
        IMAGE,
        True,
        lambda: AffineCoupling(ConvNet(2, 4, 4, context=CONTEXT), checkerboard(IMAGE)),
    ),
    "rezero": (FIVE, True, lambda: ReZeroCoupling(mlp(5), ~checkerboard(FIVE))),
    "actnorm of variables": (IMAGE, False, lambda: ActNorm(IMAGE)),
    "actnorm of channels": (IMAGE, False, lambda: ActNorm((2, 1, 1))),
    "reversal": (FIVE, False, lambda: reversal(5)),
    "permutation": (IMAGE, False, lambda: Permutation(torch.randperm(32))),
    "1x1 convolution": (IMAGE, False, lambda: InvertibleConvolution(2)),
    "rotation of vectors": (FIVE, False, lambda: InvertibleConvolution(5)),
    "squeeze": (IMAGE, False, lambda: Squeeze(IMAGE)),
    "factor out": (IMAGE, True, lambda: FactorOut(AffineCoupling(mlp(16), halves((1, 4, 4))), 1, IMAGE, (1, 4, 4))),
    "composition": (
        FIVE,
        True,
        lambda: Composition([reversal(5), ReZeroCoupling(mlp(5), halves(FIVE)), ActNorm(FIVE)]),
    ),
    "autoregressive": (
        FIVE,
        True,
        lambda: ZukoTransform(MaskedAutoregressiveTransform(5, CONTEXT, hidden_features=[8])),
    ),
    "residual": (
        FIVE,
        False,
        lambda: InvertibleResidual(
            nn.Sequential(lipschitz_linear(5, 8, 0.9), CLipSwish(), lipschitz_linear(16, 5, 0.9)), tolerance=1e-13
        ),
    ),
    "residual, convolutions": (
        IMAGE,
        False,
        lambda: InvertibleResidual(
            nn.Sequential(lipschitz_conv2d(2, 3, 3, (4, 4), 0.9), CLipSwish(), lipschitz_conv2d(6, 2, 3, (4, 4), 0.9)),
            tolerance=1e-13,
        ),
    ),
    "dense": (
        FIVE,
        False,
        lambda: InvertibleResidual(
            nn.Sequential(LipschitzDense(lipschitz_linear(5, 4, 0.9)), lipschitz_linear(13, 5, 0.9)), tolerance=1e-13
        ),
    ),
    "realnvp": (FIVE, False, lambda: of_preset("realnvp", FIVE, couplings=4, width=8)),
    "glow": (IMAGE, False, lambda: of_preset("glow", IMAGE, levels=2, steps=2, width=4)),
    "spline flow": (FIVE, False, lambda: of_preset("spline-flow", FIVE, transforms=2, width=8)),
}


def made(name: str) -> tuple[Bijection, Tensor, Tensor | None]:
    """The bijection with random weights, some data for it, and a context, all in double precision."""
    shape, takes_context, make = BIJECTIONS[name]
    torch.manual_seed(0)
    bijection = make()
    softened(bijection)  # type: ignore[arg-type]
    x = torch.randn(3, *shape).double()
    return bijection.double().eval(), x, torch.randn(3, CONTEXT).double() if takes_context else None


@pytest.mark.parametrize("name", BIJECTIONS)
@torch.no_grad()
def test_the_inverse_inverts(name: str) -> None:
    bijection, x, context = made(name)
    z, log_det = bijection.forward_and_log_det(x, context)
    assert not torch.allclose(z.flatten(1), x.flatten(1), atol=1e-3)  # or there would be nothing to undo
    found, minus_log_det = bijection.inverse_and_log_det(z, context)
    torch.testing.assert_close(found, x, atol=1e-8, rtol=0)
    torch.testing.assert_close(minus_log_det, -log_det, atol=1e-8, rtol=0)
    torch.testing.assert_close(bijection.inverse(z, context), x, atol=1e-8, rtol=0)
    torch.testing.assert_close(bijection(x, context), z, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_the_log_determinant_is_that_of_the_jacobian(name: str) -> None:
    bijection, x, context = made(name)
    _, log_det = bijection.forward_and_log_det(x, context)
    for row in range(len(x)):
        condition = None if context is None else context[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda one, condition=condition: bijection.forward_and_log_det(one[None], condition)[0].flatten(), x[row]
        ).flatten(1)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(log_det[row], expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", [name for name, (_, takes_context, _) in BIJECTIONS.items() if takes_context])
def test_the_context_matters(name: str) -> None:
    bijection, x, context = made(name)
    assert context is not None
    z, other = (bijection.forward_and_log_det(x, each)[0] for each in (context, -context))
    assert not torch.allclose(z, other, atol=1e-3)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 2), (0.01, 6), (1.0, 60)])
@torch.no_grad()
def test_an_autoregressive_inverse_takes_the_passes_it_needs_and_is_that_of_all(weight: float, expected: int) -> None:
    """The shift of each variable is the one before it, times the weight."""
    torch.manual_seed(0)
    ours, theirs = (of(60, hidden_features=[]) for of in (MaskedAutoregressive, MaskedAutoregressiveTransform))
    ours.hyper[0].weight.zero_()[0::2].diagonal(-1).fill_(weight)
    theirs.load_state_dict(ours.state_dict())
    passes: list[None] = []
    ours.hyper.register_forward_hook(lambda *_: passes.append(None))
    z = torch.randn(5, 60)
    assert torch.equal(ours().inv(z), theirs().inv(z))
    assert len(passes) == pytest.approx(expected, abs=2 if weight == 0.01 else 0)


def test_a_rezero_coupling_begins_as_the_identity_and_its_gates_move_first() -> None:
    torch.manual_seed(0)
    coupling = ReZeroCoupling(mlp(5, context=0), halves(FIVE))
    x = torch.randn(4, 5)
    z, log_det = coupling.forward_and_log_det(x)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros(4))
    (z.square().sum() - log_det.sum()).backward()
    assert coupling.gates.grad is not None
    assert (coupling.gates.grad != 0).all()
    assert all(not parameter.grad.any() for parameter in coupling.net.parameters())  # type: ignore[union-attr]


def test_a_coupling_does_not_look_at_what_it_changes() -> None:
    torch.manual_seed(0)
    coupling = AffineCoupling(mlp(5, context=0), halves(FIVE))
    x = torch.randn(1, 5, requires_grad=True)
    _, log_det = coupling.forward_and_log_det(x)
    (gradient,) = torch.autograd.grad(log_det.sum(), x)
    assert (gradient[0, :3] != 0).all()
    assert not gradient[0, 3:].any()


def test_actnorm_begins_with_the_statistics_of_the_first_batch() -> None:
    torch.manual_seed(0)
    norm = ActNorm((2, 1, 1)).train()
    x = 3 + 5 * torch.randn(20, *IMAGE)
    z, _ = norm.forward_and_log_det(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(2), atol=1e-2, rtol=0)
    again, _ = norm.forward_and_log_det(10 * x)  # and by no later one
    assert again.std() > 5


def test_masks_of_any_number_of_variables() -> None:
    assert halves((5,)).tolist() == [True, True, True, False, False]
    assert checkerboard((1, 2, 3)).int().tolist() == [[[1, 0, 1], [0, 1, 0]]]
    assert channels((3, 1, 1)).flatten().tolist() == [True, False, False]
    for mask in all_but_one((7,), 4):
        assert 1 <= (~mask).sum() <= 2
    assert torch.stack([~mask for mask in all_but_one((7,), 4)]).sum(0).tolist() == [1] * 7
    assert torch.stack([~mask for mask in in_turn((1, 4, 4))]).sum(0).flatten().tolist() == [2] * 16


def test_every_halving_takes_out_half_of_what_is_left() -> None:
    groups = coarse_to_fine((1, 8, 8), 4)[0]
    assert [(groups == group).sum().item() for group in range(5)] == [4, 4, 8, 16, 32]
    assert [(coarse_to_fine((8,), 3) == group).sum().item() for group in range(4)] == [1, 1, 2, 4]
    row, column = (groups == 4).nonzero().unbind(1)
    assert ((row + column) % 2 == 1).all()  # one colour of the checkerboard leaves first
    assert (coarse_to_fine((1, 8, 8), 0) == 0).all()


def test_squares_of_pixels_become_channels() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    z, _ = Squeeze((1, 4, 4)).forward_and_log_det(x)
    assert z[0, :, 0, 0].tolist() == [0.0, 1.0, 4.0, 5.0]


@pytest.mark.parametrize("shape", [(1, 3, 4), (4,), (2, 5, 5)])
def test_what_cannot_be_squeezed_is_refused_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpaceUnfit) as error:
        build("glow", Integers(shape, 0, 1))
    assert "\n" not in str(error.value)
