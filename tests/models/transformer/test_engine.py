"""The engine: one text whatever company it is made in, and nobody harmed by what befalls another."""

import gc
import itertools
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import Scripted, numbers, packed, saying, scripted
from tiny_models import make, one_line
from torch import Tensor

from genaisys.models.transformer import llama
from genaisys.models.transformer.cache import PAGE_SIZE, OutOfMemory
from genaisys.models.transformer.engine import (
    Engine,
    Generated,
    Generation,
    GenerationFailed,
    PromptTooLong,
    UnknownToken,
)
from genaisys.models.transformer.grammar import GrammarImpossible, json_schema
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
from genaisys.models.transformer.speculation import PromptLookup
from genaisys.tokenizers import Tokenizer, character_tokenizer

CONTEXT = 3 * PAGE_SIZE
CONFIG = llama(61, CONTEXT, layers=2, width=32, heads=4, kv_heads=2, bos=0, ends=(2, 7), impossible=(0, 1))


@pytest.fixture(scope="module")
def network() -> PackedTransformer:
    return packed(make(CONFIG))


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return character_tokenizer(["é日本"])


def said(done: Generated) -> tuple[Any, ...]:
    """What must not depend on the company."""
    return done.tokens, done.text, done.finish, done.prompt_tokens, done.end_token


def pages_in_use(engine: Engine) -> int:
    """By what can be opened: all that there is, if nobody holds anything."""
    size, free = len(engine.cache.pages), 0
    opened = []
    while (one := engine.cache.open([0], 1)) is not None:
        free += 1
        opened.append(one[0])
    for pages in opened:
        engine.cache.close(pages)
    return size - free


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


# -- how texts end


def test_ends(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2, 1))
    script = characters.encode("one two")
    for end in (2, 1):
        engine, network = scripted(characters, config, 3, [*script, end, *script])
        done = engine.start([5, 5, 5], Sampling()).result()
        assert (done.text, done.tokens, done.finish, done.end_token) == ("one two", script, "end", end)
        assert max(max(step) for step in network.steps) <= 3 + len(script) + 3, "and then it is over"
    engine, _ = scripted(characters, config, 3, script)
    done = engine.start([5, 5, 5], Sampling(max_new_tokens=4)).result()
    assert (done.text, len(done.tokens), done.finish, done.end_token) == ("one ", 4, "length", None)


@pytest.mark.parametrize(
    "prompt_length", [1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE - 2, 2 * PAGE_SIZE - 1]
)
def test_the_context_is_filled_to_its_last_place(
    characters: Tokenizer, prompt_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = llama(characters.vocabulary_size, 2 * PAGE_SIZE, layers=1, width=4, heads=1, ends=(2,))
    monkeypatch.setattr(PromptLookup, "guess", lambda self, most: [10] * min(most, 3))
    engine, network = scripted(characters, config, prompt_length, [], otherwise=10)
    done = engine.start([10] * prompt_length, Sampling(max_new_tokens=10**9)).result()
    assert len(done.tokens) == 2 * PAGE_SIZE - prompt_length
    assert done.finish == "length"
    assert max(map(max, network.steps)) <= 2 * PAGE_SIZE - 1, "also where guesses come after the last token"
    assert pages_in_use(engine) == 0


def test_no_tokens_are_no_work(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, network = scripted(characters, config, 3, [10])
    done = engine.start([5, 5, 5], Sampling(max_new_tokens=0)).result()
    assert (done.tokens, done.text, done.finish, done.steps) == ([], "", "length", 0)
    assert (done.prefill_seconds, done.decode_seconds) == (0, 0)
    assert not network.steps
    assert not network.prefills
    assert engine.run([]) == []


def test_stop_texts_end_a_text_across_the_borders_of_tokens(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    script = characters.encode("Answer: 42\n\nUser: more")
    for stop, text in (
        (("\n\nUser",), "Answer: 42"),
        (("never", "42"), "Answer: "),
        (("more!",), "Answer: 42\n\nUser: more"),
    ):
        engine, _ = scripted(characters, config, 2, script)
        generation = engine.start([5, 5], Sampling(stop=stop))
        assert "".join(generation) == text
        done = generation.result()
        assert done.text == text
        assert done.finish == ("end" if stop == ("more!",) else "stop")
    engine, _ = scripted(characters, config, 2, script)
    done = engine.start([5, 5], Sampling(stop=("42",), max_new_tokens=9)).result()
    assert (done.text, done.finish) == ("Answer: 4", "length"), "what was held back is shown when no more comes"


def test_pieces_are_whole_characters(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    text = "né 日本 😀👩‍🔬!"
    script = characters.encode(text)
    assert len(script) > len(text)
    engine, _ = scripted(characters, config, 1, script)
    pieces = list(engine.start([5], Sampling()))
    assert pieces == list(text)
    engine, _ = scripted(characters, config, 1, characters.encode("a😀")[:-1])
    done = engine.start([5], Sampling()).result()
    assert done.text == "a", "half a character is left out"
    assert len(done.tokens) == 4


def test_without_a_tokenizer_there_are_tokens_only(network: PackedTransformer) -> None:
    engine = Engine(network)
    generation = engine.start([5], Sampling(max_new_tokens=5))
    assert list(generation) == []
    assert generation.result().text == ""
    assert 0 < len(generation.result().tokens) <= 5
    with pytest.raises(GenerationFailed, match="needs a tokenizer"):
        engine.start([5], Sampling(stop=("x",)))


# -- what cannot be generated


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ([], PromptTooLong, "empty"),
        ([5] * CONTEXT, PromptTooLong, f"has {CONTEXT} tokens"),
        ([5, 61], UnknownToken, "61"),
        ([-1, 5], UnknownToken, "-1"),
        ([10**30], UnknownToken, "0000"),
    ],
)
def test_prompts_that_are_refused(network: PackedTransformer, prompt: list[int], error: type, words: str) -> None:
    engine = Engine(network)
    before = engine.start([5], Sampling(max_new_tokens=3))
    with pytest.raises(error, match=words) as caught:
        engine.start(prompt, Sampling())
    one_line(caught.value)
    if prompt != [5] * CONTEXT:
        with pytest.raises(error, match=words):
            engine.log_likelihoods(prompt, [[5]])
    with pytest.raises(UnknownToken, match="77"):
        engine.log_likelihoods([5], [[6], [5, 77]])
    with pytest.raises(error):
        engine.run([([6], Sampling()), (prompt, Sampling())])
    assert before.result().finish in ("end", "length")
    assert before.result().steps >= 1
    assert pages_in_use(engine) == 0


def test_more_than_the_memory_that_is_allowed(network: PackedTransformer) -> None:
    page = Engine(network).cache.page_bytes
    engine = Engine(network, memory_limit=2 * page + 5)
    assert engine.cache.pages.nbytes == 2 * page
    with pytest.raises(OutOfMemory) as error:
        engine.start([5] * 100, Sampling(max_new_tokens=157))
    assert "ask for fewer tokens" in one_line(error.value)
    assert engine.start([5] * 100, Sampling(max_new_tokens=156)).result().finish in ("end", "length")
    with pytest.raises(OutOfMemory):
        engine.log_likelihoods([5] * 257, [[6]])
    with pytest.raises(OutOfMemory):
        Engine(network, memory_limit=page - 1)


# -- ending early


def test_closing_frees_the_pages_and_stops_the_network(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, network = scripted(characters, config, 3, [], otherwise=10)
    generation = engine.start([5, 5, 5], Sampling(max_new_tokens=200))
    pieces = iter(generation)
    next(pieces)
    assert pages_in_use(engine) == 2
    steps = len(network.steps)
    pieces.close()
    assert pages_in_use(engine) == 0
    assert list(generation) == [] or "".join(generation) == ""
    assert len(network.steps) == steps
    done = generation.result()
    assert done.finish == "cancelled"
    assert done.decode_seconds >= 0
    generation.close()
    generation.close()


def test_leaving_a_loop_ends_the_text(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, network = scripted(characters, config, 1, [], otherwise=10)
    for _ in itertools.islice(engine.start([5], Sampling(max_new_tokens=200)), 3):
        pass
    gc.collect()
    assert pages_in_use(engine) == 0
    assert len(network.steps) <= 3


def test_cancelling_while_waiting_and_while_the_prompt_is_read(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 3000, layers=1, width=4, heads=1, ends=(2,))
    fake = Scripted(config, saying({}, config.vocabulary_size, 10))
    engine = Engine(fake, characters, slots=2)  # type: ignore[arg-type]
    first = engine.start([5], Sampling(max_new_tokens=30))
    reading = engine.start([6] * 2000, Sampling(max_new_tokens=30))
    waiting = [engine.start([7], Sampling(max_new_tokens=4)) for _ in range(3)]
    assert engine.next_piece(first)
    assert 0 < reading.read < 1999
    reading.close()
    waiting[0].close()
    waiting[2].close()
    assert first.result().finish == "length"
    assert waiting[1].result().text
    assert [reading.result().finish, waiting[0].result().finish, waiting[2].result().finish] == ["cancelled"] * 3
    assert reading.result().tokens == waiting[0].result().tokens == []
    assert sum(length for _, length in fake.prefills) < 1999
    assert engine.run([([5], Sampling(max_new_tokens=2))])[0].finish == "length"
    assert pages_in_use(engine) == 0


def test_cancelling_in_the_middle_of_a_step_does_not_wait(characters: Tokenizer) -> None:
    """As a garbage collection does that comes upon a forgotten iterator, in whatever thread."""
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    forgotten: list[Generation] = []

    def says(place: int) -> Tensor:
        for generation in forgotten:
            generation.close()
            thread = threading.Thread(target=generation.close)
            thread.start()
            thread.join(20)
            assert not thread.is_alive()
        return saying({}, config.vocabulary_size, 10)(place)

    engine = Engine(Scripted(config, says), characters)  # type: ignore[arg-type]
    other = engine.start([6], Sampling(max_new_tokens=100))
    kept = engine.start([5], Sampling(max_new_tokens=5))
    engine.next_piece(other)
    forgotten.append(other)
    done = kept.result()
    assert (len(done.tokens), done.finish) == (5, "length")
    assert other.finish == "cancelled"
    assert len(other.tokens) <= 2
    assert pages_in_use(engine) == 0


def test_an_iterator_that_a_collection_ends_in_the_middle_of_a_step(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))

    def says(place: int) -> Tensor:
        gc.collect()
        return saying({}, config.vocabulary_size, 10)(place)

    engine = Engine(Scripted(config, says), characters)  # type: ignore[arg-type]

    def forget() -> weakref.ref[Generation]:
        generation = engine.start([6], Sampling(max_new_tokens=100))
        pieces = iter(generation)
        next(pieces)
        cycle: list[Any] = [pieces]
        cycle.append(cycle)
        return weakref.ref(generation)

    gc.disable()
    try:
        forgotten = forget()
        assert forgotten() is not None
        assert len(engine.start([5], Sampling(max_new_tokens=5)).result().tokens) == 5
    finally:
        gc.enable()
    assert forgotten() is None or forgotten().finish == "cancelled"  # type: ignore[union-attr]
    assert pages_in_use(engine) == 0


def test_memory_does_not_grow_over_many_requests(network: PackedTransformer) -> None:
    engine = Engine(network, slots=3)
    random = torch.Generator().manual_seed(0)
    alive = weakref.WeakSet[Generation]()
    for n in range(400):
        length = int(torch.randint(1, 280, (1,), generator=random))
        generation = engine.start([n % 50 + 3] * length, Sampling(max_new_tokens=2))
        alive.add(generation)
        if n % 3:
            generation.result()
        elif n % 2:
            generation.close()
        else:
            engine.next_piece(engine.start([4], Sampling(max_new_tokens=1)))
    engine.run([([5], Sampling(max_new_tokens=1))])
    del generation
    gc.collect()
    assert len(alive) <= 1
    assert pages_in_use(engine) == 0


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


# -- what befalls one does not harm the others


def test_no_number_fails_its_own_text_only(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))

    def says(place: int) -> Tensor:
        logits = saying({}, config.vocabulary_size, 70)(place)
        if place == 104:
            logits[33] = torch.nan
        return logits

    engine = Engine(Scripted(config, says), characters)  # type: ignore[arg-type]
    well = [engine.start([5] * n, Sampling(max_new_tokens=9)) for n in (1, 50)]
    ill = engine.start([5] * 101, Sampling(max_new_tokens=20))
    pieces = []
    with pytest.raises(GenerationFailed, match="no number at token 5: ") as error:
        pieces.extend(ill)
    one_line(error.value)
    assert len(pieces) == 4, "what came before is given"
    with pytest.raises(GenerationFailed):
        ill.result()
    assert [(len(each.result().tokens), each.result().finish) for each in well] == [(9, "length")] * 2
    assert pages_in_use(engine) == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_damaged_weights_are_told(value: float) -> None:
    model = make(CONFIG)
    with torch.no_grad():
        model.blocks[0].attention.query.weight[0, 0] = value
    engine = Engine(packed(model))
    for prompt in ([5], [5, 6, 7]):
        with pytest.raises(GenerationFailed, match="no number at token 1"):
            engine.start(prompt, Sampling(max_new_tokens=3)).result()
        with pytest.raises(GenerationFailed, match="no number as a likelihood") as error:
            engine.log_likelihoods(prompt, [[5], [5, 6]])
        one_line(error.value)
    assert pages_in_use(engine) == 0


def test_an_impossible_grammar_fails_its_own_text_only(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=16, heads=2, ends=(2,))
    engine = Engine(packed(make(config)), characters)
    well = engine.start([5], Sampling(max_new_tokens=9))
    with pytest.raises(GrammarImpossible) as error:
        engine.start([5], Sampling(grammar=json_schema({"allOf": [{"const": 1}, {"const": 2}]}))).result()
    one_line(error.value)
    assert well.result().steps >= 1
    assert pages_in_use(engine) == 0


class Broken(Scripted):
    """A network that raises ``error`` in its next step, or when it next reads."""

    error: BaseException | None = None

    def decode(self, *arguments: Any) -> Tensor:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().decode(*arguments)


def test_an_interruption_ends_what_was_under_way_and_the_engine_goes_on(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    network = Broken(config, saying({}, config.vocabulary_size, 70))
    engine = Engine(network, characters, slots=2)  # type: ignore[arg-type]
    texts = [engine.start([5] * n, Sampling(max_new_tokens=9)) for n in (3, 4, 5)]
    engine.next_piece(texts[0])
    network.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        texts[0].result()
    with pytest.raises(GenerationFailed, match=r"interrupted \(KeyboardInterrupt\)") as error:
        texts[1].result()
    one_line(error.value)
    assert len(texts[2].result().tokens) == 9, "it had not begun"
    assert pages_in_use(engine) == 0


def test_a_text_that_has_ended_in_an_interrupted_step_is_whole(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))

    class Interrupted(Generation):
        def accept(self, *_: Any) -> int:
            raise KeyboardInterrupt

    engine = Engine(Scripted(config, saying({}, config.vocabulary_size, 70)), characters)  # type: ignore[arg-type]
    whole = engine.start([5], Sampling(max_new_tokens=1))
    engine.start([5], Sampling(max_new_tokens=1)).__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        engine.next_piece(whole)
    assert (whole.result().finish, len(whole.result().tokens)) == ("length", 1)
    assert pages_in_use(engine) == 0


def test_pages_that_an_interruption_has_left_open_come_back(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, _ = scripted(characters, config, 1, [10, 10])
    while engine.cache.open([7], 1) is not None:
        pass
    assert len(engine.start([5], Sampling()).result().tokens) == 2
    while engine.cache.open([7], 1) is not None:
        pass
    assert len(engine.start([5], Sampling()).result().tokens) == 2


PROGRAM = """
import os, signal, sys, threading
import torch
torch.set_num_threads({workers})
from genaisys.models.transformer import TransformerLM, llama
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
torch.manual_seed(0)
config = llama(61, 600, layers=2, width=32, heads=2)
engine = Engine(PackedTransformer(config, TransformerLM(config).state_dict(), quantise=True))
"""


def run(program: str, *, workers: int, timeout: float = 120) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(workers=workers) + program],
        capture_output=True, text=True, timeout=timeout, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_the_engine_usable() -> None:
    """Real signals, at any moment of a step."""
    program = """
import random
request = [5] * 300, Sampling(max_new_tokens=250, temperature=1.0, seed=1)
expected = engine.start(*request).result().tokens
random.seed(0)
struck = 0
for n in range(150):
    timer = threading.Timer(random.uniform(0.0, 0.02), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            engine.run([request, request])
    except KeyboardInterrupt:
        struck += 1
    timer.join()
assert struck == 150, struck
assert engine.start(*request).result().tokens == expected
print("usable")
"""
    assert run(program, workers=2) == "usable"


def test_an_interpreter_ends_while_a_background_thread_generates() -> None:
    program = """
import time
def work():
    while True:
        engine.start([5] * 10, Sampling(max_new_tokens=500)).result()
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("over")
"""
    assert run(program, workers=2, timeout=60) == "over"


def test_the_threads_end_with_the_engine() -> None:
    before = set(threading.enumerate())
    engine = Engine(packed(make(CONFIG), workers=2))
    generation = engine.start([5], Sampling(max_new_tokens=9))
    next(iter(generation), "")
    failed = engine.start([5], Sampling(max_new_tokens=9))
    failed.error = GenerationFailed("x")
    begun = set(threading.enumerate()) - before
    assert len(begun) == 2
    gone = weakref.ref(engine)
    del engine, generation, failed
    gc.collect()
    assert gone() is None
    for thread in begun:
        thread.join(20)
        assert not thread.is_alive()
