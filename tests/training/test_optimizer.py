"""Learning rates, weight decay, and the moving average, against their formulas."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from genaisys.training import TrainingSettings
from genaisys.training.ema import EMA
from genaisys.training.optimizer import adamw, learning_rate
from genaisys.training.settings import SettingsWrong

SETTINGS = TrainingSettings(steps=110, learning_rate=0.2, final_learning_rate=0.1, warmup_steps=10)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(1, 0.02), (5, 0.1), (10, 0.2), (60, 0.11), (110, 0.02)],  # half way between 0.2 and 0.02 it is 0.11
)
def test_the_rate_warms_up_and_falls_along_a_cosine(step: int, rate: float) -> None:
    assert learning_rate(step, SETTINGS) == pytest.approx(rate)


def test_without_warm_up_the_first_rate_is_almost_full() -> None:
    assert learning_rate(1, TrainingSettings(steps=1000, learning_rate=1.0)) == pytest.approx(1, abs=1e-5)
    assert learning_rate(1, TrainingSettings(steps=1, learning_rate=1.0)) == pytest.approx(0.1)


def test_the_rate_never_jumps() -> None:
    rates = [learning_rate(step, SETTINGS) for step in range(1, 111)]
    assert max(abs(a - b) for a, b in pairwise(rates)) <= 0.02 + 1e-12


def test_only_matrices_decay() -> None:
    """With a gradient of zero Adam moves nothing, so what shrinks has decayed."""
    layer = nn.Linear(2, 2)
    before = {name: weight.detach().clone() for name, weight in layer.named_parameters()}
    for weight in layer.parameters():
        weight.grad = torch.zeros_like(weight)
    adamw(layer.parameters(), TrainingSettings(steps=1, learning_rate=0.5, weight_decay=0.2)).step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * (1 - 0.5 * 0.2))
    assert torch.equal(layer.bias, before["bias"])


def test_the_average_is_that_of_its_closed_form() -> None:
    """After n steps: prod d_i of the first weights, and (1 - d_k) prod_{i > k} d_i of those of step k."""
    values = [1.0, 5.0, -2.0, 4.0, 0.5]
    weight = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    average = EMA({"w": weight}, decay=0.4)
    decays = [min(0.4, (1 + k) / (10 + k)) for k in range(1, 6)]
    assert decays[0] < 0.4 == decays[-1]
    expected = 3.0 * torch.tensor(decays).double().prod()
    for step, value in enumerate(values, start=1):
        weight.data.fill_(value)
        average.update(step)
        expected += (1 - decays[step - 1]) * value * torch.tensor(decays[step:]).double().prod()
    assert average.average["w"].item() == pytest.approx(expected.item())


def test_the_average_is_applied_and_taken_back() -> None:
    weight = nn.Parameter(torch.tensor([3.0]))
    average = EMA({"w": weight}, decay=0.9)
    weight.data.fill_(7.0)
    with average.applied():
        assert weight.item() == 3
    assert weight.item() == 7
    assert average.average["w"].item() == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("micro_batch_size", 0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("ema_decay", 1.0),
        ("betas", (0.9, 2.0)),
        ("final_learning_rate", 2.0),
        ("precision", "float8"),
        ("seed", 1 << 31),
        ("warmup_steps", -1),
    ],
)
def test_settings_that_cannot_be_meant_are_named(name: str, value: object) -> None:
    with pytest.raises(SettingsWrong, match=name):
        TrainingSettings(**{"steps": 1, name: value})  # type: ignore[arg-type]
