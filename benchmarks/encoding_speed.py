"""How fast passages are encoded, against sentence-transformers as a user would call it, and how well they are found.

    python benchmarks/encoding_speed.py

SQuAD 1.1 dev, paragraphs of about 150 tokens. Ours gives the vectors of all sentences too. Both run in turns in one
process with the same number of threads; the ratio is of the medians. Takes about three minutes on two quiet cores.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import numpy.typing as npt
import squad
import torch
from sentence_transformers import SentenceTransformer

from genaisys import hub
from genaisys.encoders import TextEncoder
from genaisys.retrieval.sentences import sentence_spans

TIMED_PARAGRAPHS = 256
REPEATS = 5


def main() -> None:
    paragraphs, questions = squad.load()
    texts = [paragraph.text for paragraph in paragraphs]
    spans = [sentence_spans(text) for text in texts]
    theirs = SentenceTransformer(str(hub.local_path("minilm-l6")), device="cpu")
    ours = TextEncoder.from_pretrained("minilm-l6")

    chosen = np.random.default_rng(0).choice(len(texts), TIMED_PARAGRAPHS, replace=False)
    some, some_spans = [texts[i] for i in chosen], [spans[i] for i in chosen]
    runs: dict[str, Callable[[], object]] = {
        "sentence-transformers, float32, defaults": lambda: theirs.encode(some),
        "genaisys, with sentence vectors": lambda: ours.encode_passages(some, some_spans),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(REPEATS):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)

    asked = questions[::5]
    texts_asked, gold = [question.text for question in asked], np.array([question.paragraph for question in asked])
    passages, _ = ours.encode_passages(texts, spans)
    found = {
        "sentence-transformers, float32, defaults": theirs.encode(texts_asked) @ theirs.encode(texts).T,
        "genaisys, with sentence vectors": ours.encode(texts_asked).numpy() @ passages.numpy().T,
    }
    print(f"{torch.get_num_threads()} threads; quality: paragraph vectors alone, {len(asked)} questions\n")
    print("| encoder | paragraphs/s: median (worst to best of 5) | R@1 | R@10 | MRR@10 |")
    print("| --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        speeds = sorted(TIMED_PARAGRAPHS / second for second in times)
        print(f"| {name} | {median(speeds):.0f} ({speeds[0]:.0f} to {speeds[-1]:.0f}) | {quality(found[name], gold)} |")
    slow, fast = (median(times) for times in seconds.values())
    print(f"\nRatio of the medians: {slow / fast:.2f}")


def quality(scores: npt.NDArray[np.float32], gold: npt.NDArray[np.int64]) -> str:
    ranks = 1 + (scores > np.take_along_axis(scores, gold[:, None], axis=1)).sum(axis=1)
    numbers = (ranks == 1).mean(), (ranks <= 10).mean(), np.where(ranks <= 10, 1 / ranks, 0).mean()
    return " | ".join(f"{number:.3f}" for number in numbers)


if __name__ == "__main__":
    main()
