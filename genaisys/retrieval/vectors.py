"""Nearest passage vectors, by FAISS.

Up to ``FLAT_LIMIT`` vectors are searched exactly. Beyond, inverted lists over 8-bit codes are trained once and searched
in part; the second stage of search scores what they find with the exact vectors.
"""

import faiss
import numpy as np
import numpy.typing as npt

FLAT_LIMIT = 50_000
TRAINING_VECTORS_PER_LIST = 50
SHARE_OF_LISTS_PROBED = 16  # one in so many

_ALL_THREADS = faiss.omp_get_max_threads()


def exact_index(dimension: int) -> faiss.Index:
    """An empty index of vectors kept as float16, all compared with each query."""
    codes = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexIDMap(codes)


def inverted_lists(sample: npt.NDArray[np.floating], count: int) -> faiss.Index:
    """An empty index of 8-bit codes in inverted lists, trained on ``sample`` [*, D] for ``count`` vectors."""
    dimension, lists = sample.shape[1], list_count(count)
    centroids = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFScalarQuantizer(
        centroids, dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    index.cp.spherical = True  # the vectors have unit length, so shall the centroids
    index.cp.niter = 8
    faiss.omp_set_num_threads(_ALL_THREADS)
    index.train(np.ascontiguousarray(sample, np.float32))
    index.nprobe = max(1, lists // SHARE_OF_LISTS_PROBED)
    return index


def list_count(count: int) -> int:
    """How many inverted lists serve ``count`` vectors: about 2 sqrt(count), a power of two."""
    return 1 << round(np.log2(2 * count**0.5))


def to_bytes(index: faiss.Index) -> npt.NDArray[np.uint8]:
    return faiss.serialize_index(index)


def from_bytes(data: npt.NDArray[np.uint8]) -> faiss.Index:
    """The index in ``data``, which is used in place: it may be mapped from a file, and must outlive the index."""
    return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.size), faiss.IO_FLAG_MMAP_IFC)


class Vectors:
    """Search over a big index that never changes and a small one for what came since, less what was deleted."""

    def __init__(self, base: faiss.Index) -> None:
        self.base = base
        self._recent = exact_index(base.d)
        self._deleted = np.empty(0, np.int64)

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.floating]) -> None:
        """Take in vectors [N, D] of new ids [N]."""
        self._recent.add_with_ids(vectors.astype(np.float32), ids)

    def delete(self, ids: npt.NDArray[np.int64]) -> None:
        """Ignore these vectors from now on."""
        self._deleted = np.concatenate([self._deleted, ids])

    def search(
        self, query: npt.NDArray[np.float32], n: int, allowed: npt.NDArray[np.int64] | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The ``n`` nearest vectors to ``query`` [D]; with ``allowed`` ids, all of those are compared with it.

        Returns:
            Their ids [<= n] and cosines [<= n], in no order.
        """
        faiss.omp_set_num_threads(1)  # sharing out one query takes longer than answering it, on a busy machine by far
        named = faiss.IDSelectorBatch(self._deleted if allowed is None else allowed)
        selector = faiss.IDSelectorNot(named) if allowed is None else named
        found_ids, found_scores = [], []
        for index in (self.base, self._recent):
            effort = faiss.SearchParameters(sel=selector)
            if isinstance(index, faiss.IndexIVF):
                # A filter may leave only few vectors, in any list; skipping the others costs next to nothing.
                nprobe = index.nprobe if allowed is None else index.nlist
                effort = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
            scores, ids = index.search(query[None].astype(np.float32), n, params=effort)  # [1, n] each
            found_ids.append(ids[0])
            found_scores.append(scores[0])
        ids, scores = np.concatenate(found_ids), np.concatenate(found_scores)
        best = np.argsort(-scores, kind="stable")
        best = best[ids[best] >= 0][:n]  # FAISS fills up with -1
        return ids[best], scores[best]
