"""How fast a transformer is trained: ours against nanoGPT's model, written afresh, and against its bare products.

    python benchmarks/training_speed.py [--rounds 5]

6 layers of width 384 with 6 heads and a context of 256, 10.6M weights in the blocks: nanoGPT's for characters (65 of
them), and the same with 8,192 tokens. A step is the loss of 8 sequences, its gradients, clipping and fused AdamW, in
float32 and under bfloat16 autocast. The bare products are the matrix products of that step and nothing else: the bound.
All run in turns in one process on the same data; it keeps freed memory for itself, as our training does, so that all
profit from that. Takes about three minutes on two quiet cores.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from peers import THREADS, in_turns, ratio, spread
from torch import Tensor, nn

from genaisys.models.memory import keep_freed_memory
from genaisys.models.transformer import TransformerLM, gpt

LAYERS, WIDTH, HEADS, CONTEXT, SEQUENCES = 6, 384, 6, 256, 8
STEPS = 2  # timed together
TOKENS = SEQUENCES * CONTEXT

Step = Callable[[Tensor], object]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    print(f"{THREADS} threads, {rounds} rounds, {SEQUENCES} sequences of {CONTEXT} tokens a step\n")
    print("| vocabulary, arithmetic | step | tokens/s | ours, to this |")
    print("| --- | --- | --- | --- |")
    for vocabulary in (65, 8192):
        data = torch.randint(vocabulary, (rounds + 1, STEPS, SEQUENCES, CONTEXT))
        for dtype in (torch.float32, torch.bfloat16):
            steps = {
                "**genaisys**, TransformerLM": ours(vocabulary, dtype),
                "nanoGPT's model": theirs(vocabulary, dtype),
                "the matrix products alone": products(vocabulary, dtype),
            }
            speeds = in_turns({name: timed(step, data) for name, step in steps.items()}, rounds)
            mine = next(iter(speeds.values()))
            for name, values in speeds.items():
                setting = f"{vocabulary:,}, {str(dtype).removeprefix('torch.')}"
                print(f"| {setting} | {name} | {spread(values)} | {ratio(mine, values)} |", flush=True)
    print("\nTargets: no slower than nanoGPT's model, and half as fast as the products alone.")


def timed(step: Step, data: Tensor) -> Callable[[int], float]:
    """Tokens a second of a few steps. ``data``: [rounds, steps, B, T]"""

    def run(number: int) -> float:
        began = time.perf_counter()
        for batch in data[number]:
            step(batch)
        return TOKENS * len(data[number]) / (time.perf_counter() - began)

    return run


def trained(model: nn.Module, loss_of: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Step:
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)

    def step(batch: Tensor) -> None:
        with nullcontext() if dtype == torch.float32 else torch.autocast("cpu", dtype):
            loss = loss_of(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def ours(vocabulary: int, dtype: torch.dtype) -> Step:
    model = TransformerLM(gpt(vocabulary, CONTEXT, layers=LAYERS, width=WIDTH, heads=HEADS))
    return trained(model, lambda batch: model.loss(batch).sum() / TOKENS, dtype)


def theirs(vocabulary: int, dtype: torch.dtype) -> Step:
    model = NanoGPT(vocabulary)

    def loss(batch: Tensor) -> Tensor:  # it is given inputs and targets, shifted by one
        inputs = F.pad(batch[:, :-1], (1, 0))
        return F.cross_entropy(model(inputs).flatten(0, 1), batch.flatten())

    return trained(model, loss, dtype)


class NanoGPT(nn.Module):
    """What Karpathy's nanoGPT computes: GPT-2 with one map for queries, keys and values, and tied embeddings."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(NanoBlock() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class NanoBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        heads = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.attend(self.norm_1(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


def products(vocabulary: int, dtype: torch.dtype) -> Step:
    """Forward and backward of every matrix product of a step, on whatever numbers. Attention is computed in full."""

    def operands() -> Iterator[tuple[Tensor, Tensor, int]]:
        """Two factors, and how often they are multiplied. A product has two more backward, of the same size."""
        square, head = WIDTH // HEADS, (SEQUENCES * HEADS, CONTEXT)
        for inputs, outputs, times in (
            (WIDTH, 3 * WIDTH, LAYERS),
            (WIDTH, WIDTH, LAYERS),
            (WIDTH, 4 * WIDTH, LAYERS),
            (4 * WIDTH, WIDTH, LAYERS),
            (WIDTH, vocabulary, 1),
        ):
            x, y, weight = (torch.randn(*shape) for shape in ((TOKENS, inputs), (TOKENS, outputs), (inputs, outputs)))
            yield x, weight, times
            yield y, weight.T, times
            yield x.T, y, times
        wide, narrow = torch.randn(*head, CONTEXT), torch.randn(*head, square)
        yield narrow, narrow.transpose(1, 2), 2 * LAYERS  # queries by keys; gradients by values
        yield wide, narrow, 4 * LAYERS  # weights by values, and three gradients

    factors = [(a.to(dtype), b.to(dtype), times) for a, b, times in operands()]

    def step(_: Tensor) -> None:
        for a, b, times in factors:
            for _ in range(times):
                torch.matmul(a, b)

    return step


if __name__ == "__main__":
    main()
