"""EM that learns after each batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from genaisys.models import Integers, build
from genaisys.models.circuits.circuit import DiscreteCircuit
from genaisys.training import StepwiseEM, em, fit_by_em
from genaisys.training.metrics import Record

SPACE = Integers((6,), 0, 3)


def data(n: int, seed: int) -> Tensor:
    """Six variables with one hidden cause."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, (n, 1), generator=generator)
    return (kind + torch.randint(2, (n, 6), generator=generator)).clamp(max=3)


def circuit(preset: str = "hidden-tree", **sizes: object) -> DiscreteCircuit:
    torch.manual_seed(0)
    model = build(preset, SPACE, **sizes)
    assert isinstance(model, DiscreteCircuit)
    torch.manual_seed(0)
    model.initialise(data(500, seed=0))
    return model


@pytest.mark.parametrize(
    ("preset", "sizes"), [("hidden-tree", {"states": 4}), ("einet", {"sums": 3, "depth": 2, "repetitions": 2})]
)
@torch.no_grad()
def test_one_batch_of_all_data_is_a_step_of_em(preset: str, sizes: dict[str, int]) -> None:
    x = data(200, seed=1)
    one, other = circuit(preset, **sizes), circuit(preset, **sizes)
    before, after = StepwiseEM(one, batch_size=200).em_step(x), other.em_step(x)
    torch.testing.assert_close(before, after)
    torch.testing.assert_close(one.log_prob(x), other.log_prob(x))


@torch.no_grad()
def test_expected_counts_add_up_over_examples() -> None:
    model, x = circuit(), data(200, seed=1)
    whole, parts = model.expected_counts(x)[0], [model.expected_counts(part)[0] for part in (x[:70], x[70:])]
    for sum_, one, other in zip(whole, *parts, strict=True):
        torch.testing.assert_close(one + other, sum_)
    assert whole[0].sum().item() == pytest.approx(200 * 6, rel=1e-5)  # each variable has one leaf, each time


@torch.no_grad()
def test_a_pass_goes_further_than_steps_on_all_data_and_ends_as_well() -> None:
    x, held_out = data(4000, seed=1), data(1000, seed=2)
    plain, stepwise = (circuit(states=3, leaves="categorical") for _ in range(2))
    after_one = StepwiseEM(stepwise, batch_size=100)
    after_one.em_step(x)
    for _ in range(3):
        plain.em_step(x)
    assert stepwise.loss(held_out).mean() < plain.loss(held_out).mean() - 0.05
    for _ in range(10):
        after_one.em_step(x)
    for _ in range(200):
        plain.em_step(x)
    assert stepwise.loss(held_out).mean().item() == pytest.approx(plain.loss(held_out).mean().item(), abs=0.02)


class Stopped(Exception):
    pass


@torch.no_grad()
def test_what_was_stopped_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(em, "_BETWEEN_CHECKPOINTS", 0.0)
    x, held_out = data(300, seed=1), data(200, seed=2)
    whole, stopped, another = circuit(), circuit(), circuit()
    fit_by_em(StepwiseEM(whole, 50), x, held_out, 8)

    def stop(record: Record) -> None:
        if record["step"] == 5:
            raise Stopped

    with pytest.raises(Stopped):
        fit_by_em(StepwiseEM(stopped, 50), x, held_out, 8, tmp_path, on_record=stop)
    records: list[Record] = []
    fit_by_em(StepwiseEM(another, 50), x, held_out, 8, tmp_path, on_record=records.append)
    assert records[0]["step"] == 5
    assert torch.equal(another.log_prob(held_out), whole.log_prob(held_out))
