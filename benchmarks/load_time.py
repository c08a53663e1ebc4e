"""How long a model takes to load, and how much memory it takes, against transformers and llama.cpp.

    python benchmarks/load_time.py [--rounds 5]

SmolLM2-135M-Instruct, each time in a fresh process with two threads, in turns. Times start after ``import torch`` (and
so do llama.cpp's, which does not need it): with the runner's own imports, until it is loaded, and until it has said a
first token. Memory is resident, above that of the interpreter with torch: loaded, after 64 tokens, and at most in
between. llama.cpp maps its file of 4 bits; ours has int8, transformers bfloat16. Files and compiled code are warm: a
process of each that does not count goes before. Takes about two minutes on two quiet cores. Needs the extra ``bench``.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

THREADS, NEW = 2, 64
MODEL = "smollm2-135m-instruct"
PROMPT = list(range(1000, 1010))

Say = Callable[[int], object]  # so many tokens


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", choices=RUNNERS, help="one runner, in this process")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(measure(RUNNERS[arguments.run], arguments.weights)))
        return
    from peers import in_turns, published_weights, ratio, spread  # not in the measured process

    with published_weights() as weights:
        results = in_turns({name: lambda _, name=name: alone(name, weights) for name in RUNNERS}, arguments.rounds)
    print(f"{THREADS} threads, {arguments.rounds} fresh processes of each\n")
    columns = {"loaded": 2, "first token": 2, "MB, loaded": 0, f"MB, after {NEW} tokens": 0, "MB at most": 0}
    print(f"| runner | {' | '.join(columns)} |\n| --- |{' --- |' * len(columns)}")
    rows = {name: list(zip(*runs, strict=True)) for name, runs in results.items()}
    for name, row in rows.items():
        numbers = [spread(values, digits) for values, digits in zip(row, columns.values(), strict=True)]
        print(f"| {name} | {' | '.join(numbers)} |")
    ours = rows.pop("genaisys, int8")
    for name, row in rows.items():
        print(f"| ratio: ours to {name} | {' | '.join(map(ratio, ours, row))} |")
    print("\nTimes in seconds; memory above the interpreter with torch.")


def alone(name: str, weights: Path) -> list[float]:
    from peers import clean_environment

    command = [sys.executable, __file__, "--run", name, "--weights", str(weights)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    run = subprocess.run(command, check=True, env=clean_environment(), stdout=pipe, stderr=nowhere, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def measure(load: Callable[[Path], Say], weights: Path) -> list[float]:
    torch.set_num_threads(THREADS)
    before = resident()
    began = time.perf_counter()
    say = load(weights)
    loaded, memory = time.perf_counter(), resident()
    say(1)
    first = time.perf_counter()
    say(NEW)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [loaded - began, first - began, memory - before, resident() - before, peak - before]


def resident() -> float:
    return psutil.Process().memory_info().rss / (1 << 20)


def ours(_: Path) -> Say:
    from genaisys.models.transformer.generation import Sampling, load_engine

    engine = load_engine(MODEL)
    return lambda new: engine.run([(PROMPT, Sampling(max_new_tokens=new))])


def transformers(_: Path) -> Say:
    from transformers import AutoModelForCausalLM

    from genaisys import hub

    model = AutoModelForCausalLM.from_pretrained(hub.local_path(MODEL), dtype=torch.bfloat16)
    return lambda new: model.generate(torch.tensor([PROMPT]), max_new_tokens=new, min_new_tokens=new, do_sample=False)


def llama_cpp(weights: Path) -> Say:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel = str(weights), 8192, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(parameters)
    return lambda new: server.handle_completions({"prompt": PROMPT, "n_predict": new, "ignore_eos": True})


RUNNERS = {"genaisys, int8": ours, "transformers, bfloat16": transformers, "llama.cpp, Q4_1": llama_cpp}

if __name__ == "__main__":
    main()
