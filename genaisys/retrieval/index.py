"""The index of a collection of documents: add, delete, search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genaisys.hub import DEFAULT_TEXT_ENCODER
from genaisys.retrieval import ranking
from genaisys.retrieval.candidates import CandidateSearch
from genaisys.retrieval.chunking import CHUNKER_VERSION, chunk_document
from genaisys.retrieval.documents import Chunk, Document, Hit
from genaisys.retrieval.store import Entry, Features, File, Store, StoreError
from genaisys.retrieval.words import term_ids

if TYPE_CHECKING:  # Torch takes seconds to import, and a re-index of an unchanged folder needs no encoder
    from genaisys.encoders import TextEncoder

CANDIDATES_PER_METHOD = 100  # BM25 and the vectors each name so many for the second stage


@dataclass(frozen=True, eq=False)
class EncodedQuery:
    vector: npt.NDArray[np.float32]  # [D], unit length
    terms: npt.NDArray[np.uint32]  # [T], in order, stop words included


class Index:
    """A searchable collection in one folder. Safe to share between threads, and between processes.

    >>> with Index.open("store") as index:
    ...     index.add(document)
    ...     index.search("who founded the observatory?", k=3)
    """

    def __init__(self, store: Store, encoder: TextEncoder | None = None) -> None:
        self.store = store
        self._encoder = encoder
        self._encoder_lock = Lock()
        self._candidates = CandidateSearch(store)

    @classmethod
    def open(cls, folder: str | Path, encoder: str | TextEncoder | None = None) -> Index:
        """The index in ``folder``, which is made if it is not there.

        Args:
            encoder: a text encoder or the name of one, which is loaded when it is first needed. None: the one that the
                index was built with, or ``minilm-l6`` for a new one.

        Raises:
            StoreError: the store is damaged, of a newer version, or was built with another encoder.
        """
        name = encoder if isinstance(encoder, str) else encoder.name if encoder else None
        store = Store(Path(folder), name or DEFAULT_TEXT_ENCODER)
        if name and name != store.encoder and store.dimension is None:  # nothing is in it yet
            store.set_encoder(name)
        if name not in (None, store.encoder):
            store.close()
            raise StoreError(
                f"the index in {folder} was built with the encoder {store.encoder}, not {name};"
                f" open it with --encoder {store.encoder}, or index into a new store"
            )
        return cls(store, None if isinstance(encoder, str) else encoder)

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder, loaded on first use."""
        with self._encoder_lock:
            if self._encoder is None:
                from genaisys.encoders import TextEncoder

                self._encoder = TextEncoder.from_pretrained(self.store.encoder)
            return self._encoder

    # ---- changing

    def add(self, document: Document) -> int:
        """Put ``document`` in, in place of the one with the same source if there is one. -> its number of chunks

        Raises:
            StoreError: the disk is full, or another process keeps the store busy. The index is as it was.
        """
        chunks = chunk_document(document)
        self.put(document, chunks, self.features(chunks))
        return len(chunks)

    def features(self, chunks: Sequence[Chunk]) -> list[Features]:
        """What search needs to know of ``chunks``, of any documents. Most of the time of indexing goes here."""
        if not chunks:
            return []
        spans = [[(start - chunk.start, end - chunk.start) for start, end in chunk.sentences] for chunk in chunks]
        vectors, sentence_vectors = self.encoder.encode_passages(
            [chunk.text for chunk in chunks], spans, [chunk.context for chunk in chunks]
        )
        features = []
        for chunk, sentences, vector, rows in zip(chunks, spans, vectors, sentence_vectors, strict=True):
            cuts = [0, *(start for start, _ in sentences[1:]), len(chunk.text)]  # no word may fall between sentences
            texts = [chunk.text[start:end] for start, end in pairwise(cuts)]
            terms, counts = ranking.passage_terms(chunk.context, texts)
            features.append(Features(_half(vector), _half(rows), terms, counts))
        return features

    def put(
        self, document: Document, chunks: Sequence[Chunk], features: Sequence[Features], file: File | None = None
    ) -> None:
        """Store a document that was read from ``file``, with its chunks and their features: all of it, or nothing."""
        self.store.replace(document, chunks, features, CHUNKER_VERSION, file)

    def delete(self, source: str) -> bool:
        """Remove a document. -> whether it was there"""
        return self.store.delete(source)

    # ---- looking

    def documents(self) -> list[Entry]:
        """All documents, without their texts, by source."""
        return self.store.documents()

    def document(self, source: str) -> Document | None:
        """The document with this source, if there is one."""
        return self.store.document(source)

    def search(self, query: str | EncodedQuery, k: int = 10, where: Mapping[str, str] | None = None) -> list[Hit]:
        """The ``k`` best passages for ``query``, best first; fewer, only if fewer are allowed.

        Args:
            where: only documents with these properties: ``source`` is a pattern such as ``manuals/*``; ``media_type``
                and metadata keys must be equal.
        """
        if isinstance(query, str):
            query = self.encode_query(query)
        with self.store.reading():  # one view for all of it, or a document that is replaced meanwhile would be missing
            allowed = None if where is None else self.store.matching(where)
            found, idf = self._candidates.find(query.vector, query.terms, max(k, CANDIDATES_PER_METHOD), allowed)
            ids, candidates = self.store.candidates(found.tolist())
            if not len(ids):
                return []
            scores, sentence_scores = ranking.rank(ranking.Query(query.vector, query.terms, idf), candidates)
            best = np.argsort(-scores, kind="stable")[:k]
            chunks = self.store.chunks(ids[best].tolist())
        ends = np.cumsum(candidates.sentence_counts)
        starts = ends - candidates.sentence_counts
        return [
            Hit(chunks[ids[row]], float(scores[row]), tuple(sentence_scores[starts[row] : ends[row]].tolist()))
            for row in best
            if ids[row] in chunks  # if not, the file is damaged
        ]

    def encode_query(self, text: str) -> EncodedQuery:
        """What :meth:`search` needs to know of a query: the slower part of it, apart."""
        return EncodedQuery(np.asarray(self.encoder.encode([text])[0], np.float32), term_ids(text))

    def refresh(self) -> None:
        """Bring the search structures up to date now, so that no search has to wait for it."""
        self._candidates.catch_up()

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _half(vectors: object) -> npt.NDArray[np.float16]:
    return np.asarray(vectors, np.float16)
