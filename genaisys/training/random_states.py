"""The states of all random number generators of this process, as tensors of bytes."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

_PYTHON, _NUMPY, _TORCH, _CUDA = "python", "numpy", "torch", "cuda"


def random_states() -> dict[str, Tensor]:
    """The states, each a uint8 tensor of a fixed length."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        _PYTHON: np.array([*words, version, gauss is not None, gauss or 0.0], dtype=np.float64),  # exact: below 2^32
        _NUMPY: np.array([*keys, position, has_gauss, cached], dtype=np.float64),
    }
    tensors = {name: torch.from_numpy(state.view(np.uint8)) for name, state in states.items()}
    tensors[_TORCH] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors[_CUDA] = torch.cuda.get_rng_state()
    return tensors


def set_random_states(states: Mapping[str, Tensor]) -> None:
    """Let all generators go on from the given states."""
    python, numpy_ = (states[name].numpy().view(np.float64) for name in (_PYTHON, _NUMPY))
    words, (version, has_gauss, gauss) = python[:-3], python[-3:]
    random.setstate((int(version), tuple(int(word) for word in words), float(gauss) if has_gauss else None))
    keys, (position, has_gauss, cached) = numpy_[:-3], numpy_[-3:]
    np.random.set_state(("MT19937", keys.astype(np.uint32), int(position), int(has_gauss), float(cached)))
    torch.set_rng_state(states[_TORCH])
    if _CUDA in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[_CUDA])
