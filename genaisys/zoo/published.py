"""What others reach on the same data in the same unit: the lines beside the table of the zoo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PIXELS = 28 * 28


@dataclass(frozen=True)
class Published:
    """A likelihood of the discrete test data.

    Attributes:
        source: where it is from.
        likelihood: exact, or a lower bound.
        bits_per_dim: the same as ``test_nats``, for each dimension.
    """

    name: str
    source: str
    likelihood: str
    test_nats: float
    bits_per_dim: float


def _digits(name: str, source: str, likelihood: str, nats: float) -> Published:
    return Published(name, source, likelihood, nats, nats / (64 * math.log(2)))


def _fashion(name: str, source: str, likelihood: str, bits: float) -> Published:
    return Published(name, source, likelihood, bits * _PIXELS * math.log(2), bits)


_BOOK = "the book's notebooks (intro_dgm, 28bbc85), mean of seeds 0 to 2"
_FLOWS = "benchmarks/flow_likelihood.py, one sample of the bound"
_CIRCUITS = "Dang et al. 2022, arXiv:2211.12551 (from memory, to be checked)"

PUBLISHED: Mapping[str, Sequence[Published]] = {
    "digits": (
        _digits("SPFlow: Einet", "SPFlow 1.1", "exact", 100.7),
        _digits("book: ARM, causal convolutions", _BOOK, "exact", 86.5),
        _digits("book: RealNVP", f"{_BOOK}, made a bound", "lower bound", 168.9),
        _digits("book: IDF", _BOOK, "exact", 136.0),
        _digits("book: VAE", _BOOK, "lower bound", 96.9),
        _digits("book: hierarchical VAE", _BOOK, "lower bound", 96.3),
        _digits("zuko: RealNVP", _FLOWS, "lower bound", 101.20),
        _digits("zuko: MAF", _FLOWS, "lower bound", 101.15),
        _digits("zuko: NSF", _FLOWS, "lower bound", 91.66),
    ),
    "fashion-mnist": (
        _fashion("sparse circuit", _CIRCUITS, "exact", 3.27),
        _fashion("HCLT circuit", _CIRCUITS, "exact", 3.34),
        _fashion("RAT-SPN circuit", _CIRCUITS, "exact", 4.29),
        _fashion("IDF", _CIRCUITS, "exact", 3.47),
        _fashion("Bit-Swap VAE", _CIRCUITS, "lower bound", 3.28),
        _fashion("BB-ANS VAE", _CIRCUITS, "lower bound", 3.66),
    ),
}
