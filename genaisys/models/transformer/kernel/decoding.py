"""A step of decoding: one token of each of several sequences, or a few consecutive ones."""

from __future__ import annotations

from typing import NamedTuple

from genaisys.models.transformer.kernel.barrier import arrive_and_wait
from genaisys.models.transformer.kernel.network import Floats, Integers, Network
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
from genaisys.models.transformer.kernel.simd import BLOCK, Rows

# What is compiled in from the files that are imported here, directly or not: 24f4b903177b69ef


class Scratch(NamedTuple):
    """Room for what lies between two layers, for up to R rows and W workers. K is the widest padded input."""

    stream: Floats  # [R, width], the residual stream
    inputs: Floats  # [W, R, K], normalised; each worker makes its own
    rows: Rows  # of [W, R, K], the inputs as they are multiplied
    outputs: Floats  # [W, R, N], the outputs of a layer, of which each worker makes its share; N is the most of any
    rotation: Floats  # [R, 2, head_width / 2], cosines and sines
    queries: Floats  # [R, heads, head_width]
    mixed: Floats  # [R, K], what attention gives
    hidden: Floats  # [R, K], what the MLP has inside
    scores: Floats  # [W, heads / kv_heads, padded context_length]
    mean_value: Floats  # [W, heads / kv_heads, padded head_width]
    barrier: Integers  # [8], a cache line of its own


@compiled
def decode(
    worker: int,
    workers: int,
    passed: int,
    network: Network,
    scratch: Scratch,
    tokens: Integers,  # [R]
    places: Integers,  # [R]
    pages: Integers,  # [R, pages of a sequence]
    cache: Floats,  # see PagedCache
    wanted: Integers,  # rows whose logits are wanted, in ascending order
    logits: Floats,  # [wanted rows, vocabulary]
) -> int:
    """What one worker does of one step: keys and values of R tokens go into the cache, and logits are written.

    ``passed`` is what the barrier has counted to in earlier steps; what it has counted to after this one is returned.
    """
    shape = network.shape
    rows = len(tokens)
    inputs, outputs = scratch.inputs[worker], scratch.outputs[worker]
    x = Rows(scratch.rows.values[worker], scratch.rows.scales[worker], scratch.rows.sums[worker])
    group = shape.heads // shape.kv_heads
    for row in range(*share(rows, 1, worker, workers)):
        embed(network, tokens[row], places[row], scratch.stream[row], scratch.rotation[row])
    passed += workers
    arrive_and_wait(scratch.barrier, passed)

    for layer in range(shape.layers):
        normalise(network, 2 * layer, scratch.stream, inputs, rows)
        first, last = share(shape.heads + 2 * shape.kv_heads, 1, worker, workers)
        put(inputs, rows, network.qkv, x)
        linear_map(network.qkv, layer, x, rows, first * shape.head_width, last * shape.head_width, outputs)
        for row in range(rows):
            for head in range(first, last):
                values = outputs[row, head * shape.head_width : (head + 1) * shape.head_width]
                turn(shape, head, scratch.rotation[row], values)
                if head < shape.heads:
                    scratch.queries[row, head] = values
                else:
                    remember(shape, layer, head - shape.heads, values, places[row], pages[row], cache)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        units = rows * shape.kv_heads
        for unit in range(*share(units, 1, worker, workers)):
            row, kv_head = unit // shape.kv_heads, unit % shape.kv_heads
            first = kv_head * group
            queries = Rows(scratch.queries[row, first : first + group], x.scales, x.sums)
            scores, mean_value = scratch.scores[worker], scratch.mean_value[worker]
            attention(shape, layer, kv_head, queries, 1, places[row], pages[row], cache, scores, mean_value)
            for head in range(group):
                at = (first + head) * shape.head_width
                scratch.mixed[row, at : at + shape.head_width] = mean_value[head, : shape.head_width]
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        first, last = share(shape.width, BLOCK, worker, workers)
        put(scratch.mixed, rows, network.output, x)
        linear_map(network.output, layer, x, rows, first, last, outputs)
        add(shape, scratch.stream, inputs, outputs, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        normalise(network, 2 * layer + 1, scratch.stream, inputs, rows)
        first, last = share(shape.hidden, BLOCK, worker, workers)
        put(inputs, rows, network.up, x)
        linear_map(network.up, layer, x, rows, first, last, outputs)
        if shape.gated:
            linear_map(network.up, layer, x, rows, shape.hidden + first, shape.hidden + last, outputs)
        activate(shape, outputs, scratch.hidden, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        first, last = share(shape.width, BLOCK, worker, workers)
        put(scratch.hidden, rows, network.down, x)
        linear_map(network.down, layer, x, rows, first, last, outputs)
        add(shape, scratch.stream, inputs, outputs, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

    if len(wanted):
        normalise(network, 2 * shape.layers, scratch.stream, inputs, rows)
        for n in range(len(wanted)):
            inputs[n] = inputs[wanted[n]]
        first, last = share(logits.shape[1], BLOCK, worker, workers)  # padded to whole blocks
        put(inputs, len(wanted), network.head, x)
        linear_map(network.head, 0, x, len(wanted), first, last, logits)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)
    return passed
