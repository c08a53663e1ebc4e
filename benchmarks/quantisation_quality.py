"""What int8 costs in quality: the perplexity of English text, against the same weights in float32 and bfloat16.

    python benchmarks/quantisation_quality.py [--windows 40]

SmolLM2-135M-Instruct on paragraphs of SQuAD 1.1 dev, in windows of 512 tokens, the first of each given. float32 is
``TransformerLM``, bfloat16 is transformers. Ours, int8 times int8, is measured as it reads prompts and, on every fifth
window, as it generates, token by token. The claim is that perplexity changes by less than 1 %. Takes about three
minutes on two quiet cores.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from peers import MODEL, Transformers
from prompts import passages
from torch import Tensor

from genaisys import hub
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generation import load_engine

LENGTH, EVERY = 512, 5

Losses = npt.NDArray[np.float64]  # nats of each window [W]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=40)
    engine = load_engine(MODEL)
    assert engine.tokenizer is not None
    windows = list(islice(passages(engine.tokenizer, [LENGTH]), parser.parse_args().windows))
    some = windows[::EVERY]
    with torch.inference_mode():
        exact = losses(TransformerLM.from_pretrained(MODEL), windows)
        peer = Transformers(str(hub.local_path(MODEL))).model
        half = losses(lambda tokens: peer(tokens).logits, windows)
    reading = np.array([-float(engine.log_likelihoods(tokens[:1], [tokens[1:]])) for tokens in windows])
    writing = decoded(engine, some)
    print(f"{len(windows)} windows of {LENGTH} tokens\n")
    print("| weights and arithmetic | tokens | nats a token | perplexity | to float32, same tokens | standard error |")
    print("| --- | --- | --- | --- | --- | --- |")
    show("float32", exact, exact)
    show("transformers, bfloat16", half, exact)
    show("**genaisys**, int8, reading a prompt", reading, exact)
    show("**genaisys**, int8, token by token", writing, exact[::EVERY])
    print("\nTarget: within 1 %.")


def losses(logits_of: Callable[[Tensor], Tensor], windows: Sequence[Sequence[int]]) -> Losses:
    nats = []
    for tokens in torch.tensor(windows).split(1):
        log_p = logits_of(tokens)[0, :-1].float().log_softmax(-1)  # [T - 1, V]
        nats.append(-float(log_p.gather(1, tokens[0, 1:, None]).sum()))
    return np.array(nats)


def decoded(engine: Engine, windows: Sequence[Sequence[int]]) -> Losses:
    """All windows side by side, a token of each in every step, as the engine generates."""
    pages = []
    for tokens in windows:
        opened = engine.cache.open(tokens, LENGTH)
        assert opened is not None
        pages.append(opened[0])
    nats = torch.zeros(len(windows), dtype=torch.double)
    for place in range(LENGTH - 1):
        rows = [tokens[place] for tokens in windows]
        logits = engine.model.decode(rows, [place] * len(rows), pages, engine.cache.pages, range(len(rows)))
        targets = torch.tensor([tokens[place + 1] for tokens in windows])
        nats -= logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    return nats.numpy()


def show(name: str, nats: Losses, exact: Losses) -> None:
    tokens = LENGTH - 1
    mean = nats.mean() / tokens
    apart = (nats - exact) / tokens  # of each window
    error = apart.std(ddof=1) / len(apart) ** 0.5
    change = f"{100 * np.expm1(apart.mean()):+.2f} % | {100 * error:.2f} %"
    print(f"| {name} | {tokens * len(nats):,} | {mean:.4f} | {np.exp(mean):.3f} | {change} |")


if __name__ == "__main__":
    main()
