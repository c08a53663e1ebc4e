"""What each output depends on: all that comes before, and nothing else. By Jacobian, so that a blind spot shows."""

import pytest
import torch
from torch import Tensor, nn

from genaisys.models import Reals, build
from genaisys.models.autoregressive.convolutional import CausalConv1d, DilatedConvolutions, TooShortSighted
from genaisys.models.autoregressive.model import Autoregressive
from genaisys.models.autoregressive.order import in_order, out_of_order
from genaisys.models.autoregressive.pixelcnn import CausalConv2d
from genaisys.models.spaces import SpaceUnfit

IMAGE, COLOURS, LINE = Reals((1, 6, 6)), Reals((3, 3, 3)), Reals((20,))
SEE_ALL = {
    "arm-rnn": [IMAGE, COLOURS, LINE],
    "arm-convolutions": [IMAGE, COLOURS, LINE],
    "arm-transformer": [IMAGE, COLOURS, LINE],
    "pixelcnn": [IMAGE, COLOURS, Reals((1, 3, 7)), Reals((2, 6, 2))],
}


def dependencies(network: nn.Module, dimensions: int) -> Tensor:
    """Whether the numbers of place d depend on input e. [D, D], bool"""
    torch.manual_seed(0)
    network = network.double().eval()
    x = torch.randn(1, dimensions, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x)[0], x)  # [D, numbers, 1, D]
    return (jacobian != 0).any(1)[:, 0]


@pytest.mark.parametrize(("name", "space"), [(name, space) for name, spaces in SEE_ALL.items() for space in spaces])
def test_each_place_depends_on_all_before_it_and_on_nothing_else(name: str, space: Reals) -> None:
    torch.manual_seed(0)
    model = build(name, space, width=8)
    assert isinstance(model, Autoregressive)
    everything = torch.ones(space.dimensions, space.dimensions, dtype=torch.bool)
    assert torch.equal(dependencies(model.network, space.dimensions), everything.tril(-1))


def test_a_finite_memory_depends_on_the_last_values_alone() -> None:
    torch.manual_seed(0)
    model = build("arm-memory", LINE, memory=3)
    assert isinstance(model, Autoregressive)
    everything = torch.ones(20, 20, dtype=torch.bool)
    assert torch.equal(dependencies(model.network, 20), everything.tril(-1) & everything.triu(-3))


def test_a_single_stack_of_masked_convolutions_has_a_blind_spot() -> None:
    """Trap A5, and why there are two stacks: of what is above, the right is never seen, however deep the stack is."""
    torch.manual_seed(0)
    layers = [CausalConv2d(4 if depth else 1, 4, (3, 3), "B" if depth else "A") for depth in range(8)]
    single = nn.Sequential(*[module for layer in layers for module in (nn.ZeroPad2d(1), layer)])
    seen = dependencies(_InOrder(single), 36)
    above_right = torch.tensor([row * 6 + column for row in range(3) for column in range(4, 6)])
    assert not seen[18, above_right].any()  # the first pixel of the fourth row
    assert seen[18, :3].all()
    assert not seen.triu().any()


class _InOrder(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.view(1, 1, 6, 6)).flatten(2).mT


def test_a_masked_convolution_sees_what_its_option_says() -> None:
    """Figures 3.5 and 3.6: a 3x3 kernel of ones counts the pixels that it sees."""
    for option, expected in (("A", [[0, 1, 1], [2, 4, 3], [2, 4, 3]]), ("B", [[1, 2, 2], [3, 5, 4], [3, 5, 4]])):
        conv = CausalConv2d(1, 1, (3, 3), option)
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
        assert conv(nn.functional.pad(torch.ones(1, 1, 3, 3), (1, 1, 1, 1)))[0, 0].tolist() == expected


def test_options_a_and_b_of_listing_3_1() -> None:
    for option, last in (("A", -1), ("B", 0)):
        conv = CausalConv1d(1, 1, 2, dilation=3, option=option)
        seen = dependencies(_Line(conv), 12)
        places = torch.arange(12)
        back = places[:, None] - places
        assert torch.equal(seen, (back == -last) | (back == 3 - last))
        assert conv.reach == 3 - last


class _Line(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[:, None]).mT


def test_figure_3_3_sees_seven_past_inputs() -> None:
    stack = [CausalConv1d(1, 1, 2, 1, "A"), CausalConv1d(1, 1, 2, 2), CausalConv1d(1, 1, 2, 3)]
    assert sum(conv.reach for conv in stack) == 7
    seen = dependencies(_Line(nn.Sequential(*stack)), 20)
    assert seen[15].nonzero().flatten().tolist() == [8, 9, 10, 11, 12, 13, 14]


def test_what_does_not_see_everything_is_refused() -> None:
    """Trap A2: the book's four layers, with the kernel of the author's notebook, see 25 of 63 pixels before it."""
    with pytest.raises(TooShortSighted, match="see 25 of the 63 dimensions"):
        DilatedConvolutions(Reals((1, 8, 8)), 2, kernel=7, dilations=[1, 1, 1], width=4, dropout=0.0)
    with pytest.raises(TooShortSighted):
        build("pixelcnn", Reals((1, 8, 8)), layers=6)
    with pytest.raises(TooShortSighted):
        build("arm-convolutions", LINE, kernel=1)
    with pytest.raises(SpaceUnfit, match="images"):
        build("pixelcnn", LINE)


def test_the_order_is_by_rows_with_the_channels_of_a_pixel_together() -> None:
    x = torch.arange(24).view(1, 3, 2, 4)
    assert in_order(x)[0, :7].tolist() == [0, 8, 16, 1, 9, 17, 2]
    for shape in ((3, 2, 4), (4, 6), (24,), (2, 2, 3, 2)):
        assert torch.equal(out_of_order(in_order(x.view(1, *shape)), shape), x.view(1, *shape))
