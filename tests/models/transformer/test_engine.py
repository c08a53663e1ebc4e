"""The engine: one text whatever company it is made in."""

import threading
from typing import Any

import pytest
import torch
from engines import CONFIG, CONTEXT, Scripted, numbers, packed, pages_in_use, saying, scripted
from tiny_models import make
from torch import Tensor

from genaisys.models.transformer import llama
from genaisys.models.transformer.cache import PAGE_SIZE
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generated import Generated
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
from genaisys.models.transformer.speculation import PromptLookup
from genaisys.tokenizers import Tokenizer


def said(done: Generated) -> tuple[Any, ...]:
    """What must not depend on the company."""
    return done.tokens, done.text, done.finish, done.prompt_tokens, done.end_token


REQUESTS = [
    (numbers(1, length, 61, seed=length)[0], Sampling(max_new_tokens=most, temperature=temperature, seed=length))
    for length, most, temperature in [
        (1, 40, 1.0), (3, 5, 0.0), (50, 30, 1.0), (127, 20, 0.7), (128, 20, 1.0), (129, 20, 0.0), (200, 9, 1.0),
        (257, 500, 1.0), (300, 500, 2.0), (CONTEXT - 1, 10, 1.0), (2, 1, 1.0), (5, 0, 0.0), (130, 33, 1.5),
        (4, 500, 1.0), (256, 128, 1.0), (255, 3, 0.0), (7, 60, 1.0), (90, 60, 1.0), (91, 60, 1.0), (92, 25, 1.0),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def alone(network: PackedTransformer) -> list[tuple[Any, ...]]:
    """Each request in an engine of its own, which has read nothing before."""
    return [said(Engine(network, slots=1).start(*request).result()) for request in REQUESTS]


# -- the same text whatever the company


def test_requests_are_what_they_would_be_alone(network: PackedTransformer, alone: list[tuple[Any, ...]]) -> None:
    assert len({tuple(tokens) for tokens, *_ in alone}) >= 18
    assert {finish for _, _, finish, *_ in alone} == {"end", "length"}
    for slots in (1, 2, 5, 16):
        engine = Engine(network, slots=slots)
        for round in ("with an empty cache", "with a full one"):
            assert [said(done) for done in engine.run(REQUESTS)] == alone, (slots, round)


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_in_any_order_and_with_any_number_of_threads(workers: int, quantise: bool) -> None:
    model = make(CONFIG)
    expected = [said(done) for done in Engine(packed(model, quantise=quantise), slots=1).run(REQUESTS)]
    engine = Engine(packed(model, quantise=quantise, workers=workers), slots=4)
    for seed in range(2):
        order = torch.randperm(len(REQUESTS), generator=torch.Generator().manual_seed(seed)).tolist()
        for n, done in zip(order, engine.run([REQUESTS[n] for n in order]), strict=True):
            assert said(done) == expected[n]


@pytest.mark.parametrize("quantise", [False, True])
def test_another_prompt_with_the_same_beginning_is_reused_and_changes_nothing(quantise: bool) -> None:
    network = packed(make(CONFIG), quantise=quantise)
    [shared] = numbers(1, 2 * PAGE_SIZE, 61, seed=1)
    engine = Engine(network)
    for end, reused in (([5], 0), ([5], 256), ([9, 4], 256), ([9, 4, 4], 256), ([], 128)):
        sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=8)
        done = engine.start([*shared, *end], sampling).result()
        fresh = Engine(network).start([*shared, *end], sampling).result()
        assert said(done) == said(fresh)
        assert done.reused_tokens == reused
        assert fresh.reused_tokens == 0
    other = [*shared[:PAGE_SIZE], 60, *shared[PAGE_SIZE + 1 :], 5]
    assert engine.start(other, Sampling(max_new_tokens=1)).result().reused_tokens == PAGE_SIZE


def test_what_is_never_generated_has_no_likelihood(network: PackedTransformer) -> None:
    """The tokens that can come next share all of the probability, and so do those after them."""
    engine, impossible = Engine(network), list(CONFIG.impossible)
    scores = engine.log_likelihoods([5, 6, 7], [[token] for token in range(CONFIG.vocabulary_size)])
    assert scores[impossible].tolist() == [-torch.inf] * 2
    assert scores.exp().sum().item() == pytest.approx(1, abs=1e-5)
    seconds = engine.log_likelihoods([5, 6, 7], [[9, token] for token in range(CONFIG.vocabulary_size)])
    assert seconds[impossible].tolist() == [-torch.inf] * 2
    assert (seconds - scores[9]).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_what_a_text_has_written_is_the_beginning_of_another(network: PackedTransformer) -> None:
    """The next turn of a chat reads no reply again. The last token has been chosen, and not read."""
    engine = Engine(network)
    [prompt] = numbers(1, 100, 61)
    done = engine.start(prompt, Sampling(max_new_tokens=200, temperature=2.0, seed=4)).result()
    reused = (len(prompt) + len(done.tokens) - 1) // PAGE_SIZE * PAGE_SIZE
    assert reused
    for more in ([], [5, 7], [5] * PAGE_SIZE):
        longer = [*prompt, *done.tokens, *more]
        again, fresh = (each.start(longer, Sampling(max_new_tokens=9)).result() for each in (engine, Engine(network)))
        assert again.reused_tokens == reused
        assert said(again) == said(fresh)


@torch.no_grad()
def test_the_likeliest_text_is_the_models() -> None:
    """Each token is the likeliest of the model's own, less the impossible; float32 has no ties here."""
    model = make(CONFIG)
    [prompt] = numbers(1, 20, 61, seed=3)
    done = Engine(packed(model)).start(prompt, Sampling(max_new_tokens=40)).result()
    logits = model(torch.tensor([[*prompt, *done.tokens]]))[0, len(prompt) - 1 :]
    logits[:, [0, 1]] = -torch.inf
    expected = logits.argmax(-1).tolist()
    assert done.tokens == expected[: len(done.tokens)]
    assert (expected[len(done.tokens)] in CONFIG.ends) is (done.finish == "end")


# -- continuous batching


def test_a_place_that_has_become_free_is_taken_at_once(characters: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of very unequal lengths in 4 places: no step runs with fewer rows than it could."""
    config = llama(characters.vocabulary_size, CONTEXT, layers=1, width=4, heads=1, ends=(2,))
    monkeypatch.setattr(PromptLookup, "guess", lambda self, most: [])  # each text is one row of a step
    network = Scripted(config, saying({}, config.vocabulary_size, 10))
    engine = Engine(network, slots=4)  # type: ignore[arg-type]
    lengths = [50, 1, 1, 2, 3, 40, 5, 1, 7, 2, 30, 1]
    done = engine.run([([5], Sampling(max_new_tokens=most)) for most in lengths])
    assert [len(each.tokens) for each in done] == lengths
    waiting, active, expected = list(lengths), [], []
    while waiting or active:
        while waiting and len(active) < 4:
            active.append(waiting.pop(0))
        expected.append(len(active))
        active = [left - 1 for left in active if left > 1]
    assert list(map(len, network.steps)) == expected
    assert sum(expected) == sum(lengths), "no row is computed in vain"


def test_a_long_prompt_is_read_in_parts_while_others_go_on(network: PackedTransformer, characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 3000, layers=1, width=4, heads=1, ends=(2,))
    fake = Scripted(config, saying({}, config.vocabulary_size, 10))
    engine = Engine(fake)  # type: ignore[arg-type]
    short = engine.start([5], Sampling(max_new_tokens=50))
    long = engine.start([5] * 2000, Sampling(max_new_tokens=3))
    done = long.result()
    assert short.steps >= 4, "it went on between the parts"
    assert fake.prefills == [(0, 512), (512, 512), (1024, 512), (1536, 463)]
    assert done.steps <= 3
    assert short.result().finish == "length"
    fake.prefills.clear()
    engine.start([6] * 2000, Sampling(max_new_tokens=1)).result()
    assert fake.prefills == [(0, 1999)], "alone it is read at once"


def test_those_who_need_more_room_than_there_is_wait_their_turn(network: PackedTransformer) -> None:
    page = Engine(network).cache.page_bytes
    engine = Engine(network, memory_limit=3 * page)
    requests = [([n + 3] * 200, Sampling(max_new_tokens=20, temperature=1.0, seed=n)) for n in range(5)]
    requests += [([n + 3] * 2, Sampling(max_new_tokens=20, temperature=1.0, seed=n)) for n in range(5)]
    expected = [said(Engine(network).start(*request).result()) for request in requests]
    assert [said(done) for done in engine.run(requests)] == expected
    scores = engine.log_likelihoods(requests[0][0], [[5, 6]])
    torch.testing.assert_close(scores, Engine(network).log_likelihoods(requests[0][0], [[5, 6]]))
    assert pages_in_use(engine) == 0


def test_scoring_waits_for_room_and_is_not_overtaken(network: PackedTransformer) -> None:
    engine = Engine(network, memory_limit=3 * Engine(network).cache.page_bytes)
    first = engine.start([5] * 200, Sampling(max_new_tokens=9))
    next(iter(first.__iter__()), "")
    first = engine.start([5] * 200, Sampling(max_new_tokens=9, temperature=1.0, seed=0))
    engine.next_piece(engine.start([6], Sampling(max_new_tokens=1)))
    later = engine.start([7] * 200, Sampling(max_new_tokens=9))
    scores = engine.log_likelihoods([8] * 300, [[5]])
    assert first.finish is not None
    assert later.finish is None
    assert later.pages == []
    torch.testing.assert_close(scores, Engine(network).log_likelihoods([8] * 300, [[5]]))
    assert later.result().finish in ("end", "length")


# -- several threads


def test_threads_get_what_they_would_get_alone(network: PackedTransformer, alone: list[tuple[Any, ...]]) -> None:
    engine = Engine(network, slots=3)
    found: dict[int, tuple[Any, ...]] = {}
    scores: list[Tensor] = []
    wait = threading.Barrier(len(REQUESTS) + 1)

    def ask(n: int) -> None:
        wait.wait(30)
        found[n] = said(engine.start(*REQUESTS[n]).result())

    def score() -> None:
        wait.wait(30)
        scores.extend(engine.log_likelihoods([5] * 200, [[6, 7]]) for _ in range(3))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(REQUESTS))] + [threading.Thread(target=score)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert [found[n] for n in range(len(REQUESTS))] == alone
    assert len(scores) == 3
    assert pages_in_use(engine) == 0


def test_users_advance_together(characters: Tokenizer) -> None:
    """Who asks second need not wait until the first has been answered."""
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, network = scripted(characters, config, 1, [], otherwise=characters.encode("x")[0])
    first, second = (iter(engine.start([5], Sampling(max_new_tokens=50))) for _ in range(2))
    assert [next(first), next(second), next(first), next(second)] == ["x"] * 4
    assert len(network.steps) <= 2
    third = engine.start([5], Sampling(max_new_tokens=3))
    assert third.result().text == "xxx"
    assert [next(first), next(second)] == ["x"] * 2, "what came meanwhile is kept for them"
    first.close()
    second.close()
    assert pages_in_use(engine) == 0
