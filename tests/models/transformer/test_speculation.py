"""Prompt lookup: what is guessed, and that guesses change nothing but the number of steps."""

from collections.abc import Callable, Sequence

import pytest
from engines import numbers, packed
from tiny_models import make

from genaisys.models.transformer import llama, teenygpt
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generated import Generated
from genaisys.models.transformer.sampling import Sampling
from genaisys.models.transformer.speculation import PromptLookup

DOCUMENT = (
    "The Ott observatory was founded in 1892 by Maria Ott, who had inherited a silver mine. Its first telescope had a "
    "mirror of 76 centimetres, and was moved by hand until 1911."
)


def guesses(tokens: Sequence[int], most: int = 9) -> list[int]:
    lookup = PromptLookup()
    lookup.extend(tokens[:3])
    lookup.extend(tokens[3:])
    return lookup.guess(most)


@pytest.mark.parametrize(
    ("tokens", "guess"),
    [
        ([], []),
        ([1], []),
        ([1, 1], []),
        ([1, 2, 3], []),
        ([1, 2, 3, 1, 2], [3]),
        ([1, 2, 3, 1, 2, 4, 1, 2], [4]),  # as it went on the last time
        ([1, 1, 1], [1]),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6], [7, 8, 9]),  # a copied passage
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 2, 3, 4, 5, 6], [7]),
        ([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6], [1, 2, 3]),
    ],
)
def test_the_text_is_guessed_to_go_on_as_before(tokens: list[int], guess: list[int]) -> None:
    assert guesses(tokens) == guess
    assert guesses(tokens, most=1) == guess[:1]
    assert guesses(tokens, most=0) == []


def with_and_without(
    monkeypatch: pytest.MonkeyPatch, engine: Callable[[], Engine], prompt: Sequence[int], sampling: Sampling
) -> tuple[Generated, Generated]:
    guessing = engine().start(prompt, sampling).result()
    with monkeypatch.context() as patch:
        patch.setattr(PromptLookup, "guess", lambda self, most: [])
        plain = engine().start(prompt, sampling).result()
    assert plain.steps == len(plain.tokens) + (plain.finish == "end")
    return guessing, plain


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_real_model_says_the_same_in_fewer_steps(
    smollm: Engine, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    assert smollm.tokenizer is not None
    prompt = smollm.tokenizer.encode_chat([{"role": "user", "content": f"Repeat this text:\n{DOCUMENT}"}])
    guessing, plain = with_and_without(
        monkeypatch,
        lambda: Engine(smollm.model, smollm.tokenizer, slots=1),
        prompt,
        Sampling(max_new_tokens=32, temperature=temperature, seed=3),
    )
    assert guessing.tokens == plain.tokens
    assert guessing.text == plain.text
    assert guessing.finish == plain.finish
    assert guessing.steps < 0.7 * plain.steps


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("workers", [1, 2])
def test_random_models_say_the_same(monkeypatch: pytest.MonkeyPatch, workers: int, temperature: float) -> None:
    fewer = 0
    for seed, config in enumerate(
        [
            llama(7, 140, layers=2, width=16, heads=2, kv_heads=1, ends=(6,)),
            llama(5, 129, layers=1, width=16, heads=2, window=4),
            teenygpt(4, 128, layers=1, width=16, heads=2, hidden=32, bos=0, impossible=(0,)),
        ]
    ):
        network = packed(make(config, seed), quantise=seed == 0, workers=workers)
        for prompt_length in (1, 30, 126):
            [prompt] = numbers(1, prompt_length, config.vocabulary_size, seed=prompt_length)
            guessing, plain = with_and_without(
                monkeypatch,
                lambda network=network: Engine(network),  # type: ignore[misc]
                prompt,
                Sampling(max_new_tokens=500, temperature=temperature, seed=seed),
            )
            assert guessing.tokens == plain.tokens
            assert guessing.finish == plain.finish
            assert guessing.steps <= plain.steps
            fewer += plain.steps - guessing.steps
    assert fewer > 20


def test_wrong_guesses_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Always three of them, also where pages and the context end, and whatever was guessed before."""
    config = llama(61, 129, layers=2, width=16, heads=2)
    network = packed(make(config))
    [prompt] = numbers(1, 100, 61)
    plain = Engine(network).start(prompt, Sampling(max_new_tokens=500)).result()
    monkeypatch.setattr(PromptLookup, "guess", lambda self, most: [60, 0, 59][:most])
    guessing = Engine(network).start(prompt, Sampling(max_new_tokens=500)).result()
    assert guessing.tokens == plain.tokens
    assert len(plain.tokens) == 29
    assert plain.finish == guessing.finish == "length"


def test_true_guesses_are_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    network = packed(make(llama(61, 300, layers=2, width=16, heads=2)))
    plain = Engine(network).start([1, 2, 3], Sampling(max_new_tokens=101)).result()
    said = list(plain.tokens)

    def oracle(self: PromptLookup, most: int) -> list[int]:
        place = len(self._tokens) - 3
        return said[place : place + min(most, 3)]

    monkeypatch.setattr(PromptLookup, "guess", oracle)
    guessing = Engine(network).start([1, 2, 3], Sampling(max_new_tokens=101)).result()
    assert guessing.tokens == said
    assert guessing.steps == 26  # four tokens a step, and the last alone
