"""What is drawn follows the settings: exact sets, frequencies, seeds."""

import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tiny_models import one_line

from genaisys.models.transformer.sampling import BadSampling, Sampling, choose

P = np.array([0.02, 0.4, 0.0, 0.25, 0.03, 0.2, 0.0, 0.1])  # [V]
with np.errstate(divide="ignore"):
    LOGITS = (np.log(P) + 3).astype(np.float32)


def drawn(logits: Any = LOGITS, times: int = 4000, seed: int = 0, **settings: Any) -> Counter[int]:
    random = np.random.default_rng(seed)
    sampling = Sampling(**{"temperature": 1.0, **settings})
    return Counter(choose(logits, sampling, random) for _ in range(times))


def chi_square(counts: Counter[int], p: Any) -> float:
    expected = np.asarray(p) * sum(counts.values())
    assert all(expected[token] > 0 for token in counts), "what is impossible was drawn"
    return float(sum((counts[token] - e) ** 2 / e for token, e in enumerate(expected) if e))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_softmax_of_the_tempered_logits(temperature: float) -> None:
    p = P ** (1 / temperature)
    assert chi_square(drawn(times=20_000, temperature=temperature), p / p.sum()) < 20.5  # 5 degrees, 99.9 %


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 3, 5}),
        ({"top_k": 7}, {0, 1, 3, 4, 5, 7}),
        ({"top_k": 100}, {0, 1, 3, 4, 5, 7}),
        ({"top_p": 0.39}, {1}),
        ({"top_p": 0.41}, {1, 3}),
        ({"top_p": 0.66}, {1, 3, 5}),
        ({"top_p": 0.97}, {1, 3, 4, 5, 7}),
        ({"top_p": 1e-9}, {1}),
        ({"min_p": 0.04}, {0, 1, 3, 4, 5, 7}),
        ({"min_p": 0.06}, {1, 3, 4, 5, 7}),
        ({"min_p": 0.49}, {1, 3, 5}),
        ({"min_p": 1.0}, {1}),
        ({"min_p": 0.3, "top_p": 0.6}, {1, 3}),
        ({"top_k": 2, "top_p": 0.99}, {1, 3}),
        ({"top_p": 0.41, "temperature": 4.0}, {1, 3}),
        ({"min_p": 0.49, "temperature": 2.0}, {1, 3, 5, 7}),
    ],
)
def test_exactly_the_likely_tokens_remain_in_their_proportions(settings: dict[str, Any], kept: set[int]) -> None:
    counts = drawn(times=6000, **settings)
    assert set(counts) == kept
    p = np.where([token in kept for token in range(8)], P, 0) ** (1 / settings.get("temperature", 1.0))
    assert chi_square(counts, p / p.sum()) < 20.5


def test_temperature_0_takes_the_likeliest_and_draws_nothing() -> None:
    random = np.random.default_rng(0)
    state = random.bit_generator.state
    assert choose(LOGITS, Sampling(), random) == 1
    assert choose(LOGITS, Sampling(top_k=3, top_p=0.5), random) == 1
    assert random.bit_generator.state == state
    assert choose(np.array([1, 7, 7, 0], np.float32), Sampling(), random) == 1, "of equals, the first"


def test_low_temperatures_approach_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for temperature in (1e-3, 1e-300):
            assert set(drawn(times=50, temperature=temperature)) == {1}


def test_one_number_is_drawn_for_each_token_whatever_the_settings() -> None:
    """So a seed means the same with and without guesses, and settings can be compared token by token."""
    for settings in ({}, {"top_k": 1}, {"top_p": 0.1}, {"min_p": 0.5}):
        one, two = np.random.default_rng(5), np.random.default_rng(5)
        choose(LOGITS, Sampling(temperature=1.0, **settings), one)
        two.random()
        assert one.random() == two.random()


class AlmostOne(np.random.Generator):
    """The largest number that a generator draws, or the smallest."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, *_: Any, **__: Any) -> Any:
        return self.value


@pytest.mark.parametrize("value", [0.0, 1 - 2**-53, 0.5])
def test_the_impossible_is_never_drawn(value: float) -> None:
    random = AlmostOne(value)
    for size in (1, 2, 3, 50_000):
        for at in {0, size // 2, size - 1}:
            logits = np.full(size, -np.inf, np.float32)
            logits[at] = -4.0
            for settings in ({}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}):
                assert choose(logits, Sampling(temperature=0.7, **settings), random) == at
    many = np.zeros(50_000, np.float32)
    many[[0, -1]] = -np.inf
    assert 1 <= choose(many, Sampling(temperature=1.0), random) <= 49_998


def test_seeds() -> None:
    assert drawn(times=30, seed=1) == drawn(times=30, seed=1)
    assert len({tuple(sorted(drawn(times=30, seed=seed).items())) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": -1}, {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf},
        {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_p": math.nan}, {"min_p": -0.1}, {"min_p": 1.5},
        {"seed": -1}, {"stop": ("a", "")}, {"stop": "abc"},
    ],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSampling) as error:
        Sampling(**settings)
    assert next(iter(settings)).split("_")[0] in one_line(error.value) or "empty text" in str(error.value)
