"""How long a search takes, without the encoder: ours against the in-memory stores of three frameworks.

    python benchmarks/search_speed.py [--large 500000]

Texts and vectors are synthetic: words by Zipf's law from 50,000, 60 to 140 a passage; vectors of 384 numbers around
2,000 topics. Ours is a hybrid search of both (BM25 and vectors, then sentences) from disk; the peers compare the
query's vector with all others, and haystack's BM25 is shown as well. Takes a quarter of an hour. Needs the extra
``bench``.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"

import bm25s
import haystack
import numpy as np
import numpy.typing as npt
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery

from genaisys.retrieval.documents import Chunk, Document
from genaisys.retrieval.index import EncodedQuery, Index
from genaisys.retrieval.store import Features
from genaisys.retrieval.words import term_id, term_ids

D = 384
K = 10
PER_DOCUMENT = 100  # passages
SENTENCES = 5

Search = Callable[[str, npt.NDArray[np.float32]], object]


@dataclass
class Passage:
    text: str
    sentences: tuple[tuple[int, int], ...]
    features: Features


class Collection:
    """Any number of synthetic passages, always the same ones."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        letters = list("abcdefghiklmnoprstu")
        self.words = ["".join(rng.choice(letters, rng.integers(3, 10))) for _ in range(50_000)]
        self.ids = np.array([term_id(word) for word in self.words], np.uint32)
        self.frequencies = 1 / np.arange(10, len(self.words) + 10)
        self.frequencies /= self.frequencies.sum()
        self.topics = rng.standard_normal((2000, D)).astype(np.float32)

    def vectors(self, rng: np.random.Generator, topics: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        vectors = self.topics[topics] + 0.8 * rng.standard_normal((len(topics), D), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def passages(self, count: int) -> Iterator[Passage]:
        rng = np.random.default_rng(1)
        for _ in range(0, count, PER_DOCUMENT):
            topics = rng.integers(0, len(self.topics), PER_DOCUMENT)
            vectors = self.vectors(rng, topics).astype(np.float16)
            sentences = self.vectors(rng, np.repeat(topics, SENTENCES)).astype(np.float16)
            for i in range(PER_DOCUMENT):
                counts = rng.multinomial(rng.integers(60, 141) - SENTENCES, [1 / SENTENCES] * SENTENCES) + 1
                chosen = rng.choice(len(self.words), counts.sum(), p=self.frequencies)
                words = iter(chosen)
                lines = [" ".join(self.words[next(words)] for _ in range(n)) for n in counts]
                ends = np.cumsum([len(line) + 1 for line in lines])
                spans = tuple((int(end) - 1 - len(line), int(end) - 1) for line, end in zip(lines, ends, strict=True))
                yield Passage(
                    " ".join(lines),
                    spans,
                    Features(
                        vectors[i],
                        sentences[i * SENTENCES : (i + 1) * SENTENCES],
                        self.ids[chosen],
                        np.array([0, *counts], np.int32),
                    ),
                )

    def queries(self, count: int) -> list[tuple[str, npt.NDArray[np.float32]]]:
        """Five to eight words each, and a vector near a topic."""
        rng = np.random.default_rng(2)
        vectors = self.vectors(rng, rng.integers(0, len(self.topics), count))
        texts = [" ".join(rng.choice(self.words, rng.integers(5, 9), p=self.frequencies)) for _ in range(count)]
        return list(zip(texts, vectors, strict=True))


class NoEncoder:
    name = "synthetic"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=500_000)
    arguments = parser.parse_args()
    collection = Collection()
    compare(collection, arguments.small)
    if arguments.large:
        large(collection, arguments.large)


def compare(collection: Collection, count: int) -> None:
    queries = collection.queries(200)
    passages = list(collection.passages(count))
    print(f"{count:,} passages, top {K}, one query at a time, warm, without encoding:\n")
    print("| store | median ms | 95 % ms | times ours |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, Index.open(folder, NoEncoder()) as index:
        fill(index, passages)
        index.refresh()
        ours = measure(queries, search_of(index))
        show("genaisys, hybrid, from disk", ours, ours)
    for name, search, repeats in (
        ("llama-index SimpleVectorStore, dense", llama_index(passages), 30),
        ("langchain InMemoryVectorStore, dense", langchain(passages), 30),
        ("haystack InMemoryDocumentStore, dense", haystack_dense(passages), 30),
        ("haystack InMemoryDocumentStore, BM25", haystack_bm25(passages), 30),
        ("bm25s (numpy), words only", bm25s_search(passages), 200),
    ):
        show(name, measure(queries[:repeats], search), ours)


def large(collection: Collection, count: int) -> None:
    queries = collection.queries(200)
    with tempfile.TemporaryDirectory() as folder:
        with Index.open(folder, NoEncoder()) as index:
            began = time.perf_counter()
            fill(index, collection.passages(count))
            filled = time.perf_counter()
            index.refresh()
            print(f"\n{count:,} passages: stored in {filled - began:.0f} s,", end=" ")
            print(f"search structures made in {time.perf_counter() - filled:.0f} s;", end=" ")
        sizes = {path.name: path.stat().st_size / 1e9 for path in Path(folder).iterdir()}
        print(", ".join(f"{name} {size:.2f} GB" for name, size in sizes.items()) + ".\n")
        began = time.perf_counter()
        with Index.open(folder, NoEncoder()) as index:
            index.refresh()
            opened = time.perf_counter()
            search_of(index)(*queries[0])
            print(
                f"Opened in {opened - began:.2f} s; first search {1e3 * (time.perf_counter() - opened):.0f} ms;",
                end=" ",
            )
            times = measure(queries, search_of(index))
            print(f"then {np.median(times):.1f} ms median, {np.percentile(times, 95):.1f} ms 95 %.")
            print(f"Nearest 10 vectors found in the first stage: {recall(index, queries):.3f}.")


def fill(index: Index, passages: Sequence[Passage] | Iterator[Passage]) -> None:
    waiting: list[Passage] = []
    number = 0
    for passage in passages:
        waiting.append(passage)
        if len(waiting) == PER_DOCUMENT:
            text = "\n".join(passage.text for passage in waiting)
            document = Document(f"{number}.txt", str(number), text, (), "text/plain", str(number))
            chunks, start = [], 0
            for ordinal, passage in enumerate(waiting):
                spans = tuple((start + a, start + b) for a, b in passage.sentences)
                end = start + len(passage.text)
                chunks.append(Chunk(document.source, ordinal, passage.text, start, end, None, "", spans))
                start = end + 1
            index.put(document, chunks, [passage.features for passage in waiting])
            waiting, number = [], number + 1


def search_of(index: Index) -> Search:
    return lambda text, vector: index.search(EncodedQuery(vector, term_ids(text)), K)


def recall(index: Index, queries: Sequence[tuple[str, npt.NDArray[np.float32]]]) -> float:
    """The share of the exact 10 nearest passages among the 100 that the vectors name as candidates."""
    blocks = [(ids, vectors) for ids, vectors, _ in index.store.passages()]
    ids = np.concatenate([block for block, _ in blocks])
    matrix = np.concatenate([block for _, block in blocks])
    shares = []
    for _, query in queries[:50]:
        scores = np.concatenate([matrix[i : i + 50_000].astype(np.float32) @ query for i in range(0, len(ids), 50_000)])
        exact = ids[np.argpartition(scores, -10)[-10:]]
        found, _ = index._candidates._vectors.search(query, 100)
        shares.append(len(np.intersect1d(exact, found)) / 10)
    return float(np.mean(shares))


def measure(queries: Sequence[tuple[str, npt.NDArray[np.float32]]], search: Search) -> list[float]:
    """Milliseconds of each query, after a warm-up."""
    for query in queries[:3]:
        search(*query)
    times = []
    for query in queries:
        began = time.perf_counter()
        search(*query)
        times.append(1e3 * (time.perf_counter() - began))
    return times


def show(name: str, times: list[float], ours: list[float]) -> None:
    median = float(np.median(times))
    print(f"| {name} | {median:.2f} | {np.percentile(times, 95):.2f} | {median / np.median(ours):.1f} |", flush=True)


def llama_index(passages: Sequence[Passage]) -> Search:
    store = SimpleVectorStore()
    store.add([TextNode(id_=str(i), text=p.text, embedding=p.features.vector.tolist()) for i, p in enumerate(passages)])
    return lambda _, vector: store.query(VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=K))


def langchain(passages: Sequence[Passage]) -> Search:
    store = InMemoryVectorStore(embedding=None)  # type: ignore[arg-type]
    for i, passage in enumerate(passages):  # as its `add_documents` does, with vectors at hand
        vector = passage.features.vector.astype(float).tolist()
        store.store[str(i)] = {"id": str(i), "vector": vector, "text": passage.text, "metadata": {}}
    return lambda _, vector: store.similarity_search_with_score_by_vector(vector.astype(float).tolist(), k=K)


def haystack_store(passages: Sequence[Passage]) -> InMemoryDocumentStore:
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product", return_embedding=False)
    store.write_documents(
        [
            haystack.Document(id=str(i), content=passage.text, embedding=passage.features.vector.astype(float).tolist())
            for i, passage in enumerate(passages)
        ]
    )
    return store


def haystack_dense(passages: Sequence[Passage]) -> Search:
    retriever = InMemoryEmbeddingRetriever(haystack_store(passages), top_k=K)
    return lambda _, vector: retriever.run(query_embedding=vector.astype(float).tolist())


def haystack_bm25(passages: Sequence[Passage]) -> Search:
    retriever = InMemoryBM25Retriever(haystack_store(passages), top_k=K)
    return lambda text, _: retriever.run(query=text)


def bm25s_search(passages: Sequence[Passage]) -> Search:
    index = bm25s.BM25()
    index.index(bm25s.tokenize([passage.text for passage in passages], show_progress=False), show_progress=False)

    def search(text: str, _: npt.NDArray[np.float32]) -> object:
        return index.retrieve(bm25s.tokenize(text, show_progress=False), k=K, show_progress=False)

    return search


if __name__ == "__main__":
    main()
