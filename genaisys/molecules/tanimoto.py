"""Tanimoto's similarity of fingerprints: the bits in common over the bits in either, and 1 for two without any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_ROWS = 4096  # compared at a time

Packed = npt.NDArray[np.uint8]  # [N, bits / 8]


def nearest(queries: Packed, library: Packed) -> tuple[Tensor, Tensor]:
    """The highest similarity of each query to one of the library, and the first that has it. -> [Q], [Q]"""
    best = torch.full((len(queries),), -1.0)
    which = torch.zeros(len(queries), dtype=torch.long)
    for start, part in _blocks(library):
        for at, rows in _blocks(queries):
            values, numbers = _similarity(rows, part).max(dim=1)
            own = slice(at, at + len(rows))
            better = values > best[own]
            best[own] = torch.where(better, values, best[own])
            which[own] = torch.where(better, numbers + start, which[own])
    return best, which


def similarities(queries: Packed, library: Packed) -> Tensor:
    """Of each query to each of the library. -> [Q, N]"""
    columns = [torch.cat([_similarity(rows, part) for _, rows in _blocks(queries)]) for _, part in _blocks(library)]
    return torch.cat(columns, dim=1)


def mean_powers(fingerprints: Packed, powers: tuple[int, ...]) -> list[Tensor]:
    """For each power the mean of ``similarity ** power`` of each molecule to all, itself included. -> of [N]"""
    sums = [torch.zeros(len(fingerprints), dtype=torch.double) for _ in powers]
    for _, part in _blocks(fingerprints):
        for at, rows in _blocks(fingerprints):
            similarity = _similarity(rows, part)  # [n, m]
            for total, power in zip(sums, powers, strict=True):
                total[at : at + len(rows)] += similarity.pow(power).sum(dim=1)
    return [total / len(fingerprints) for total in sums]


def _blocks(packed: Packed) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(packed), _ROWS):
        # bfloat16 holds integers up to 256 exactly, and no molecule here has so many bits in common with another
        yield start, torch.from_numpy(np.unpackbits(packed[start : start + _ROWS], axis=1)).bfloat16()


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """[A, bits], [B, bits] -> [A, B]"""
    common = (a @ b.T).float()
    either = a.float().sum(1)[:, None] + b.float().sum(1) - common
    return (common / either).nan_to_num_(1.0)
