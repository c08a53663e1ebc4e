"""Reading a prompt, layer by layer: what each core does of the rows that are its share."""

from __future__ import annotations

import numpy as np

from genaisys.models.transformer.kernel.network import Floats, Integers, Network, Shape
from genaisys.models.transformer.kernel.parts import (
    activate,
    add,
    attention,
    compiled,
    embed,
    linear_map,
    normalise,
    put,
    remember,
    share,
    turn,
)
from genaisys.models.transformer.kernel.simd import BLOCK, LINE, Rows

# What is compiled in from the files that are imported here, directly or not: 4a083be1370fb6c7

_TILE = 64  # rows of a prompt that are taken through a layer together: what lies between its parts stays in the cache
_SEEING = 16  # rows of a prompt whose attention is computed together


@compiled
def begin(
    worker: int,
    workers: int,
    network: Network,
    tokens: Integers,  # [T]
    places: Integers,  # [T]
    stream: Floats,  # [T, width]
    rotation: Floats,  # [T, 2, head_width / 2]
) -> None:
    """What one worker does of the stream before the first layer."""
    for row in range(*share(len(tokens), 1, worker, workers)):
        embed(network, tokens[row], places[row], stream[row], rotation[row])


@compiled
def project(
    worker: int,
    workers: int,
    network: Network,
    layer: int,
    stream: Floats,  # [T, width]
    rotation: Floats,  # [T, 2, head_width / 2]
    heads: Floats,  # [T, heads + 2 kv_heads, head_width]
) -> None:
    """What one worker does of a layer before attention: queries, keys and values, the first two turned."""
    shape = network.shape
    inputs, _, x, outputs = _room(network)
    first, last = share(len(stream), 1, worker, workers)
    for row in range(first, last, _TILE):
        rows = min(_TILE, last - row)
        normalise(network, 2 * layer, stream[row : row + rows], inputs, rows)
        put(inputs, rows, network.qkv, x)
        count = heads.shape[1] * shape.head_width
        linear_map(network.qkv, layer, x, rows, 0, count, outputs)
        for n in range(rows):
            for head in range(heads.shape[1]):
                values = heads[row + n, head]
                values[:] = outputs[n, head * shape.head_width : (head + 1) * shape.head_width]
                turn(shape, head, rotation[row + n], values)


@compiled
def keep(
    worker: int,
    workers: int,
    shape: Shape,
    layer: int,
    heads: Floats,  # [T, heads + 2 kv_heads, head_width]
    places: Integers,  # [T]
    pages: Integers,  # [pages of the sequence]
    cache: Floats,  # see PagedCache
) -> None:
    """Put a worker's share of the keys and values of ``project`` into the cache."""
    for row in range(*share(len(heads), 1, worker, workers)):
        for head in range(2 * shape.kv_heads):
            remember(shape, layer, head, heads[row, shape.heads + head], places[row], pages, cache)


@compiled
def attend(
    worker: int,
    workers: int,
    shape: Shape,
    layer: int,
    heads: Floats,  # [T, heads + 2 kv_heads, head_width]
    places: Integers,  # [T], consecutive
    pages: Integers,  # [pages of the sequence], in which the keys and values are
    cache: Floats,  # see PagedCache
    mixed: Floats,  # [T, heads * head_width, padded]
) -> None:
    """What one worker does of the attention of a layer."""
    group, width = shape.heads // shape.kv_heads, shape.head_width
    queries = np.empty((_SEEING * group, width), np.float32)
    scores = np.empty((_SEEING * group, (places[-1] // BLOCK + 2) * BLOCK), np.float32)
    mean_value = np.empty((_SEEING * group, cache.shape[5]), np.float32)
    none = np.empty((1, 1), np.float32), np.empty((1, 1), np.int32)
    units = -(-len(heads) // _SEEING)
    for unit in range(worker, units, workers):  # later ones see more
        first = unit * _SEEING
        rows = min(_SEEING, len(heads) - first)
        for kv_head in range(shape.kv_heads):
            for n in range(rows * group):
                queries[n] = heads[first + n // group, kv_head * group + n % group]
            of_group = Rows(queries, none[0], none[1])
            attention(shape, layer, kv_head, of_group, rows, places[first], pages, cache, scores, mean_value)
            for n in range(rows * group):
                at = (kv_head * group + n % group) * width
                mixed[first + n // group, at : at + width] = mean_value[n, :width]


@compiled
def finish(
    worker: int,
    workers: int,
    network: Network,
    layer: int,
    mixed: Floats,  # [T, heads * head_width, padded]
    stream: Floats,  # [T, width]
) -> None:
    """What one worker does of a layer after attention, which gave ``mixed``."""
    shape = network.shape
    inputs, hidden, x, outputs = _room(network)
    first, last = share(len(stream), 1, worker, workers)
    for row in range(first, last, _TILE):
        rows = min(_TILE, last - row)
        tile = stream[row : row + rows]
        if shape.post_norm:
            normalise(network, 2 * layer, tile, inputs, rows)
        put(mixed[row : row + rows], rows, network.output, x)
        linear_map(network.output, layer, x, rows, 0, shape.width, outputs)
        add(shape, tile, inputs, outputs, rows, 0, shape.width)
        normalise(network, 2 * layer + 1, tile, inputs, rows)
        put(inputs, rows, network.up, x)
        linear_map(network.up, layer, x, rows, 0, shape.hidden * (2 if shape.gated else 1), outputs)
        activate(shape, outputs, hidden, rows, 0, shape.hidden)
        put(hidden, rows, network.down, x)
        linear_map(network.down, layer, x, rows, 0, shape.width, outputs)
        add(shape, tile, inputs, outputs, rows, 0, shape.width)


@compiled
def read_out(worker: int, workers: int, network: Network, stream: Floats, logits: Floats) -> None:
    """What one worker does of the logits [T, padded vocabulary] of the stream [T, width] after the last layer."""
    inputs, _, x, _ = _room(network)
    first, last = share(len(stream), 1, worker, workers)
    for row in range(first, last, _TILE):
        rows = min(_TILE, last - row)
        normalise(network, 2 * network.shape.layers, stream[row : row + rows], inputs, rows)
        put(inputs, rows, network.head, x)
        linear_map(network.head, 0, x, rows, 0, logits.shape[1], logits[row : row + rows])


@compiled
def _room(network: Network) -> tuple[Floats, Floats, Rows, Floats]:
    """Inputs, what the MLP has inside, what is multiplied, and outputs, of as many rows of a prompt as go together."""
    widest = LINE * max(network.qkv.weight.shape[2], network.output.weight.shape[2], network.down.weight.shape[2])
    most = max(network.qkv.scale.shape[1], network.output.scale.shape[1], network.up.scale.shape[1])
    x = Rows(
        np.zeros((_TILE, widest), network.qkv.weight.dtype),
        np.zeros((_TILE, widest // LINE), np.float32),
        np.zeros((_TILE, widest // LINE), np.int32),
    )
    inputs, hidden = np.zeros((_TILE, widest), np.float32), np.zeros((_TILE, widest), np.float32)
    return inputs, hidden, x, np.zeros((_TILE, most), np.float32)
