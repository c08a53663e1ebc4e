"""Training by EM in one call."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from genaisys.models import Integers, OutOfSpace, build
from genaisys.models.mixtures import Mixture
from genaisys.training import em, fit_by_em
from genaisys.training.metrics import Record, read_metrics

SPACE = Integers((4,), 0, 3)


def data(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    kind = torch.randint(3, (n, 1), generator=generator)
    return (kind + torch.randint(2, (n, 4), generator=generator)).clamp(max=3)


def mixture(**sizes: object) -> Mixture:
    torch.manual_seed(0)
    model = build("mixture", SPACE, **sizes)
    assert isinstance(model, Mixture)
    return model


@torch.no_grad()
def test_it_ends_with_what_was_best_on_held_out_data() -> None:
    model = mixture(components=8, smoothing=0.01)  # so many, and so little smoothing, that it learns by heart
    records: list[Record] = []
    x, held_out = data(30), data(200)
    model.initialise(x)
    result = fit_by_em(model, x, held_out, 100, patience=5, on_record=records.append)
    measured = [record["held_out"]["loss"] for record in records if "held_out" in record]
    losses = [record["loss"] for record in records if "loss" in record]
    assert [record["step"] for record in records] == [step for step in range(1, result.step + 1) for _ in range(2)]
    assert result.step == result.best_step + 5 < 100
    assert losses[-1] < losses[0]
    assert result.held_out["loss"] <= min(measured)
    assert measured[-1] > result.held_out["loss"]
    assert model.loss(held_out).mean().item() == pytest.approx(result.held_out["loss"], abs=1e-5)


@torch.no_grad()
def test_it_takes_as_many_steps_as_it_is_given() -> None:
    one, other = mixture(components=2), mixture(components=2)
    x = data(100)
    fit_by_em(one, x, x, 3)
    for _ in range(3):
        other.em_step(x)
    torch.testing.assert_close(one.log_prob(x), other.log_prob(x))
    assert fit_by_em(one, x, x, 0).step == 0


def test_data_of_another_space_are_refused() -> None:
    with pytest.raises(OutOfSpace):
        fit_by_em(mixture(), data(10) + 1, data(10), 3)
    with pytest.raises(OutOfSpace):
        fit_by_em(mixture(), data(10), data(10) + 1, 3)


class Stopped(Exception):
    pass


@torch.no_grad()
def test_what_was_stopped_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(em, "_BETWEEN_CHECKPOINTS", 0.0)
    x, held_out = data(30), data(200)
    whole, parts = (mixture(components=8, smoothing=0.01) for _ in range(2))
    expected = fit_by_em(whole, x, held_out, 40, patience=5)
    assert expected.best_step + 5 == expected.step  # it has learned by heart: what was best is not the last

    def stop(record: Record) -> None:
        if record["step"] == expected.best_step + 3:
            raise Stopped

    with pytest.raises(Stopped):
        fit_by_em(parts, x, held_out, 40, tmp_path / "run", patience=5, on_record=stop)
    another, records = mixture(components=8, smoothing=0.01), list[Record]()
    result = fit_by_em(another, x, held_out, 40, tmp_path / "run", patience=5, on_record=records.append)
    assert records[0]["step"] == expected.best_step + 3
    assert result == expected
    assert torch.equal(another.log_prob(held_out), whole.log_prob(held_out))
    steps = [record["step"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in record]
    assert steps == list(range(1, expected.step + 1))
