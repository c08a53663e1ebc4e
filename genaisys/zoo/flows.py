"""Flows (book chapter 4). A thousand images are soon known by heart: hence the dropout, and the small networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaisys.zoo.entries import Entry, Trainer, by_gradient

_SAMPLES = 500  # of the importance-weighted bound


def _trained(**changes: Any) -> Trainer:
    settings = {
        "steps": 1500,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "warmup_steps": 50,
        "ema_decay": 0.995,
        "evaluate_every": 100,
        "patience": 5,
    }
    return by_gradient(**settings | changes)


ENTRIES: Mapping[str, Entry] = {
    "realnvp": Entry("flows", "4.1.5", "affine couplings with ReZero gates", "realnvp", _trained(), samples=_SAMPLES),
    "glow": Entry(
        "flows", "4.1.6", "squeeze, 1x1 convolutions, couplings with convolutions, half factored out", "glow",
        _trained(), {"width": 32, "dropout": 0.2}, samples=_SAMPLES,
    ),
    "spline-flow": Entry(
        "flows", "1906.04032", "autoregressive rational-quadratic splines", "spline-flow", _trained(),
        samples=_SAMPLES,
    ),
    "residual-flow": Entry(
        "flows", "4.1.7.1", "x + g(x), where g contracts", "residual-flow", _trained(steps=1000), samples=_SAMPLES
    ),
    "dense-flow": Entry(
        "flows", "4.1.7.2", "the same with dense blocks", "dense-flow", _trained(steps=1000), samples=_SAMPLES
    ),
    "idf": Entry(
        "flows", "4.2.4", "integer couplings of two parts, independent codes", "idf", _trained()
    ),
    "idf-quadripartite": Entry(
        "flows", "4.2.4", "integer couplings of four parts, independent codes", "idf", _trained(), {"parts": 4}
    ),
    "idf-multiscale": Entry(
        "flows", "4.2.3", "integer couplings, half of the variables factored out five times", "idf", _trained(),
        {"levels": 5},
    ),
}  # fmt: skip
