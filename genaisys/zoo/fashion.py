"""Fashion-MNIST: one strong model of each family, with what it needs there; each trains in an hour of one core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genaisys.training import TrainingSettings
from genaisys.zoo import autoregressive, flows, latent, mixtures
from genaisys.zoo.entries import Entry, Trainer, by_gradient
from genaisys.zoo.mixtures import by_em, by_stepwise_em

_FEW = 5  # samples of a bound: there are 10,000 test images


def _trained(steps: int, batch_size: int, learning_rate: float, evaluate_every: int) -> Trainer:
    """55,000 images are seen a few times only: nothing overfits, and the rate goes down to the end."""
    return by_gradient(
        TrainingSettings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            final_learning_rate=0.02,
            warmup_steps=200,
            weight_decay=0.01,
            ema_decay=0.999,
            evaluate_every=evaluate_every,
        )
    )


def _entry(entry: Entry, trained: Trainer, samples: int | None = None, **sizes: Any) -> Entry:
    return replace(entry, trained=trained, samples=samples, sizes=sizes)


ENTRIES: Mapping[str, Entry] = {
    "mixture-gaussian": _entry(
        mixtures.ENTRIES["mixture-gaussian"], by_em(12), components=50, least_std=1.0
    ),
    "hidden-tree": _entry(mixtures.ENTRIES["hidden-tree"], by_stepwise_em(5, 500), states=32),
    "pixelcnn": _entry(
        autoregressive.ENTRIES["pixelcnn"], _trained(5000, 16, 2e-3, 1000), kernel=7, layers=9, width=32
    ),
    "glow": _entry(
        flows.ENTRIES["glow"], _trained(20_000, 32, 1e-3, 2000), _FEW, steps=4, width=32, dropout=0.0
    ),
    "idf-multiscale": _entry(
        flows.ENTRIES["idf-multiscale"], _trained(15_000, 64, 1e-3, 1500), couplings=4, levels=5, width=256, dropout=0.0
    ),
    "residual-vae": _entry(
        latent.ENTRIES["residual-vae"], _trained(20_000, 64, 1e-3, 2000), _FEW,
        latent=16, levels=3, width=512, dropout=0.0, input_dropout=0.0, warmup=1000,
    ),
}  # fmt: skip
