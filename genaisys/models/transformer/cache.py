"""The keys and values of what has been read, in pages.

Each sequence has pages of its own. A page that a prompt has filled is kept after the sequence ends, by its content: the
next prompt that begins with the same tokens (a system prompt, the turns of a chat so far) takes it over instead of
reading them again. The pages that have gone unused for longest make room for new ones.

All pages are reserved at once, and a sequence gets all that it may need before it begins: memory cannot run out in the
middle. The system gives real memory to a page only when it is first written to.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch

from genaisys.errors import GenaisysError
from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.kernel.simd import BLOCK
from genaisys.models.transformer.packing import padded

PAGE_SIZE = 128  # tokens


class OutOfMemory(GenaisysError):
    """The keys and values of one sequence would not fit into the memory that is allowed."""


class PagedCache:
    """Pages of keys and values, and which of them hold a known beginning of a sequence.

    Attributes:
        pages: [pages, L, 2, kv_heads, page_size, padded head_width], float32. A page of keys lies there as the kernel
            reads it, [page_size / 32, head_width, 32 places], and one of values as [head_width / 32, page_size, 32].
    """

    def __init__(self, config: TransformerConfig, memory_limit: int, most_sequences: int) -> None:
        """Room for ``memory_limit`` bytes, or for twice ``most_sequences`` whole contexts where that is less."""
        page = (config.layers, 2, config.kv_heads, PAGE_SIZE, padded(config.head_width, BLOCK))
        self.page_bytes = 4 * int(np.prod(page))
        whole = -(-config.context_length // PAGE_SIZE)
        count = min(memory_limit // self.page_bytes, 2 * most_sequences * whole)
        if count == 0:
            raise OutOfMemory(f"one page of the cache has {self.page_bytes:,} bytes; {memory_limit:,} are allowed")
        self.pages = torch.from_numpy(np.zeros((count, *page), np.float32))
        self._free = list(range(count))
        self._users = [0] * count
        self._known: OrderedDict[bytes, int] = OrderedDict()  # content -> page, least recently used first
        self._content: dict[int, bytes] = {}

    def require_room(self, length: int) -> None:
        """Make sure that a sequence of ``length`` tokens fits when it is alone.

        Raises:
            OutOfMemory: it does not.
        """
        needed = -(-length // PAGE_SIZE)
        if needed > len(self.pages):
            raise OutOfMemory(
                f"a sequence of {length} tokens needs {needed * self.page_bytes:,} bytes of memory, and "
                f"{len(self.pages) * self.page_bytes:,} are allowed: shorten the prompt or ask for fewer tokens"
            )

    def open(self, tokens: Sequence[int], length: int) -> tuple[list[int], int] | None:
        """Pages for a sequence of up to ``length`` tokens that begins with ``tokens``.

        Returns:
            the pages, and how many of the tokens they hold already, always fewer than all; None while others need the
            room.

        Raises:
            OutOfMemory: there will never be room for so long a sequence.
        """
        self.require_room(length)
        needed = -(-length // PAGE_SIZE)
        held = []
        for content in _contents(tokens[: len(tokens) - 1]):
            if content not in self._known:
                break
            held.append(self._known[content])
        for page in reversed(held):
            self._known.move_to_end(self._content[page])
        unused = sum(not self._users[page] for page in self._known.values() if page not in held)
        if needed - len(held) > len(self._free) + unused:
            return None
        for page in held:
            self._users[page] += 1
        fresh = [self._take() for _ in range(needed - len(held))]
        return held + fresh, len(held) * PAGE_SIZE

    def keep(self, tokens: Sequence[int], pages: Sequence[int]) -> None:
        """Remember the full pages of a prompt that has been read."""
        for page, content in reversed([*zip(pages, _contents(tokens), strict=False)]):
            if content not in self._known:
                self._known[content] = page
                self._content[page] = content
            self._known.move_to_end(content)  # the beginning last: without it the rest is of no use

    def close(self, pages: Sequence[int]) -> None:
        """The sequence has ended; what is not known by its content becomes free."""
        for page in pages:
            self._users[page] -= 1
            if not self._users[page] and page not in self._content:
                self._free.append(page)

    def close_all(self) -> None:
        """No sequence is open any more."""
        self._users = [0] * len(self.pages)
        self._content = {page: content for content, page in self._known.items()}
        self._free = [page for page in range(len(self.pages)) if page not in self._content]

    def _take(self) -> int:
        if not self._free:
            content, page = next(item for item in self._known.items() if not self._users[item[1]])
            del self._known[content], self._content[page]
            self._free.append(page)
        page = self._free.pop()
        self._users[page] = 1
        return page


def _contents(tokens: Sequence[int]) -> Sequence[bytes]:
    """What identifies the content of each full page: the hash of all tokens up to its end."""
    digest = hashlib.blake2b(digest_size=16)
    contents = []
    iterator = iter(tokens)
    while len(page := list(islice(iterator, PAGE_SIZE))) == PAGE_SIZE:
        digest.update(np.array(page, np.int64).tobytes())
        contents.append(digest.copy().digest())
    return contents
