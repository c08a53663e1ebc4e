"""Choosing the next token from the logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genaisys.errors import GenaisysError


class BadSampling(GenaisysError):
    """A setting that has no meaning."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text is generated.

    Attributes:
        max_new_tokens: the text ends here at the latest, or where the context is full.
        temperature: logits are divided by it; 0 takes the likeliest token each time.
        top_k: only the k likeliest tokens; 0 for all.
        top_p: only the likeliest tokens that together have this probability (Holtzman et al. 2019).
        min_p: only tokens at least this share as likely as the likeliest.
        seed: fixes what is drawn; None draws anew each time.
        stop: texts that end it, and that are left out of it.
        grammar: what the text must be, as ``grammar.py`` writes it; None for anything.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None

    def __post_init__(self) -> None:
        wrong = {
            "max_new_tokens is below 0": self.max_new_tokens < 0,
            "temperature is not a number from 0 up": not 0 <= self.temperature < float("inf"),
            "top_k is below 0": self.top_k < 0,
            "top_p is not above 0 and at most 1": not 0 < self.top_p <= 1,
            "min_p is not from 0 to 1": not 0 <= self.min_p <= 1,
            "seed is below 0": self.seed is not None and self.seed < 0,
            "stop is not a tuple of texts": isinstance(self.stop, str),
            "an empty text cannot end anything": "" in tuple(self.stop),
        }
        for reason, holds in wrong.items():
            if holds:
                raise BadSampling(f"cannot sample: {reason}")


def choose(logits: npt.NDArray[np.float32], sampling: Sampling, random: np.random.Generator) -> int:
    """A token from logits [V], some of which may be -inf. A number is drawn for each token, unless temperature is 0."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    draw = random.random()
    kept = np.arange(len(logits))
    if sampling.top_k and sampling.top_k < len(logits):
        kept = np.sort(np.argpartition(logits, -sampling.top_k)[-sampling.top_k :])
    scaled = logits[kept].astype(np.float64)
    scaled = (scaled - scaled.max()) / sampling.temperature
    p = np.exp(scaled)  # [kept]
    if sampling.min_p:
        p[p < sampling.min_p] = 0
    if sampling.top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= sampling.top_p * p.sum()]] = 0
    cumulative = np.cumsum(p)
    at = np.searchsorted(cumulative, draw * cumulative[-1], side="right")
    return int(kept[min(at, np.searchsorted(cumulative, cumulative[-1]))])  # the product may be rounded up to all
