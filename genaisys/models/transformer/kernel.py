"""One step of decoding as one compiled function, which all cores run together.

At one token a step the weights are read once and hardly anything is computed, so the time is that of reading memory,
and whatever else a step costs, such as the hundreds of calls of a framework, counts. Here a step is one call. Each core
owns a share of every layer's outputs; between two layers the cores wait for each other at a barrier, which they reach
within microseconds. Weights are int8 with one scale an output, or floats; what is computed with is float32.

The rows of a step may be tokens of different sequences, or consecutive tokens of one (speculation). Every row is
computed in the same way whatever stands beside it; see ``simd.py``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from genaisys.models.transformer.simd import (
    LANES,
    LINE,
    add_weighted,
    arrive_and_wait,
    dots_1x1,
    dots_4x1,
    dots_4x4,
    dots_8x1,
    dots_8x2,
    exp_and_sum,
)

SILU, GELU_TANH, GELU = range(3)

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int8] | Floats


# Compiled once for a machine and kept beside the source, by this file's content. That of simd.py, which is compiled in,
# therefore has to stand here (a test compares it): ec220828982ac712
compiled = njit(nogil=True, error_model="numpy", cache=True)
compiled_in_any_order = njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "contract"})

BLOCK = 8  # outputs whose weights lie interleaved, so that all of them are computed from one stream of memory


class Linear(NamedTuple):
    """A linear map in every layer: ``y = scale * (weight @ x) + bias``.

    The weights of output ``8 b + o`` for inputs ``64 s`` and after are ``weight[layer, b, s, o]``; missing ones are 0.
    """

    weight: Weights  # [L, outputs / 8, inputs / 64, 8, 64]
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
    outputs: Floats  # [W, R, N], the outputs of a layer, of which each worker makes its share; N is the most of any
    rotation: Floats  # [R, 2, head_width / 2], cosines and sines
    queries: Floats  # [R, heads, padded head_width]
    mixed: Floats  # [R, K], what attention gives
    hidden: Floats  # [R, K], what the MLP has inside
    scores: Floats  # [W, padded context_length]
    mean_value: Floats  # [W, padded head_width]
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
    cache: Floats,  # [pages, L, 2, kv_heads, page_size, padded head_width]
    wanted: Integers,  # rows whose logits are wanted, in ascending order
    logits: Floats,  # [wanted rows, vocabulary]
) -> int:
    """What one worker does of one step: keys and values of R tokens go into the cache, and logits are written.

    ``passed`` is what the barrier has counted to in earlier steps; what it has counted to after this one is returned.
    """
    shape = network.shape
    rows = len(tokens)
    inputs, outputs = scratch.inputs[worker], scratch.outputs[worker]
    for row in range(*_share(rows, worker, workers)):
        _embed(network, tokens[row], places[row], scratch.stream[row], scratch.rotation[row])
    passed += workers
    arrive_and_wait(scratch.barrier, passed)

    for layer in range(shape.layers):
        _normalise(network, 2 * layer, scratch.stream, inputs, rows)
        first, last = _share(shape.heads + 2 * shape.kv_heads, worker, workers)
        _linear(network.qkv, layer, inputs, rows, first * shape.head_width, last * shape.head_width, outputs)
        for head in range(first, last):
            _place_head(shape, scratch, outputs, layer, head, rows, places, pages, cache)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        units = rows * shape.heads
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            row, head = unit // shape.heads, unit % shape.heads
            _attend(shape, scratch, worker, layer, head, row, places[row], pages[row], cache)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        first, last = _share(shape.width, worker, workers)
        _linear(network.output, layer, scratch.mixed, rows, first, last, outputs)
        _add(shape, scratch.stream, inputs, outputs, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        _normalise(network, 2 * layer + 1, scratch.stream, inputs, rows)
        first, last = _share(shape.hidden, worker, workers)
        _linear(network.up, layer, inputs, rows, first, last, outputs)
        if shape.gated:
            _linear(network.up, layer, inputs, rows, shape.hidden + first, shape.hidden + last, outputs)
        _activate(shape, outputs, scratch.hidden, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

        first, last = _share(shape.width, worker, workers)
        _linear(network.down, layer, scratch.hidden, rows, first, last, outputs)
        _add(shape, scratch.stream, inputs, outputs, rows, first, last)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)

    if len(wanted):
        _normalise(network, 2 * shape.layers, scratch.stream, inputs, rows)
        for n in range(len(wanted)):
            inputs[n] = inputs[wanted[n]]
        first, last = _share(logits.shape[1], worker, workers)  # padded to whole blocks
        _linear(network.head, 0, inputs, len(wanted), first, last, logits)
        passed += workers
        arrive_and_wait(scratch.barrier, passed)
    return passed


@compiled
def _share(count: int, worker: int, workers: int) -> tuple[int, int]:
    """The part of ``count`` outputs that one worker makes: whole cache lines where they are many."""
    grain = LANES if count >= LANES * workers else 1
    units = -(-count // grain)
    return min(count, units * worker // workers * grain), min(count, units * (worker + 1) // workers * grain)


@compiled
def _embed(network: Network, token: int, place: int, stream: Floats, rotation: Floats) -> None:
    """The stream before the first block, and the angles of rotary positions."""
    shape = network.shape
    scale = network.embedding.scale[0, token]
    weight = network.embedding.weight[0, token // BLOCK, :, token % BLOCK]  # [width / 64, 64]
    for i in range(shape.width):
        stream[i] = np.float32(weight[i // LINE, i % LINE]) * scale
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
def _linear(linear: Linear, layer: int, x: Floats, rows: int, first: int, last: int, out: Floats) -> None:
    """Outputs ``first`` to ``last`` of a linear map of ``x`` [R, K], into the same columns of ``out``.

    Whole blocks are computed, so the columns around them may be written too.
    """
    _, blocks, steps = linear.weight.shape[:3]
    weight, scale, bias = linear.weight, linear.scale[layer], linear.bias[layer]
    length, stride, step = steps * LINE, x.shape[1], BLOCK * LINE
    for block in range(first // BLOCK, -(-last // BLOCK)):
        n, row = block * BLOCK, 0
        at = (layer * blocks + block) * BLOCK * length
        while row + 4 <= rows:
            for half in range(0, BLOCK, 4):
                sixteen = dots_4x4(weight, at + half * LINE, LINE, step, x, row * stride, stride, length)
                for i in range(16):
                    o = n + half + i // 4
                    out[row + i % 4, o] = sixteen[i] * scale[o] + bias[o]
            row += 4
        if row + 2 <= rows:
            pairs = dots_8x2(weight, at, LINE, step, x, row * stride, stride, length)
            for i in range(16):
                out[row + i % 2, n + i // 2] = pairs[i] * scale[n + i // 2] + bias[n + i // 2]
            row += 2
        if row < rows:
            singles = dots_8x1(weight, at, LINE, step, x, row * stride, stride, length)
            for i in range(8):
                out[row, n + i] = singles[i] * scale[n + i] + bias[n + i]


@compiled
def _place_head(
    shape: Shape,
    scratch: Scratch,
    outputs: Floats,
    layer: int,
    head: int,
    rows: int,
    places: Integers,
    pages: Integers,
    cache: Floats,
) -> None:
    """Turn one head of queries, keys or values by its place, and put it where attention looks for it."""
    page_size, half = cache.shape[4], shape.head_width // 2
    for row in range(rows):
        values = outputs[row, head * shape.head_width : (head + 1) * shape.head_width]
        if shape.rotary and head < shape.heads + shape.kv_heads:
            cos, sin = scratch.rotation[row]
            for i in range(half):
                a, b = values[i], values[i + half]
                values[i], values[i + half] = a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]
        page, line = pages[row, places[row] // page_size], places[row] % page_size
        if head < shape.heads:
            scratch.queries[row, head, : shape.head_width] = values
        elif head < shape.heads + shape.kv_heads:
            cache[page, layer, 0, head - shape.heads, line, : shape.head_width] = values
        else:
            cache[page, layer, 1, head - shape.heads - shape.kv_heads, line, : shape.head_width] = values


@compiled
def _attend(
    shape: Shape,
    scratch: Scratch,
    worker: int,
    layer: int,
    head: int,
    row: int,
    place: int,
    pages: Integers,
    cache: Floats,
) -> None:
    """Attention of one head of one row over its own sequence, page by page."""
    page_size, padded = cache.shape[4:]
    scores, mean_value = scratch.scores[worker], scratch.mean_value[worker]
    scale = np.float32(1 / math.sqrt(shape.head_width))
    seen_from = max(0, place + 1 - shape.window)
    keys = _offset(cache, layer, 0, head * shape.kv_heads // shape.heads)
    values = _offset(cache, layer, 1, head * shape.kv_heads // shape.heads)
    page_stride = cache.size // len(cache)
    query = (row * shape.heads + head) * padded

    count = 0
    for n in range(seen_from // page_size, place // page_size + 1):
        line, end = max(0, seen_from - n * page_size), min(page_size, place + 1 - n * page_size)
        at = pages[n] * page_stride + keys
        while line + 4 <= end:
            four = dots_4x1(cache, at + line * padded, padded, LINE, scratch.queries, query, padded, padded)
            for i in range(4):
                scores[count + i] = four[i] * scale
            line, count = line + 4, count + 4
        while line < end:
            one = dots_1x1(cache, at + line * padded, padded, LINE, scratch.queries, query, padded, padded)
            scores[count] = one[0] * scale
            line, count = line + 1, count + 1

    best = scores[0]
    for n in range(1, count):
        best = max(best, scores[n])
    filled = -(-count // LANES) * LANES
    for n in range(count):
        scores[n] -= best
    scores[count:filled] = -np.inf
    total = exp_and_sum(scores, 0, filled)

    mean_value[:] = 0
    count = 0
    for n in range(seen_from // page_size, place // page_size + 1):
        line, end = max(0, seen_from - n * page_size), min(page_size, place + 1 - n * page_size)
        at = pages[n] * page_stride + values + line * padded
        for block in range(0, padded, LANES):
            add_weighted(mean_value, block, cache, at + block, padded, scores, count, end - line)
        count += end - line
    for i in range(shape.head_width):
        scratch.mixed[row, head * shape.head_width + i] = mean_value[i] / total


@compiled
def _offset(cache: Floats, layer: int, kind: int, head: int) -> int:
    """Where a page has the keys (0) or values (1) of a head, in elements from its beginning."""
    _, _, _, heads, page_size, padded = cache.shape
    return ((layer * 2 + kind) * heads + head) * page_size * padded


@compiled
def _add(shape: Shape, stream: Floats, read: Floats, outputs: Floats, rows: int, first: int, last: int) -> None:
    """Add a part's outputs to the stream, or, where sums are normalised, to what the part has read."""
    for row in range(rows):
        for n in range(first, last):
            stream[row, n] = (read[row, n] if shape.post_norm else stream[row, n]) + outputs[row, n]


@compiled
def _activate(shape: Shape, outputs: Floats, hidden: Floats, rows: int, first: int, last: int) -> None:
    for row in range(rows):
        for n in range(first, last):
            x = outputs[row, n]
            if shape.activation == SILU:
                y = x / (np.float32(1) + np.float32(math.exp(-x)))
            elif shape.activation == GELU_TANH:
                inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
                y = np.float32(0.5) * x * (np.float32(1) + np.float32(math.tanh(inner)))
            else:
                y = np.float32(0.5) * x * (np.float32(1) + np.float32(math.erf(x * np.float32(0.7071067812))))
            hidden[row, n] = y * outputs[row, shape.hidden + n] if shape.gated else y
