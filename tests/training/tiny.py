"""A tiny language model and its data, for all tests of training; run as a script, it trains in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from genaisys.models.transformer import TransformerLM, gpt
from genaisys.training import TokenSequences, TrainingSettings, train

PAD, BOS, EOS = 0, 1, 2


def model(dropout: float = 0.0, seed: int = 0) -> TransformerLM:
    torch.manual_seed(seed)
    config = gpt(
        12, 10, layers=1, width=8, heads=2, dropout=dropout, pad=PAD, bos=BOS, ends=(EOS,), impossible=(PAD, BOS)
    )
    return TransformerLM(config)


def sequences(count: int, seed: int = 1) -> TokenSequences:
    """Runs that count upwards, of unequal length."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
    starts = torch.randint(0, 9, (count,), generator=generator).tolist()
    return TokenSequences(
        [[*(3 + (start + i) % 9 for i in range(n)), EOS] for n, start in zip(lengths, starts, strict=True)], PAD
    )


def weights(trained: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in trained.parameters()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, steps, batch_size, dropout = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    trained = model(dropout)
    settings = TrainingSettings(steps, batch_size, learning_rate=0.01, ema_decay=0.9, evaluate_every=5)
    result = train(trained, sequences(40), sequences(12, seed=2), settings, folder)
    print(json.dumps({"weights": weights(trained).tolist(), "held_out": result.held_out, "step": result.step}))
