"""Running a packed transformer: a prompt at once, or a token a step.

``prefill`` reads many tokens: products of matrices, in bfloat16 where the weights are int8, through torch. ``decode``
reads one token, or a few, of each of several sequences: it reads weights and computes little, in float32, through the
kernel. Both write keys and values into the same pages.

A prompt is read in pieces that end where pages end, and nothing in a piece depends on how the tokens before it came
into their pages. So a page that another prompt has filled with the same tokens is the page that this one would fill.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genaisys.models.transformer.activations import ACTIVATIONS
from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.kernel import BLOCK, Linear, Network, Scratch, decode
from genaisys.models.transformer.packing import EVERYWHERE, pack, scratch_for, unpacked
from genaisys.models.transformer.rotary import angles, frequencies, rotate

_MOST_WORKERS = 8  # more do not read memory any quicker
_FEWEST_ROWS = 16  # of a product of matrices
_HEAD_ROWS = 8192  # of the head's weights, made floats at a time

# (layer, query [H, T, d], key, value [G, T, d]) -> [T, H, d], or None where the network may end
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor | None]


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
        self._turning = frequencies(config)
        self._crew = _Crew(config, self.network, min(torch.get_num_threads(), _MOST_WORKERS))
        weakref.finalize(self, self._crew.dismiss)

    # -- many tokens at once

    def prefill(self, tokens: Sequence[int], start: int, pages: Sequence[int], cache: Tensor) -> None:
        """Put the keys and values of ``tokens``, which stand at ``start`` (where a page begins) and after, into pages.

        Args:
            pages: of the sequence, from its beginning; those before ``start`` are full.
            cache: [pages, L, 2, G, page_size, padded head_width].
        """
        page_size, window = cache.shape[4], self.config.window
        length = start + len(tokens)
        own = torch.tensor(pages[: -(-length // page_size)])

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
            for first in range(start, length, page_size):
                last = min(first + page_size, length)
                page = cache[pages[first // page_size], layer, :, :, : last - first, : key.shape[-1]]
                page[0] = key[:, first - start : last - start]
                page[1] = value[:, first - start : last - start]
            if layer == self.config.layers - 1:
                return None  # nothing is wanted of these tokens but their keys and values
            keys, values = self._held(cache, own, layer)  # [G, K, d]
            mixed = query.new_empty(len(tokens), *query.shape[::2])  # [T, H, d]
            for first in range(start, length, page_size):
                last = min(first + page_size, length)
                begin = 0 if window is None else max(0, first + 1 - window)
                back = torch.arange(first, last)[:, None] - torch.arange(
                    first if window is None else begin, last
                )  # [Q, S]
                seen = back >= 0 if window is None else (back >= 0) & (back < window)
                part = slice(first - start, last - start)
                mixed[part] = _attention(query[:, part], keys[:, begin:last], values[:, begin:last], seen).transpose(
                    0, 1
                )
            return mixed

        with torch.inference_mode():
            self._blocks(torch.tensor(tokens), torch.arange(start, length), attend)

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
            first = last_logits.log_softmax(-1)
            scores = torch.stack([first[ids[0]] if ids else first.new_zeros(()) for ids in continuations])
            if all(len(ids) < 2 for ids in continuations):
                return scores
            lengths = torch.tensor([max(0, len(ids) - 1) for ids in continuations])  # with sum Q
            inputs = torch.tensor([token for ids in continuations for token in ids[:-1]])  # [Q]
            targets = torch.tensor([token for ids in continuations for token in ids[1:]])  # [Q]
            owner = torch.arange(len(continuations)).repeat_interleave(lengths)  # [Q]
            place = torch.cat([torch.arange(length, length + n) for n in lengths.tolist()])  # [Q]
            window = self.config.window or EVERYWHERE
            own = (owner[:, None] == owner) & (place[:, None] >= place)  # [Q, Q]
            back = place[:, None] - torch.cat([torch.arange(length), place])  # [Q, P + Q]
            seen = torch.cat([own.new_ones(len(inputs), length), own], dim=1) & (back < window)
            held_pages = torch.tensor(pages[: -(-length // cache.shape[4])])

            def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                keys, values = self._held(cache, held_pages, layer)
                keys = torch.cat([keys[:, :length], key.to(keys)], dim=1)
                values = torch.cat([values[:, :length], value.to(values)], dim=1)
                return _attention(query, keys, values, seen).transpose(0, 1)

            features = self._blocks(inputs, place, attend)
            for part in torch.arange(len(inputs)).split(256):  # bounds the logits to [256, V]
                log_p = self._logits(features[part]).log_softmax(-1).gather(1, targets[part, None])[:, 0]
                scores.index_add_(0, owner[part], log_p)
            return scores

    def _blocks(self, ids: Tensor, places: Tensor, attend: Attend) -> Tensor:
        """What the head reads at each token. [T] -> [T, width], float32"""
        config, network, dtype = self.config, self.network, self._dtype
        blocks = torch.from_numpy(network.embedding.weight[0])[ids // BLOCK, :, ids % BLOCK]  # [T, D / 64, 64]
        x = blocks.flatten(1)[:, : config.width].float()  # [T, D]
        x = x * torch.from_numpy(network.embedding.scale[0])[ids, None]
        rotation = None
        if config.positions == "rotary":
            cos, sin = angles(self._turning, places)
            rotation = cos, sin  # [T, d / 2]
        else:
            x = x + torch.from_numpy(network.positions)[places]
        activate = ACTIVATIONS[config.activation]
        post, width, heads = config.norm_place == "post", config.width, config.heads
        for layer in range(config.layers):
            read = self._norm(2 * layer, x)
            outputs = (heads + 2 * config.kv_heads) * config.head_width
            qkv = (
                _linear(network.qkv, layer, read.to(dtype), outputs)
                .unflatten(-1, (-1, config.head_width))
                .transpose(0, 1)
            )
            turned = qkv[: heads + config.kv_heads].float()  # [H + G, T, d]
            if rotation is not None:
                turned = rotate(turned, rotation)
            mixed = attend(layer, turned[:heads].to(dtype), turned[heads:], qkv[heads + config.kv_heads :])
            if mixed is None:
                break
            x = (read if post else x) + _linear(network.output, layer, mixed.flatten(1), width)
            read = self._norm(2 * layer + 1, x)
            hidden = _linear(network.up, layer, read.to(dtype), config.hidden * (1 + config.gated))
            if config.gated:
                gate, up = hidden.chunk(2, dim=-1)
                hidden = activate(gate).mul_(up)
            else:
                hidden = activate(hidden)
            x = (read if post else x) + _linear(network.down, layer, hidden, width)
        return self._norm(2 * config.layers, x)

    def _norm(self, norm: int, x: Tensor) -> Tensor:
        config = self.config
        if config.norm_place == "post" and norm == 0:
            return x
        weight, bias = torch.from_numpy(self.network.norms[norm])
        if config.norm == "rms":
            return F.rms_norm(x, (config.width,), weight, config.norm_epsilon)
        return F.layer_norm(x, (config.width,), weight, bias, config.norm_epsilon)

    def _held(self, cache: Tensor, pages: Tensor, layer: int) -> Tensor:
        """Keys and values of a sequence's pages. -> [2, G, K, d]"""
        held = cache[pages, layer, ..., : self.config.head_width].to(self._dtype)  # [P, 2, G, page_size, d]
        return held.permute(1, 2, 0, 3, 4).flatten(2, 3)

    def _logits(self, features: Tensor) -> Tensor:
        """[N, width] -> [N, V], float32"""
        head = self.network.head
        logits = features.new_empty(len(features), head.scale.shape[1])
        for first in range(0, logits.shape[1], _HEAD_ROWS):  # bounds the floats that are made of integers
            last = first + _HEAD_ROWS
            rows = unpacked(head._replace(weight=head.weight[:, first // BLOCK : last // BLOCK]), 0, torch.float32)
            torch.mm(features, rows[:, : features.shape[1]].T, out=logits[:, first:last])
        return logits.mul_(torch.from_numpy(head.scale[0]))[:, : self.config.vocabulary_size]

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
        table = np.zeros((len(tokens), max(map(len, pages))), np.int64)
        for row, numbers in enumerate(pages):
            table[row, : len(numbers)] = numbers
        logits = np.empty((len(wanted), self.network.head.scale.shape[1]), np.float32)
        inputs = (np.array(each, np.int64) for each in (tokens, places))
        self._crew.run(*inputs, table, cache.numpy(), np.array(wanted, np.int64), logits)
        return torch.from_numpy(logits)[:, : self.config.vocabulary_size]


class _Crew:
    """The threads that run the kernel, each one worker.

    Whoever wants a step waits for it and works none of it, because Ctrl-C may strike a thread that waits, but none of
    these: no worker is ever left alone at a barrier.
    """

    def __init__(self, config: TransformerConfig, network: Network, workers: int) -> None:
        self._config, self._network, self._workers = config, network, workers
        self._scratch: Scratch | None = None
        self._passed = 0
        self._asked: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._answered: SimpleQueue[None] = SimpleQueue()
        self._done: object = None  # the ticket of the last step
        self._error: Exception | None = None
        self._steps: list[SimpleQueue[tuple[Any, ...] | None]] = [SimpleQueue() for _ in range(workers - 1)]
        self._threads = [threading.Thread(target=self._lead, daemon=True)]
        for worker, steps in enumerate(self._steps, start=1):
            self._threads.append(threading.Thread(target=self._follow, args=(worker, steps), daemon=True))
        for thread in self._threads:
            thread.start()

    def run(self, *step: Any) -> None:
        """Run a step to its end, whatever strikes in between."""
        ticket, asked = object(), False
        interruption: BaseException | None = None
        while True:
            try:
                if not asked:
                    self._asked.put((ticket, step))
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
            ticket, (tokens, *rest) = asked
            self._error = None
            try:
                if self._scratch is None or len(self._scratch.stream) < len(tokens):
                    self._scratch = scratch_for(self._config, self._network, len(tokens), self._workers)
                    self._passed = 0
                step = (self._workers, self._passed, self._network, self._scratch, tokens, *rest)
                for steps in self._steps:
                    steps.put(step)
                self._passed = decode(0, *step)
            except Exception as error:  # no memory, or no compiler: before a worker has begun
                self._error = error
            self._done = ticket
            self._answered.put(None)
        for steps in self._steps:  # here, so that no step is half begun
            steps.put(None)

    def _follow(self, worker: int, steps: SimpleQueue[tuple[Any, ...] | None]) -> None:
        while step := steps.get():
            with suppress(Exception):  # the leader has the same, and tells
                decode(worker, *step)


def _linear(linear: Linear, layer: int, x: Tensor, outputs: int) -> Tensor:
    """[T, inputs] -> [T, outputs], in the type of ``x``"""
    weight = unpacked(linear, layer, x.dtype)[:outputs, : x.shape[1]]
    rows = len(x)
    if (
        rows < _FEWEST_ROWS or x.dtype == torch.float32
    ):  # it may be added up in another order: with zeros below it is not
        x = F.pad(x, (0, 0, 0, -rows % _FEWEST_ROWS))
    if linear.weight.dtype == np.int8:
        weight *= torch.from_numpy(linear.scale[layer, :outputs]).to(x.dtype)[:, None]
    bias = linear.bias[layer, :outputs]
    return F.linear(x, weight, torch.from_numpy(bias).to(x.dtype) if bias.any() else None)[:rows]


def _attention(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """[H, Q, d], [G, K, d], [G, K, d]; the last tokens may not see each other all: [Q, S]. -> [H, Q, d]

    Written out, because a product of bfloat16 matrices is several times as quick as the fused kernel on processors.
    """
    heads, length, width = query.shape
    groups = len(keys)
    scores = torch.bmm((query * width**-0.5).reshape(groups, -1, width), keys.transpose(1, 2))  # [G, H / G * Q, K]
    last = scores.view(groups, -1, length, scores.shape[-1])[..., -seen.shape[1] :]
    last.masked_fill_(~seen, -torch.inf)
    return torch.bmm(scores.softmax(-1), values).view(heads, length, width)
