"""How fast sixteen texts are generated at once: ours against llama.cpp's server and transformers, on the same tokens.

    python benchmarks/batch_speed.py [--rounds 5]

SmolLM2-135M-Instruct, two threads, greedy. Prompts of 30 to 300 tokens from SQuAD 1.1 dev, none used twice; each text
gets 128 tokens, and ends of texts are ignored. Ours gets all by ``Engine.run``; llama.cpp (xllamacpp's wheel, the
published file of 4 bits) has sixteen slots and is asked by sixteen threads; transformers pads on the left. Each runs in
a process of its own, in turns. Takes about four minutes on two quiet cores. Needs the extra ``bench``.
"""

import argparse
from collections.abc import Callable
from itertools import islice

import numpy as np
from peers import MODEL, THREADS, Genaisys, LlamaCpp, Runner, Transformers, in_turns, published_weights, ratio, spread
from prompts import passages

from genaisys import hub
from genaisys.tokenizers import Tokenizer

TEXTS, NEW = 16, 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    lengths = np.random.default_rng(0).permutation(np.linspace(30, 300, TEXTS).astype(int)).tolist()
    folder = hub.local_path(MODEL)
    texts = passages(Tokenizer.from_pretrained(folder), lengths)
    prompts = [list(islice(texts, TEXTS)) for _ in range(rounds + 1)]

    def speed(runner: Runner) -> Callable[[int], float]:
        return lambda number: TEXTS * NEW / runner.many(prompts[number], NEW)

    with published_weights() as weights:
        ours = Runner(Genaisys)
        runners = [ours, Runner(LlamaCpp, weights=str(weights), slots=TEXTS), Runner(Transformers, folder=str(folder))]
        speeds = in_turns({runner.name: speed(runner) for runner in runners}, rounds)
        for runner in runners:
            runner.close()
    print(f"{THREADS} threads, {rounds} rounds, {TEXTS} texts of {min(lengths)} to {max(lengths)} + {NEW} tokens\n")
    print("| runner | tokens/s of all texts, prompts included | ours, to this |")
    print("| --- | --- | --- |")
    for name, values in speeds.items():
        print(f"| {name} | {spread(values)} | {ratio(speeds[ours.name], values)} |")


if __name__ == "__main__":
    main()
