"""Autoregressive models (book chapter 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaisys.zoo.entries import Entry, Trainer, by_gradient


def _trained(steps: int, **changes: Any) -> Trainer:
    settings = {
        "steps": steps,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "final_learning_rate": 0.05,
        "warmup_steps": 100,
        "weight_decay": 0.1,
        "ema_decay": 0.99,
        "evaluate_every": 100,
        "patience": 5,
    }
    return by_gradient(**settings | changes)


ENTRIES: Mapping[str, Entry] = {
    "arm-memory": Entry(
        "autoregressive", "3.2.1", "an MLP over the last two pixels", "arm-memory", _trained(2000)
    ),
    "arm-rnn": Entry(
        "autoregressive", "3.2.2", "a gated recurrent network", "arm-rnn", _trained(2500), {"dropout": 0.3}
    ),
    "arm-convolutions": Entry(
        "autoregressive", "3.2.3", "dilated causal convolutions", "arm-convolutions", _trained(2000),
        {"width": 96, "dropout": 0.3},
    ),
    "pixelcnn": Entry(
        "autoregressive", "3.2.6", "gated PixelCNN, two stacks", "pixelcnn", _trained(3000),
        {"width": 32, "dropout": 0.3},
    ),
    "pixelcnn-logistics": Entry(
        "autoregressive", "3.2.6", "PixelCNN, mixtures of logistics", "pixelcnn", _trained(3000),
        {"width": 32, "dropout": 0.3, "components": 5},
    ),
    "arm-transformer": Entry(
        "autoregressive", "3.3", "a causal transformer over pixels", "arm-transformer", _trained(2400),
        {"dropout": 0.3},
    ),
}  # fmt: skip
