"""Integer discrete flows: permutations of the space, exact probabilities, and their gradient."""

import itertools

import pytest
import torch
from small_models import IMAGE, LINE, softened
from torch import Tensor, nn

from genaisys.models import Integers, build
from genaisys.models.densities import DiscretizedLogistic
from genaisys.models.flows.bijection import Composition
from genaisys.models.flows.idf import IntegerDiscreteFlow
from genaisys.models.flows.integer_coupling import IntegerCoupling, on_circle, rounded
from genaisys.models.flows.masks import all_but_one, halves, in_turn
from genaisys.models.layers.mlp import MLP


def states(space: Integers) -> Tensor:
    values = range(space.low, space.high + 1)
    return torch.tensor(list(itertools.product(values, repeat=space.dimensions))).view(-1, *space.shape)


def couplings(space: Integers, masks: list[Tensor]) -> Composition:
    """With shifts of some levels, as random networks give them."""
    torch.manual_seed(0)
    result = Composition(IntegerCoupling(MLP(space.dimensions, space.dimensions, 16), mask, space) for mask in masks)
    softened(result, scale=1.0)  # type: ignore[arg-type]
    return result


def test_rounding_has_the_gradient_of_the_identity() -> None:
    x = torch.tensor([-1.7, 0.2, 0.5, 1.5, 2.7], requires_grad=True)
    y = rounded(x)
    assert y.tolist() == [-2.0, 0.0, 0.0, 2.0, 3.0]  # half to even
    (gradient,) = torch.autograd.grad((y * torch.arange(5.0)).sum(), x)
    assert gradient.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    (true,) = torch.autograd.grad(x.round().sum(), x)
    assert not true.any()


def test_rounding_gives_whole_numbers() -> None:
    x = 100 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rounded(x), x.round())


@pytest.mark.parametrize("space", [LINE, IMAGE, Integers((3,), -2, 1), Integers((5,), 0, 1)])
@pytest.mark.parametrize("parts", ["two", "four", "all"])
@torch.no_grad()
def test_couplings_permute_the_space(space: Integers, parts: str) -> None:
    """The bipartite and the quadripartite form, and Prop. 4.1 with one variable after the other."""
    masks = {
        "two": in_turn(space.shape),
        "four": all_but_one(space.shape, 4),
        "all": all_but_one(space.shape, space.dimensions),
    }[parts]
    f, x = couplings(space, masks), states(space).float()
    z, log_det = f.forward_and_log_det(x)
    space.validated(z)
    assert not log_det.any()
    assert (z != x).any(0).all()
    assert len(z.flatten(1).unique(dim=0)) == len(x)
    assert torch.equal(f.inverse(z), x)


@torch.no_grad()
def test_a_flow_on_a_finite_space_only_permutes_probabilities() -> None:
    """Book section 4.2.2, figure 4.10."""
    model = softened(build("idf", LINE, couplings=4, width=8), scale=1.0)
    assert isinstance(model, IntegerDiscreteFlow)
    x = states(LINE)
    p, base = model.log_prob(x), model.base().log_prob(x.float())
    assert not torch.allclose(p, base)
    torch.testing.assert_close(p.sort().values, base.sort().values)
    assert p.exp().sum().item() == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_book_fault_shifts_without_a_circle_leak() -> None:
    """Among all integers (book eq. 4.35) the probabilities of the space do not add up to one."""
    model = softened(build("idf", LINE, couplings=4, width=8), scale=0.6)
    assert isinstance(model, IntegerDiscreteFlow)
    z = states(LINE).float()
    for step in model.bijection.bijections:
        z = z + rounded(step._shift(z, None))  # type: ignore[operator]
    assert len(z.unique(dim=0)) == len(z)
    inside = ((z >= LINE.low) & (z <= LINE.high)).all(1)
    assert 0 < inside.sum() < len(z)
    assert model.base().log_prob(z[inside]).exp().sum() < 0.9


def test_on_the_circle_the_last_level_is_beside_the_first() -> None:
    space = Integers((1,), 3, 5)
    assert on_circle(torch.tensor([2.0, 3.0, 5.0, 6.0, 9.0, -1.0]), space).tolist() == [5.0, 3.0, 5.0, 3.0, 3.0, 5.0]
    x = torch.tensor([7.0], requires_grad=True)
    assert torch.autograd.grad(on_circle(x, space).sum(), x)[0].tolist() == [1.0]


@pytest.mark.parametrize("levels", [0, 2])
def test_the_loss_is_the_negative_log_likelihood(levels: int) -> None:
    model = softened(build("idf", LINE, couplings=4, levels=levels, width=8), scale=1.0)
    x = states(LINE)
    torch.testing.assert_close(model.loss(x), -model.log_prob(x))  # type: ignore[attr-defined]


class _Shift(nn.Module):
    """The same shift for every example."""

    def __init__(self, shift: list[float]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.shift.expand(len(x), -1)


@pytest.mark.parametrize(("shift", "other"), [(0.3, 1), (-0.3, -1), (1.2, 1), (0.8, -1)])
def test_the_gradient_of_a_shift_is_the_change_by_rounding_it_the_other_way(shift: float, other: int) -> None:
    space = Integers((2,), 0, 4)
    base = softened(build("idf", space, couplings=0))
    assert isinstance(base, IntegerDiscreteFlow)
    net = _Shift([0.0, shift])
    model = IntegerDiscreteFlow(space, [IntegerCoupling(net, halves((2,)), space)], base.base)
    x = torch.tensor([[1, 2], [3, 4], [0, 0]])
    model.loss(x).sum().backward()
    z = model.encode(x).float()
    moved = on_circle(z + torch.tensor([0.0, float(other)]), space)
    expected = other * (model.base().log_prob(z) - model.base().log_prob(moved)).sum()
    assert net.shift.grad is not None
    torch.testing.assert_close(net.shift.grad[1], expected.detach())


def test_training_finds_what_makes_two_variables_independent() -> None:
    """x2 = x1 + noise: a coupling subtracts, and the base of independent variables fits (book figure 4.11)."""
    space = Integers((2,), 0, 3)
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 4, (512, 1), generator=generator)
    noise = (torch.rand(512, 1, generator=generator) < 0.1).long()
    x = torch.cat((first, (first + noise) % 4), 1)
    torch.manual_seed(0)
    model = build("idf", space, couplings=4, width=32, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        model.loss(x).mean().backward()
        optimizer.step()
    independent = 2 * torch.tensor(4.0).log()
    entropy = torch.tensor(4.0).log() + 0.325  # of x1, and of a noise of 10 %
    assert model.loss(x).mean() < entropy + 0.1 < independent - 0.9


def test_the_base_begins_evenly_over_the_levels() -> None:
    """The book's begins as one logistic of scale e around 0, for pixels from 0 to 16 (trap I5)."""
    model = build("idf", Integers((1,), 0, 16), couplings=0)
    p = model.log_prob(torch.arange(17)[:, None]).exp()  # type: ignore[operator]
    assert p.min() > 0.3 / 17
    assert p.max() < 3 / 17


def test_far_from_its_mean_the_discretized_logistic_is_exact() -> None:
    """The difference of two numbers near 1 is lost at 20, and with 1e-8 added it is -18.42 from there on (trap I3)."""
    loc, log_scale = torch.zeros(4), torch.zeros(4)
    found = DiscretizedLogistic(loc, log_scale).log_prob(torch.tensor([20.0, 100.0, -20.0, -100.0]))
    torch.testing.assert_close(found, torch.tensor([-19.959, -99.959, -19.959, -99.959]), atol=1e-3, rtol=0)


def test_samples_have_the_shape_of_the_data() -> None:
    """The book's sampler calls itself with an argument too many, and forgets the shape (trap I1)."""
    model = softened(build("idf", IMAGE, levels=1))
    assert model.sample(3).shape == (3, *IMAGE.shape)
    assert model.sample(3).dtype is torch.int64


def test_another_batch_size_decodes_the_same() -> None:
    """Trap I4: a shift that is rounded another way would lose the data; in double precision none was."""
    space = Integers((1, 8, 8), 0, 16)
    model = softened(build("idf", space)).double()
    assert isinstance(model, IntegerDiscreteFlow)
    x = torch.randint(0, 17, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    z = model.encode(x)
    assert (z != x).float().mean() > 0.5
    assert torch.equal(torch.cat([model.decode(each[None]) for each in z]), x)
