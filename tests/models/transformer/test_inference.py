"""Prompts read at once against the model and against decoding; int8 against float; likelihoods."""

import gc
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from engines import cache_for, numbers, packed, pages_of
from tiny_models import CONFIGS, make
from torch import Tensor

from genaisys.models.transformer import TransformerConfig, llama, teenygpt
from genaisys.models.transformer.cache import PAGE_SIZE
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.inference import PackedTransformer

LONG = 3 * PAGE_SIZE
LENGTHS = [
    1,
    2,
    PAGE_SIZE - 1,
    PAGE_SIZE,
    PAGE_SIZE + 1,
    PAGE_SIZE + 2,
    2 * PAGE_SIZE,
    2 * PAGE_SIZE + 1,
    LONG - 1,
    LONG,
]
NAMES = [
    "llama", "llama3", "llama with biases", "qwen2 with a window", "mistral with wide heads", "gpt2", "gpt1", "opt",
]  # fmt: skip


def long(name: str, **changes: object) -> TransformerConfig:
    return replace(CONFIGS[name], context_length=LONG, **changes)  # type: ignore[arg-type]


def held(network: PackedTransformer, text: Sequence[int], borders: Sequence[int]) -> Tensor:
    """The pages of ``text`` when it is read in parts that end at ``borders``."""
    cache, pages, start = cache_for(network.config), pages_of(network.config, 2), 0
    for end in [*borders, len(text)]:
        network.prefill(text[start:end], start, pages, cache.pages)
        start = end
    return cache.pages[pages].clone()


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, PAGE_SIZE, PAGE_SIZE + 1, LONG])
@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_and_then_a_token_give_the_models_logits(name: str, length: int) -> None:
    model = make(long(name))
    network, cache, pages = packed(model), cache_for(model.config), pages_of(model.config, 1)
    [text] = numbers(1, length, 61)
    if length > 1:
        network.prefill(text[:-1], 0, pages, cache.pages)
    logits = network.decode(text[-1:], [length - 1], [pages], cache.pages, [0])[0]
    torch.testing.assert_close(logits, model(torch.tensor([text]))[0, -1], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_reading_at_once_and_token_by_token_fill_the_pages_alike(name: str, quantise: bool) -> None:
    """In every bit, so that what a text has written can be the beginning of the next prompt."""
    model = make(long(name, window=70))
    network, cache, pages = packed(model, quantise=quantise), cache_for(model.config), pages_of(model.config, 2)
    [text] = numbers(1, PAGE_SIZE + 40, 61)
    for place, token in enumerate(text):
        network.decode([token], [place], [pages], cache.pages, [])
    assert torch.equal(held(network, text, []), cache.pages[pages])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen2 with a window", "gpt1", "wide"])
def test_reading_may_be_resumed_where_a_page_ends(name: str, quantise: bool, threads: int) -> None:
    """In every bit, so that a page that another prompt has left is as good as one that was read anew."""
    wide = llama(61, LONG, layers=2, width=192, heads=3, kv_heads=1)
    model = make(wide if name == "wide" else long(name))
    network = packed(model, quantise=quantise)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for length in LENGTHS[4:]:
            [text] = numbers(1, length, 61, seed=length)
            expected = held(network, text, [])
            borders = range(PAGE_SIZE, length, PAGE_SIZE)
            for some in (borders, borders[:1], borders[-1:]):
                assert torch.equal(held(network, text, some), expected), (length, list(some))
    finally:
        torch.set_num_threads(before)


def test_the_real_model_reads_the_same_in_parts(smollm: Engine) -> None:
    network = smollm.model
    [text] = numbers(1, 2 * PAGE_SIZE + 1, 40_000)
    small = replace(network.config, context_length=LONG)
    cache, pages = cache_for(small, 1), [3, 1, 4]
    network.prefill(text, 0, pages, cache.pages)
    expected = cache.pages[pages].clone()
    cache.pages.zero_()
    network.prefill(text[:PAGE_SIZE], 0, pages, cache.pages)
    network.prefill(text[PAGE_SIZE : 2 * PAGE_SIZE], PAGE_SIZE, pages, cache.pages)
    network.prefill(text[2 * PAGE_SIZE :], 2 * PAGE_SIZE, pages, cache.pages)
    assert torch.equal(cache.pages[pages], expected)


def test_a_prompt_leaves_other_pages_alone() -> None:
    model = make(long("llama"))
    network, cache = packed(model), cache_for(model.config)
    cache.pages.fill_(torch.nan)
    pages = pages_of(model.config, 1)
    cache.pages[pages] = 0
    network.prefill(numbers(1, PAGE_SIZE + 5, 61)[0], 0, pages, cache.pages)
    others = [page for page in range(len(cache.pages)) if page not in pages[:2]]
    assert cache.pages[pages[:2]].isfinite().all()
    assert cache.pages[[page for page in others if page not in pages]].isnan().all()


# -- int8


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_int8_logits_are_close_to_those_of_floats(name: str) -> None:
    """Rounding is 1/254 of the largest weight of a row and input of a line: some hundredths of the logits."""
    model = make(long(name))
    [text] = numbers(1, 60, 61)
    network, cache, pages = packed(model, quantise=True), cache_for(model.config), pages_of(model.config, 0)
    network.prefill(text[:50], 0, pages, cache.pages)
    rows = network.decode(text[50:], range(50, 60), [pages] * 10, cache.pages, range(10))
    expected = model(torch.tensor([text]))[0, 50:]
    error = (rows - expected).square().mean().sqrt() / expected.std()
    assert 1e-4 < error < 0.08, error


def test_a_row_of_zeros_stays_zero() -> None:
    model = make(CONFIGS["gpt2 with its own head"])
    with torch.no_grad():
        model.head.weight[7:9] = 0
        model.blocks[0].mlp.up.weight.zero_()
        model.blocks[1].attention.value.weight[3] = 0
        expected = model(torch.tensor([[3]]))[0, 0]
    network, cache = packed(model, quantise=True), cache_for(model.config)
    logits = network.decode([3], [0], [pages_of(model.config, 0)], cache.pages, [0])[0]
    assert logits[7:9].tolist() == [0, 0]
    assert (logits - expected).square().mean().sqrt() < 0.06 * expected.std()


# -- likelihoods

CONTINUATIONS = [[5], [], [5, 6, 7], [9] * 40, [60, 2, 1], [5, 6, 8], [], [4]]


@torch.no_grad()
def one_by_one(model: torch.nn.Module, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> Tensor:
    """The definition: each continuation behind the prompt, in a pass of its own."""
    scores = []
    for ids in continuations:
        log_p = model(torch.tensor([[*prompt, *ids]]))[0].log_softmax(-1)[len(prompt) - 1 : -1]
        scores.append(log_p.gather(1, torch.tensor(ids, dtype=torch.long)[:, None]).sum())
    return torch.stack(scores)


@pytest.mark.parametrize("length", [1, 2, 20, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE + 1, LONG - 40])
@pytest.mark.parametrize("name", ["llama", "qwen2 with a window", "gpt1"])
def test_likelihoods_are_those_of_one_pass_each(name: str, length: int) -> None:
    model = make(long(name, impossible=()))
    engine = Engine(packed(model))
    [prompt] = numbers(1, length, 61)
    expected = one_by_one(model, prompt, CONTINUATIONS)
    for _ in ("read anew", "known"):
        found = engine.log_likelihoods(prompt, CONTINUATIONS)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)
    assert found[1] == found[6] == 0


def test_likelihoods_of_many_take_several_passes_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(long("llama"))
    engine = Engine(packed(model))
    [prompt] = numbers(1, 30, 61)
    many = [*numbers(100, 11, 61, seed=5), [], *numbers(3, 300, 61, seed=6)]
    passes = []
    score = PackedTransformer.log_likelihoods

    def watched(self: PackedTransformer, *arguments: object) -> Tensor:
        passes.append(sum(map(len, arguments[-1])))  # type: ignore[call-overload]
        return score(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PackedTransformer, "log_likelihoods", watched)
    found = engine.log_likelihoods(prompt, many)
    torch.testing.assert_close(found, one_by_one(model, prompt, many), atol=2e-3, rtol=1e-5)
    assert sum(passes) == sum(map(len, many))
    assert max(passes) <= 512


# -- threads


@pytest.mark.parametrize("workers", [1, 2])
def test_the_threads_end_with_the_network(workers: int) -> None:
    before = set(threading.enumerate())
    network = packed(make(CONFIGS["llama"]), workers=workers)
    cache = cache_for(network.config)
    network.decode([1], [0], [[0]], cache.pages, [0])
    begun = set(threading.enumerate()) - before
    assert len(begun) == workers
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None
    for thread in begun:
        thread.join(10)
        assert not thread.is_alive()


def test_more_rows_than_ever_before() -> None:
    """The room between the layers grows with the steps, and what was read before still counts."""
    model = make(teenygpt(11, 40, layers=1, width=12, heads=3, hidden=20))
    network, cache, pages = packed(model, workers=2), cache_for(model.config), pages_of(model.config, 0)
    [text] = numbers(1, 40, 11)
    found, place = [], 0
    for size in (1, 2, 5, 3, 20, 9):
        rows = network.decode(
            text[place : place + size], range(place, place + size), [pages] * size, cache.pages, range(size)
        )
        found.append(rows.clone())
        place += size
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(found), model(torch.tensor([text]))[0], atol=1e-4, rtol=1e-5)


def test_a_step_that_cannot_be_run_is_told_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here: no memory for so many rows. Whoever waits for it must not wait for ever."""
    network = packed(make(CONFIGS["llama"]), workers=2)
    cache = cache_for(network.config)

    def step(rows: int) -> Tensor:
        pages = [pages_of(network.config, row) for row in range(rows)]
        return network.decode([5] * rows, [0] * rows, pages, cache.pages, range(rows))

    expected = step(1).clone()
    with monkeypatch.context() as patch:
        patch.setattr("genaisys.models.transformer.inference.scratch_for", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            step(3)
    assert torch.equal(step(1), expected)
    assert torch.equal(step(3)[2:], expected)
