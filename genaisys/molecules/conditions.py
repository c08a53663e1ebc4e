"""What a model of molecules can be told: tokens that stand before the molecule, in the same language.

    <logP 2.4><QED 0.85><scaffold>c1ccc2[nH]ccc2c1<molecule>Cc1c(CC(=O)NC2CC2)c2ccccc2[nH]1

Each condition may be absent; their order is fixed, and ``<molecule>`` is always there. A model that has learned such
texts is an ordinary language model: after a prefix it writes molecules that fit it, and it knows how likely the values
of properties are. The tokens say what they mean, so that of a checkpoint nothing is needed besides its tokenizer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.properties import PROPERTIES
from genaisys.tokenizers import Tokenizer

SCAFFOLD, MOLECULE = "<scaffold>", "<molecule>"
_VALUE = re.compile(r"<(\w+) (-?\d+(?:\.\d+)?)>")
_MOST_BINS = 64
_OUTSIDE = 0.001  # of all values lie below the first bin, and above the last; they are counted to it


@dataclass(frozen=True)
class Bins:
    """The values of a property that a model has tokens for.

    Attributes:
        values: rising evenly. [bins]
        tokens: of each value. [bins]
    """

    values: np.ndarray
    tokens: np.ndarray

    @property
    def step(self) -> float:
        return float(self.values[1] - self.values[0])

    @property
    def low(self) -> float:
        """Where the first bin begins."""
        return float(self.values[0]) - self.step / 2

    @property
    def high(self) -> float:
        """Where the last bin ends."""
        return float(self.values[-1]) + self.step / 2

    def nearest(self, values: ArrayLike) -> np.ndarray:
        """The tokens of the nearest values. [N] -> [N]"""
        places = np.rint((np.asarray(values) - self.values[0]) / self.step)
        return self.tokens[np.clip(places, 0, len(self.values) - 1).astype(int)]

    def within(self, low: float, high: float) -> list[int]:
        """The tokens of all bins that reach into a range, or touch it; of one beyond them all, that of the nearest."""
        reach = self.step / 2
        inside = self.tokens[(self.values + reach >= low) & (self.values - reach <= high)].tolist()
        return inside or self.nearest([low if low > self.high else high]).tolist()


@dataclass(frozen=True)
class Conditions:
    """
    Attributes:
        bins: by the name of the property, in the order in which they are told.
        scaffold, molecule: the tokens before each.
    """

    bins: Mapping[str, Bins]
    scaffold: int
    molecule: int


def conditions_of(tokenizer: Tokenizer) -> Conditions | None:
    """What the model of this tokenizer can be told; None where it has not learned to be told anything."""
    backend = tokenizer.backend
    scaffold, molecule = backend.token_to_id(SCAFFOLD), backend.token_to_id(MOLECULE)
    if scaffold is None or molecule is None:
        return None
    found: dict[str, list[tuple[float, int]]] = {}
    for number in sorted(tokenizer.special_ids):
        match = _VALUE.fullmatch(backend.id_to_token(number) or "")
        if match and match[1] in PROPERTIES:
            found.setdefault(match[1], []).append((float(match[2]), number))
    bins = {
        name: Bins(*map(np.array, zip(*sorted(pairs), strict=True))) for name, pairs in found.items() if len(pairs) > 1
    }
    return Conditions(bins, scaffold, molecule)


def opening(model: TransformerLM) -> list[int]:
    """What a model reads before a molecule of which nothing is told: BOS, and ``<molecule>`` if it has learned it."""
    conditions = None if model.tokenizer is None else conditions_of(model.tokenizer)
    return [model.config.start] if conditions is None else [model.config.start, conditions.molecule]


def condition_tokens(values: Mapping[str, np.ndarray]) -> list[str]:
    """The tokens by which a model can be told such values of properties, a scaffold, and where the molecule begins.

    Args:
        values: many of each property, whose tokens then reach from the lowest thousandth to the highest. [N] each
    """
    tokens = [token for name, each in values.items() for token in _tokens(name, each)]
    return [*tokens, SCAFFOLD, MOLECULE]


def _tokens(name: str, values: np.ndarray) -> Iterable[str]:
    low, high = np.quantile(values, [_OUTSIDE, 1 - _OUTSIDE])
    step, digits = _round_step((high - low) / (_MOST_BINS - 1))
    first, last = math.floor(low / step + 0.5), math.floor(high / step + 0.5)
    for place in range(first, max(last, first + 1) + 1):
        yield f"<{name} {place * step:.{digits}f}>"


def _round_step(least: float) -> tuple[float, int]:
    """The least of 1, 2 or 5 times a power of ten that is not below ``least``, and its digits behind the point."""
    least = max(least, 1e-6)
    power = math.floor(math.log10(least))
    step = next(times * 10.0**power for times in (1, 2, 5, 10) if times * 10.0**power >= least * (1 - 1e-9))
    return step, max(0, -math.floor(math.log10(step) + 1e-9))
