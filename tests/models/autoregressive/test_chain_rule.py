"""One pass and place by place are the same model: numbers, samples, completions, and what they cost."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from genaisys.models import Integers, OutOfSpace, build
from genaisys.models.autoregressive.model import Autoregressive
from genaisys.models.autoregressive.order import in_order, out_of_order

IMAGE, COLOURS = Integers((1, 4, 4), 0, 4), Integers((3, 2, 3), 2, 5)
MODELS = {
    "arm-memory": (IMAGE, {"memory": 3}),
    "arm-rnn": (IMAGE, {"layers": 2, "dropout": 0.5}),
    "arm-lstm": (IMAGE, {"cell": "lstm", "components": 2}),
    "arm-convolutions": (IMAGE, {"kernel": 3, "cycles": 2, "dropout": 0.5}),
    "arm-transformer": (COLOURS, {"dropout": 0.5}),
    "pixelcnn": (IMAGE, {"dropout": 0.5, "layers": 3}),
    "pixelcnn-colours": (COLOURS, {"components": 3, "layers": 2}),
    "pixelcnn-wide": (COLOURS, {"kernel": 5, "layers": 2}),
}


def make(name: str) -> Autoregressive:
    space, sizes = MODELS[name]
    torch.manual_seed(0)
    preset = {"arm-lstm": "arm-rnn"}.get(name, "pixelcnn" if name.startswith("pixelcnn") else name)
    model = build(preset, space, width=16, **sizes)
    assert isinstance(model, Autoregressive)
    with torch.no_grad():
        for parameter in model.parameters():  # so that the conditionals differ from place to place
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.double().eval()


@torch.no_grad()
def naive_sample(model: Autoregressive, n: int) -> Tensor:
    """As in the book's listing 3.2: a whole pass for each dimension, of which one place is read."""
    x = torch.full((n, model.space.dimensions), model.space.low)
    for place in range(model.space.dimensions):
        x[:, place] = model.head(model.network(x)[:, place]).sample()
    return out_of_order(x, model.space.shape)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_place_by_place_gives_the_numbers_of_one_pass(name: str) -> None:
    model = make(name)
    x = in_order(model.sample(3, generator=torch.Generator().manual_seed(0)))
    steps = model.network.steps(3)
    numbers = [next(steps), *(steps.send(x[:, place]) for place in range(x.shape[1] - 1))]
    torch.testing.assert_close(torch.stack(numbers, 1), model.network(x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_samples_are_those_of_the_naive_sampler(name: str) -> None:
    """The same integers from the same seed: sums are taken in another order, which in float64 moves no draw."""
    model = make(name)
    torch.manual_seed(5)
    expected = naive_sample(model, 40)
    torch.manual_seed(5)
    assert torch.equal(model.sample(40), expected)
    assert len(expected.flatten(1).unique(dim=0)) > 30


@pytest.mark.parametrize("name", ["arm-memory", "arm-convolutions", "arm-transformer", "pixelcnn"])
@torch.no_grad()
def test_a_sample_costs_about_one_pass(name: str) -> None:
    """So the cost of a dimension does not grow with their number; a naive sampler would need 16 passes and more."""
    model = make(name)
    x = in_order(model.sample(1))
    with FlopCounterMode(display=False) as one_pass:
        model.network(x)
    with FlopCounterMode(display=False) as sampling:
        model.sample(1)
    assert 0 < sampling.get_total_flops() < 1.2 * one_pass.get_total_flops()


@pytest.mark.parametrize("name", MODELS)
def test_a_completion_begins_as_it_is_given_and_goes_on_as_a_sample_would(name: str) -> None:
    model = make(name)
    x = model.sample(6, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([0, 1, 5, 9, 15, model.space.dimensions])
    given = torch.arange(model.space.dimensions) < lengths[:, None]  # [6, D]: each begins otherwise
    missing = torch.where(given, in_order(x), model.space.high)
    completed = model.complete(
        out_of_order(missing, model.space.shape),
        out_of_order(given, model.space.shape),
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.equal(completed, x)  # what is drawn is drawn as it was


def test_holes_are_not_completed() -> None:
    model = make("pixelcnn")
    x = model.sample(2)
    observed = torch.ones(1, 4, 4, dtype=torch.bool)
    observed[0, 1, 2] = False
    with pytest.raises(OutOfSpace, match="row by row"):
        model.complete(x, observed)


@torch.no_grad()
def test_a_finite_memory_multiplies_its_conditionals() -> None:
    """Equation 3.5 by hand: what is before the first value is zero, and no value."""
    model = make("arm-memory")
    network = model.network
    x = in_order(model.sample(2))
    vectors = torch.cat([torch.zeros(2, 3, 16), network.values(x)], 1)  # [2, 3 + D, width]
    total = torch.zeros(2, dtype=torch.float64)
    for place in range(16):
        window = vectors[:, place : place + 3]
        logits = network.mlp(torch.stack(list(window.unbind(1)), -1).flatten(1))
        total += logits.log_softmax(-1).gather(1, x[:, place, None])[:, 0]
    torch.testing.assert_close(model.log_prob(out_of_order(x, (1, 4, 4))), total)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_matrices_begin_orthogonal(cell: str) -> None:
    model = build("arm-rnn", IMAGE, cell=cell, width=12, layers=2)
    for name, parameter in model.named_parameters():
        if "weight_hh" in name:
            for gate in parameter.view(-1, 12, 12):
                torch.testing.assert_close(gate @ gate.T, torch.eye(12), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["pixelcnn-colours", "arm-lstm"])
@torch.no_grad()
def test_mixtures_of_logistics_have_all_their_mass_on_the_space(name: str) -> None:
    """Trap I6, of row 3.11: the first and the last bin reach to infinity."""
    model = make(name)
    numbers = 5 * torch.randn(50, model.head.numbers(model.head.space, model.head.components), dtype=torch.float64)
    levels = range(model.space.low, model.space.high + 1)
    total = sum(model.head(numbers).log_prob(torch.full((50,), level)).exp() for level in levels)
    torch.testing.assert_close(total, torch.ones(50, dtype=torch.float64))
