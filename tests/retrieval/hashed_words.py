"""A text encoder for tests of everything but encoding: instant, deterministic, and words in common mean nearness."""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from genaisys.retrieval.documents import Block, Document
from genaisys.retrieval.words import split

DIMENSION = 16


@lru_cache(maxsize=10_000)
def _vector(word: str) -> npt.NDArray[np.float32]:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIMENSION).astype(np.float32)


class HashedWords:
    name = "hashed-words"
    dimension = DIMENSION

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        sums = np.array([sum(map(_vector, split(text)), _vector("")) for text in texts])  # [B, D]
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)

    def encode_passages(
        self,
        passages: Sequence[str],
        sentences: Sequence[Sequence[tuple[int, int]]],
        contexts: Sequence[str],
    ) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
        whole = self.encode([f"{context} {text}" for context, text in zip(contexts, passages, strict=True)])
        parts = [
            self.encode([text[start:end] for start, end in spans or [(0, len(text))]])
            for text, spans in zip(passages, sentences, strict=True)
        ]
        return whole, parts


def plain_document(source: str, text: str, **metadata: str) -> Document:
    content_hash = str(zlib.crc32(text.encode("utf-8", "replace")))
    return Document(source, source, text, (Block("paragraph", 0, len(text)),), "text/plain", content_hash, metadata)
