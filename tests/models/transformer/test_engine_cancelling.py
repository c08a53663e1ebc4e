"""Ending a text early frees what it holds, at any moment, and waits for nobody."""

import gc
import itertools
import threading
import weakref
from typing import Any

import torch
from engines import Scripted, pages_in_use, saying, scripted
from torch import Tensor

from genaisys.models.transformer import llama
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generated import Generation
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
from genaisys.tokenizers import Tokenizer


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
