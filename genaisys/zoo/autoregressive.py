"""Autoregressive models (book chapter 3). A thousand images are soon known by heart: hence the strong dropout."""

from __future__ import annotations

from collections.abc import Mapping

from genaisys.training import TrainingSettings
from genaisys.zoo.entries import Entry, by_gradient

_USUAL = TrainingSettings(
    steps=1000,
    batch_size=32,
    learning_rate=3e-3,
    final_learning_rate=0.02,
    warmup_steps=50,
    ema_decay=0.99,
    evaluate_every=100,
    patience=4,
)

ENTRIES: Mapping[str, Entry] = {
    "arm-memory": Entry(
        "autoregressive", "3.2.1", "an MLP over the last two pixels", "arm-memory", by_gradient(_USUAL, batch_size=64)
    ),
    "arm-rnn": Entry(
        "autoregressive", "3.2.2", "a gated recurrent network", "arm-rnn", by_gradient(_USUAL, learning_rate=4e-3),
        {"width": 128, "dropout": 0.5},
    ),
    "arm-convolutions": Entry(
        "autoregressive", "3.2.3", "dilated causal convolutions", "arm-convolutions", by_gradient(_USUAL),
        {"width": 64, "dropout": 0.5},
    ),
    "pixelcnn": Entry(
        "autoregressive", "3.2.6", "gated PixelCNN of two stacks", "pixelcnn", by_gradient(_USUAL),
        {"width": 32, "dropout": 0.5},
    ),
    "pixelcnn-logistics": Entry(
        "autoregressive", "3.2.6", "PixelCNN, mixtures of logistics", "pixelcnn", by_gradient(_USUAL),
        {"width": 32, "dropout": 0.5, "components": 5},
    ),
    "arm-transformer": Entry(
        "autoregressive", "3.3", "a causal transformer over pixels", "arm-transformer",
        by_gradient(_USUAL, steps=1600, batch_size=16, learning_rate=4e-3, warmup_steps=100, evaluate_every=200),
        {"dropout": 0.25},
    ),
}  # fmt: skip
