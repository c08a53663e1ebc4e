"""Running a packed transformer: a prompt at once, or a token a step.

``prefill`` reads many tokens, layer by layer; ``decode`` reads one token, or a few, of each of several sequences. Both
are the kernel's, go through the same sums, and write keys and values into the same pages: a page holds the same bits
whether its tokens came as a prompt, in whatever pieces, or were generated.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genaisys.models.transformer.attention import written_out
from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.kernel import Scratch, attend, begin, decode, finish, keep, project, read_out
from genaisys.models.transformer.packing import EVERYWHERE, pack, padded, scratch_for
from genaisys.models.transformer.simd import BLOCK, LINE

_MOST_WORKERS = 8  # more do not read memory any quicker
_LOGIT_ROWS = 256  # whose logits are held at a time

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# Of a layer's queries, keys and values [T, H + 2 G, d] attention makes [T, H * d, padded]; False ends the network
See = Callable[[int, Floats, Floats], bool]


class PackedTransformer:
    """A transformer that generates. It does one thing at a time: those who share it take turns.

    Attributes:
        config: its shape.
        network: its weights.
    """

    def __init__(self, config: TransformerConfig, tensors: Mapping[str, Tensor], *, quantise: bool) -> None:
        """Pack the tensors of a ``TransformerLM``, to int8 or as float32."""
        self.config = config
        self.network = pack(config, tensors, quantise)
        self._dtype = torch.bfloat16 if quantise else torch.float32
        self._crew = _Crew(min(torch.get_num_threads(), _MOST_WORKERS))
        self._scratch: Scratch | None = None
        self._passed = 0  # what the scratch's barrier has counted to
        weakref.finalize(self, self._crew.dismiss)

    # -- many tokens at once

    def prefill(self, tokens: Sequence[int], start: int, pages: Sequence[int], cache: Tensor) -> None:
        """Put the keys and values of ``tokens``, which stand at ``start`` (where a page begins) and after, into pages.

        Args:
            pages: of the sequence, from its beginning; those before ``start`` are full.
            cache: see :class:`PagedCache`.
        """
        length = start + len(tokens)
        own, places = np.array(pages[: -(-length // cache.shape[4])]), np.arange(start, length)
        shape, last = self.network.shape, self.config.layers - 1

        def see(layer: int, heads: Floats, mixed: Floats) -> bool:
            self._crew.share(keep, shape, layer, heads, places, own, cache.numpy())
            if layer < last:
                self._crew.share(attend, shape, layer, heads, places, own, cache.numpy(), mixed)
            return layer < last  # of these tokens nothing is wanted but their keys and values

        self._stream(np.array(tokens), places, see)

    def log_likelihoods(
        self,
        last_logits: Tensor,
        length: int,
        pages: Sequence[int],
        cache: Tensor,
        continuations: Sequence[Sequence[int]],
    ) -> Tensor:
        """``log p(continuation | prompt)`` in nats for a prompt of ``length`` tokens that is in the cache.

        The continuations are packed one behind the other; each sees the prompt and itself. -> [len(continuations)]

        Args:
            last_logits: what ``decode`` gave for the prompt's last token. [V]
        """
        with torch.inference_mode():
            first = self._log_p(last_logits)
            scores = torch.stack([first[ids[0]] if ids else first.new_zeros(()) for ids in continuations])
            if all(len(ids) < 2 for ids in continuations):
                return scores
            lengths = torch.tensor([max(0, len(ids) - 1) for ids in continuations])  # with sum Q
            inputs = np.array([token for ids in continuations for token in ids[:-1]])  # [Q]
            targets = torch.tensor([token for ids in continuations for token in ids[1:]])  # [Q]
            owner = torch.arange(len(continuations)).repeat_interleave(lengths)  # [Q]
            place = torch.cat([torch.arange(length, length + n) for n in lengths.tolist()])  # [Q]
            window = self.config.window or EVERYWHERE
            own = (owner[:, None] == owner) & (place[:, None] >= place)  # [Q, Q]
            back = place[:, None] - torch.cat([torch.arange(length), place])  # [Q, P + Q]
            seen = torch.cat([own.new_ones(len(inputs), length), own], dim=1) & (back < window)
            held_pages = np.array(pages[: -(-length // cache.shape[4])])

            def see(layer: int, heads: Floats, mixed: Floats) -> bool:
                query, key, value = self._parts(heads)
                keys, values = self._held(cache, held_pages, layer)
                keys = torch.cat([keys[:, :length], key], dim=1)
                values = torch.cat([values[:, :length], value], dim=1)
                given = written_out(query[None], keys[None], values[None], seen)[0].transpose(0, 1).flatten(1)
                torch.from_numpy(mixed)[:, : given.shape[1]] = given
                return True

            stream = self._stream(inputs, place.numpy(), see)
            for part in torch.arange(len(inputs)).split(_LOGIT_ROWS):
                logits = np.empty((len(part), self.network.head.scale.shape[1]), np.float32)
                self._crew.share(read_out, self.network, stream[part[0] : part[-1] + 1], logits)
                log_p = self._log_p(torch.from_numpy(logits)[:, : self.config.vocabulary_size])
                scores.index_add_(0, owner[part], log_p.gather(1, targets[part, None])[:, 0])
            return scores

    def _stream(self, tokens: Integers, places: Integers, see: See) -> Floats:
        """What the head reads at each token, before its norm. [T] -> [T, width]"""
        config, network, count = self.config, self.network, len(tokens)
        stream = np.empty((count, config.width), np.float32)
        rotation = np.empty((count, 2, len(network.turning)), np.float32)
        heads = np.empty((count, config.heads + 2 * config.kv_heads, config.head_width), np.float32)
        mixed = np.zeros((count, padded(config.heads * config.head_width, LINE)), np.float32)
        self._crew.share(begin, network, tokens, places, stream, rotation)
        for layer in range(config.layers):
            self._crew.share(project, network, layer, stream, rotation, heads)
            if not see(layer, heads, mixed):
                break
            self._crew.share(finish, network, layer, mixed, stream)
        return stream

    def _log_p(self, logits: Tensor) -> Tensor:
        """Of what can be generated, in nats. [..., V] -> [..., V]"""
        logits[..., list(self.config.impossible)] = -torch.inf
        return logits.log_softmax(-1)

    def _parts(self, heads: Floats) -> tuple[Tensor, ...]:
        """Queries, keys and values of tokens. [T, H + 2 G, d] -> [H, T, d], [G, T, d], [G, T, d]"""
        config = self.config
        given = torch.from_numpy(heads).transpose(0, 1).to(self._dtype)
        return given.split([config.heads, config.kv_heads, config.kv_heads])

    def _held(self, cache: Tensor, pages: Integers, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence's pages. -> two of [G, K, d]"""
        width = self.config.head_width
        page_size, wide = cache.shape[4:]
        keys, values = cache[torch.from_numpy(pages), layer].to(self._dtype).unbind(1)  # [P, G, page_size, padded d]
        keys = keys.reshape(*keys.shape[:2], page_size // BLOCK, wide, BLOCK)
        values = values.reshape(*values.shape[:2], wide // BLOCK, page_size, BLOCK)
        keys = keys.permute(1, 0, 2, 4, 3).flatten(1, 3)  # [G, K, padded d]
        values = values.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)  # [G, K, padded d]
        return keys[..., :width], values[..., :width]

    # -- a few tokens of several sequences

    def decode(
        self,
        tokens: Sequence[int],
        places: Sequence[int],
        pages: Sequence[Sequence[int]],
        cache: Tensor,
        wanted: Sequence[int],
    ) -> Tensor:
        """One step: read a token, at its place, of each of R rows.

        Rows may be of one sequence, if their places follow each other.

        Returns:
            the logits of the rows that are ``wanted``. [len(wanted), V], float32
        """
        rows, workers = len(tokens), self._crew.workers
        if self._scratch is None or len(self._scratch.stream) < rows:
            self._scratch, self._passed = scratch_for(self.config, self.network, rows, workers), 0
        table = np.zeros((rows, max(map(len, pages))), np.int64)
        for row, numbers in enumerate(pages):
            table[row, : len(numbers)] = numbers
        logits = np.empty((len(wanted), self.network.head.scale.shape[1]), np.float32)
        inputs = [np.array(each, np.int64) for each in (tokens, places)]
        step = (self._passed, self.network, self._scratch, *inputs, table, cache.numpy(), np.array(wanted, np.int64))

        def work(worker: int) -> None:
            passed = decode(worker, workers, *step, logits)
            if worker == 0:
                self._passed = passed

        self._crew.run(work)
        return torch.from_numpy(logits)[:, : self.config.vocabulary_size]


class _Crew:
    """The threads that run the kernel, each one worker.

    Whoever wants a step waits for it and works none of it, because Ctrl-C may strike a thread that waits, but none of
    these: no worker is ever left alone at a barrier.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._asked: SimpleQueue[tuple[object, Callable[[int], None]] | None] = SimpleQueue()
        self._answered: SimpleQueue[None] = SimpleQueue()
        self._done: object = None  # the ticket of the last step
        self._error: Exception | None = None
        self._steps: list[SimpleQueue[Callable[[int], None] | None]] = [SimpleQueue() for _ in range(workers - 1)]
        self._ready: SimpleQueue[None] = SimpleQueue()  # a follower has come to the end of a step
        self._threads = [threading.Thread(target=self._lead, daemon=True)]
        for worker, steps in enumerate(self._steps, start=1):
            self._threads.append(threading.Thread(target=self._follow, args=(worker, steps), daemon=True))
        for thread in self._threads:
            thread.start()

    def share(self, work: Callable[..., None], *given: Any) -> None:
        """Have ``work(worker, workers, *given)`` done by every worker."""
        self.run(lambda worker: work(worker, self.workers, *given))

    def run(self, work: Callable[[int], None]) -> None:
        """Have ``work`` done to its end by every worker, whatever strikes in between."""
        ticket, asked = object(), False
        interruption: BaseException | None = None
        while True:
            try:
                if not asked:
                    self._asked.put((ticket, work))
                    asked = True
                while self._done is not ticket:  # an answer may be lost to Ctrl-C that strikes as it is received
                    self._answered.get()
                break
            except BaseException as error:
                interruption = error
        if failure := interruption or self._error:
            raise failure

    def dismiss(self) -> None:
        """End the threads, which hold the network, when it is no longer needed, or the interpreter ends."""
        self._asked.put(None)
        if threading.current_thread() not in self._threads:  # where garbage may be collected as well
            for thread in self._threads:
                thread.join()

    def _lead(self) -> None:
        while asked := self._asked.get():
            ticket, work = asked
            self._error = None
            for steps in self._steps:
                steps.put(work)
            try:
                work(0)
            except Exception as error:  # no memory, or no compiler: before a worker has begun
                self._error = error
            for _ in self._steps:
                self._ready.get()
            del asked, work  # what they hold is not to live until the next step
            self._done = ticket
            self._answered.put(None)
        for steps in self._steps:  # here, so that no step is half begun
            steps.put(None)

    def _follow(self, worker: int, steps: SimpleQueue[Callable[[int], None] | None]) -> None:
        while work := steps.get():
            with suppress(Exception):  # the leader has the same, and tells
                work(worker)
            del work
            self._ready.put(None)
