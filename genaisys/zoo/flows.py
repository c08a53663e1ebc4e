"""Flows (book chapter 4). A thousand images are soon known by heart: hence the dropout, and the small networks."""

from __future__ import annotations

from collections.abc import Mapping

from genaisys.training import TrainingSettings
from genaisys.zoo.entries import Entry, by_gradient

_SAMPLES = 500  # of the importance-weighted bound
_FEW = 20  # where an exact log-det costs a pass for each dimension
_USUAL = TrainingSettings(
    steps=1500,
    batch_size=64,
    learning_rate=2e-3,
    warmup_steps=50,
    ema_decay=0.995,
    evaluate_every=100,
    patience=5,
)

ENTRIES: Mapping[str, Entry] = {
    "realnvp": Entry(
        "flows", "4.1.5", "affine couplings with ReZero gates", "realnvp", by_gradient(_USUAL), samples=_SAMPLES
    ),
    "glow": Entry(
        "flows", "4.1.6", "squeeze, 1x1 convolutions, couplings with convolutions, half factored out", "glow",
        by_gradient(_USUAL), {"width": 32, "dropout": 0.2}, samples=_SAMPLES,
    ),
    "spline-flow": Entry(
        "flows", "1906.04032", "autoregressive rational-quadratic splines", "spline-flow",
        by_gradient(_USUAL, steps=1200), {"dropout": 0.3}, samples=_SAMPLES,
    ),
    "residual-flow": Entry(
        "flows", "4.1.7.1", "x + g(x), where g contracts", "residual-flow", by_gradient(_USUAL, steps=600), samples=_FEW
    ),
    "dense-flow": Entry(
        "flows", "4.1.7.2", "the same with dense blocks", "dense-flow", by_gradient(_USUAL, steps=600), samples=_FEW
    ),
    "idf": Entry(
        "flows", "4.2.4", "integer couplings of two parts, independent codes", "idf",
        by_gradient(_USUAL, steps=1000, learning_rate=5e-3), {"dropout": 0.0},
    ),
    "idf-quadripartite": Entry(
        "flows", "4.2.4", "integer couplings of four parts, independent codes", "idf",
        by_gradient(_USUAL, steps=1000, learning_rate=5e-3), {"dropout": 0.0, "parts": 4},
    ),
    "idf-multiscale": Entry(
        "flows", "4.2.3", "integer couplings, half of the variables factored out five times", "idf",
        by_gradient(_USUAL, steps=1200), {"couplings": 4, "dropout": 0.3, "levels": 5},
    ),
}  # fmt: skip
