"""How fast byte-level BPE is trained, against the ``tokenizers`` library used directly.

    python benchmarks/tokenizer_training.py

Trained on about 5 MB of Python's standard library. The claim is that ours is the library's own training: the same
merges in the same time. Both run in turns in one process, on all cores. Takes about a minute.
"""

import json
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from genaisys.tokenizers import SPECIAL_TOKENS, train_bpe

MEGABYTES = 5
VOCABULARY = 8192
REPEATS = 5


def main() -> None:
    texts = list(sources(MEGABYTES * 1_000_000))
    size = sum(len(text.encode()) for text in texts) / 1e6
    runs: dict[str, Callable[[], Tokenizer]] = {
        "tokenizers": lambda: library(texts),
        "genaisys": lambda: train_bpe(texts, vocabulary_size=VOCABULARY).backend,
    }
    trained = {name: merges(run()) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)

    print(f"{len(texts)} texts, {size:.1f} MB, vocabulary {VOCABULARY}\n")
    print(f"| training | MB/s: median (worst to best of {REPEATS}) | merges |")
    print("| --- | --- | --- |")
    for name, times in seconds.items():
        speeds = sorted(size / second for second in times)
        print(f"| {name} | {median(speeds):.2f} ({speeds[0]:.2f} to {speeds[-1]:.2f}) | {len(trained[name])} |")
    theirs, ours = (median(times) for times in seconds.values())
    print(f"\nRatio of the medians (ours to theirs, in time): {ours / theirs:.2f}")
    print(f"The same merges: {'yes' if trained['tokenizers'] == trained['genaisys'] else 'NO'}")


def library(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def merges(tokenizer: Tokenizer) -> list[list[str]]:
    return json.loads(tokenizer.to_str())["model"]["merges"]


def sources(size: int) -> Iterator[str]:
    """The standard library's modules, up to ``size`` bytes."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in file.parts:
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        yield text
        size -= len(text.encode())
        if size <= 0:
            return


if __name__ == "__main__":
    main()
