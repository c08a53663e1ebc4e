"""The parts that a layer is put together of, for any number of rows."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from genaisys.models.transformer.kernel.exponentials import exp_and_sum, logistic, normal_distribution
from genaisys.models.transformer.kernel.network import (
    GELU,
    GELU_TANH,
    Floats,
    Integers,
    Linear,
    Network,
    Shape,
    Weights,
)
from genaisys.models.transformer.kernel.simd import (
    BLOCK,
    LANES,
    LINE,
    Rows,
    multiply_1,
    multiply_2,
    multiply_4,
    multiply_8,
    put_line,
)

# What is compiled in from the files that are imported here, directly or not: b32c4a4923ea95f8
compiled = njit(nogil=True, error_model="numpy", cache=True)
compiled_in_any_order = njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "contract"})


@compiled
def share(count: int, grain: int, worker: int, workers: int) -> tuple[int, int]:
    """The part of ``count`` outputs that one worker makes, in whole grains."""
    units = -(-count // grain)
    return min(count, units * worker // workers * grain), min(count, units * (worker + 1) // workers * grain)


@compiled
def embed(network: Network, token: int, place: int, stream: Floats, rotation: Floats) -> None:
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
def normalise(network: Network, norm: int, stream: Floats, out: Floats, rows: int) -> None:
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
def put(inputs: Floats, rows: int, linear: Linear, x: Rows) -> None:
    """Make ``x`` of what ``linear`` is to read, the first of its padded ``inputs`` [R, K]."""
    for row in range(rows):
        for line in range(linear.weight.shape[2]):
            at, to = row * inputs.shape[1] + line * LINE, row * x.values.shape[1] + line * LINE
            x.scales[row, line], x.sums[row, line] = put_line(inputs, at, x.values, to)


@compiled
def linear_map(linear: Linear, layer: int, x: Rows, rows: int, first: int, last: int, out: Floats) -> None:
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
def turn(shape: Shape, head: int, rotation: Floats, values: Floats) -> None:
    """Turn a head of queries or keys by the angles of its place; a head of values stays as it is."""
    if shape.rotary and head < shape.heads + shape.kv_heads:
        half = shape.head_width // 2
        cos, sin = rotation
        for i in range(half):
            a, b = values[i], values[i + half]
            values[i], values[i + half] = a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]


@compiled
def remember(shape: Shape, layer: int, head: int, values: Floats, place: int, pages: Integers, cache: Floats) -> None:
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
def attention(
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
def add(shape: Shape, stream: Floats, read: Floats, outputs: Floats, rows: int, first: int, last: int) -> None:
    """Add a part's outputs to the stream, or, where sums are normalised, to what the part has read."""
    for row in range(rows):
        for n in range(first, last):
            stream[row, n] = (read[row, n] if shape.post_norm else stream[row, n]) + outputs[row, n]


@compiled
def activate(shape: Shape, outputs: Floats, hidden: Floats, rows: int, first: int, last: int) -> None:
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
