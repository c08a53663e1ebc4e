"""The first stage of search: which few of the chunks are worth a closer look.

The search structures live in a cache file beside the store and are mapped from it. The file can be lost, damaged or old
at any time: it is made anew from the store. What the store gained or lost since the file was made is kept in memory.
"""

import os
import tempfile
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from genaisys.retrieval import vectors as nearest
from genaisys.retrieval.lexical import Lexical, Segment, merge
from genaisys.retrieval.store import Store
from genaisys.retrieval.vectors import Vectors

CACHE = "search.cache"
CACHE_VERSION = "1"
MANY_CHANGES = 2_000  # and a quarter of the chunks: when so many are new or gone, the cache file is made anew
LEFTOVER_SECONDS = 3600

_SEGMENT_FIELDS = ("ids", "lengths", "terms", "starts", "rows", "counts")


class CandidateSearch:
    """Follows a store, and names candidates for a query. Threads may share it: the store's view is its lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.folder / CACHE
        self._version: int | None = None  # of the store, when we last looked; None: never, or it was empty
        self._last_chunk = self._last_deleted = 0  # what the structures have taken in
        self._base_size = self._changes = 0  # chunks in the cache file, and how many are new or gone since
        self._lexical: Lexical
        self._vectors: Vectors

    def find(
        self,
        vector: npt.NDArray[np.float32],
        terms: npt.NDArray[np.uint32],
        n: int,
        allowed: npt.NDArray[np.int64] | None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Candidates for a query: the ``n`` best by BM25 and the ``n`` nearest, among the ``allowed`` ids or all.

        Args:
            vector: of the query. [D]
            terms: of the query, in order. [T]

        Returns:
            Chunk ids [n to 2 n, where there are so many], and the inverse document frequencies of the terms [T].
        """
        with self._store.reading():
            self.catch_up()
            if self._version is None:
                return np.empty(0, np.int64), np.zeros(len(terms), np.float32)
            by_words, _ = self._lexical.search(terms, n, allowed)
            by_vector, _ = self._vectors.search(vector, n, allowed)
            return np.union1d(by_words, by_vector), self._lexical.idf(terms)

    def catch_up(self) -> None:
        """Take in what has changed in the store since the last call, by whomever."""
        with self._store.reading():
            version = self._store.version()
            if version == self._version or (dimension := self._store.dimension) is None:
                return
            if self._version is None and not self._load():
                self._rebuild(dimension)
            self._take_changes()
            # Another process may already have made the file anew.
            if self._many_changes() and self._load():
                self._take_changes()
            if self._many_changes():
                self._rebuild(dimension)
            self._version = version

    def _take_changes(self) -> None:
        deleted, self._last_deleted = self._store.deleted(self._last_deleted)
        if len(deleted):
            self._lexical.delete(deleted)
            self._vectors.delete(deleted)
        self._changes += len(deleted)
        for ids, vectors, terms in self._store.passages(after=self._last_chunk):
            self._lexical.add(Segment.of(ids, terms))
            self._vectors.add(ids, vectors)
            self._last_chunk = int(ids[-1])
            self._changes += len(ids)

    def _many_changes(self) -> bool:
        return self._changes > MANY_CHANGES + self._base_size // 4

    def _rebuild(self, dimension: int) -> None:
        """Make the structures from the store, and the cache file from them."""
        count, last_chunk = self._store.chunk_count(), 0
        if count > nearest.FLAT_LIMIT:
            sample = self._store.some_vectors(nearest.list_count(count) * nearest.TRAINING_VECTORS_PER_LIST)
            index = nearest.inverted_lists(sample, count)
        else:
            index = nearest.exact_index(dimension)
        segments = [Segment.of(np.empty(0, np.int64), [])]
        for ids, vectors, terms in self._store.passages():
            segments.append(Segment.of(ids, terms))
            index.add_with_ids(vectors.astype(np.float32), ids)
            last_chunk = int(ids[-1])
        state = {"last_chunk": last_chunk, "last_deleted": self._store.last_deleted()}
        self._adopt(merge(segments), index, **state)
        # Without the file the next start is slower, that is all.
        with suppress(OSError, SafetensorError):
            self._save(state)

    def _adopt(self, segment: Segment, index: faiss.Index, last_chunk: int, last_deleted: int) -> None:
        self._lexical, self._vectors = Lexical(segment), Vectors(index)
        self._last_chunk, self._last_deleted = last_chunk, last_deleted
        self._base_size, self._changes = len(segment.ids), 0

    # ---- the file

    def _save(self, state: dict[str, int]) -> None:
        self._store.flush()  # the file must never know of chunks that a power cut can still undo
        arrays = {name: getattr(self._lexical.base, name) for name in _SEGMENT_FIELDS}
        arrays["vectors"] = nearest.to_bytes(self._vectors.base)
        header = {"version": CACHE_VERSION, "store": self._store.id} | {key: str(value) for key, value in state.items()}
        _remove_leftovers(self._path)
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=CACHE, suffix=".tmp")
        try:
            save_file(arrays, name, header | {"checksum": _checksum(header, arrays)})
            os.fchmod(descriptor, self._store.path.stat().st_mode)  # whoever may read the store may read this
            os.fsync(descriptor)
            os.replace(name, self._path)
        finally:
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)

    def _load(self) -> bool:
        """Map the cache file, if there is a sound one that belongs to this store. -> whether there was"""
        try:
            # `safe_open` opens what it is given twice, and another process may replace the file in between: so it gets
            # the file that is open here. This framework maps arrays, NumPy's copies them.
            with self._path.open("rb") as cache, safe_open(f"/dev/fd/{cache.fileno()}", framework="pt") as file:
                header = file.metadata() or {}
                arrays = {name: file.get_tensor(name).numpy() for name in (*_SEGMENT_FIELDS, "vectors")}
        except (OSError, SafetensorError):
            return False
        checksum = header.pop("checksum", None)
        if (header.get("version"), header.get("store")) != (CACHE_VERSION, self._store.id):
            return False
        if checksum != _checksum(header, arrays):
            return False
        state = {key: int(header[key]) for key in ("last_chunk", "last_deleted")}
        if state["last_chunk"] > self._store.last_chunk() or state["last_deleted"] > self._store.last_deleted():
            return False  # the store has been put back to an older copy
        vectors = arrays.pop("vectors")
        self._adopt(Segment(**arrays), nearest.from_bytes(vectors), **state)
        return True


def _checksum(header: dict[str, str], arrays: dict[str, npt.NDArray[Any]]) -> str:
    checksum = zlib.crc32(repr(sorted(header.items())).encode())
    for name in (*_SEGMENT_FIELDS, "vectors"):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).data.cast("B"), checksum)
    return str(checksum)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of files like ``path`` that they were writing."""
    for leftover in path.parent.glob(f"{path.name}*.tmp"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()
