"""A transformer as the kernel takes it: few large arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SILU, GELU_TANH, GELU = range(3)

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int8] | Floats


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
