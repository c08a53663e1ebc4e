"""Attention of texts that grow as branches of one tree, over the nodes on their paths."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from genaisys.models.transformer.kernel import Floats, compiled_in_any_order
from genaisys.models.transformer.simd import LANES, exp_and_sum

Halves = npt.NDArray[np.uint16]  # bfloat16: the upper halves of float32


@compiled_in_any_order
def attend_along_paths(
    queries: Floats,  # [R, heads, head_width]
    keys: Floats,  # [R, kv_heads, head_width]
    values: Floats,  # [R, kv_heads, head_width]
    rotation: Floats,  # [2, head_width / 2], cosines and sines of this place; [0, 0]: positions are learned
    paths: npt.NDArray[np.int32],  # [R, T], the nodes from the root to each row's own, which is the last
    nodes: Halves,  # [N, 2, kv_heads, head_width], the keys and values of one layer
    mixed: Floats,  # [R, heads, head_width], zeros to which the mixed values are added
) -> None:
    """Put the keys and values of the rows' own nodes into the tree, and mix the values on each path."""
    length = paths.shape[1]
    heads, width = queries.shape[1:]
    kv_head = np.arange(heads) // (heads // keys.shape[1])
    scores = np.empty((heads, -(-length // LANES) * LANES), np.float32)
    scale = np.float32(1 / math.sqrt(width))
    for row in range(len(paths)):
        own = paths[row, length - 1]
        if len(rotation):
            _rotate(queries[row], rotation)
            _rotate(keys[row], rotation)
        for head in range(keys.shape[1]):
            for i in range(width):
                nodes[own, 0, head, i] = _halved(keys[row, head, i])
                nodes[own, 1, head, i] = _halved(values[row, head, i])
        for t in range(length):
            node = paths[row, t]
            for head in range(heads):
                of, score = kv_head[head], np.float32(0)
                for i in range(width):
                    score += queries[row, head, i] * _widened(nodes[node, 0, of, i])
                scores[head, t] = score
        for head in range(heads):
            scores[head, length:] = -np.inf
            factor = np.float32(1) / exp_and_sum(scores, head * scores.shape[1], scores.shape[1], scale)
            for t in range(length):
                scores[head, t] *= factor
        for t in range(length):
            node = paths[row, t]
            for head in range(heads):
                of, p = kv_head[head], scores[head, t]
                for i in range(width):
                    mixed[row, head, i] += p * _widened(nodes[node, 1, of, i])


@compiled_in_any_order
def _rotate(x: Floats, rotation: Floats) -> None:
    """Turn all heads of one row; see ``rotary.py``."""
    half = rotation.shape[1]
    for head in range(len(x)):
        for i in range(half):
            a, b, cos, sin = x[head, i], x[head, half + i], rotation[0, i], rotation[1, i]
            x[head, i], x[head, half + i] = a * cos - b * sin, b * cos + a * sin


@compiled_in_any_order
def _halved(x: np.float32) -> np.uint16:
    """The nearest bfloat16."""
    bits = np.float32(x).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16)


@compiled_in_any_order
def _widened(half: np.uint16) -> np.float32:
    return np.uint32(np.uint32(half) << 16).view(np.float32)
