"""Packed tiny models, and networks that say what a test wants to hear."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from genaisys.models.transformer import TransformerConfig, TransformerLM, llama
from genaisys.models.transformer.cache import PAGE_SIZE, PagedCache
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.tokenizers import Tokenizer

CONTEXT = 3 * PAGE_SIZE
CONFIG = llama(61, CONTEXT, layers=2, width=32, heads=4, kv_heads=2, bos=0, ends=(2, 7), impossible=(0, 1))


def packed(model: TransformerLM, *, quantise: bool = False, workers: int = 1) -> PackedTransformer:
    """``model``, run by so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(workers)
    try:
        return PackedTransformer(model.config, model.state_dict(), quantise=quantise)
    finally:
        torch.set_num_threads(before)


def cache_for(config: TransformerConfig, sequences: int = 16) -> PagedCache:
    return PagedCache(config, 1 << 28, sequences)


def pages_of(config: TransformerConfig, sequence: int) -> list[int]:
    """Pages for a whole context of the given sequence, in no order that a wrong index would hit by chance."""
    whole = -(-config.context_length // PAGE_SIZE)
    return [sequence * whole + (whole - 1 - n) for n in range(whole)]


def numbers(rows: int, length: int, vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Random tokens. -> [rows][length]"""
    return torch.randint(vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed)).tolist()


class Scripted:
    """A network in whose place ``says`` gives the logits [V] after the token at each place; it counts what it does."""

    def __init__(self, config: TransformerConfig, says: Callable[[int], Tensor]) -> None:
        self.config, self.says = config, says
        self.prefills: list[tuple[int, int]] = []  # start, length
        self.steps: list[list[int]] = []  # the places of the rows of each step

    def prefill(self, tokens: Sequence[int], start: int, pages: Sequence[int], cache: Tensor) -> None:
        assert tokens
        assert start % PAGE_SIZE == 0
        assert start + len(tokens) <= len(pages) * PAGE_SIZE
        self.prefills.append((start, len(tokens)))

    def decode(
        self, tokens: Sequence[int], places: Sequence[int], pages: Sequence[Sequence[int]], cache: Tensor, wanted: Any
    ) -> Tensor:
        assert all(place < len(own) * PAGE_SIZE for place, own in zip(places, pages, strict=True))
        self.steps.append(list(places))
        return torch.stack([self.says(places[row]) for row in wanted])


def saying(script: Mapping[int, int], vocabulary: int, otherwise: int) -> Callable[[int], Tensor]:
    """Logits that make ``script[place]`` the token after each place."""

    def says(place: int) -> Tensor:
        logits = torch.full((vocabulary,), -10.0)
        logits[script.get(place, otherwise)] = 10.0
        return logits

    return says


def scripted(
    tokenizer: Tokenizer,
    config: TransformerConfig,
    prompt_length: int,
    script: Sequence[int],
    *,
    otherwise: int | None = None,
    **settings: Any,
) -> tuple[Engine, Scripted]:
    """An engine that says ``script`` after any prompt of that length, and then an end token, or ``otherwise``."""
    after = config.ends[0] if otherwise is None else otherwise
    says = saying({prompt_length - 1 + n: token for n, token in enumerate(script)}, config.vocabulary_size, after)
    network = Scripted(config, says)
    return Engine(network, tokenizer, **settings), network  # type: ignore[arg-type]


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
