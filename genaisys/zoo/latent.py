"""Latent-variable models (book chapter 5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.models.latent.vae import VAE
from genaisys.models.latent.vampprior import VampPrior
from genaisys.zoo.entries import Entry, OnRecord, Trainer, by_gradient

# A thousand images are soon known by heart: the average of weights is kept that is best on held-out ones.
_GENTLY = {
    "steps": 4000,
    "batch_size": 64,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "ema_decay": 0.995,
    "evaluate_every": 100,
    "patience": 6,
}


def _from_data(trainer: Trainer) -> Trainer:
    """A trainer of models with a VampPrior, whose pseudo-inputs begin as images."""

    def trained(
        model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
    ) -> None:
        assert isinstance(model, VAE)
        assert isinstance(model.prior, VampPrior)
        model.prior.begin_with(x)
        trainer(model, x, validation, seed, folder, on_record)

    return trained


def _entry(section: str, about: str, preset: str, trained: Trainer | None = None, **sizes: Any) -> Entry:
    trained = trained or by_gradient(**_GENTLY)
    return Entry("latent-variable models", section, about, preset, trained, sizes, samples=1)


def _with_prior(section: str, about: str, prior: str, trained: Trainer | None = None) -> Entry:
    """Two dimensions, so that codes can be drawn over the prior."""
    return _entry(section, about, "vae", trained, latent=2, prior=prior, components=16)


ENTRIES: Mapping[str, Entry] = {
    "vae": _entry("5.3", "variational auto-encoder, 16 dimensions of codes", "vae", input_dropout=0.0),
    "vae-standard-prior": _with_prior("5.4.1.3", "2 dimensions of codes, standard normal prior", "standard"),
    "vae-mixture-prior": _with_prior("5.4.1.4", "2 dimensions of codes, mixture of Gaussians for prior", "mixture"),
    "vae-vampprior": _with_prior(
        "5.4.1.5", "2 dimensions of codes, VampPrior", "vamp", _from_data(by_gradient(**_GENTLY))
    ),
    "vae-gtm-prior": _with_prior("5.4.1.6", "2 dimensions of codes, GTM for prior", "gtm"),
    "vae-gtm-vampprior": _with_prior("5.4.1.7", "2 dimensions of codes, GTM-VampPrior", "gtm-vamp"),
    "vae-flow-prior": _with_prior("5.4.1.8", "2 dimensions of codes, flow for prior", "flow"),
    "vae-autoregressive-prior": _with_prior("5.4.1.9", "2 dimensions of codes, autoregressive prior", "autoregressive"),
}
