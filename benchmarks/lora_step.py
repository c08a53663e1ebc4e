"""What a training step with LoRA costs, against PEFT and transformers: time and peak memory.

    python benchmarks/lora_step.py

SmolLM2-135M-Instruct in float32, rank 8 on all matrices of attention, AdamW, eight conversations of the recipe
json-answers (some 600 tokens, half of them learned). Theirs are padded to the longest, as their collators do; ours
share rows. Each side runs in a process of its own, and they take their steps in turns. Peak memory is that of the whole
process, its libraries included. Takes about five minutes on two quiet cores.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

STEPS = 8
CONVERSATIONS = 8
MODEL = "smollm2-135m-instruct"


def main() -> None:
    spawned = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    for name, worker in (("peft + transformers", theirs), ("genaisys", ours)):
        ends[name], other = spawned.Pipe()
        spawned.Process(target=run, args=(worker, other), daemon=True).start()
    shapes = {name: end.recv() for name, end in ends.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ends}
    losses: dict[str, list[float]] = {name: [] for name in ends}
    for step in range(STEPS + 1):
        for name, end in ends.items():
            end.send("step")
            loss, took = end.recv()
            losses[name].append(loss)
            seconds[name] += [took] if step else []  # the first warms up
    peaks = {}
    for name, end in ends.items():
        end.send("end")
        peaks[name] = end.recv()

    print(f"{CONVERSATIONS} conversations, {STEPS} steps\n")
    print("| | seconds a step: median (best to worst) | peak memory, MB | rows x tokens | loss, first and last |")
    print("| --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        spread = f"{median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
        size, ends_of_loss = " x ".join(map(str, shapes[name])), f"{losses[name][0]:.4f}, {losses[name][-1]:.4f}"
        print(f"| {name} | {spread} | {peaks[name]:.0f} | {size} | {ends_of_loss} |")
    (their_time, our_time), (their_peak, our_peak) = map(median, seconds.values()), peaks.values()
    print(f"| ratio | {their_time / our_time:.2f} times as fast | {our_peak / their_peak:.2f} of the memory | | |")


def run(worker: Callable[[], tuple[Any, Callable[[], float]]], end: Connection) -> None:
    """Take a step whenever ``end`` says so, then tell the peak memory."""
    shape, step = worker()
    end.send(shape)
    while end.recv() == "step":
        began = time.perf_counter()
        loss = step()
        end.send((loss, time.perf_counter() - began))
    end.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def conversations() -> Any:
    """The conversations, tokenised."""
    from genaisys.models.transformer.checkpoint import open_checkpoint
    from genaisys.training.finetuning.chat_tokens import ChatTokens
    from genaisys.training.finetuning.examples import conversation, read_examples
    from genaisys.training.recipe_files import SHIPPED

    checkpoint = open_checkpoint(MODEL)
    tokenizer = checkpoint.tokenizer()
    assert tokenizer is not None
    tokens = ChatTokens(tokenizer, checkpoint.config)
    examples = read_examples(SHIPPED / "json-answers.jsonl", conversation)[:CONVERSATIONS]
    return [tokens.tokenised(example) for example in examples]


def ours() -> Any:
    import torch

    from genaisys.models.transformer import TransformerLM
    from genaisys.training.finetuning.lora import Lora, add_lora
    from genaisys.training.finetuning.rows import batch_of, learned_tokens

    batch = batch_of(conversations())
    model = TransformerLM.from_pretrained(MODEL)
    torch.manual_seed(0)
    add_lora(model, Lora(rank=8, alpha=16))

    def loss() -> torch.Tensor:
        sums = learned_tokens(model, batch)
        return sums.total / sums.weight

    return tuple(batch["tokens"].shape), stepping(model.train(), loss)


def theirs() -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from genaisys.hub import local_path

    examples = conversations()
    base = AutoModelForCausalLM.from_pretrained(local_path(MODEL), dtype=torch.float32)
    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=targets))
    rows = [torch.tensor(conversation.tokens) for conversation in examples]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    rows = [torch.tensor(conversation.learned) for conversation in examples]
    learned = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    labels = tokens.masked_fill(~learned, -100)
    seen = torch.arange(tokens.shape[1]) < torch.tensor([*map(len, rows)])[:, None]

    def loss() -> torch.Tensor:
        return model(input_ids=tokens, attention_mask=seen.long(), labels=labels).loss

    return tuple(tokens.shape), stepping(model.train(), loss)


def stepping(model: Any, loss_of_batch: Callable[[], Any]) -> Callable[[], float]:
    """A step of AdamW; gives the loss before it."""
    import torch

    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)

    def step() -> float:
        loss = loss_of_batch()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
