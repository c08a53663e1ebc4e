"""What data are: their shape and the values that they may have. Likelihoods of one space can be compared.

digits = Integers((1, 8, 8), 0, 16)
digits.validated(x)  # the same data as integers, or one line that says what is wrong with them
digits.bits_per_dimension(nats=85.0)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genaisys.errors import GenaisysError


class OutOfSpace(GenaisysError):
    """Data that the model's space does not hold; the message says what was expected and what came."""


class SpaceUnfit(GenaisysError):
    """A model cannot be made for data of this space; the message says for which it can."""


@dataclass(frozen=True, slots=True)
class Integers:
    """Integers from ``low`` to ``high``, both included: pixels, counts, classes.

    Attributes:
        shape: of one example, such as (1, 8, 8).
    """

    shape: tuple[int, ...]
    low: int
    high: int

    @property
    def dimensions(self) -> int:
        return math.prod(self.shape)

    @property
    def levels(self) -> int:
        """How many values a dimension may have."""
        return self.high - self.low + 1

    def validated(self, x: Tensor) -> Tensor:
        """``x`` as integers. [B, *shape] of any type -> [B, *shape], int64

        Raises:
            OutOfSpace: the shape is another, or a value is no integer of the space.
        """
        _require_shape(x, self.shape)
        integers = x.long()
        if x.is_floating_point() and not torch.equal(integers.to(x.dtype), x):
            raise OutOfSpace(f"expected integers from {self.low} to {self.high}, got {_first_fraction(x)}")
        if len(x) and not (self.low <= integers.min() and integers.max() <= self.high):
            raise OutOfSpace(
                f"expected integers from {self.low} to {self.high}, got {integers.min()} to {integers.max()}"
            )
        return integers

    def scaled(self, x: Tensor) -> Tensor:
        """From -1 for ``low`` to 1 for ``high``, as networks like their inputs. -> the same shape, of floats"""
        floats = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        return (floats - self.low) * (2 / max(1, self.high - self.low)) - 1

    def nearest(self, x: Tensor) -> Tensor:
        """The integers of the space that are nearest to real numbers. -> the same shape, int64"""
        return x.round().clamp(self.low, self.high).long()

    def bits_per_dimension(self, nats: float) -> float:
        """``-log p(x)`` of one example in nats, as bits for each of its dimensions."""
        return nats / (math.log(2) * self.dimensions)


@dataclass(frozen=True, slots=True)
class Reals:
    """Real numbers; likelihoods are densities, and may be above one."""

    shape: tuple[int, ...]

    @property
    def dimensions(self) -> int:
        return math.prod(self.shape)

    def validated(self, x: Tensor) -> Tensor:
        """``x`` as floats of the default type, if it is none already. [B, *shape]

        Raises:
            OutOfSpace: the shape is another, or a value is not finite.
        """
        _require_shape(x, self.shape)
        reals = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        if not torch.isfinite(reals).all():
            raise OutOfSpace("expected finite numbers, got NaN or infinity")
        return reals

    def scaled(self, x: Tensor) -> Tensor:
        """As they are: real numbers have no range of their own."""
        return x


@dataclass(frozen=True, slots=True)
class Tokens:
    """The space of token sequences of up to ``length`` tokens, each from 0 to ``vocabulary - 1``."""

    length: int
    vocabulary: int

    def validated(self, x: Tensor) -> Tensor:
        """``x`` as integers. [B, T] of any type, T up to ``length`` -> [B, T], int64

        Raises:
            OutOfSpace: the shape is another, or a value is no token.
        """
        if x.dim() != 2 or x.shape[1] > self.length:
            raise OutOfSpace(f"expected tokens of shape [B, {self.length}] or shorter, got {list(x.shape)}")
        return Integers((x.shape[1],), 0, self.vocabulary - 1).validated(x)


Space = Integers | Reals | Tokens


def validated_mask(observed: Tensor, x: Tensor) -> Tensor:
    """Which dimensions of data are given, for each example. [*shape] or [B, *shape], and [B, *shape] -> [B, *shape]

    Raises:
        OutOfSpace: it is not of True and False, or of another shape.
    """
    if observed.dtype is not torch.bool or observed.shape not in (x.shape, x.shape[1:]):
        raise OutOfSpace(
            f"expected a mask of torch.bool, of shape {list(x.shape[1:])} or {list(x.shape)}; "
            f"got {observed.dtype}, {list(observed.shape)}"
        )
    return observed.expand(x.shape)


def _require_shape(x: Tensor, shape: tuple[int, ...]) -> None:
    if x.dim() == 0 or tuple(x.shape[1:]) != shape:
        expected = ", ".join(map(str, ("B", *shape)))
        raise OutOfSpace(f"expected data of shape [{expected}], got {list(x.shape)}")


def _first_fraction(x: Tensor) -> float:
    return float(x[x != x.long().to(x.dtype)].flatten()[0])
