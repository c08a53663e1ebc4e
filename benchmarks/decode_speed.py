"""How fast one text is generated: ours against llama.cpp and transformers, on the same tokens.

    python benchmarks/decode_speed.py [--rounds 7]

SmolLM2-135M-Instruct, two threads, greedy, paragraphs of SQuAD 1.1 dev as prompts, each used once so that no cache of
prompts helps; ends of texts are ignored. Ours guesses tokens that the prompt suggests, which is shown without, too.
llama.cpp is xllamacpp's wheel with the published file of 4 bits; ours has 8 bits. Each runs in a process of its own,
in turns; a number is the median of the rounds (least to most), a ratio that of the ratios in each round. Then: how much
of the bound that memory sets is reached. Takes about four minutes on two quiet cores. Needs the extra ``bench``.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from peers import (
    MODEL,
    THREADS,
    Genaisys,
    LlamaCpp,
    Runner,
    Times,
    Transformers,
    in_turns,
    published_weights,
    ratio,
    spread,
)
from prompts import passages, questions

from genaisys import hub
from genaisys.tokenizers import Tokenizer

SHORT, LONG, NEW = 10, 900, 64
REQUEST = "Answer the question in your own words, with reasons."


@dataclass(frozen=True)
class Round:
    short: Times
    long: Times
    question: Times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    folder = hub.local_path(MODEL)
    tokenizer = Tokenizer.from_pretrained(folder)
    texts, asked = passages(tokenizer, [SHORT, LONG]), questions(tokenizer, REQUEST, LONG)
    prompts = [(next(texts), next(texts), next(asked)) for _ in range(rounds + 1)]

    def run(runner: Runner) -> Callable[[int], Round]:
        return lambda number: Round(*(runner.one(prompt, NEW) for prompt in prompts[number]))

    torch.set_num_threads(THREADS)
    with published_weights() as weights:
        ours, plain = Runner(Genaisys), Runner(Genaisys, guesses=False)
        llama, transformers = Runner(LlamaCpp, weights=str(weights)), Runner(Transformers, folder=str(folder))
        runners = (ours, plain, llama, transformers)
        runs: dict[str, Callable[[int], object]] = {runner.name: run(runner) for runner in runners}
        measured = in_turns({**runs, "memory": lambda _: bandwidth()}, rounds)
        sizes = plain.ask("sizes")
        for runner in runners:
            runner.close()
    speed = max(measured.pop("memory"))
    speeds = {name: columns(results, LONG) for name, results in measured.items()}
    print(f"{THREADS} threads, {rounds} rounds, {NEW} tokens said each time\n")
    print(
        f"| tokens/s | after {SHORT} tokens | after {LONG} tokens | reading {LONG} | answers a minute, {LONG} + {NEW} |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, values in speeds.items():
        print(f"| {name} | {' | '.join(spread(value, 0 if max(value) > 100 else 1) for value in values)} |")
    for mine in (ours, plain):
        for theirs in (llama, transformers):
            ratios = map(ratio, speeds[mine.name], speeds[theirs.name])
            print(f"| ratio: {mine.name} to {theirs.name} | {' | '.join(ratios)} |")
    print("\nTargets: 1.5 and 2 times llama.cpp, reading 1.3 times transformers.\n")
    print(bound(*sizes, measured[plain.name], speed))


def columns(results: Sequence[Round], length: int) -> list[list[float]]:
    return [
        [1 / each.short.token for each in results],
        [1 / each.long.token for each in results],
        [length / each.long.first for each in results],
        [60 / each.question.whole for each in results],
    ]


def bound(weights: int, held: int, results: Sequence[Round], speed: float) -> str:
    """How the time of a token compares with that of reading all that must be read for it from memory, once.

    Args:
        weights, held: bytes of the weights, and of each token's keys and values.
        speed: of memory, in bytes a second.
    """
    text = f"Memory is read at {speed / 1e9:.0f} GB/s. A token reads {weights / 1e6:.0f} MB of weights"
    for name, length, times in (
        ("short", SHORT, [each.short.token for each in results]),
        ("long", LONG, [each.long.token for each in results]),
    ):
        size = weights + held * (length + NEW / 2)
        least, taken = size / speed, median(times)
        text += f"; {name}, keys and values included, {1e3 * least:.2f} ms of {1e3 * taken:.2f} ms: {least / taken:.0%}"
    return text + "."


def bandwidth() -> float:
    """Bytes a second at which a tensor that fits into no cache is summed."""
    tensor = torch.ones(1 << 28)  # 1 GiB
    began = time.perf_counter()
    tensor.sum()
    return tensor.nbytes / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
