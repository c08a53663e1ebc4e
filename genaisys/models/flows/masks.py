"""Which variables a coupling is given, and which it changes: masks are True where given (book sections 4.1.3.1, 4.1.6).

A mask takes any number of variables, even or odd; the book's halves need an even one (trap F4).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genaisys.models.spaces import SpaceUnfit


def halves(shape: tuple[int, ...]) -> Tensor:
    """The first half of the variables in the order of memory; the larger one of an odd number. -> [*shape]"""
    dimensions = math.prod(shape)
    return (torch.arange(dimensions) < (dimensions + 1) // 2).view(shape)


def checkerboard(shape: tuple[int, ...]) -> Tensor:
    """The variables whose coordinates have an even sum: of a sequence every second one. -> [*shape]"""
    axes = [torch.arange(size).view(-1, *[1] * (len(shape) - axis - 1)) for axis, size in enumerate(shape)]
    return sum(axes, torch.zeros(shape, dtype=torch.long)) % 2 == 0


def channels(shape: tuple[int, ...]) -> Tensor:
    """The first half of the channels of images [C, H, W]. -> [C, H, W]

    Raises:
        SpaceUnfit: there is one channel.
    """
    if shape[0] < 2:
        raise SpaceUnfit(f"channels of {list(shape)} cannot be halved: squeeze the images first")
    return (torch.arange(shape[0]) < shape[0] // 2).view(-1, *[1] * (len(shape) - 1)).expand(shape)


def in_turn(shape: tuple[int, ...]) -> list[Tensor]:
    """Masks for couplings in a row: the colours of a checkerboard and the halves; two change each variable."""
    return [checkerboard(shape), ~checkerboard(shape), halves(shape), ~halves(shape)]


def all_but_one(shape: tuple[int, ...], number: int) -> list[Tensor]:
    """For each of ``number`` parts the mask of a coupling that changes it and is given all others. -> [*shape] each"""
    part = (torch.arange(math.prod(shape)) * number // math.prod(shape)).view(shape)
    return [part != k for k in range(number)]


def coarse_to_fine(shape: tuple[int, ...], levels: int) -> Tensor:
    """Numbers of groups: the variables that are left after ``levels`` halvings have 0, those that left first the most.

    Each halving takes out, by turns, the other colour of a checkerboard and then every second row of what is left
    (of a sequence, every second variable). -> [*shape], int64
    """
    group = torch.full(shape, levels)
    row, column = torch.meshgrid(
        torch.arange(shape[-2] if len(shape) > 1 else 1), torch.arange(shape[-1]), indexing="ij"
    )
    for level in range(levels):
        if len(shape) == 1:
            stays = column[0] // 2**level % 2 == 0
        else:
            stays = (row + column * (level % 2 == 0)) // 2 ** (level // 2) % 2 == 0
        group = torch.where(stays & (group == levels - level), group - 1, group)
    return group
