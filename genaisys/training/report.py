"""What a language model is worth: its likelihood in units that any two can be compared by, and samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from genaisys.models.transformer import TransformerLM
from genaisys.tokenizers import Tokenizer
from genaisys.training.data import TokenSequences
from genaisys.training.evaluation import evaluate
from genaisys.training.objectives import next_tokens

_SAMPLES = 10
_TEMPERATURES = (0.1, 1.0)


def measure(model: TransformerLM, held_out: TokenSequences, tokenizer: Tokenizer) -> dict[str, float]:
    """``nats_per_token``, ``bits_per_character`` and ``accuracy`` of the next token, on held-out texts.

    Tokens are those of the texts and their ends; there is no padding among them. Bits per character are the bits of all
    tokens, ends included, over the characters of the texts; so models whose tokens differ can be compared.
    """
    means = evaluate(model, held_out, next_tokens)
    tokens = sum(len(sequence) for sequence in held_out.sequences)
    characters = len(tokenizer.decode([token for sequence in held_out.sequences for token in sequence.tolist()]))
    return {
        "nats_per_token": means["loss"],
        "bits_per_character": means["loss"] * tokens / characters / math.log(2) if characters else math.nan,
        "accuracy": means["accuracy"],
        "held_out_tokens": tokens,
        "held_out_characters": characters,
    }


def write_samples(
    model: TransformerLM, tokenizer: Tokenizer, report: Mapping[str, Any], file: Path, *, seed: int
) -> None:
    """Ten samples at each of two temperatures, below the numbers of ``measure``."""
    lines = ["# Samples", "", numbers_table(report), ""]
    for temperature in _TEMPERATURES:
        generator = torch.Generator().manual_seed(seed)
        samples = model.sample(_SAMPLES, generator=generator, temperature=temperature)
        lines += [f"## Temperature {temperature}", "", "| | sample |", "| --- | --- |"]
        for number, row in enumerate(samples.tolist(), start=1):
            row = [token for token in row if token not in (tokenizer.eos, tokenizer.pad)]
            text = " ".join(tokenizer.decode(row, skip_special_tokens=False).split())
            lines.append(f"| {number} | {_in_a_cell(text)} |")
        lines.append("")
    file.write_text("\n".join(lines), "utf-8")


def numbers_table(report: Mapping[str, Any]) -> str:
    """The numbers of ``measure``, as a table in Markdown."""
    return "\n".join(
        [
            "| held-out texts | |",
            "| --- | --- |",
            f"| NLL, nats per token | {report['nats_per_token']:.4f} |",
            f"| NLL, bits per character | {report['bits_per_character']:.4f} |",
            f"| top-1 accuracy of the next token | {report['accuracy']:.2%} |",
            f"| tokens, characters | {report['held_out_tokens']:,}, {report['held_out_characters']:,} |",
        ]
    )


def _in_a_cell(text: str) -> str:
    for sign in "\\|<`*_[":  # what would be markup
        text = text.replace(sign, f"\\{sign}")
    return text
