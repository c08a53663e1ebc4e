"""Lossless compression by exact probabilities: an example costs about ``-log2 p(x)`` bits.

A model says by one method, :meth:`Coded.code`, how an example is written or read: both are the same code, so the
probabilities are the same numbers in both directions. They are computed in double precision, in batches of a fixed
size, and rounded; the range coder is constriction's (Bamler 2022, arXiv:2201.01741).

The bytes: the number of examples (LEB128), two bytes that tell whether the model and this number belong together,
three that tell whether the decoded data are those that were written, and what the range coder gives, as short as it can
be. So what is beyond ``-log2 p(x)`` is at most 7.25 bytes, one more for each further 7 bits of the number of examples,
and a thousandth for the rounding of probabilities.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Generator

import constriction
import numpy as np
import torch
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.models.base import GenerativeModel, Lossless, inference
from genaisys.models.spaces import Integers

_AT_ONCE = 256  # examples; part of the format, since other shapes may round otherwise
_STEPS = 1 << 22  # probabilities are rounded to this many; the coder has 24 bits
_DIGITS = 62  # of a number outside of a window, at most
_MOST = 1 << 31  # numbers that are decompressed at once


class NotCompressed(GenaisysError):
    """The bytes are none of this model's, or they are damaged."""


class NotInvertible(GenaisysError):
    """What the model would read again is not what it was given to write."""


class Coder(ABC):
    """Writes symbols, or reads them: the same calls in both directions."""

    def categorical(self, log_probs: Tensor, symbols: Tensor | None) -> Tensor:
        """Symbols of distributions of their own. [*, V] and [*], from 0 to V - 1 -> the same symbols, int64

        Args:
            symbols: what is to be written; None: it is read.
        """
        values = log_probs.shape[-1]
        if values == 1:
            return torch.zeros(log_probs.shape[:-1], dtype=torch.int64)
        # Rounded: then two computers almost surely agree, although the last bits of their sums may differ.
        shares = (log_probs.double().cpu().reshape(-1, values).exp() * _STEPS).round() + 1
        flat = None if symbols is None else symbols.cpu().flatten().numpy().astype(np.int32)
        rows = shares.contiguous().numpy()  # constriction takes the rows of another layout for others
        coded = self._code(flat, constriction.stream.model.Categorical(perfect=False), rows)
        return torch.from_numpy(coded.astype(np.int64)).view(log_probs.shape[:-1])

    def integers(self, log_probs: Tensor, low: int, integers: Tensor | None) -> Tensor:
        """Any integers, of distributions that are given on a window, and have little mass outside of it. -> [*], int64

        Args:
            log_probs: of the integers from ``low`` to ``low + W - 1``. [*, W]
            integers: what is to be written, [*]; those outside of the window cost about twice their digits in bits.
        """
        window = log_probs.shape[-1]
        rest = (1 - log_probs.double().exp().sum(-1, keepdim=True)).clamp(min=0).log()
        symbols = None
        if integers is not None:
            symbols = integers.cpu() - low
            symbols = symbols.masked_fill((symbols < 0) | (symbols >= window), window)
        symbols = self.categorical(torch.cat([log_probs.double(), rest], -1), symbols)  # the last means: outside
        result = symbols + low
        for place in (symbols == window).nonzero().tolist():
            at = tuple(place)
            distance = None if integers is None else int(integers[at]) - low
            result[at] = low + self._outside(window, distance)
        return result

    def _outside(self, window: int, distance: int | None) -> int:
        """A number below 0 or from ``window`` up: its side, how many digits its excess has, and these."""
        side, excess = None, None
        if distance is not None:
            side = int(distance >= window)
            excess = distance - window if side else -1 - distance
        side = self._uniform(2, side)
        digits = self._uniform(_DIGITS + 1, None if excess is None else excess.bit_length())
        read = 0
        for digit in reversed(range(digits)):
            read |= self._uniform(2, None if excess is None else excess >> digit & 1) << digit
        return window + read if side else -1 - read

    def _uniform(self, size: int, symbol: int | None) -> int:
        symbols = None if symbol is None else np.array([symbol], np.int32)
        return int(self._code(symbols, constriction.stream.model.Uniform(), np.array([size], np.int32))[0])

    @abstractmethod
    def _code(self, symbols: np.ndarray | None, family: object, parameters: np.ndarray) -> np.ndarray:
        """Write or read one symbol for every row of the parameters."""


class _Writer(Coder):
    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def _code(self, symbols: np.ndarray | None, family: object, parameters: np.ndarray) -> np.ndarray:
        assert symbols is not None
        self._encoder.encode(symbols, family, parameters)
        return symbols

    def written(self) -> bytes:
        """Words, without zeros at the end: of all numbers that say the same, the last word is the roundest."""
        words = self._encoder.get_compressed()
        before_last, (low, width) = self._encoder.pos()  # any 64 bits of this interval will do, the last word on top
        if len(words) == before_last + 1:
            words[-1] = _roundest(int(words[-1]), int(low), int(width))
        return bytes(words.astype(">u4").tobytes()).rstrip(b"\0")


def _roundest(word: int, low: int, width: int) -> int:
    """The word from the given one up that has the most zero bytes at its end, and lies in the interval."""
    for step in (1 << 24, 1 << 16, 1 << 8):
        rounded = -(-word // step) * step
        if rounded < 1 << 32 and ((rounded << 32) - low) % (1 << 64) < width:
            return rounded
    return word


class _Reader(Coder):
    """Writes what it has read once more: nothing else may have been there to read."""

    def __init__(self, written: bytes) -> None:
        words = np.frombuffer(written + bytes(-len(written) % 4), ">u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)
        self._written, self._again = written, _Writer()

    def _code(self, symbols: np.ndarray | None, family: object, parameters: np.ndarray) -> np.ndarray:
        assert symbols is None
        return self._again._code(np.asarray(self._decoder.decode(family, parameters)), family, parameters)

    def at_end(self) -> bool:
        """Whether all was read, and nothing else."""
        return self._again.written() == self._written


class Coded(GenerativeModel, Lossless):
    """A model that compresses, by a method that writes and reads."""

    space: Integers

    @abstractmethod
    def code(self, coder: Coder, n: int, x: Tensor | None) -> Tensor:
        """Write ``n`` examples, or read them; and return what will be read. -> [n, *shape], int64

        The model is in double precision and in eval mode.

        Args:
            x: what is to be written, [n, *shape]; None: it is read.
        """

    def compress(self, x: Tensor) -> bytes:
        x = self.space.validated(x).cpu()
        model = _exact(self)
        coder = _Writer()
        with inference(model):
            for batch in x.split(_AT_ONCE):
                if not torch.equal(model.code(coder, len(batch), batch), batch):
                    raise NotInvertible("the model does not give back what it was given: its layers do not invert")
        count, fingerprint = _leb128(len(x)), _fingerprint(model)
        return count + _digest(fingerprint, count)[:2] + _digest(fingerprint, _content(x))[:3] + coder.written()

    def decompress(self, data: bytes) -> Tensor:
        model = _exact(self)
        fingerprint = _fingerprint(model)
        n, size = _from_leb128(data)
        belongs, intact, written = data[size : size + 2], data[size + 2 : size + 5], data[size + 5 :]
        if belongs != _digest(fingerprint, data[:size])[:2] or len(intact) < 3 or n * self.space.dimensions > _MOST:
            raise NotCompressed("these bytes were not compressed by this model, or they are damaged")
        coder = _Reader(written)
        damaged = NotCompressed("these bytes are damaged, or were compressed by another version of PyTorch")
        try:
            with inference(model):
                batches = [model.code(coder, min(_AT_ONCE, n - start), None) for start in range(0, n, _AT_ONCE)]
        except AssertionError as error:  # of constriction, where no symbol belongs to what it reads
            raise damaged from error
        x = torch.cat([torch.empty((0, *self.space.shape), dtype=torch.int64), *batches])
        if intact != _digest(fingerprint, _content(x))[:3] or not coder.at_end():
            raise damaged
        return x


class CodesInTurn(Coded):
    """A model that compresses one variable after the other, each by its distribution given those before it."""

    @abstractmethod
    def conditionals(self, n: int) -> Generator[Tensor, Tensor, None]:
        """For n examples at once, gives ``log p(x_d | x_1 .. x_d-1)`` [n, V] for each variable d in turn, flattened.

        After each but the last it is sent the variable's values, integers of the space. [n]
        """

    def code(self, coder: Coder, n: int, x: Tensor | None) -> Tensor:
        columns = None if x is None else x.flatten(1)  # [n, D]
        result = torch.empty(n, self.space.dimensions, dtype=torch.int64)
        steps = self.conditionals(n)
        log_probs = next(steps)  # [n, V]
        for variable in range(self.space.dimensions):
            symbols = None if columns is None else columns[:, variable] - self.space.low
            result[:, variable] = coder.categorical(log_probs, symbols) + self.space.low
            if variable + 1 < self.space.dimensions:
                log_probs = steps.send(result[:, variable])
        steps.close()
        return result.view(n, *self.space.shape)


def _exact(model: Coded) -> Coded:
    """A copy in double precision on the processor, whose results can be had again in another process."""
    return copy.deepcopy(model).double().cpu()


def _fingerprint(model: GenerativeModel) -> bytes:
    """A hash of all weights and of the space."""
    found = hashlib.blake2b(repr(model.space).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {list(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
    return found.digest()


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts)).digest()


def _content(x: Tensor) -> bytes:
    return x.contiguous().numpy().astype("<i8").tobytes()


def _leb128(number: int) -> bytes:
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def _from_leb128(data: bytes) -> tuple[int, int]:
    """The number that data begin with, and how many bytes it takes."""
    number = 0
    for size, byte in enumerate(data[:9], 1):
        number |= (byte & 0x7F) << 7 * (size - 1)
        if byte < 0x80:
            return number, size
    raise NotCompressed("these bytes are cut off, or no compressed data")
