"""Pages: a random walk beside a plain model of who uses what, and the rules one by one."""

import random
from collections.abc import Sequence

import pytest
from tiny_models import one_line

from genaisys.models.transformer import llama
from genaisys.models.transformer.cache import PAGE_SIZE, OutOfMemory, PagedCache

CONFIG = llama(61, 6 * PAGE_SIZE, layers=1, width=4, heads=1, head_width=2, hidden=4)
PAGE_BYTES = 4 * 2 * PAGE_SIZE * 32  # one layer's keys and values, heads padded to blocks of 32 numbers


def cache_of(pages: int) -> PagedCache:
    return PagedCache(CONFIG, pages * PAGE_BYTES, 100)


def prompt(*pages: int, more: int = 1) -> list[int]:
    """Whole pages of one token each, and some tokens after them."""
    return [token for token in pages for _ in range(PAGE_SIZE)] + [60] * more


def read(cache: PagedCache, tokens: Sequence[int], length: int | None = None) -> tuple[list[int], int]:
    """Open a sequence and remember its pages, as after reading its prompt."""
    opened = cache.open(tokens, length or len(tokens))
    assert opened is not None
    cache.keep(tokens[:-1], opened[0])
    return opened


@pytest.mark.parametrize("seed", range(8))
def test_a_random_walk(seed: int) -> None:
    """Whoever writes to a page is alone on it; a page that is shared is one whose content is the same."""
    draw = random.Random(seed)
    cache, size = cache_of(10), 10
    open_sequences: list[tuple[list[int], list[int], int]] = []  # prompt, pages, reused tokens
    content: dict[int, list[int]] = {}  # page -> all tokens up to its end, as a network would have written it
    refused = reused = 0
    for _ in range(600):
        if open_sequences and draw.random() < 0.5:
            _, pages, _ = open_sequences.pop(draw.randrange(len(open_sequences)))
            cache.close(pages)
            continue
        tokens = prompt(*(draw.randrange(2) for _ in range(draw.randrange(4))), more=draw.choice([0, 1, 5]))
        tokens = tokens or [1]
        length = len(tokens) + draw.choice([0, 1, PAGE_SIZE, 2 * PAGE_SIZE])
        needed = -(-length // PAGE_SIZE)
        opened = cache.open(tokens, length)
        in_use = {page for _, pages, _ in open_sequences for page in pages}
        if opened is None:
            refused += 1
            assert size - len(in_use) < needed, "there would have been room"
            continue
        pages, known = opened
        assert len(pages) == len(set(pages)) == needed
        assert known % PAGE_SIZE == 0
        assert 0 <= known < len(tokens)
        for n, page in enumerate(pages):
            if n * PAGE_SIZE < known:
                assert content[page] == tokens[: (n + 1) * PAGE_SIZE], "a known page holds what it should"
            else:
                assert page not in in_use, "a page to be written to is nobody else's"
                content[page] = []  # overwritten from here on
        for n in range(known // PAGE_SIZE, (len(tokens) - 1) // PAGE_SIZE):
            content[pages[n]] = tokens[: (n + 1) * PAGE_SIZE]
        reused += known > 0
        if draw.random() < 0.9:  # else it was broken off before it was read
            cache.keep(tokens[:-1], pages)
        open_sequences.append((tokens, pages, known))
    assert refused > 10
    assert reused > 10
    for _, pages, _ in open_sequences:
        cache.close(pages)
    everything = cache.open([59], size * PAGE_SIZE)
    assert everything is not None, "nothing has leaked"
    assert sorted(everything[0]) == list(range(size))


def test_a_prompt_takes_over_what_another_has_read() -> None:
    cache = cache_of(8)
    first, _ = read(cache, prompt(1, 2, 3))
    second, known = read(cache, prompt(1, 2, 4))
    assert known == 2 * PAGE_SIZE
    assert second[:2] == first[:2]
    assert not set(second[2:]) & set(first)
    cache.close(first)
    cache.close(second)
    assert read(cache, prompt(2, 1))[1] == 0, "the same page after another beginning is another"


def test_the_last_token_is_always_left_to_read() -> None:
    cache = cache_of(8)
    pages, _ = read(cache, prompt(1, 2, more=1))
    cache.close(pages)
    assert cache.open(prompt(1, 2, more=0), 2 * PAGE_SIZE)[1] == PAGE_SIZE  # type: ignore[index]
    assert cache.open(prompt(1, 2, more=1), 2 * PAGE_SIZE + 1)[1] == 2 * PAGE_SIZE  # type: ignore[index]


def test_two_that_read_the_same_at_once_have_pages_of_their_own() -> None:
    cache = cache_of(8)
    one, two = cache.open(prompt(1), 200), cache.open(prompt(1), 200)
    assert one is not None
    assert two is not None
    assert not set(one[0]) & set(two[0])
    cache.keep(prompt(1), one[0])
    cache.keep(prompt(1), two[0])
    cache.close(one[0])
    cache.close(two[0])
    assert read(cache, prompt(1), 8 * PAGE_SIZE - 100)[1] == PAGE_SIZE


def test_what_has_gone_unused_for_longest_makes_room() -> None:
    cache = cache_of(6)
    for token in (1, 2, 3):
        cache.close(read(cache, prompt(token), 2 * PAGE_SIZE)[0])
    cache.close(read(cache, prompt(1), 2 * PAGE_SIZE)[0])
    pages, _ = read(cache, [9], 4 * PAGE_SIZE)  # three are free and one must go: that of 2
    cache.close(pages)
    assert read(cache, prompt(3))[1] == PAGE_SIZE
    assert read(cache, prompt(1))[1] == PAGE_SIZE
    assert read(cache, prompt(2))[1] == 0


def test_of_a_long_prompt_the_end_makes_room_first() -> None:
    """Without its beginning the rest would be of no use."""
    cache = cache_of(6)
    for _ in range(2):
        cache.close(read(cache, prompt(1, 2, 3, 4))[0])
        cache.close(read(cache, [9], 3 * PAGE_SIZE)[0])
        assert cache.open(prompt(1, 2, 3, 4), 4 * PAGE_SIZE + 1)[1] == 3 * PAGE_SIZE  # type: ignore[index]
        cache.close_all()


def test_pages_in_use_are_not_taken_away() -> None:
    cache = cache_of(4)
    pages, _ = read(cache, prompt(1, 2))
    assert cache.open([9], 2 * PAGE_SIZE) is None
    shared = cache.open(prompt(1, 2), 3 * PAGE_SIZE)
    assert shared is not None, "three pages, of which two are there"
    assert cache.open([9], 1) is None
    cache.close(pages)
    assert cache.open([9], PAGE_SIZE)[0] == pages[2:]  # type: ignore[index]
    assert cache.open([9], 1) is None


def test_closing_all() -> None:
    cache = cache_of(4)
    read(cache, prompt(1))
    cache.open([9], 2 * PAGE_SIZE)
    assert cache.open([9], PAGE_SIZE) is None
    cache.close_all()
    pages, known = read(cache, prompt(1), 4 * PAGE_SIZE)
    assert known == PAGE_SIZE
    assert sorted(pages) == [0, 1, 2, 3]


def test_the_limit_is_checked_before_anything_is_reserved() -> None:
    with pytest.raises(OutOfMemory) as error:
        PagedCache(CONFIG, PAGE_BYTES - 1, 4)
    assert one_line(error.value) == f"one page of the cache has {PAGE_BYTES:,} bytes; {PAGE_BYTES - 1:,} are allowed"
    cache = cache_of(2)
    assert cache.pages.nbytes == 2 * PAGE_BYTES
    cache.require_room(2 * PAGE_SIZE)
    for refuse in (cache.require_room, lambda length: cache.open([1], length)):
        with pytest.raises(OutOfMemory) as error:
            refuse(2 * PAGE_SIZE + 1)
        assert "shorten the prompt or ask for fewer tokens" in one_line(error.value)
        assert f"{3 * PAGE_BYTES:,} bytes" in str(error.value)
    huge = PagedCache(CONFIG, 1 << 62, 3)
    assert len(huge.pages) == 2 * 3 * 6, "twice the contexts of all sequences"
