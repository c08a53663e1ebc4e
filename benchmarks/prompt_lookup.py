"""What guessing from the prompt brings where a document is quoted, and that it changes no text.

    python benchmarks/prompt_lookup.py [--questions 24]

Questions of SQuAD 1.1 dev over about 500 tokens of paragraphs, their own among them; the model is asked to quote a
sentence. Greedy, at most 96 tokens, each text ends where the model ends it. As a check the same without paragraphs,
where there is nothing to quote. Ours with and without guesses, and transformers with its own prompt lookup and without
(bfloat16, up to 10 guesses, as in its documentation), in turns on each question. Takes about four minutes on two quiet
cores.
"""

import genaisys  # isort: skip # noqa: F401 (before torch: it sets how threads wait)
import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch
from peers import MODEL, THREADS, Transformers, in_turns, no_guesses, spread
from prompts import questions
from transformers import PreTrainedModel

from genaisys import hub
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generation import load_engine
from genaisys.models.transformer.sampling import Sampling

LENGTH, NEW = 500, 96
QUOTE = "Copy from the text above, word for word, the sentence that answers this question."
ANSWER = "Answer this question."


@dataclass(frozen=True)
class Text:
    tokens: list[int]
    steps: int  # of the model
    seconds: float  # after the prompt

    @property
    def speed(self) -> float:
        return len(self.tokens) / self.seconds


Run = Callable[[list[int]], Text]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=24)
    count = parser.parse_args().questions
    engine, peer = load_engine(MODEL), Transformers(str(hub.local_path(MODEL))).model
    peer.generation_config.eos_token_id = list(engine.model.config.ends)
    tokenizer = engine.tokenizer
    assert tokenizer is not None
    print(f"{THREADS} threads, {count} questions\n")
    print("| prompt | runner | tokens | steps | tokens a step | tokens/s | the same texts | times as fast |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, prompts in (
        ("quote from a document", questions(tokenizer, QUOTE, LENGTH)),
        ("question alone", questions(tokenizer, ANSWER, 0)),
    ):
        asked = list(islice(prompts, count + 1))  # the first warms up
        compare(name, "**genaisys**, int8", (ours(engine, False), ours(engine, True)), asked)
        compare(name, "transformers, bfloat16", (theirs(peer, False), theirs(peer, True)), asked)


def compare(prompt: str, runner: str, runs: tuple[Run, Run], asked: Sequence[list[int]]) -> None:
    plain, guessing = runs
    texts = in_turns(
        {"without guesses": lambda n: plain(asked[n]), "with guesses": lambda n: guessing(asked[n])}, len(asked) - 1
    )
    without, with_guesses = texts.values()
    same = sum(a.tokens == b.tokens for a, b in zip(without, with_guesses, strict=True))
    faster = median(b.speed / a.speed for a, b in zip(without, with_guesses, strict=True) if a.tokens)
    for name, column in texts.items():
        tokens, steps = sum(len(each.tokens) for each in column), sum(each.steps for each in column)
        compared = f"{same} of {len(column)} | {faster:.2f}" if column is with_guesses else "|"
        row = (
            prompt,
            f"{runner}, {name}",
            tokens,
            steps,
            f"{tokens / steps:.2f}",
            spread([each.speed for each in column]),
        )
        print(f"| {' | '.join(map(str, row))} | {compared} |", flush=True)


def ours(engine: Engine, guesses: bool) -> Run:
    def run(prompt: list[int]) -> Text:
        with nullcontext() if guesses else no_guesses():
            text = engine.start(prompt, Sampling(max_new_tokens=NEW)).result()
        return Text(text.tokens, text.steps, text.decode_seconds)

    return run


def theirs(model: PreTrainedModel, guesses: bool) -> Run:
    settings = {"prompt_lookup_num_tokens": 10} if guesses else {}
    calls: list[float] = []  # when each call of the model ended, the prompt's being the first
    model.register_forward_hook(lambda *_: calls.append(time.perf_counter()))

    def run(prompt: list[int]) -> Text:
        calls.clear()
        inputs = torch.tensor([prompt])
        output = model.generate(inputs, max_new_tokens=NEW, do_sample=False, pad_token_id=0, **settings)
        seconds = time.perf_counter() - calls[0]
        ends = model.generation_config.eos_token_id
        return Text([token for token in output[0, len(prompt) :].tolist() if token not in ends], len(calls), seconds)

    return run


if __name__ == "__main__":
    main()
