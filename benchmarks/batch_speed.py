"""How fast sixteen texts are generated at once: ours against llama.cpp's server and transformers, on the same tokens.

    python benchmarks/batch_speed.py [--rounds 5]

SmolLM2-135M-Instruct, two threads, greedy. Prompts of 30 to 300 tokens from SQuAD 1.1 dev, none used twice; each text
gets 128 tokens, and ends of texts are ignored. Ours gets all by ``Engine.run``; llama.cpp (xllamacpp's wheel, the
published file of 4 bits) has sixteen slots and is asked by sixteen threads; transformers pads on the left. All run in
turns in one process. Takes about four minutes on two quiet cores. Needs the extra ``bench``.
"""

# isort: split
import argparse
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
from peers import THREADS, Genaisys, LlamaCpp, Runner, Transformers, in_turns, published_weights, ratio, spread
from prompts import passages

TEXTS, NEW = 16, 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with published_weights() as weights:
        ours = Genaisys()
        runners: list[Runner] = [ours, LlamaCpp(weights, TEXTS), Transformers()]
        lengths = np.random.default_rng(0).permutation(np.linspace(30, 300, TEXTS).astype(int)).tolist()
        texts = passages(ours.engine.tokenizer, lengths)
        prompts = [list(islice(texts, TEXTS)) for _ in range(rounds + 1)]

        def run(runner: Runner) -> Callable[[int], float]:
            def speed(number: int) -> float:
                began = time.perf_counter()
                runner.many(prompts[number], NEW)
                return TEXTS * NEW / (time.perf_counter() - began)

            return speed

        speeds = in_turns({runner.name: run(runner) for runner in runners}, rounds)
    print(f"{THREADS} threads, {rounds} rounds, {TEXTS} texts of {min(lengths)} to {max(lengths)} + {NEW} tokens\n")
    print("| runner | tokens/s of all texts, prompts included | ours, to this |")
    print("| --- | --- | --- |")
    for name, values in speeds.items():
        print(f"| {name} | {spread(values)} | {ratio(speeds[ours.name], values)} |")


if __name__ == "__main__":
    main()
