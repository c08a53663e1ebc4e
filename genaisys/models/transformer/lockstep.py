"""Very many short texts, from prompts of one length: a tree, in which texts that begin alike are one branch.

A step is computed once for a branch, however many texts it stands for, and for hundreds of branches together. Of 8,192
molecules, of 36 tokens each, 38 % need not be computed. The arithmetic is the model's own, as it is trained on a fast
processor: products of matrices, and the keys and values that are kept, in bfloat16, and all else in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from genaisys.models.processor import compute_alone, fast_dtype
from genaisys.models.transformer.cache import OutOfMemory
from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.generated import GenerationFailed
from genaisys.models.transformer.kernel.tree_attention import attend_along_paths
from genaisys.models.transformer.model import Block, TransformerLM
from genaisys.models.transformer.rotary import angles

_AT_ONCE = 8192  # texts of one tree: a tree is one core's work
_WIDEST = 1024  # branches that take a step together, where memory allows it
_MEMORY_LIMIT = 1 << 30  # bytes for the keys and values of a tree
_AT_HAND = 1 << 22  # probabilities that are searched together
_GRAIN = 64  # filled up to a multiple: for every new number of rows a product is compiled anew


def sample_many(
    model: TransformerLM,
    prompt: Sequence[int] | Tensor,
    n: int,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Iterator[list[int]]:
    """``n`` texts that continue ``prompt``, without it and without their end tokens, some at a time.

    A text that reaches the end of the context is given as far as it goes.

    Args:
        prompt: with BOS, not empty, and shorter than the context; one for all texts, or one for each. [P] or [n, P]
        temperature: above 0; logits are divided by it.
        top_p: only the likeliest tokens that together have this probability.

    Raises:
        OutOfMemory: the keys and values of one text alone would need more memory than is allowed.
        GenerationFailed: the model gives something that is no number.
    """
    trees = -(-n // _AT_ONCE)
    sizes = [n * (tree + 1) // trees - n * tree // trees for tree in range(trees)]
    seeds = torch.randint(2**62, (trees,), generator=generator).tolist()
    network = _in_fast_arithmetic(model)
    prompts = torch.as_tensor(prompt).expand(n, -1).split(sizes)

    def grow(prompts: Tensor, seed: int) -> list[list[int]]:
        return _Tree(network, temperature, top_p, seed).grow(prompts)

    cores = torch.get_num_threads()
    if cores == 1 or trees < 2:
        yield from chain.from_iterable(map(grow, prompts, seeds))
        return
    threads = ThreadPoolExecutor(cores, "sampler", initializer=compute_alone, initargs=(cores,))
    try:
        yield from chain.from_iterable(threads.map(grow, prompts, seeds))
    finally:  # also when Ctrl-C arrives
        threads.shutdown(cancel_futures=True)


class _Branches(NamedTuple):
    """Branches of a tree that take their next step together.

    Attributes:
        tokens: the last of each, not yet read. [R]
        paths: the nodes before it. [R, T]
        texts: the numbers of the texts. [N]
        branch: on which of the R branches each text is. [N]
        free: the first node that may be written.
    """

    tokens: Tensor
    paths: Tensor
    texts: Tensor
    branch: Tensor
    free: int


class _Tree:
    """Texts that grow from their prompts, which begin with one token.

    A node is a token that was read: its keys and values in every layer.
    """

    def __init__(self, network: TransformerLM, temperature: float, top_p: float, seed: int) -> None:
        self._network, self._temperature, self._top_p = network, temperature, top_p
        self._generator = torch.Generator().manual_seed(seed)
        self._nodes = torch.empty(0)  # [L, nodes, 2, G, d]

    @torch.inference_mode()
    def grow(self, prompts: Tensor) -> list[list[int]]:
        """A text for each prompt. [N, P]

        They grow depth first, so that nodes are held on the way to no more branches than take a step together.
        """
        config, (n, given) = self._network.config, prompts.shape
        room, widest = config.context_length, min(n, _widest(config))
        ends, impossible = torch.tensor(config.ends), torch.tensor(config.impossible, dtype=torch.long)
        size = config.layers, widest * room, 2, config.kv_heads, config.head_width
        self._nodes = torch.empty(size, dtype=torch.bfloat16)
        written = torch.zeros(n, room, dtype=torch.long)  # [n, T]
        lengths = torch.full((n,), room)
        root = torch.empty(1, 0, dtype=torch.int32)
        waiting = [_Branches(prompts[0, :1], root, torch.arange(n), torch.zeros(n, dtype=torch.long), 0)]
        while waiting:
            now = waiting.pop()
            own = torch.arange(now.free, now.free + len(now.tokens), dtype=torch.int32)  # [R]
            paths = torch.cat([now.paths, own[:, None]], dim=1)  # [R, T]
            logits = self._step(now.tokens, paths)  # [R, V]
            length = paths.shape[1]
            if length < given:
                next_tokens = prompts[now.texts, length]  # [N]
                waiting += _parted(now, paths, next_tokens, torch.ones_like(next_tokens, dtype=torch.bool), widest)
                continue
            logits.index_fill_(-1, impossible, -torch.inf)
            if not logits.amax(-1).isfinite().all():
                raise GenerationFailed(f"the model gives no number at token {length}: its weights are damaged")
            drawn = self._draw(logits, now.branch)  # [N]
            written[now.texts, length] = drawn
            ended = torch.isin(drawn, ends)
            lengths[now.texts[ended]] = length
            if length + 1 < room:
                waiting += _parted(now, paths, drawn, ~ended, widest)
        return [row[given:length] for row, length in zip(written.tolist(), lengths.tolist(), strict=True)]

    def _step(self, tokens: Tensor, paths: Tensor) -> Tensor:
        """Read the last token of each branch. [R], [R, T] -> logits [R, V]"""
        network, place = self._network, paths.shape[1] - 1
        dtype = network.head.weight.dtype
        x = network.embedding(nn.functional.pad(tokens, (0, -len(tokens) % _GRAIN))).float()  # [R, filled up, D]
        rotation = torch.empty(0, 0)
        if network.positions is not None:
            x = x + network.positions.weight[place]
        else:
            rotation = torch.stack(angles(network.turning, torch.tensor(place)))  # [2, d / 2]
        for block, nodes in zip(network.blocks, self._nodes, strict=True):
            assert isinstance(block, Block)
            if block.post:
                x = block.attention_norm(x + _attend(block, x.to(dtype), rotation, paths, nodes))
                x = block.mlp_norm(x + block.mlp(x.to(dtype)))
            else:
                x = x + _attend(block, block.attention_norm(x).to(dtype), rotation, paths, nodes)
                x = x + block.mlp(block.mlp_norm(x).to(dtype))
        return network.head(network.norm(x).to(dtype)).float()[: len(tokens)]

    def _draw(self, logits: Tensor, branch: Tensor) -> Tensor:
        """A token of each text, by the distribution of its branch. [R, V], [N] -> [N]"""
        p = (logits / self._temperature).softmax(-1)
        if self._top_p < 1:
            ordered, order = p.sort(-1, descending=True)
            ordered[ordered.cumsum(-1) - ordered >= self._top_p] = 0  # the likelier ones have it already
            p = torch.zeros_like(p).scatter(-1, order, ordered)
        below = p.double().cumsum(-1)  # [R, V]
        below /= below[:, -1:].clone()  # so that the last possible token reaches 1, which no random number does
        random = torch.rand(len(branch), 1, dtype=torch.double, generator=self._generator)
        texts = max(1, _AT_HAND // below.shape[1])
        parts = zip(branch.split(texts), random.split(texts), strict=True)
        return torch.cat([torch.searchsorted(below[part], drawn, right=True)[:, 0] for part, drawn in parts])


def _widest(config: TransformerConfig) -> int:
    """How many branches of whole length fit into the memory that is allowed."""
    path_bytes = 2 * config.context_length * config.layers * 2 * config.kv_heads * config.head_width
    if path_bytes > _MEMORY_LIMIT:
        raise OutOfMemory(f"one text needs {path_bytes:,} bytes of memory, and {_MEMORY_LIMIT:,} are allowed")
    return min(_WIDEST, _MEMORY_LIMIT // path_bytes)


def _parted(before: _Branches, paths: Tensor, drawn: Tensor, going: Tensor, widest: int) -> list[_Branches]:
    """The branches after each text has drawn a token: more, where texts part, in groups of at most ``widest``.

    Args:
        paths: [R, T].
        drawn: the token of each text. [N]
        going: which of them go on. [N]
    """
    texts, size = before.texts[going], int(drawn.max()) + 1
    children, branch = torch.unique(before.branch[going] * size + drawn[going], return_inverse=True)
    count, free = len(children), before.free + len(paths)
    groups, parts = [], -(-count // widest)
    for part in range(parts):
        first, end = count * part // parts, count * (part + 1) // parts
        here = (first <= branch) & (branch < end)
        parents, tokens = children[first:end] // size, children[first:end] % size
        groups.append(_Branches(tokens, paths[parents], texts[here], branch[here] - first, free))
    return groups


def _attend(block: Block, x: Tensor, rotation: Tensor, paths: Tensor, nodes: Tensor) -> Tensor:
    """[R, D], and of the tree [R, T], and one layer's [nodes, 2, G, d] -> [R, D]"""
    attention = block.attention
    query, key, value = (
        layer(x).float().unflatten(-1, (-1, attention.head_width))  # [R, H, d]
        for layer in (attention.query, attention.key, attention.value)
    )
    mixed = torch.zeros_like(query)  # [R, H, d]
    arrays = (tensor.numpy() for tensor in (query, key, value, rotation, paths, nodes.view(torch.uint16), mixed))
    attend_along_paths(*arrays)
    return attention.output(mixed.flatten(1).to(x.dtype))


def _in_fast_arithmetic(model: TransformerLM) -> TransformerLM:
    """A copy on the processor, whose matrices are of the type in which it multiplies them quickest."""
    copy = deepcopy(model).cpu()
    for layer in copy.modules():
        if isinstance(layer, nn.Linear):
            layer.to(fast_dtype())
    return copy
