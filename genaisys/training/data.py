"""Data sets in memory: examples by their numbers, and the order in which training takes them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn


class Examples(Protocol):
    """A data set: training asks for batches of examples by their numbers.

    A batch is whatever the objective takes: a tensor, or a tuple, list or dict of tensors.
    """

    def __len__(self) -> int: ...

    def batch(self, numbers: Sequence[int]) -> Any: ...


@runtime_checkable
class OfUnequalLength(Protocol):
    """A capability of a data set: micro-batches are made of examples of like length, which need less padding."""

    def length(self, number: int) -> int: ...


class TensorExamples:
    """The rows of one tensor, such as images. [N, *shape]"""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        return self.rows[torch.as_tensor(numbers, dtype=torch.long)]  # [B, *shape]


class ConditionedExamples:
    """Rows, each with its condition, such as images with their classes. [N, *shape] and [N, *]"""

    def __init__(self, rows: Tensor, conditions: Tensor) -> None:
        self.rows, self.conditions = rows, conditions

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        which = torch.as_tensor(numbers, dtype=torch.long)
        return self.rows[which], self.conditions[which]  # [B, *shape] and [B, *]


class TokenSequences:
    """Sequences of tokens of unequal length; a batch is padded to its own longest.

    They lie one behind the other in one tensor, so that there may be millions of them.
    """

    def __init__(self, sequences: Iterable[Sequence[int]], pad: int) -> None:
        tokens, ends = array("i"), array("q", [0])
        for sequence in sequences:
            tokens.extend(sequence)
            ends.append(len(tokens))
        self._tokens = torch.from_numpy(np.array(tokens))  # [all tokens], int32
        self._ends = ends
        self.pad = pad

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def sequences(self) -> list[Tensor]:
        """Each as a tensor of its own."""
        return [self._sequence(number) for number in range(len(self))]

    def batch(self, numbers: Sequence[int]) -> Tensor:
        rows = [self._sequence(number) for number in numbers]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)  # [B, T]

    def length(self, number: int) -> int:
        return self._ends[number + 1] - self._ends[number]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all tokens, in hexadecimal: the same texts by the same tokenizer."""
        return hashlib.sha256(np.array(self._ends).tobytes() + self._tokens.numpy().tobytes()).hexdigest()

    def _sequence(self, number: int) -> Tensor:
        return self._tokens[self._ends[number] : self._ends[number + 1]].long()


def documents_as_sequences(documents: Iterable[Sequence[int]], eos: int, length: int) -> list[list[int]]:
    """One sequence a document: its tokens and EOS, or its first ``length`` tokens where it is longer."""
    return [[*document[:length], eos][:length] for document in documents]


def whole_documents(documents: Iterable[Sequence[int]], eos: int, length: int) -> list[list[int]]:
    """As above, but those that would be longer than ``length`` are left out: half a molecule is none."""
    return [[*document, eos] for document in documents if len(document) < length]


def documents_in_rows(documents: Iterable[Sequence[int]], eos: int, length: int) -> list[list[int]]:
    """Long documents one behind the other, each with EOS, cut into rows of ``length`` tokens; the last may be shorter.

    A row may hold the end of one document and the beginning of another: EOS tells them apart.
    """
    tokens = [token for document in documents for token in (*document, eos)]
    return [tokens[start : start + length] for start in range(0, len(tokens), length)]


class Order:
    """An endless sequence of the numbers below ``size``: one permutation after the other, each drawn by its own seed.

    It has no state besides its arguments, so training continues at any place of it.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []

    def take(self, start: int, count: int) -> list[int]:
        """The numbers at the places ``start`` to ``start + count - 1``."""
        return [self._number(place) for place in range(start, start + count)]

    def _number(self, place: int) -> int:
        epoch, within = divmod(place, self.size)
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self.seed, epoch]).permutation(self.size).tolist()
            self._epoch = epoch
        return self._permutation[within]
