"""How well passages are found: SQuAD 1.1 dev, every question over all paragraphs, gold = the question's own paragraph.

    python benchmarks/retrieval_quality.py

Prints a table of BM25, dense retrieval, the usual ways to fuse them, and genaisys. The weights of genaisys were fitted
on the articles with an even number; the odd ones are held out, and all methods are shown on them too: they are easier.
Takes about four minutes on two cores, most of them for encoding. Needs the extra ``bench``.
"""

import hashlib
import tempfile
import time
from collections.abc import Iterator

import bm25s
import numpy as np
import numpy.typing as npt
import squad
import torch

from genaisys.encoders import TextEncoder
from genaisys.retrieval import ranking
from genaisys.retrieval.documents import Chunk, Document
from genaisys.retrieval.index import EncodedQuery, Index
from genaisys.retrieval.lexical import Lexical, Segment
from genaisys.retrieval.sentences import sentence_spans
from genaisys.retrieval.words import term_ids

Scores = npt.NDArray[np.float32]  # [questions, paragraphs]
Ranks = npt.NDArray[np.float64]  # [questions], 1 is best

PARAGRAPHS, QUESTIONS = squad.load()
GOLD = np.array([question.paragraph for question in QUESTIONS])
HELD_OUT = np.array([PARAGRAPHS[gold].article % 2 == 1 for gold in GOLD])
SPANS = [sentence_spans(paragraph.text) for paragraph in PARAGRAPHS]
FIRST_SENTENCE = np.cumsum([0] + [len(spans) for spans in SPANS[:-1]])


def main() -> None:
    encoder = TextEncoder.from_pretrained("minilm-l6")
    queries = encoder.encode([question.text for question in QUESTIONS]).numpy()  # [Q, D]
    passages, sentences = encoder.encode_passages([paragraph.text for paragraph in PARAGRAPHS], SPANS)
    texts = [p.text[start:end] for p, spans in zip(PARAGRAPHS, SPANS, strict=True) for start, end in spans]
    peer, words = bm25_of_peer(), bm25_of_ours()
    passage = queries @ passages.numpy().T
    sentence = best_sentence(queries, torch.cat(sentences).numpy())
    alone = best_sentence(queries, encoder.encode(texts).numpy())

    print("| method | R@1 | R@5 | R@10 | MRR@10 | held out: R@1 | R@10 | MRR@10 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    show("BM25, bm25s (k1 1.2, b .75, its English stop words)", ranks(peer))
    show("BM25, ours (stems, own stop words)", ranks(words))
    show("dense, whole paragraph", ranks(passage))
    show("dense, best sentence, each encoded alone", ranks(alone))
    show("dense, best sentence, from one pass over the paragraph", ranks(sentence))
    for k in (60, 10):
        show(f"reciprocal rank fusion, k = {k}", ranks(1 / (k + places(words)) + 1 / (k + places(passage))))
    for weight in (0.3, 0.5, 0.7):
        show(f"z-scores added, dense {weight}", ranks(weight * z_score(passage) + (1 - weight) * z_score(words)))
    for weight in (0.5, 0.7):
        mixed = weight * min_max(sentence) + (1 - weight) * min_max(words)
        show(f"min-max added, best sentence {weight}", ranks(mixed))
    mixed = 0.35 * min_max(sentence) + 0.25 * min_max(passage) + 0.4 * min_max(words)
    show("min-max added, best sentence .35, paragraph .25, BM25 .40", ranks(mixed))
    for context in ("no context", "the article's title as context"):
        show(f"**genaisys**, {context}", search(encoder, queries, with_titles=context != "no context"))
    time_of_second_stage(queries, words, passage, [rows.numpy() for rows in sentences])


def bm25_of_peer() -> Scores:
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(bm25s.tokenize([p.text for p in PARAGRAPHS], stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize([q.text for q in QUESTIONS], stopwords="en", return_ids=False, show_progress=False)
    return np.stack([index.get_scores(question) for question in tokens])


def bm25_of_ours() -> Scores:
    ids = np.arange(len(PARAGRAPHS))
    index = Lexical(Segment.of(ids, [term_ids(paragraph.text) for paragraph in PARAGRAPHS]))
    scores = np.zeros((len(QUESTIONS), len(PARAGRAPHS)), np.float32)
    for row, question in zip(scores, QUESTIONS, strict=True):
        found, values = index.search(term_ids(question.text), len(PARAGRAPHS))
        row[found] = values
    return scores


def best_sentence(queries: npt.NDArray[np.float32], sentences: npt.NDArray[np.float32]) -> Scores:
    blocks = np.array_split(queries, 20)  # all at once would be 400 MB
    return np.concatenate([np.maximum.reduceat(block @ sentences.T, FIRST_SENTENCE, axis=1) for block in blocks])


def search(encoder: TextEncoder, queries: npt.NDArray[np.float32], *, with_titles: bool) -> Ranks:
    """The ranks by the real index; each article is a document, and each paragraph a chunk of it."""
    position = {}  # (source, ordinal) -> paragraph
    with tempfile.TemporaryDirectory() as folder, Index.open(folder, encoder) as index:
        for document, chunks, numbers in articles(with_titles):
            index.put(document, chunks, index.features(chunks))
            position.update({(document.source, i): number for i, number in enumerate(numbers)})
        index.refresh()
        result = np.full(len(QUESTIONS), np.inf)
        milliseconds = []
        for i, question in enumerate(QUESTIONS):
            query = EncodedQuery(queries[i], term_ids(question.text))
            began = time.perf_counter()
            hits = index.search(query, k=10)
            milliseconds.append(1e3 * (time.perf_counter() - began))
            found = [position[hit.chunk.source, hit.chunk.ordinal] for hit in hits]
            if question.paragraph in found:
                result[i] = 1 + found.index(question.paragraph)
    print(f"<!-- search, encoded query, {len(PARAGRAPHS)} chunks: median {np.median(milliseconds):.2f} ms -->")
    return result


def articles(with_titles: bool) -> Iterator[tuple[Document, list[Chunk], list[int]]]:
    for article in range(PARAGRAPHS[-1].article + 1):
        numbers = [i for i, paragraph in enumerate(PARAGRAPHS) if paragraph.article == article]
        title = PARAGRAPHS[numbers[0]].title
        text, chunks = "", []
        for ordinal, number in enumerate(numbers):
            start, paragraph = len(text), PARAGRAPHS[number].text
            spans = tuple((start + a, start + b) for a, b in SPANS[number])
            context = title if with_titles else ""
            end = start + len(paragraph)
            chunks.append(Chunk(title, ordinal, paragraph, start, end, context=context, sentences=spans))
            text += paragraph + "\n\n"
        yield Document(title, title, text, (), "text/plain", hashlib.sha256(text.encode()).hexdigest()), chunks, numbers


def time_of_second_stage(
    queries: npt.NDArray[np.float32], words: Scores, passage: Scores, sentences: list[npt.NDArray[np.float32]]
) -> None:
    texts = [[p.text[a:b] for a, b in spans] for p, spans in zip(PARAGRAPHS, SPANS, strict=True)]
    terms, counts = zip(*(ranking.passage_terms("", each) for each in texts), strict=True)
    vectors = [rows.astype(np.float16) for rows in sentences]
    sizes = np.array([len(rows) for rows in vectors])
    milliseconds = []
    for i in range(0, len(QUESTIONS), 20):
        best = [np.argpartition(-scores[i], 100)[:100] for scores in (words, passage)]
        chosen = np.union1d(*best)
        ids = term_ids(QUESTIONS[i].text)
        query = ranking.Query(queries[i], ids, np.ones(len(ids), np.float32))
        candidates = ranking.Candidates(
            np.concatenate([vectors[c] for c in chosen]),
            sizes[chosen],
            np.concatenate([terms[c] for c in chosen]),
            np.concatenate([counts[c] for c in chosen]),
        )
        began = time.perf_counter()
        ranking.rank(query, candidates)
        milliseconds.append(1e3 * (time.perf_counter() - began))
    print(f"\nSecond stage, about 160 candidates: median {np.median(milliseconds):.2f} ms a query.")


def ranks(scores: Scores) -> Ranks:
    """The rank of the gold paragraph; among equal scores, the middle. [Q, P] -> [Q]"""
    gold = np.take_along_axis(scores, GOLD[:, None], axis=1)
    return 1 + (scores > gold).sum(axis=1) + 0.5 * ((scores == gold).sum(axis=1) - 1)


def places(scores: Scores) -> Scores:
    """Each score's place in its row, from 1."""
    order = np.argsort(-scores, axis=1, kind="stable")
    result = np.empty(scores.shape, np.float32)
    np.put_along_axis(result, order, np.arange(1, scores.shape[1] + 1, dtype=np.float32)[None], axis=1)
    return result


def z_score(scores: Scores) -> Scores:
    return (scores - scores.mean(axis=1, keepdims=True)) / (scores.std(axis=1, keepdims=True) + 1e-9)


def min_max(scores: Scores) -> Scores:
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    return (scores - low) / (high - low + 1e-9)


def show(method: str, result: Ranks) -> None:
    held_out = result[HELD_OUT]
    numbers = [(result <= 1).mean(), (result <= 5).mean(), (result <= 10).mean(), mrr(result)]
    numbers += [(held_out <= 1).mean(), (held_out <= 10).mean(), mrr(held_out)]
    print(f"| {method} |", " | ".join(f"{number:.3f}" for number in numbers), "|", flush=True)


def mrr(result: Ranks) -> float:
    return float(np.where(result <= 10, 1 / result, 0).mean())


if __name__ == "__main__":
    main()
