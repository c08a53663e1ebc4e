"""Tanimoto's similarity of fingerprints: the bits in common over the bits in either, and 1 for two without any.

Sixteen words of 64 bits are compared at a time by the processor's instruction that counts bits, on all cores.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

_BLOCK = 2048  # of the library that are compared with all queries in turn: they stay in the processor's cache
_SHARE = 256  # queries that a core takes at a time

Packed = npt.NDArray[np.uint8]  # [N, bits / 8]
_Words = npt.NDArray[np.uint64]
_Floats = npt.NDArray[np.float32]
_Doubles = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]

_compiled = njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "contract"})


def nearest(queries: Packed, library: Packed) -> tuple[Tensor, Tensor]:
    """The highest similarity of each query to one of the library, and the first that has it. -> [Q], [Q]"""
    best, which = np.full(len(queries), -1, np.float32), np.zeros(len(queries), np.int64)
    q, of = _words(queries), _words(library)
    _share(len(q), lambda part: _nearest(q[part], of, best[part], which[part]))
    return torch.from_numpy(best), torch.from_numpy(which)


def similarities(queries: Packed, library: Packed) -> Tensor:
    """Of each query to each of the library. -> [Q, N]"""
    out = np.empty((len(queries), len(library)), np.float32)
    q, of = _words(queries), _words(library)
    _share(len(q), lambda part: _similarities(q[part], of, out[part]))
    return torch.from_numpy(out)


def mean_powers(fingerprints: Packed) -> tuple[Tensor, Tensor]:
    """The mean of the similarity, and of its square, of each molecule to all, itself included. -> [N], [N]"""
    sums = np.zeros((2, len(fingerprints)))
    words = _words(fingerprints)
    _share(len(words), lambda part: _add_powers(words[part], words, sums[0, part], sums[1, part]))
    first, second = torch.from_numpy(sums / len(fingerprints))
    return first, second


def _words(packed: Packed) -> _Words:
    return np.ascontiguousarray(packed).view(np.uint64)  # [N, bits / 64]


def _share(count: int, work: Callable[[slice], None]) -> None:
    parts = [slice(start, start + _SHARE) for start in range(0, count, _SHARE)]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(work, parts))


@intrinsic
def _bits(typing: Any, word: Any) -> Any:
    """How many bits of a word are 1."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@_compiled
def _counts(words: _Words) -> _Integers:
    counts = np.zeros(len(words), np.int64)
    for n in range(len(words)):
        for k in range(words.shape[1]):
            counts[n] += np.int64(_bits(words[n, k]))
    return counts


@_compiled
def _similarity(a: _Words, b: _Words, bits: int) -> np.float32:
    """Of two molecules, which have ``bits`` bits together."""
    common = np.uint64(0)
    for k in range(len(a)):
        common += _bits(a[k] & b[k])
    either = bits - np.int64(common)
    return np.float32(common) / np.float32(either) if either else np.float32(1)


@_compiled
def _nearest(queries: _Words, library: _Words, best: _Floats, which: _Integers) -> None:
    query_bits, library_bits = _counts(queries), _counts(library)
    for start in range(0, len(library), _BLOCK):
        for q in range(len(queries)):
            highest, where = best[q], which[q]
            for n in range(start, min(start + _BLOCK, len(library))):
                similarity = _similarity(queries[q], library[n], query_bits[q] + library_bits[n])
                if similarity > highest:
                    highest, where = similarity, n
            best[q], which[q] = highest, where


@_compiled
def _similarities(queries: _Words, library: _Words, out: _Floats) -> None:
    query_bits, library_bits = _counts(queries), _counts(library)
    for q in range(len(queries)):
        for n in range(len(library)):
            out[q, n] = _similarity(queries[q], library[n], query_bits[q] + library_bits[n])


@_compiled
def _add_powers(queries: _Words, library: _Words, first: _Doubles, second: _Doubles) -> None:
    query_bits, library_bits = _counts(queries), _counts(library)
    for start in range(0, len(library), _BLOCK):
        for q in range(len(queries)):
            total, squares = 0.0, 0.0
            for n in range(start, min(start + _BLOCK, len(library))):
                similarity = np.float64(_similarity(queries[q], library[n], query_bits[q] + library_bits[n]))
                total += similarity
                squares += similarity * similarity
            first[q] += total
            second[q] += squares
