"""The measurements of the zoo: what they give for data whose answer is known."""

import pytest
import torch

from genaisys.models import Integers, build
from genaisys.zoo import evaluation
from genaisys.zoo.data import Parts, digits
from genaisys.zoo.evaluation import frechet_distance, measure, mmd2, precision_and_recall, scaled


@pytest.fixture(scope="module")
def data() -> Parts:
    return digits()


def test_real_digits_among_themselves_are_the_floor(data: Parts) -> None:
    """447 training images against the 447 test images, the mean of ten draws: FD .33, MMD² 2.0e-3, P .64, R .79."""
    test, found = scaled(data.test, data.space), []
    for seed in range(10):
        chosen = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))[:447]
        training = scaled(data.training[chosen], data.space)
        found.append([frechet_distance(test, training), mmd2(test, training), *precision_and_recall(test, training)])
    fd, mmd, precision, recall = torch.tensor(found).mean(0).tolist()
    assert fd == pytest.approx(0.33, abs=0.015)
    assert mmd == pytest.approx(2.0e-3, abs=0.4e-3)
    assert precision == pytest.approx(0.64, abs=0.02)
    assert recall == pytest.approx(0.79, abs=0.02)


def test_frechet_distance_of_normal_distributions() -> None:
    """For diagonal covariances it is the sum of squared differences of means and of standard deviations."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 200_000, 3, dtype=torch.float64, generator=generator)
    b = 1 + b * torch.tensor([1.0, 2.0, 0.5])
    assert frechet_distance(a, b) == pytest.approx(3 + 1 + 0.25, rel=0.02)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator)).Q
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    flat = a * torch.tensor([1.0, 0.0, 0.0])  # a singular covariance, as of pixels that are always empty
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)


def test_mmd2_is_unbiased() -> None:
    generator = torch.Generator().manual_seed(0)
    same = [mmd2(*torch.randn(2, 40, 2, dtype=torch.float64, generator=generator)) for _ in range(200)]
    mean, error = torch.tensor(same).mean().item(), torch.tensor(same).std().item() / 200**0.5
    assert abs(mean) < 4 * error
    assert min(same) < 0  # as no biased estimate would be
    a, b = torch.randn(2, 300, 2, dtype=torch.float64, generator=generator)
    assert mmd2(a, b + 3) > mmd2(a, b + 1) > 10 * error


def test_precision_and_recall_tell_apart_what_is_missing() -> None:
    generator = torch.Generator().manual_seed(0)
    two = torch.randn(400, 2, generator=generator) + 20 * torch.randint(2, (400, 1), generator=generator)
    one = torch.randn(400, 2, generator=generator)
    precision, recall = precision_and_recall(two, one)  # half of the modes
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.1)
    precision, recall = precision_and_recall(one, two)  # twice as many modes as there are
    assert precision == pytest.approx(0.5, abs=0.1)
    assert recall > 0.9


def test_all_about_a_model_is_measured_and_comes_out_again(data: Parts) -> None:
    model = build("factorised", data.space)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    measured = measure(model, data)
    assert torch.equal(torch.get_rng_state(), before)
    assert measured.likelihood == "exact"
    assert measured.test_nats == pytest.approx(181.3, abs=0.05)  # uniform over 17 values
    assert measured.bits_per_dim == pytest.approx(4.0875, abs=1e-3)  # log2 of 17
    again = measure(model, data)
    assert (again.fd, again.mmd2, again.precision, again.recall) == (
        measured.fd, measured.mmd2, measured.precision, measured.recall
    )  # fmt: skip


def test_a_bound_is_asked_for_with_its_samples(data: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("factorised", data.space)
    asked = []

    def log_prob(x: torch.Tensor, *, samples: int) -> torch.Tensor:
        asked.append(samples)
        return torch.rand(len(x))

    monkeypatch.setattr(model, "log_prob", log_prob)
    first = evaluation.mean_nats(model, data.test, 7)
    assert set(asked) == {7}
    assert evaluation.mean_nats(model, data.test, 7) == first  # the same random numbers


def test_integers_are_compared_from_0_to_1() -> None:
    x = torch.tensor([[[3, 5]], [[7, 3]]])
    assert scaled(x, Integers((1, 2), 3, 7)).tolist() == [[0, 0.5], [1, 0]]
