"""The transformer as compiled functions, which all cores run together.

At one token a step the weights are read once and hardly anything is computed, so the time is that of reading memory,
and whatever else a step costs, such as the hundreds of calls of a framework, counts. Here a step is one call,
``decode``. Each core owns a share of every layer's outputs; between two layers the cores wait for each other at a
barrier, which they reach within microseconds. A prompt has many rows, and each core takes a share of them through a
whole layer: ``project`` before attention, ``attend``, and ``finish`` after it.

Weights are int8 with one scale an output, or floats. What they are multiplied with is, for int8, rounded to int8 as
well, with one scale for every 64 numbers, so that the sums are exact; all else is float32. The rows of a step may be
tokens of different sequences, or consecutive tokens of one. Every row is computed in the same way whatever stands
beside it, in a step or in a prompt; see ``simd.py``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from genaisys.models.transformer.simd import (
    BLOCK,
    LANES,
    LINE,
    Rows,
    arrive_and_wait,
    exp_and_sum,
    logistic,
    multiply_1,
    multiply_2,
    multiply_4,
    multiply_8,
    normal_distribution,
    put_line,
)

SILU, GELU_TANH, GELU = range(3)

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int8] | Floats


# Compiled once for a machine and kept beside the source, by this file's content. That of simd.py, which is compiled in,
# therefore has to stand here (a test compares it): d5d6796455058568
compiled = njit(nogil=True, error_model="numpy", cache=True)
compiled_in_any_order = njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "contract"})

_TILE = 64  # rows of a prompt that are taken through a layer together: what lies between its parts stays in the cache
_SEEING = 16  # rows of a prompt whose attention is computed together


class Linear(NamedTuple):
    """A linear map in every layer: ``y = scale * (weight @ x) + bias``.

    Weights lie as a core reads them: those of 32 outputs side by side, for one input (floats) or four (int8) after the
    other. So the weight of output ``32 b + o`` for input ``64 s + 4 q + i`` is ``weight[layer, b, s, q, o, i]``, where
    floats have no i and all 64 inputs in the place of q. What is missing to whole blocks is 0.
    """

    weight: Weights  # [L, outputs / 32, inputs / 64, 16, 32, 4] or [L, outputs / 32, inputs / 64, 64, 32, 1]
    scale: Floats  # [L, outputs]
    bias: Floats  # [L, outputs]


class Shape(NamedTuple):
    """What the kernel must know of the configuration."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    post_norm: bool
    rms: bool
    rotary: bool
    gated: bool
    activation: int  # SILU, GELU_TANH or GELU
    window: int
    epsilon: float


class Network(NamedTuple):
    """A transformer, packed."""

    shape: Shape
    embedding: Linear  # one layer
    positions: Floats  # [context_length, width], or [0, width]
    turning: Floats  # [head_width / 2], radians a place
    norms: Floats  # [2 * layers + 1, 2, width]: weight and bias of what each part reads, and of the head
    qkv: Linear
    output: Linear
    up: Linear  # gate rows, then up rows, where gated
    down: Linear
    head: Linear  # one layer


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
    for row in range(*_share(rows, 1, worker, workers)):
        _embed(network, tokens[row], places[row], scratch.stream[row], scratch.rotation[row])
    passed += workers
    arrive_and_wait(scratch.barrier, passed)

    for layer in range(shape.layers):
        _normalise(network, 2 * layer, scratch.stream, inputs, rows)
        first, last = _share(shape.heads + 2 * shape.kv_heads, 1, worker, workers)
        _put(inputs, rows, network.qkv, x)
        _linear(network.qkv, layer, x, rows, first * shape.head_width, last * shape.head_width, outputs)
        for row in range(rows):
            for head in range(first, last):
                values = outputs[row, head * shape.head_width : (head + 1) * shape.head_width]
                _turn(shape, head, scratch.rotation[row], values)
                if head < shape.heads:
                    scratch.queries[row, head] = values
                else:
                    _keep(shape, layer, head - shape.heads, values, places[row], pages[row], cache)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        units = rows * shape.kv_heads
        for unit in range(*_share(units, 1, worker, workers)):
            row, kv_head = unit // shape.kv_heads, unit % shape.kv_heads
            first = kv_head * group
            queries = Rows(scratch.queries[row, first : first + group], x.scales, x.sums)
            scores, mean_value = scratch.scores[worker], scratch.mean_value[worker]
            _attend(shape, layer, kv_head, queries, 1, places[row], pages[row], cache, scores, mean_value)
            for head in range(group):
                at = (first + head) * shape.head_width
                scratch.mixed[row, at : at + shape.head_width] = mean_value[head, : shape.head_width]
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        first, last = _share(shape.width, BLOCK, worker, workers)
        _put(scratch.mixed, rows, network.output, x)
        _linear(network.output, layer, x, rows, first, last, outputs)
        _add(shape, scratch.stream, inputs, outputs, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        _normalise(network, 2 * layer + 1, scratch.stream, inputs, rows)
        first, last = _share(shape.hidden, BLOCK, worker, workers)
        _put(inputs, rows, network.up, x)
        _linear(network.up, layer, x, rows, first, last, outputs)
        if shape.gated:
            _linear(network.up, layer, x, rows, shape.hidden + first, shape.hidden + last, outputs)
        _activate(shape, outputs, scratch.hidden, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        first, last = _share(shape.width, BLOCK, worker, workers)
        _put(scratch.hidden, rows, network.down, x)
        _linear(network.down, layer, x, rows, first, last, outputs)
        _add(shape, scratch.stream, inputs, outputs, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

    if len(wanted):
        _normalise(network, 2 * shape.layers, scratch.stream, inputs, rows)
        for n in range(len(wanted)):
            inputs[n] = inputs[wanted[n]]
        first, last = _share(logits.shape[1], BLOCK, worker, workers)  # padded to whole blocks
        _put(inputs, len(wanted), network.head, x)
        _linear(network.head, 0, x, len(wanted), first, last, logits)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)
    return passed


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
    for row in range(*_share(len(tokens), 1, worker, workers)):
        _embed(network, tokens[row], places[row], stream[row], rotation[row])


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
    first, last = _share(len(stream), 1, worker, workers)
    for row in range(first, last, _TILE):
        rows = min(_TILE, last - row)
        _normalise(network, 2 * layer, stream[row : row + rows], inputs, rows)
        _put(inputs, rows, network.qkv, x)
        count = heads.shape[1] * shape.head_width
        _linear(network.qkv, layer, x, rows, 0, count, outputs)
        for n in range(rows):
            for head in range(heads.shape[1]):
                values = heads[row + n, head]
                values[:] = outputs[n, head * shape.head_width : (head + 1) * shape.head_width]
                _turn(shape, head, rotation[row + n], values)


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
    for row in range(*_share(len(heads), 1, worker, workers)):
        for head in range(2 * shape.kv_heads):
            _keep(shape, layer, head, heads[row, shape.heads + head], places[row], pages, cache)


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
            _attend(shape, layer, kv_head, of_group, rows, places[first], pages, cache, scores, mean_value)
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
    first, last = _share(len(stream), 1, worker, workers)
    for row in range(first, last, _TILE):
        rows = min(_TILE, last - row)
        tile = stream[row : row + rows]
        if shape.post_norm:
            _normalise(network, 2 * layer, tile, inputs, rows)
        _put(mixed[row : row + rows], rows, network.output, x)
        _linear(network.output, layer, x, rows, 0, shape.width, outputs)
        _add(shape, tile, inputs, outputs, rows, 0, shape.width)
        _normalise(network, 2 * layer + 1, tile, inputs, rows)
        _put(inputs, rows, network.up, x)
        _linear(network.up, layer, x, rows, 0, shape.hidden * (2 if shape.gated else 1), outputs)
        _activate(shape, outputs, hidden, rows, 0, shape.hidden)
        _put(hidden, rows, network.down, x)
        _linear(network.down, layer, x, rows, 0, shape.width, outputs)
        _add(shape, tile, inputs, outputs, rows, 0, shape.width)


@compiled
def read_out(worker: int, workers: int, network: Network, stream: Floats, logits: Floats) -> None:
    """What one worker does of the logits [T, padded vocabulary] of the stream [T, width] after the last layer."""
    inputs, _, x, _ = _room(network)
    first, last = _share(len(stream), 1, worker, workers)
    for row in range(first, last, _TILE):
        rows = min(_TILE, last - row)
        _normalise(network, 2 * network.shape.layers, stream[row : row + rows], inputs, rows)
        _put(inputs, rows, network.head, x)
        _linear(network.head, 0, x, rows, 0, logits.shape[1], logits[row : row + rows])


@compiled
def _share(count: int, grain: int, worker: int, workers: int) -> tuple[int, int]:
    """The part of ``count`` outputs that one worker makes, in whole grains."""
    units = -(-count // grain)
    return min(count, units * worker // workers * grain), min(count, units * (worker + 1) // workers * grain)


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


@compiled
def _embed(network: Network, token: int, place: int, stream: Floats, rotation: Floats) -> None:
    """The stream before the first block, and the angles of rotary positions."""
    shape = network.shape
    scale = network.embedding.scale[0, token]
    weight = network.embedding.weight[0, token // BLOCK, :, :, token % BLOCK]  # [width / 64, 16, 4] or [.., 64, 1]
    depth = weight.shape[2]
    for i in range(shape.width):
        stream[i] = np.float32(weight[i // LINE, i % LINE // depth, i % depth]) * scale
    if shape.rotary:
        for i in range(len(network.turning)):
            angle = np.float32(place) * network.turning[i]
            rotation[0, i], rotation[1, i] = math.cos(angle), math.sin(angle)
    else:
        for i in range(shape.width):
            stream[i] += network.positions[place, i]


@compiled_in_any_order
def _normalise(network: Network, norm: int, stream: Floats, out: Floats, rows: int) -> None:
    """What the next part reads: the stream, normalised; a post-norm network's first part reads it as it is."""
    shape = network.shape
    weight, bias = network.norms[norm, 0], network.norms[norm, 1]
    for row in range(rows):
        if shape.post_norm and norm == 0:
            out[row, : shape.width] = stream[row]
            continue
        mean = np.float32(0)
        if not shape.rms:
            for i in range(shape.width):
                mean += stream[row, i]
            mean /= np.float32(shape.width)
        squares = np.float32(0)
        for i in range(shape.width):
            squares += (stream[row, i] - mean) * (stream[row, i] - mean)
        factor = np.float32(1 / math.sqrt(squares / np.float32(shape.width) + shape.epsilon))
        for i in range(shape.width):
            out[row, i] = (stream[row, i] - mean) * factor * weight[i] + bias[i]


@compiled
def _put(inputs: Floats, rows: int, linear: Linear, x: Rows) -> None:
    """Make ``x`` of what ``linear`` is to read, the first of its padded ``inputs`` [R, K]."""
    for row in range(rows):
        for line in range(linear.weight.shape[2]):
            at, to = row * inputs.shape[1] + line * LINE, row * x.values.shape[1] + line * LINE
            x.scales[row, line], x.sums[row, line] = put_line(inputs, at, x.values, to)


@compiled
def _linear(linear: Linear, layer: int, x: Rows, rows: int, first: int, last: int, out: Floats) -> None:
    """Outputs ``first`` to ``last`` of a linear map of ``x``, into the same columns of ``out``.

    Whole blocks are computed, so the columns around them may be written too.
    """
    weight, scale, bias = linear.weight, linear.scale[layer], linear.bias[layer]
    blocks, length = weight.shape[1], weight.shape[2] * LINE
    begin, end = first // BLOCK * BLOCK, -(-last // BLOCK) * BLOCK
    for row in range(rows):
        out[row, begin:end] = 0
    for n in range(begin, end, BLOCK):
        _multiply(weight, (layer * blocks * BLOCK + n) * length, x, 0, rows, 0, length, out, n)
    for row in range(rows):
        for n in range(begin, end):
            out[row, n] = out[row, n] * scale[n] + bias[n]


@compiled
def _multiply(
    weights: Weights, at: int, x: Rows, first: int, rows: int, column: int, length: int, out: Floats, out_column: int
) -> None:
    """Add the products of a block of weights with rows ``first`` and after to the first rows of ``out``."""
    row = 0
    while row + 8 <= rows:
        multiply_8(weights, at, x, first + row, column, length, out, row, out_column)
        row += 8
    if row + 4 <= rows:
        multiply_4(weights, at, x, first + row, column, length, out, row, out_column)
        row += 4
    if row + 2 <= rows:
        multiply_2(weights, at, x, first + row, column, length, out, row, out_column)
        row += 2
    if row < rows:
        multiply_1(weights, at, x, first + row, column, length, out, row, out_column)


@compiled
def _turn(shape: Shape, head: int, rotation: Floats, values: Floats) -> None:
    """Turn a head of queries or keys by the angles of its place; a head of values stays as it is."""
    if shape.rotary and head < shape.heads + shape.kv_heads:
        half = shape.head_width // 2
        cos, sin = rotation
        for i in range(half):
            a, b = values[i], values[i + half]
            values[i], values[i + half] = a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]


@compiled
def _keep(shape: Shape, layer: int, head: int, values: Floats, place: int, pages: Integers, cache: Floats) -> None:
    """Put the keys (of heads below ``kv_heads``) or values of one token where attention looks for them."""
    page_size, padded = cache.shape[4:]
    page, position = pages[place // page_size], place % page_size
    if head < shape.kv_heads:
        block = cache[page, layer, 0, head].reshape(page_size // BLOCK, padded, BLOCK)[position // BLOCK]
        for i in range(shape.head_width):
            block[i, position % BLOCK] = values[i]
    else:
        blocks = cache[page, layer, 1, head - shape.kv_heads].reshape(padded // BLOCK, page_size, BLOCK)
        for i in range(shape.head_width):
            blocks[i // BLOCK, position, i % BLOCK] = values[i]


@compiled
def _attend(
    shape: Shape,
    layer: int,
    kv_head: int,
    queries: Rows,  # [rows * group, head_width]
    rows: int,
    place: int,
    pages: Integers,
    cache: Floats,
    scores: Floats,  # [rows * group, places that are seen, padded]
    mean_value: Floats,  # [rows * group, padded head_width]
) -> None:
    """Attention of a few tokens, from ``place`` on, and of the heads that share one head of keys, over their sequence.

    Both products are such as linear maps are: keys are the weights of one output a place, values of one input a place.
    """
    page_size, padded = cache.shape[4:]
    group = shape.heads // shape.kv_heads
    base = max(0, place + 1 - shape.window) // BLOCK * BLOCK  # the place of the first score
    page_stride = cache.size // len(cache)
    keys = ((layer * 2) * shape.kv_heads + kv_head) * page_size * padded
    values = ((layer * 2 + 1) * shape.kv_heads + kv_head) * page_size * padded
    filled = -(-(place + rows - base) // BLOCK) * BLOCK

    for n in range(rows * group):
        scores[n, :filled] = 0
        mean_value[n] = 0
    for column in range(0, filled, BLOCK):
        at = pages[(base + column) // page_size] * page_stride + keys + (base + column) % page_size * padded
        _multiply(cache, at, queries, 0, rows * group, 0, shape.head_width, scores, column)
    scale = np.float32(1 / math.sqrt(shape.head_width))
    for n in range(rows * group):
        end = place + n // group + 1  # of what this token sees
        scores[n, : max(0, end - shape.window) - base] = -np.inf
        scores[n, end - base : filled] = -np.inf
        factor = np.float32(1) / exp_and_sum(scores, n * scores.shape[1], filled, scale)
        for column in range(filled):
            scores[n, column] *= factor

    p = Rows(scores, queries.scales, queries.sums)
    seen_from, end = max(0, place + 1 - shape.window), place + rows
    for n in range(seen_from // page_size, (end - 1) // page_size + 1):
        line, last = max(0, seen_from - n * page_size), min(page_size, end - n * page_size)
        for block in range(0, padded, BLOCK):
            at = pages[n] * page_stride + values + block * page_size + line * BLOCK
            _multiply(cache, at, p, 0, rows * group, n * page_size + line - base, last - line, mean_value, block)


@compiled
def _add(shape: Shape, stream: Floats, read: Floats, outputs: Floats, rows: int, first: int, last: int) -> None:
    """Add a part's outputs to the stream, or, where sums are normalised, to what the part has read."""
    for row in range(rows):
        for n in range(first, last):
            stream[row, n] = (read[row, n] if shape.post_norm else stream[row, n]) + outputs[row, n]


@compiled
def _activate(shape: Shape, outputs: Floats, hidden: Floats, rows: int, first: int, last: int) -> None:
    """What the MLP has inside, columns ``first`` to ``last``, of its activations and, where it is gated, its gates."""
    whole = -(-(last - first) // LANES) * LANES
    for row in range(rows):
        x, y = outputs[row, first:last], hidden[row, first:last]
        if shape.activation == GELU_TANH:  # the tanh that stands for an erf is a logistic function too
            for n in range(len(x)):
                y[n] = np.float32(1.5957691216) * (x[n] + np.float32(0.044715) * x[n] * x[n] * x[n])
        else:
            y[:] = x
        if shape.activation == GELU:
            normal_distribution(y, 0, whole)
        else:
            logistic(y, 0, whole)
        hidden[row, last : first + whole] = 0
        for n in range(len(x)):
            y[n] *= x[n]
        if shape.gated:
            up = outputs[row, shape.hidden + first : shape.hidden + last]
            for n in range(len(x)):
                y[n] *= up[n]
