"""GGUF, the file format of llama.cpp: metadata, and tensors that may be quantised in blocks.

The layout is ggml's (docs/gguf.md); the arithmetic of the blocks is the ``gguf`` package's. Its reader is not used:
it takes seconds for the metadata of one model, and does not end on a file with a garbled length.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointUnsupported

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4
_LONGEST_ARRAY = 1 << 24  # vocabularies are the longest
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "|u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in its file, and how.

    Attributes:
        shape: in torch's order, the numbers of a row last.
        start: its first byte in the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """A quantised matrix, exactly as it is stored: 32 neighbours in a row share ``scale * code + minimum``.

    Attributes:
        codes: [rows, columns], int8.
        scales: [rows, columns / 32], float16.
        minima: the same, or None where they are all 0.
    """

    codes: Tensor
    scales: Tensor
    minima: Tensor | None

    def __getitem__(self, rows: Tensor) -> Blocks:
        """The given rows."""
        return Blocks(self.codes[rows], self.scales[rows], None if self.minima is None else self.minima[rows])


class GGUFFile:
    """A GGUF file. Its tensors are read one by one, when they are asked for.

    Attributes:
        metadata: by key; strings, numbers, and lists of them.
        tensors: by name, in the file's order.
    """

    def __init__(self, path: Path) -> None:
        """Read the metadata.

        Raises:
            CheckpointBroken: ``path`` is no GGUF file, is truncated, or is garbled.
            CheckpointUnsupported: it is of another version, or in several files.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CheckpointBroken(f"{path} cannot be read: {error.strerror}") from error
        except ValueError:  # an empty file cannot be mapped
            raise CheckpointBroken(f"{path} is empty") from None
        try:
            self._read_header()
        except _Garbled as error:
            raise CheckpointBroken(f"{path} is broken: {error}") from None
        if self.metadata.get("split.count", 1) not in (0, 1):
            raise CheckpointUnsupported(f"{path} is one of several files of a model; join them with llama-gguf-split")

    def read(self, name: str) -> Tensor:
        """A tensor's numbers, dequantised. -> float32

        Raises:
            CheckpointUnsupported: the way in which it is quantised is not known.
        """
        from gguf.quants import dequantize

        tensor = self.tensors[name]
        try:
            with np.errstate(invalid="ignore", over="ignore"):  # a scale may be infinite, as it may in other files
                numbers = dequantize(self._rows(tensor), tensor.kind)
        except NotImplementedError:
            raise CheckpointUnsupported(f"{self.path} holds {name} as {tensor.kind.name}, which is not read") from None
        return torch.from_numpy(np.require(numbers, requirements="W")).reshape(tensor.shape)

    def blocks(self, name: str) -> Blocks | None:
        """A matrix as it is stored, if that is Q4_0, Q4_1 or Q8_0."""
        tensor = self.tensors[name]
        kind = tensor.kind.name
        if kind not in ("Q4_0", "Q4_1", "Q8_0"):
            return None
        blocks = torch.from_numpy(self._rows(tensor).copy()).view(tensor.shape[0], tensor.shape[-1] // 32, -1)
        scales = blocks[..., :2].contiguous().view(torch.float16)[..., 0]
        if kind == "Q8_0":
            return Blocks(blocks[..., 2:].reshape(tensor.shape).view(torch.int8), scales, None)
        with_minimum = kind == "Q4_1"
        packed = blocks[..., 4 if with_minimum else 2 :]  # [rows, blocks, 16]: the low halves are the first 16 codes
        codes = torch.cat([packed & 15, packed >> 4], dim=-1).reshape(tensor.shape).view(torch.int8)
        if with_minimum:
            return Blocks(codes, scales, blocks[..., 2:4].contiguous().view(torch.float16)[..., 0])
        return Blocks(codes - 8, scales, None)

    def _rows(self, tensor: StoredTensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes of each row. -> [rows, bytes]"""
        stored = np.frombuffer(self._bytes, np.uint8, tensor.size, tensor.start)
        return stored.reshape(int(np.prod(tensor.shape[:-1], dtype=np.int64)), -1)

    def _read_header(self) -> None:
        at = _Cursor(self._bytes)
        if at.take(4) != _MAGIC:
            raise _Garbled("it is not a GGUF file")
        version = at.number("<I")
        if version not in _VERSIONS:
            raise CheckpointUnsupported(f"{self.path} is of GGUF version {version}; known are 2 and 3, little-endian")
        tensors, entries = at.number("<Q"), at.number("<Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(entries):  # each takes bytes of the file, so that a garbled count ends with the file
            key = at.string()
            self.metadata[key] = at.value(at.number("<I"), key)
        stored = [at.tensor() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise _Garbled(f"its alignment is {alignment!r}")
        begin = -(-at.place // alignment) * alignment
        self.tensors = {name: _placed(name, shape, kind, begin + offset) for name, shape, kind, offset in stored}
        if len(self.tensors) < tensors:
            raise _Garbled("it holds two tensors of one name")
        for tensor in self.tensors.values():
            if tensor.start + tensor.size > len(self._bytes):
                raise _Garbled(
                    f"the tensor {tensor.name} ends at byte {tensor.start + tensor.size} of {len(self._bytes)}: "
                    "the file is truncated"
                )


class _Garbled(Exception):
    """What is wrong with the file."""


class _Cursor:
    """Reads on from ``place``, and never beyond the end."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self.place = 0

    def take(self, size: int) -> bytes:
        end = self.place + size
        if end > len(self._content):
            raise _Garbled(f"it ends at byte {len(self._content)}, in the middle of its description")
        taken = self._content[self.place : end]
        self.place = end
        return taken

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def string(self) -> str:
        try:
            return self.take(self.number("<Q")).decode()
        except UnicodeDecodeError:
            raise _Garbled(f"the text before byte {self.place} is not UTF-8") from None

    def value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self._numbers(kind, 1, key)[0]
        kind, count = self.number("<I"), self.number("<Q")
        if count > _LONGEST_ARRAY:
            raise _Garbled(f"{key[:100]!r} is a list of {count} values")
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> list[Any]:
        if kind not in _NUMBERS:
            raise _Garbled(f"the value of {key[:100]!r} is of a kind {kind} that is not known")
        dtype = np.dtype(_NUMBERS[kind])
        numbers = np.frombuffer(self.take(dtype.itemsize * count), dtype)
        return (numbers != 0).tolist() if kind == _BOOL else numbers.tolist()

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape in torch's order, kind and offset."""
        name, dimensions = self.string(), self.number("<I")
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise _Garbled(f"the tensor {name[:100]!r} has {dimensions} dimensions")
        shape = struct.unpack(f"<{dimensions}Q", self.take(8 * dimensions))
        return name, shape[::-1], self.number("<I"), self.number("<Q")


def _placed(name: str, shape: tuple[int, ...], number: int, start: int) -> StoredTensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise _Garbled(f"the tensor {name[:100]!r} is of a kind {number} that is not known") from None
    block, block_size = GGML_QUANT_SIZES[kind]
    elements = 1
    for length in shape:
        elements *= length
    if not elements or shape[-1] % block:
        raise _Garbled(f"the tensor {name[:100]!r} has the shape {list(shape)}, in blocks of {block}")
    return StoredTensor(name, shape, kind, start, elements // block * block_size)
