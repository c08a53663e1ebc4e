"""Rotary positions: queries and keys are turned by angles that grow with their place (Su et al., arXiv:2104.09864).

A head's numbers are paired half by half, (0, d/2), (1, d/2 + 1), ..., as the checkpoints of Llama have it.
"""

import math

import torch
from torch import Tensor

from genaisys.models.transformer.config import TransformerConfig


def frequencies(config: TransformerConfig) -> Tensor:
    """Angle per place of each pair, in radians. -> [head_width / 2]"""
    pairs = torch.arange(0, config.head_width, 2, dtype=torch.float64)
    turning = config.rotary_base ** (-pairs / config.head_width)
    if config.rotary_scaling is not None:
        turning = _stretched(turning, **config.rotary_scaling)
    return turning.float()


def _stretched(
    turning: Tensor, factor: float, low_freq_factor: float, high_freq_factor: float, original: float
) -> Tensor:
    """Llama 3.1's frequencies: slow ones divided by ``factor``, fast ones kept, those between blended."""
    turns = original * turning / (2 * math.pi)  # in the context that the model was first trained for
    kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0, 1)
    return turning * (kept + (1 - kept) / factor)


def angles(turning: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines for ``places`` [..., T]. -> two of [..., T, head_width / 2]"""
    turned = places[..., None].float() * turning
    return turned.cos(), turned.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn ``x`` [..., T, head_width] by the angles of its places. -> the same shape, and as exact as ``x``"""
    cos, sin = (part.to(x.dtype) for part in rotation)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
