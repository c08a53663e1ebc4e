"""Flows of posteriors: determinants against autograd, orthogonality, and densities that are right."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from genaisys.models import Reals
from genaisys.models.latent.flow_posterior import FlowPosterior, PosteriorFlow, drawn
from genaisys.models.latent.householder import HouseholderFlow, reflected
from genaisys.models.latent.inverse_autoregressive import InverseAutoregressiveFlow
from genaisys.models.latent.presets import POSTERIOR_FLOWS
from genaisys.models.latent.sylvester import (
    HouseholderSylvester,
    OrthogonalSylvester,
    SylvesterFlow,
    TriangularSylvester,
    orthonormal,
)

LATENT, CONTEXT, STEPS = 4, 6, 3


def flow(name: str, latent: int = LATENT, scale: float = 0.2) -> PosteriorFlow:
    torch.manual_seed(0)
    made = POSTERIOR_FLOWS[name](latent, CONTEXT, STEPS).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("name", POSTERIOR_FLOWS)
def test_log_determinants_are_those_of_autograd(name: str) -> None:
    made = flow(name)
    z, context = torch.randn(2, 3, LATENT).double(), torch.randn(3, CONTEXT).double()
    _, log_det = made(z, context)
    assert log_det.shape == (2, 3)
    for s in range(2):
        for b in range(3):
            jacobian = torch.autograd.functional.jacobian(
                lambda row, b=b: made(row[None, None], context[b : b + 1])[0][0, 0], z[s, b]
            )
            # Iterated orthonormal columns are so to about 1e-5.
            torch.testing.assert_close(jacobian.det().abs().log(), log_det[s, b], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", POSTERIOR_FLOWS)
@torch.no_grad()
def test_the_density_of_what_is_drawn_is_right(name: str) -> None:
    """For any density r, E_q[r(z) / q(z)] is one; the flow is invertible and covers the plane."""
    torch.manual_seed(0)
    posterior = FlowPosterior(nn.Linear(3, CONTEXT), Reals((2,)), CONTEXT, flow(name, latent=2)).double()
    x = torch.randn(4, 3).double()
    z, log_q = drawn(posterior(x), 50_000)
    inside = Independent(Normal(z.mean(0), 0.5 * z.std(0)), 1)
    ratios = (inside.log_prob(z) - log_q).exp()  # [S, 4]
    error = (ratios.mean(0) - 1).abs()
    assert (error < 5 * ratios.std(0) / len(z) ** 0.5).all()
    assert (ratios.std(0) < 20).all()
    assert posterior(x).rsample((5, 2)).shape == (5, 2, 4, 2)
    assert posterior(x).sample().shape == (4, 2)


@torch.no_grad()
def test_reflections_are_orthogonal_and_undo_themselves() -> None:
    torch.manual_seed(0)
    z, v = torch.randn(5, 4).double(), torch.randn(5, 4).double()
    once = reflected(z, v)
    torch.testing.assert_close(once.norm(dim=1), z.norm(dim=1))
    torch.testing.assert_close(reflected(once, v), z)
    torch.testing.assert_close(reflected(v, v), -v)
    assert torch.equal(reflected(z, torch.zeros_like(z)), z)  # trap Q2


@torch.no_grad()
def test_as_many_reflections_as_dimensions_are_needed_for_the_negative_identity() -> None:
    """Trap Q5: the determinant of L - 1 reflections has the other sign."""
    z = torch.randn(3, 4).double()
    for v in torch.eye(4).double():
        z, before = reflected(z, v.expand(3, 4)), z
        assert not torch.allclose(z, before)
    torch.manual_seed(0)
    eye = torch.eye(3).double()
    product = eye
    for v in torch.randn(2, 3).double():
        product = reflected(product, v.expand(3, 3))
    torch.testing.assert_close(product.det(), torch.ones(()).double())
    assert (-eye).det() == -1


@torch.no_grad()
def test_householder_flows_keep_the_divergence_from_the_standard_normal() -> None:
    """Trap Q1: norms are kept, so the KL of the Gaussian before it is that after it; it also moves the mean rightly."""
    torch.manual_seed(0)
    posterior = FlowPosterior(nn.Linear(3, CONTEXT), Reals((LATENT,)), CONTEXT, flow("householder")).double()
    q = posterior(torch.randn(3, 3).double())
    z, log_q = drawn(q, 100_000)
    standard = Independent(Normal(torch.zeros(3, LATENT), torch.ones(3, LATENT)), 1)
    estimate = (log_q - standard.log_prob(z)).mean(0)
    torch.testing.assert_close(estimate, kl_divergence(q.base, standard).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(z.mean(0), q.mean, atol=0.05, rtol=0)


def _orthogonal_of(made: SylvesterFlow, context: Tensor) -> Tensor:
    return made.orthogonal(context).expand(STEPS, len(context), LATENT, made.rank)


@pytest.mark.parametrize("name", ["orthogonal-sylvester", "householder-sylvester", "triangular-sylvester"])
@torch.no_grad()
def test_columns_are_orthonormal(name: str) -> None:
    made = flow(name)
    assert isinstance(made, SylvesterFlow)
    q = _orthogonal_of(made, torch.randn(5, CONTEXT).double())
    torch.testing.assert_close(q.mT @ q, torch.eye(made.rank).double().expand(STEPS, 5, -1, -1), atol=1e-4, rtol=0)


@torch.no_grad()
def test_orthogonalisation_finds_the_nearest_from_any_scale() -> None:
    """Trap Q4: without the division it would diverge from 100 times as large."""
    torch.manual_seed(0)
    matrix = torch.randn(7, 5, 3).double()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    for scale in (1e-3, 1.0, 100.0):
        torch.testing.assert_close(orthonormal(scale * matrix), u @ v, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_diagonals_keep_a_sylvester_flow_invertible() -> None:
    """Trap Q3: r_ii r'_ii > -1 whatever the encoder says, also where tanh' is 1: so the log-determinant is finite."""
    made = TriangularSylvester(LATENT, CONTEXT, 1)
    made.parameters_of.weight.zero_()
    numbers = made.parameters_of.bias.view(LATENT, LATENT + 3).zero_()
    numbers[:, LATENT], numbers[:, LATENT + 1] = 100.0, -100.0  # the two diagonals; tanh rounds them to 1 and -1
    z, log_det = made(torch.zeros(1, 1, LATENT), torch.zeros(1, CONTEXT))
    assert torch.equal(z, torch.zeros(1, 1, LATENT))
    assert torch.isfinite(log_det).all()
    assert log_det < -20
    line = torch.linspace(-3, 3, 1001)[:, None, None].expand(-1, 1, LATENT)
    moved, _ = made(line, torch.zeros(1, CONTEXT))
    assert (moved.diff(dim=0) > 0).all()  # increasing, so invertible


@torch.no_grad()
def test_the_determinant_identity_that_sylvester_flows_rest_on() -> None:
    """det(I_D + A B) = det(I_M + B A) (book eq. 5.62), for the step as it is written down."""
    made = OrthogonalSylvester(LATENT, CONTEXT, 1, 2).double()
    context, z = torch.randn(1, CONTEXT).double(), torch.randn(1, 1, LATENT).double()
    jacobian = torch.autograd.functional.jacobian(lambda row: made(row[None, None], context)[0][0, 0], z[0, 0])
    q = made.orthogonal(context)[0, 0]
    inner = q.T @ (jacobian - torch.eye(LATENT)) @ q  # R diag(h') R', upper triangular
    torch.testing.assert_close(inner.tril(-1), torch.zeros(2, 2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(jacobian.det(), (inner + torch.eye(2)).det(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_parameters_of_sylvester_flows_differ_from_x_to_x() -> None:
    z = torch.randn(1, 1, LATENT).double().expand(1, 2, LATENT)
    for made in (
        OrthogonalSylvester(LATENT, CONTEXT, 1, 2).double(),
        HouseholderSylvester(LATENT, CONTEXT, 1, 2).double(),
        TriangularSylvester(LATENT, CONTEXT, 1).double(),
    ):
        moved, _ = made(z, torch.randn(2, CONTEXT).double())
        assert not torch.allclose(moved[0, 0], moved[0, 1])


def test_the_jacobian_of_an_inverse_autoregressive_step_is_triangular() -> None:
    torch.manual_seed(0)
    made = InverseAutoregressiveFlow(LATENT, CONTEXT, 1, 16).double()
    context = torch.randn(1, CONTEXT).double()
    jacobian = torch.autograd.functional.jacobian(
        lambda row: made(row[None, None], context)[0][0, 0], torch.randn(LATENT).double()
    ).flip(0)
    torch.testing.assert_close(jacobian.triu(1), torch.zeros_like(jacobian))
    assert (jacobian.diagonal() > 0).all()
    assert (jacobian.tril(-1) != 0).sum() == 6


def test_a_householder_flow_chains_its_vectors() -> None:
    made = HouseholderFlow(LATENT, CONTEXT, STEPS)
    assert [linear.in_features for linear in made.vectors] == [CONTEXT, LATENT, LATENT]
