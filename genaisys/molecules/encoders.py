"""Data encoders for molecules: SMILES -> vectors of unit length, by fingerprint or by the shipped language model.

Each knows how two of its vectors are compared, and how near their cosine must be for that: so an index that finds by
cosine can rank by what chemists compare by.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Protocol

import numpy as np
import torch
from rdkit import Chem
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM
from genaisys.molecules.conditions import opening
from genaisys.molecules.generators import SHIPPED, load_generator
from genaisys.molecules.parsing import NotAMolecule, parse
from genaisys.molecules.profiles import BITS, fingerprint

_TOKENS_AT_ONCE = 8192


class UnknownEncoder(GenaisysError):
    """There is no encoder of this name for molecules."""


class MoleculeEncoder(Protocol):
    """A :class:`genaisys.encoders.DataEncoder` whose raw inputs are SMILES.

    Attributes:
        version: another one, where the vectors are others.
    """

    name: str
    dimension: int

    @property
    def version(self) -> str: ...

    def check(self, smiles: str) -> None:
        """Read a molecule as :meth:`encode` does, and no more.

        Raises:
            NotAMolecule: it is none, or is one that this encoder cannot read.
        """
        ...

    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        """-> [len(raw_inputs), dimension], float32, unit length

        Raises:
            NotAMolecule: see :meth:`check`.
        """
        ...

    def similarities(self, query: Tensor, vectors: Tensor) -> Tensor:
        """How alike a molecule is to others, 1 for the same. [D], [N, D] -> [N]"""
        ...

    def least_cosine(self, similarity: float) -> float:
        """The lowest cosine that vectors of at least this similarity can have."""
        ...


class MorganEncoder:
    """The Morgan fingerprint of radius 2. Molecules are compared by Tanimoto's similarity of its bits.

    A vector's numbers are 0 or one over the root of the number of bits, so the bits can be read off again. With a and b
    bits, c of them in common, the cosine is c / sqrt(a b) and Tanimoto's T = c / (a + b - c). As a + b >= 2 sqrt(a b),
    the cosine is at least 2 T / (1 + T).
    """

    name = "morgan"
    dimension = BITS
    version = f"2-{BITS}"  # radius, bits

    def check(self, smiles: str) -> None:
        parse(smiles)

    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        packed = b"".join(fingerprint(parse(smiles)) for smiles in raw_inputs)
        bits = torch.from_numpy(np.unpackbits(np.frombuffer(packed, np.uint8))).view(len(raw_inputs), BITS)
        return torch.nn.functional.normalize(bits.float(), dim=-1)

    def similarities(self, query: Tensor, vectors: Tensor) -> Tensor:
        a, b = (query > 0).float(), (vectors > 0).float()
        common = b @ a  # [N]
        return (common / (a.sum() + b.sum(1) - common)).nan_to_num_(1.0)  # two without any bit are the same

    def least_cosine(self, similarity: float) -> float:
        return 2 * similarity / (1 + similarity)


class SmilesEncoder:
    """The mean, over the tokens of the canonical SMILES, of what the language model's head reads; frozen.

    Molecules are compared by the cosine.
    """

    def __init__(self, model: TransformerLM, name: str) -> None:
        assert model.tokenizer is not None
        self.name = name
        self.dimension = model.config.width
        self._tokenizer = model.tokenizer
        self._opening = torch.tensor(opening(model))  # [O]
        self._model = model.eval().requires_grad_(False)

    @cached_property
    def version(self) -> str:
        digest = sha256()
        for parameter in self._model.parameters():
            digest.update(parameter.numpy().tobytes())
        return digest.hexdigest()[:16]

    def check(self, smiles: str) -> None:
        self._tokens(smiles)

    @torch.inference_mode()
    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        ids = [self._tokens(smiles) for smiles in raw_inputs]
        vectors = torch.empty(len(ids), self.dimension)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        while order:
            size = max(1, _TOKENS_AT_ONCE // (1 + len(ids[order[0]])))
            batch, order = order[:size], order[size:]
            vectors[batch] = self._means([ids[i] for i in batch])
        return torch.nn.functional.normalize(vectors, dim=-1)

    def similarities(self, query: Tensor, vectors: Tensor) -> Tensor:
        return vectors @ query

    def least_cosine(self, similarity: float) -> float:
        return similarity

    def _tokens(self, smiles: str) -> list[int]:
        written = Chem.MolToSmiles(parse(smiles))
        ids = self._tokenizer.encode(written)
        room = self._model.config.context_length - len(self._opening)
        if len(ids) > room:
            raise NotAMolecule(smiles, f"longer than the {room} tokens that {self.name} reads")
        return ids

    def _means(self, ids: Sequence[list[int]]) -> Tensor:
        """[B, D]; a token sees those before it only, so padding behind changes nothing."""
        lengths = torch.tensor([len(tokens) for tokens in ids])  # [B]
        before = len(self._opening)
        x = torch.zeros(len(ids), before + int(lengths.max()), dtype=torch.long)  # [B, O + T]
        x[:, :before] = self._opening
        for row, tokens in enumerate(ids):
            x[row, before : before + len(tokens)] = torch.tensor(tokens)
        features = self._model.features(x)[:, before:]  # [B, T, D]
        inside = torch.arange(features.shape[1]) < lengths[:, None]  # [B, T]
        return (features * inside[..., None]).sum(1) / lengths[:, None]


def molecule_encoder(name: str) -> MoleculeEncoder:
    """The encoder called ``name``: ``morgan``, or a shipped generator such as ``smiles-gpt``.

    Raises:
        UnknownEncoder: there is none.
    """
    if name == MorganEncoder.name:
        return MorganEncoder()
    if (SHIPPED / name / "config.json").is_file():
        return SmilesEncoder(load_generator(name), name)
    raise UnknownEncoder(f"there is no encoder {name} for molecules: take morgan or smiles-gpt")
